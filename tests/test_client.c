/* SPDX-License-Identifier: MIT */
/* Connections from a proxy, which says first who its client is (proxy_protocol). */
#define _GNU_SOURCE
#include "peer.h"
#include "reach.h"
#include "shortage.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINE "PROXY TCP4 192.0.2.1 198.51.100.2 4000 80\r\n"
#define CLIENT "192.0.2.1:4000"

/* Somebody who listens behind a proxy, the proxy, and what was accepted. */
struct scene {
    tcpmsg_listener *listener;
    tcpmsg_conn *conn;
    int raw;
};

static void begin(struct scene *scene, const tcpmsg_options *options)
{
    char address[TCPMSG_ADDRESS_MAX], why[256] = "";
    tcpmsg_options own = *options;
    own.proxy_protocol = 1;
    own.why = why;
    own.why_size = sizeof why;
    if (tcpmsg_listen(&scene->listener, "127.0.0.1:0", &own) != 0)
        fail_msg("%s", why);
    bound_address(scene->listener, address);
    assert_true((scene->raw = raw_dial(address)) >= 0);
    assert_int_equal(tcpmsg_accept(scene->listener, &scene->conn, 0), 0);
}

static void end(struct scene *scene)
{
    close(scene->raw);
    tcpmsg_close(scene->conn);
    tcpmsg_listener_close(scene->listener);
}

static bool tell(const struct scene *scene, const char *text)
{
    return write_all(scene->raw, text, strlen(text));
}

static void expect_peer(const tcpmsg_conn *conn, const char *wanted)
{
    char text[TCPMSG_ADDRESS_MAX];
    assert_int_equal(tcpmsg_conn_peer(conn, text, sizeof text), 0);
    assert_string_equal(text, wanted);
}

static void expect_no_peer(const tcpmsg_conn *conn)
{
    char text[TCPMSG_ADDRESS_MAX] = "untouched";
    assert_code(tcpmsg_conn_peer(conn, text, sizeof text), TCPMSG_EAGAIN);
    assert_string_equal(text, "untouched");
}

/* The address of the raw end, which is the socket's own peer. */
static void expect_own_peer(const struct scene *scene)
{
    char text[TCPMSG_ADDRESS_MAX];
    struct sockaddr_in own;
    socklen_t length = sizeof own;
    assert_int_equal(getsockname(scene->raw, (struct sockaddr *)&own, &length), 0);
    snprintf(text, sizeof text, "127.0.0.1:%u", (unsigned)ntohs(own.sin_port));
    expect_peer(scene->conn, text);
}

static void expect_hello(const struct scene *scene)
{
    char got[16];
    assert_int_equal(tcpmsg_recv(scene->conn, got, sizeof got, 0), 5);
    assert_memory_equal(got, "hello", 5);
}

static void a_client_is_named_before_anything_is_received(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene, TCPMSG_OPTIONS(.recv_timeout_ms = WAIT_MS));
    assert_true(tell(&scene, LINE));
    assert_true(wait_events(tcpmsg_conn_fd(scene.conn), POLLIN, WAIT_MS) != 0);
    expect_peer(scene.conn, CLIENT);
    assert_true(raw_send(scene.raw, "hello"));
    expect_hello(&scene);
    expect_peer(scene.conn, CLIENT);
    end(&scene);
}

/* An empty message among them; what is read along with the header is not lost. */
static void messages_begin_where_the_header_ends(void **state)
{
    (void)state;
    struct scene scene;
    struct wire wire = {0};
    const tcpmsg_framing plain = {0};
    const void *message;
    wire_add(&wire, LINE, strlen(LINE));
    wire_add_message(&wire, &plain, "", 0);
    wire_add_filled(&wire, &plain, 3000, 7);
    wire_add_filled(&wire, &plain, 100000, 8);
    begin(&scene, TCPMSG_OPTIONS(.recv_timeout_ms = WAIT_MS));
    assert_true(write_all(scene.raw, wire.bytes, wire.count));
    assert_code(tcpmsg_next_length(scene.conn), TCPMSG_EAGAIN);
    assert_int_equal(tcpmsg_recv_view(scene.conn, &message, 0), 0);
    assert_int_equal(tcpmsg_next_length(scene.conn) == 3000 ||
                         tcpmsg_next_length(scene.conn) == TCPMSG_EAGAIN,
                     1);
    assert_int_equal(tcpmsg_recv_view(scene.conn, &message, 0), 3000);
    assert_true(is_filled(message, 3000, 7));
    assert_int_equal(tcpmsg_recv_view(scene.conn, &message, 0), 100000);
    assert_true(is_filled(message, 100000, 8));
    expect_peer(scene.conn, CLIENT);
    wire_free(&wire);
    end(&scene);
}

