/* SPDX-License-Identifier: MIT */
/* The ways to a connection when something is short: no call half done, nothing left behind, and
 * the same call works as soon as there is enough again. */
#define _GNU_SOURCE
#include "reach.h"
#include "shortage.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char dir[PATH_ROOM];

static int make_dir(void **state)
{
    (void)state;
    make_temp_dir(dir);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    remove_temp_dir(dir);
    return 0;
}

/* Where somebody listens, and where the plays listen or dial. */
static tcpmsg_listener *listener;
static char address[TCPMSG_ADDRESS_MAX];

/* What a failed attempt has left at the door. */
static void clear_door(void)
{
    tcpmsg_conn *conn;
    while (tcpmsg_accept(listener, &conn, TCPMSG_DONTWAIT) == 0)
        tcpmsg_close(conn);
}

/* When nothing at all can be waited for, a dial may also run out of its time. */
static bool dial_may_answer(int error)
{
    return lacks(error) || (shortage_lasts() && error == TCPMSG_ETIMEDOUT);
}

static void dial_through(void)
{
    tcpmsg_conn *conn = NO_CONN;
    char why[256] = "";
    tcpmsg_options options = {.why = why, .why_size = sizeof why, .connect_timeout_ms = WAIT_MS};
    if (shortage_lasts())
        options.connect_timeout_ms = 100;
    scarce = true;
    int error = tcpmsg_dial(&conn, address, &options);
    scarce = error != 0 && !shortage_lasts();
    if (error != 0) {
        if (!dial_may_answer(error))
            fail_msg("%s: %s", tcpmsg_error_name(error), why);
        assert_ptr_equal(conn, NO_CONN);
        assert_true(strlen(why) > 0);
        clear_door();
        options.connect_timeout_ms = WAIT_MS;
        assert_int_equal(tcpmsg_dial(&conn, address, &options), 0);
    }
    scarce = false;
    tcpmsg_conn *accepted = accept_one(listener);
    expect_talk(conn, accepted);
    expect_talk(accepted, conn);
    assert_int_equal(tcpmsg_close(conn), 0);
    assert_int_equal(tcpmsg_close(accepted), 0);
}

static void expect_dial_survives(const char *at, const char *host)
{
    char bound[TCPMSG_ADDRESS_MAX];
    listener = listen_at(at);
    bound_address(listener, bound);
    snprintf(address, sizeof address, "%s%s", host ? host : "", host ? strrchr(bound, ':') : bound);
    play_through_shortages(dial_through);
    tcpmsg_listener_close(listener);
}

static void a_dial_by_number(void **state)
{
    (void)state;
    expect_dial_survives("127.0.0.1:0", NULL);
}

/* A name may have an address of each family, and each of them has to be tried. */
static void a_dial_by_name(void **state)
{
    (void)state;
    expect_dial_survives(":0", "localhost");
}

static void a_dial_to_a_unix_path(void **state)
{
    (void)state;
    char path[PATH_ROOM + 16];
    snprintf(path, sizeof path, "unix:%s/dial", dir);
    expect_dial_survives(path, NULL);
}

/* What a handed down socket is, and is again after each play. */
static int handed_down = -1;
static bool dead_server;

static void leave_a_dead_server(void)
{
    const char *path = address + strlen("unix:");
    unlink(path);
    close(raw_bind_unix(path, SOCK_STREAM));
}

static void hand_down(void)
{
    char bound[TCPMSG_ADDRESS_MAX];
    handed_down = raw_listen(bound, sizeof bound);
    snprintf(address, sizeof address, "fd:%d", handed_down);
}

static void listen_through(void)
{
    tcpmsg_listener *made = NO_LISTENER;
    char why[256] = "", bound[TCPMSG_ADDRESS_MAX];
    tcpmsg_options options = {.why = why, .why_size = sizeof why};
    bool hands_down = strncmp(address, "fd:", 3) == 0;
    if (dead_server)
        leave_a_dead_server();
    if (hands_down)
        hand_down();
    scarce = true;
    int error = tcpmsg_listen(&made, address, &options);
    scarce = error != 0 && !shortage_lasts();
    if (error != 0) {
        if (!lacks(error))
            fail_msg("%s: %s", tcpmsg_error_name(error), why);
        assert_ptr_equal(made, NO_LISTENER);
        assert_true(strlen(why) > 0);
        assert_true(!hands_down || fcntl(handed_down, F_GETFD) >= 0);
        assert_true(dead_server || access(strchr(address, ':') + 1, F_OK) != 0);
        assert_int_equal(tcpmsg_listen(&made, address, &options), 0);
    }
    scarce = false;
    bound_address(made, bound);
    /* On this machine a port alone reaches every TCP listener. */
    bool has_port = strncmp(bound, "unix:", strlen("unix:")) != 0;
    expect_reachable(made, has_port ? strrchr(bound, ':') : bound);
    tcpmsg_listener_close(made);
}

