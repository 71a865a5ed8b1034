#!/usr/bin/env escript
%% SPDX-License-Identifier: MIT
%%
%% A peer in Erlang: gen_tcp's own {packet, 4}. What it is asked for is in test_other_languages.py.
-mode(compile).

-define(MAX_MESSAGE, (16 bsl 20)).
-define(OPTIONS, [
    binary,
    {packet, 4},
    {packet_size, ?MAX_MESSAGE},
    {active, false},
    {nodelay, true},
    {exit_on_close, false}
]).

main(["serve"]) -> serve();
main(["talk", Port | Words]) -> talk(dial(Port), messages(Words));
main(["leave", Port]) -> leave(dial(Port));
main(["cut", Port]) -> cut(dial(Port));
main(["version"]) -> io:format("Erlang/OTP ~s~n", [erlang:system_info(otp_release)]).

dial(Port) ->
    {ok, Socket} = gen_tcp:connect({127, 0, 0, 1}, list_to_integer(Port), ?OPTIONS),
    Socket.

serve() ->
    {ok, Listener} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}} | ?OPTIONS]),
    {ok, Port} = inet:port(Listener),
    io:format("listening on 127.0.0.1:~b~n", [Port]),
    accept(Listener).

accept(Listener) ->
    {ok, Socket} = gen_tcp:accept(Listener),
    Echo = spawn(fun() ->
        receive
            yours -> echo(Socket)
        end
    end),
    ok = gen_tcp:controlling_process(Socket, Echo),
    Echo ! yours,
    accept(Listener).

echo(Socket) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, <<"cut">>} ->
            cut(Socket);
        {ok, <<"leave">>} ->
            gen_tcp:close(Socket);
        {ok, Message} ->
            ok = gen_tcp:send(Socket, Message),
            echo(Socket);
        {error, closed} ->
            gen_tcp:close(Socket)
    end.

talk(Socket, Messages) ->
    spawn_link(fun() ->
        [ok = gen_tcp:send(Socket, Message) || Message <- Messages],
        ok = gen_tcp:shutdown(Socket, write)
    end),
    [{ok, Message} = gen_tcp:recv(Socket, 0) || Message <- Messages],
    {error, closed} = gen_tcp:recv(Socket, 0),
    io:format("~b messages, ~b bytes~n", [length(Messages), iolist_size(Messages)]).

leave(Socket) ->
    ok = gen_tcp:send(Socket, <<"hello">>),
    {ok, <<"hello">>} = gen_tcp:recv(Socket, 0),
    ok = gen_tcp:close(Socket).

cut(Socket) ->
    ok = inet:setopts(Socket, [{packet, raw}]),
    ok = gen_tcp:send(Socket, <<100:32, "0123456789">>),
    ok = gen_tcp:close(Socket).

messages(Words) ->
    Lengths = lists:flatmap(
        fun(Word) ->
            [Count, Length] = string:split(Word, "x"),
            lists:duplicate(list_to_integer(Count), list_to_integer(Length))
        end,
        Words
    ),
    lists:zipwith(fun payload/2, lists:seq(0, length(Lengths) - 1), Lengths).

payload(Number, Length) ->
    Wheel = list_to_binary(lists:seq(0, 250)),
    binary:part(binary:copy(Wheel, Length div 251 + 2), Number rem 251, Length).