/* Wherever it is cut, with a prefix so short that its bytes could be taken for a message. */
static void promise_2_a_header_in_pieces_is_the_same(void **state)
{
    (void)state;
    struct scene scene;
    char got[8];
    begin(&scene, TCPMSG_OPTIONS(.framing.width = 1, .recv_timeout_ms = 1));
    for (const char *at = LINE; *at; at++) {
        assert_true(write_all(scene.raw, at, 1));
        assert_code(tcpmsg_recv(scene.conn, got, sizeof got, 0), TCPMSG_ETIMEDOUT);
        assert_code(tcpmsg_recv(scene.conn, got, sizeof got, TCPMSG_DONTWAIT), TCPMSG_EAGAIN);
        assert_code(tcpmsg_next_length(scene.conn), TCPMSG_EAGAIN);
        if (at[1] != '\0')
            expect_no_peer(scene.conn);
    }
    assert_int_equal(tcpmsg_conn_set_timeouts(scene.conn, 0, WAIT_MS), 0);
    assert_true(write_all(scene.raw, "\x02hi", 3));
    assert_int_equal(tcpmsg_recv(scene.conn, got, sizeof got, 0), 2);
    expect_peer(scene.conn, CLIENT);
    end(&scene);
}

static void a_proxy_that_speaks_for_itself_is_the_peer(void **state)
{
    (void)state;
    static const char *const lines[] = {"PROXY UNKNOWN\r\n", "PROXY UNKNOWN what it likes\r\n"};
    for (size_t i = 0; i < COUNT(lines); i++) {
        struct scene scene;
        begin(&scene, TCPMSG_OPTIONS(.recv_timeout_ms = WAIT_MS));
        assert_true(tell(&scene, lines[i]) && raw_send(scene.raw, "hello"));
        expect_hello(&scene);
        expect_own_peer(&scene);
        end(&scene);
    }
}

/* Whoever wants to speak first need not wait for the header. */
static void a_server_may_speak_first(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene, TCPMSG_OPTIONS(.recv_timeout_ms = WAIT_MS));
    assert_int_equal(tcpmsg_send(scene.conn, "welcome", 7, 0), 0);
    assert_true(raw_gets(scene.raw, "welcome"));
    expect_no_peer(scene.conn);
    assert_true(tell(&scene, LINE) && raw_send(scene.raw, "hello"));
    expect_hello(&scene);
    end(&scene);
}

static void expect_end(struct scene *scene, int error, const char *story)
{
    const void *message;
    for (int i = 0; i < 2; i++)
        assert_int_equal(tcpmsg_recv_view(scene->conn, &message, 0), error);
    assert_int_equal(tcpmsg_next_length(scene->conn), error);
    if (!strstr(tcpmsg_conn_why(scene->conn), story))
        fail_msg("\"%s\" does not say \"%s\"", tcpmsg_conn_why(scene->conn), story);
    expect_own_peer(scene);
}

/* The system's own clock, of a peer that does not answer its probes. */
static void a_proxy_that_has_gone_is_told(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene, TCPMSG_OPTIONS(.connect_timeout_ms = TCPMSG_NO_LIMIT, .recv_timeout_ms = 1));
    const void *message;
    assert_code(tcpmsg_recv_view(scene.conn, &message, 0), TCPMSG_ETIMEDOUT);
    call_fails(CALL_recv, ETIMEDOUT, 1);
    expect_end(&scene, TCPMSG_ESTALLED, "after 0 bytes of a PROXY header");
    assert_int_equal(calls_failed(), 1);
    end(&scene);
}

/* Both IPv6 addresses are kept: the proxy's, and the client's. */
static void an_ipv6_proxy_speaks_for_itself_or_a_client(void **state)
{
    (void)state;
    static const char *const lines[] = {"PROXY TCP6 2001:db8::1 2001:db8::2 4000 80\r\n",
                                        "PROXY UNKNOWN\r\n"};
    static const char *const peers[] = {"[2001:db8::1]:4000", "[::1]:"};
    for (size_t i = 0; has_ipv6() && i < COUNT(lines); i++) {
        char text[TCPMSG_ADDRESS_MAX];
        struct scene scene;
        struct sockaddr_in6 bound;
        socklen_t length = sizeof bound;
        assert_int_equal(
            tcpmsg_listen(&scene.listener, "[::1]:0",
                          TCPMSG_OPTIONS(.proxy_protocol = 1, .recv_timeout_ms = WAIT_MS)),
            0);
        int fd = tcpmsg_listener_fd(scene.listener);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&bound, &length), 0);
        scene.raw = socket(AF_INET6, SOCK_STREAM, 0);
        assert_int_equal(connect(scene.raw, (struct sockaddr *)&bound, length), 0);
        assert_int_equal(tcpmsg_accept(scene.listener, &scene.conn, 0), 0);
        assert_true(tell(&scene, lines[i]) && raw_send(scene.raw, "hello"));
        expect_hello(&scene);
        assert_int_equal(tcpmsg_conn_peer(scene.conn, text, sizeof text), 0);
        assert_int_equal(strncmp(text, peers[i], strlen(peers[i])), 0);
        end(&scene);
    }
}

