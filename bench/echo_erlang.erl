%% SPDX-License-Identifier: MIT
%%
%% The same messages with gen_tcp, which knows the prefix itself: a process for each connection.
%% Of one whose client doesn't read, at most AT_ONCE messages wait while send suspends it.
-module(echo_erlang).
-export([main/1]).

-define(MAX_MESSAGE, (16 bsl 20)).
-define(AT_ONCE, 32).

main([Address]) ->
    ok = os:set_signal(sigterm, default),
    [Host, Port] = string:split(Address, ":", trailing),
    {ok, Ip} = inet:parse_ipv4strict_address(Host),
    {ok, Listener} = gen_tcp:listen(list_to_integer(Port), [
        binary,
        {ip, Ip},
        {packet, 4},
        {packet_size, ?MAX_MESSAGE},
        {active, false},
        {nodelay, true},
        {reuseaddr, true},
        {backlog, 4096}
    ]),
    {ok, Bound} = inet:port(Listener),
    io:format("listening on ~s:~b~n", [Host, Bound]),
    spawn(fun() -> accept(Listener) end),
    %% The listener ends with this process.
    timer:sleep(infinity).

%% A process accepts one connection, which is then its own, and leaves the next to a new process.
accept(Listener) ->
    case gen_tcp:accept(Listener) of
        {ok, Socket} ->
            spawn(fun() -> accept(Listener) end),
            start(Socket);
        {error, Reason} ->
            io:format(standard_error, "accept: ~p~n", [Reason]),
            halt(1)
    end.

%% inet(3erl) recommends a driver's buffer that is no smaller than the socket's.
start(Socket) ->
    case inet:getopts(Socket, [recbuf]) of
        {ok, [{recbuf, Size}]} ->
            inet:setopts(Socket, [{buffer, Size}]),
            resume(Socket);
        {error, _} ->
            ended
    end.

resume(Socket) ->
    case inet:setopts(Socket, [{active, ?AT_ONCE}]) of
        ok -> serve(Socket);
        {error, _} -> ended
    end.

%% A process that ends takes its socket along.
serve(Socket) ->
    receive
        {tcp, Socket, Message} ->
            case gen_tcp:send(Socket, Message) of
                ok -> serve(Socket);
                {error, _} -> ended
            end;
        {tcp_passive, Socket} ->
            resume(Socket);
        {tcp_closed, Socket} ->
            ended;
        {tcp_error, Socket, _} ->
            ended
    end.