static void expect_listen_survives(const char *at)
{
    snprintf(address, sizeof address, "%s", at);
    play_through_shortages(listen_through);
}

static void a_listen_at_a_port(void **state)
{
    (void)state;
    expect_listen_survives("127.0.0.1:0");
    expect_listen_survives(":0");
    if (has_ipv6())
        expect_listen_survives("[::1]:0");
}

static void a_listen_at_a_name(void **state)
{
    (void)state;
    expect_listen_survives("localhost:0");
}

static void a_listen_at_a_unix_path(void **state)
{
    (void)state;
    char path[PATH_ROOM + 16];
    snprintf(path, sizeof path, "unix:%s/listen", dir);
    expect_listen_survives(path);
    dead_server = true;
    expect_listen_survives(path);
    dead_server = false;
    snprintf(path, sizeof path, "unix:@tcpmsg-test-%ld", (long)getpid());
    expect_listen_survives(path);
}

static void a_listen_at_a_socket_handed_down(void **state)
{
    (void)state;
    expect_listen_survives("fd:");
}

static void expect_accepted(tcpmsg_conn *conn, int raw)
{
    char text[8];
    assert_true(write_all(raw, "\0\0\0\2hi", 6));
    assert_int_equal(tcpmsg_recv(conn, text, sizeof text, 0), 2);
    assert_int_equal(tcpmsg_send(conn, text, 2, 0), 0);
    assert_true(read_all(raw, text, 6));
    assert_memory_equal(text, "\0\0\0\2hi", 6);
    assert_int_equal(tcpmsg_close(conn), 0);
}

/* With DONTWAIT it says what it lacks, and the connection waits for the next call. */
static void accept_through(void)
{
    tcpmsg_conn *conn = NO_CONN;
    int raw = raw_dial(address);
    assert_true(raw >= 0);
    assert_true(wait_events(tcpmsg_listener_fd(listener), POLLIN, WAIT_MS) & POLLIN);
    scarce = true;
    int error = tcpmsg_accept(listener, &conn, TCPMSG_DONTWAIT);
    scarce = error != 0 && !shortage_lasts();
    if (error != 0) {
        if (!lacks(error))
            fail_msg("%s", tcpmsg_error_name(error));
        assert_ptr_equal(conn, NO_CONN);
        assert_int_equal(tcpmsg_accept(listener, &conn, TCPMSG_DONTWAIT), 0);
    }
    scarce = false;
    expect_accepted(conn, raw);
    close(raw);
}

/* Without, it says nothing of it. */
static void wait_and_accept_through(void)
{
    tcpmsg_conn *conn = NO_CONN;
    int raw = raw_dial(address);
    assert_true(raw >= 0);
    relief_begin();
    scarce = true;
    int error = tcpmsg_accept(listener, &conn, 0);
    scarce = false;
    relief_end();
    assert_int_equal(error, 0);
    expect_accepted(conn, raw);
    close(raw);
}

static void promise_12_an_accept(void **state)
{
    (void)state;
    listener = listen_at_a_free_port(address);
    play_through_shortages(accept_through);
    play_through_shortages(wait_and_accept_through);
    tcpmsg_listener_close(listener);
}

static void attach_through(int fd, int raw)
{
    tcpmsg_conn *conn = NO_CONN;
    char why[256] = "";
    tcpmsg_options options = {.why = why, .why_size = sizeof why};
    scarce = true;
    int error = tcpmsg_attach(&conn, fd, &options);
    scarce = error != 0 && !shortage_lasts();
    if (error != 0) {
        assert_true(lacks(error));
        assert_ptr_equal(conn, NO_CONN);
        assert_true(strlen(why) > 0);
        assert_true(fcntl(fd, F_GETFD) >= 0);
        assert_int_equal(tcpmsg_attach(&conn, fd, &options), 0);
    }
    scarce = false;
    expect_accepted(conn, raw);
    close(raw);
}

static void attach_tcp_through(void)
{
    int listening = raw_listen(address, sizeof address);
    int raw = raw_dial(address);
    int fd = raw_accept(listening);
    close(listening);
    attach_through(fd, raw);
}

static void attach_unix_through(void)
{
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    attach_through(ends[0], ends[1]);
}

static void an_attach(void **state)
{
    (void)state;
    play_through_shortages(attach_tcp_through);
    play_through_shortages(attach_unix_through);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dial_by_number),
        cmocka_unit_test(a_dial_by_name),
        cmocka_unit_test(a_dial_to_a_unix_path),
        cmocka_unit_test(a_listen_at_a_port),
        cmocka_unit_test(a_listen_at_a_name),
        cmocka_unit_test(a_listen_at_a_unix_path),
        cmocka_unit_test(a_listen_at_a_socket_handed_down),
        cmocka_unit_test(promise_12_an_accept),
        cmocka_unit_test(an_attach),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