/* A dribbling proxy has no more time than a silent one. */
static void a_header_has_as_long_as_a_dial(void **state)
{
    (void)state;
    static const char *const beginnings[] = {"", "PROXY TCP4 192"};
    for (size_t i = 0; i < COUNT(beginnings); i++) {
        struct scene scene;
        begin(&scene, TCPMSG_OPTIONS(.connect_timeout_ms = 50, .recv_timeout_ms = WAIT_MS));
        assert_true(tell(&scene, beginnings[i]));
        expect_end(&scene, TCPMSG_ESTALLED, "no whole PROXY header came within 50 ms");
        end(&scene);
    }
}

static void promise_2_a_timeout_before_the_header_spoils_nothing(void **state)
{
    (void)state;
    struct scene scene;
    char got[8];
    begin(&scene, TCPMSG_OPTIONS(.recv_timeout_ms = 20));
    assert_code(tcpmsg_recv(scene.conn, got, sizeof got, 0), TCPMSG_ETIMEDOUT);
    assert_int_equal(tcpmsg_conn_set_timeouts(scene.conn, 0, WAIT_MS), 0);
    assert_true(tell(&scene, LINE) && raw_send(scene.raw, "hello"));
    expect_hello(&scene);
    end(&scene);
}

static void promise_5_a_peer_that_is_no_proxy_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *story;
    } strangers[] = {
        {"GET / HTTP/1.1\r\n", "no PROXY header came first: is the peer speaking HTTP?"},
        {"SSH-2.0-x\r\n", "no PROXY header came first: is the peer speaking SSH?"},
        {"hello", "no PROXY header came first: is there a proxy that sends one?"},
        {"PROXY TCP4 nonsense\r\n", "the PROXY header is malformed: its line names no addresses"},
        {"PROXY TCP4 192.0.2.1 198.51.100.2 4000 80 90\r\n", "malformed"},
    };
    for (size_t i = 0; i < COUNT(strangers); i++) {
        struct scene scene;
        begin(&scene, TCPMSG_OPTIONS(.recv_timeout_ms = WAIT_MS));
        assert_true(tell(&scene, strangers[i].text));
        /* The first byte says enough already, though not who it is. */
        const char *weather = getenv("TESTS_WEATHER");
        bool guessed = !weather || strcmp(weather, "drops") != 0;
        expect_end(&scene, TCPMSG_EPROTO, guessed ? strangers[i].story : "PROXY header");
        end(&scene);
    }
}

static void promise_3_an_end_before_the_header_is_told(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene, TCPMSG_OPTIONS(.recv_timeout_ms = WAIT_MS));
    assert_int_equal(shutdown(scene.raw, SHUT_WR), 0);
    expect_end(&scene, TCPMSG_EOF, "after 0 bytes of a PROXY header");
    end(&scene);
    begin(&scene, TCPMSG_OPTIONS(.recv_timeout_ms = WAIT_MS));
    assert_true(tell(&scene, "PROXY TCP4"));
    assert_int_equal(shutdown(scene.raw, SHUT_WR), 0);
    expect_end(&scene, TCPMSG_ETRUNCATED, "after 10 bytes of a PROXY header");
    end(&scene);
}

static void promise_3_a_reset_before_the_header_is_one(void **state)
{
    (void)state;
    struct scene scene;
    const void *message;
    begin(&scene, TCPMSG_OPTIONS(.recv_timeout_ms = WAIT_MS));
    raw_reset(scene.raw);
    assert_code(tcpmsg_recv_view(scene.conn, &message, 0), TCPMSG_ERESET);
    assert_non_null(strstr(tcpmsg_conn_why(scene.conn), "after 0 bytes of a PROXY header"));
    scene.raw = -1;
    end(&scene);
}

static ssize_t receive(struct call *call)
{
    char got[16];
    return tcpmsg_recv(call->conn, got, sizeof got, 0);
}

static void an_abort_wakes_who_waits_for_a_header(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene, TCPMSG_OPTIONS(.recv_timeout_ms = WAIT_MS));
    struct call call = {.body = receive, .conn = scene.conn};
    call_start_asleep(&call);
    expect_no_peer(scene.conn); /* somebody has the turn */
    tcpmsg_abort(scene.conn);
    assert_code(call_finish(&call), TCPMSG_ECANCELED);
    end(&scene);
}

/* Without memory nobody knows whose it is: not to name the proxy is what matters. */
static void promise_2_no_memory_for_a_header_spoils_nothing(void **state)
{
    (void)state;
    for (int buffers = 0; buffers < 2; buffers++) {
        struct scene scene;
        const void *message;
        begin(&scene, TCPMSG_OPTIONS(.recv_timeout_ms = WAIT_MS));
        assert_true(tell(&scene, LINE) && raw_send(scene.raw, "hello"));
        if (buffers) {
            call_fails(CALL_recv, ENOBUFS, 2);
        } else { /* a realloc of nothing may be either */
            call_fails(CALL_malloc, ENOMEM, 2);
            call_fails(CALL_realloc, ENOMEM, 2);
        }
        expect_no_peer(scene.conn);
        assert_code(tcpmsg_recv_view(scene.conn, &message, 0), TCPMSG_ENOMEM);
        assert_int_equal(calls_failed(), 2);
        expect_peer(scene.conn, CLIENT);
        expect_hello(&scene);
        end(&scene);
    }
}

enum { ASKERS = 4 };

static ssize_t ask_until_known(struct call *call)
{
    char text[TCPMSG_ADDRESS_MAX];
    int r;
    while ((r = tcpmsg_conn_peer(call->conn, text, sizeof text)) == TCPMSG_EAGAIN && !call->stop)
        sleep_ms(1);
    return r == 0 && strcmp(text, CLIENT) == 0;
}

static void promise_7_any_thread_may_ask_for_the_client(void **state)
{
    (void)state;
    struct scene scene;
    begin(&scene, TCPMSG_OPTIONS(.recv_timeout_ms = WAIT_MS));
    struct call askers[ASKERS], receiver = {.body = receive, .conn = scene.conn};
    for (int i = 0; i < ASKERS; i++) {
        askers[i] = (struct call){.body = ask_until_known, .conn = scene.conn};
        call_start(&askers[i]);
    }
    call_start(&receiver);
    for (const char *at = LINE; *at; at++)
        assert_true(write_all(scene.raw, at, 1));
    for (int i = 0; i < ASKERS; i++)
        assert_int_equal(call_finish(&askers[i]), 1);
    assert_true(raw_send(scene.raw, "hello"));
    assert_int_equal(call_finish(&receiver), 5);
    end(&scene);
}

static void an_attached_socket_may_come_from_a_proxy(void **state)
{
    (void)state;
    static void (*const pairs[])(tcpmsg_conn * *conn, int *raw,
                                 const tcpmsg_options *options) = {pair, pair_unix};
    for (size_t i = 0; i < COUNT(pairs); i++) {
        struct scene scene = {0};
        pairs[i](&scene.conn, &scene.raw,
                 TCPMSG_OPTIONS(.proxy_protocol = 1, .recv_timeout_ms = WAIT_MS));
        assert_true(tell(&scene, LINE) && raw_send(scene.raw, "hello"));
        expect_hello(&scene);
        expect_peer(scene.conn, CLIENT);
        close(scene.raw);
        assert_int_equal(tcpmsg_close(scene.conn), 0);
    }
}

/* Whom we dial is no proxy of ours. */
static void a_dialled_connection_begins_with_messages(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    tcpmsg_listener *listener = listen_at_a_free_port(address);
    tcpmsg_conn *conn;
    assert_int_equal(tcpmsg_dial(&conn, address, TCPMSG_OPTIONS(.proxy_protocol = 1)), 0);
    tcpmsg_conn *accepted = accept_one(listener);
    expect_talk(accepted, conn);
    expect_peer(conn, address);
    tcpmsg_close(conn);
    tcpmsg_close(accepted);
    tcpmsg_listener_close(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_is_named_before_anything_is_received),
        cmocka_unit_test(messages_begin_where_the_header_ends),
        cmocka_unit_test(promise_2_a_header_in_pieces_is_the_same),
        cmocka_unit_test(a_proxy_that_speaks_for_itself_is_the_peer),
        cmocka_unit_test(a_server_may_speak_first),
        cmocka_unit_test(a_proxy_that_has_gone_is_told),
        cmocka_unit_test(an_ipv6_proxy_speaks_for_itself_or_a_client),
        cmocka_unit_test(a_header_has_as_long_as_a_dial),
        cmocka_unit_test(promise_2_a_timeout_before_the_header_spoils_nothing),
        cmocka_unit_test(promise_5_a_peer_that_is_no_proxy_is_told),
        cmocka_unit_test(promise_3_an_end_before_the_header_is_told),
        cmocka_unit_test(promise_3_a_reset_before_the_header_is_one),
        cmocka_unit_test(an_abort_wakes_who_waits_for_a_header),
        cmocka_unit_test(promise_2_no_memory_for_a_header_spoils_nothing),
        cmocka_unit_test(promise_7_any_thread_may_ask_for_the_client),
        cmocka_unit_test(an_attached_socket_may_come_from_a_proxy),
        cmocka_unit_test(a_dialled_connection_begins_with_messages),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
