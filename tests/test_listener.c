/* SPDX-License-Identifier: MIT */
/* Listen and accept: one thread and many, abort and close, and what an accepted connection has. */
#define _DEFAULT_SOURCE /* FIONREAD */
#include "reach.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define THREADS 4
#define GUESTS 60

/* Long enough for a thread to be inside its call; the tests hold if it is not. */
#define A_WHILE_MS 50

static void accept_gives_the_connections_in_their_order(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    tcpmsg_listener *listener = listen_at_a_free_port(address);
    for (char letter = 'a'; letter <= 'e'; letter++) {
        char wire[5] = {0, 0, 0, 1, letter}, got = 0;
        int raw = raw_dial(address);
        assert_true(write_all(raw, wire, sizeof wire));
        tcpmsg_conn *conn = accept_one(listener);
        assert_int_equal(tcpmsg_recv(conn, &got, 1, 0), 1);
        assert_int_equal(got, letter);
        assert_int_equal(tcpmsg_close(conn), 0);
        close(raw);
    }
    tcpmsg_listener_close(listener);
}

static void accept_with_DONTWAIT_and_nobody_there_is_EAGAIN(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    tcpmsg_listener *listener = listen_at_a_free_port(address);
    tcpmsg_conn *conn = NO_CONN;
    for (int i = 0; i < 3; i++)
        assert_int_equal(tcpmsg_accept(listener, &conn, TCPMSG_DONTWAIT), TCPMSG_EAGAIN);
    assert_ptr_equal(conn, NO_CONN);

    int raw = raw_dial(address);
    assert_true(wait_events(tcpmsg_listener_fd(listener), POLLIN, WAIT_MS) & POLLIN);
    assert_int_equal(tcpmsg_accept(listener, &conn, TCPMSG_DONTWAIT), 0);
    assert_int_equal(tcpmsg_close(conn), 0);
    assert_int_equal(tcpmsg_accept(listener, &conn, TCPMSG_DONTWAIT), TCPMSG_EAGAIN);
    close(raw);
    tcpmsg_listener_close(listener);
}

static void arguments_that_are_wrong_are_EINVAL(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    tcpmsg_listener *listener = listen_at_a_free_port(address);
    tcpmsg_conn *conn = NO_CONN;
    int raw = raw_dial(address);
    const int flags[] = {TCPMSG_MORE, TCPMSG_PEEK, 8, 1 << 30, -1, TCPMSG_DONTWAIT | TCPMSG_MORE};
    for (size_t i = 0; i < COUNT(flags); i++)
        assert_int_equal(tcpmsg_accept(listener, &conn, flags[i]), TCPMSG_EINVAL);
    assert_int_equal(tcpmsg_accept(NULL, &conn, 0), TCPMSG_EINVAL);
    assert_int_equal(tcpmsg_accept(listener, NULL, 0), TCPMSG_EINVAL);
    assert_ptr_equal(conn, NO_CONN);
    assert_true(tcpmsg_listener_fd(NULL) < 0);
    tcpmsg_listener_abort(NULL);
    tcpmsg_listener_close(NULL);

    tcpmsg_close(accept_one(listener));
    close(raw);
    tcpmsg_listener_close(listener);
}

/* A thread that accepts until it may not any more. */
struct acceptor {
    tcpmsg_listener *listener;
    pthread_t thread;
    atomic_int accepted;
    int last_error;
};

static void *accept_until_error(void *arg)
{
    struct acceptor *acceptor = arg;
    tcpmsg_conn *conn;
    while ((acceptor->last_error = tcpmsg_accept(acceptor->listener, &conn, 0)) == 0) {
        tcpmsg_close(conn);
        acceptor->accepted++;
    }
    return NULL;
}

static void start(struct acceptor *acceptor, tcpmsg_listener *listener)
{
    acceptor->listener = listener;
    acceptor->accepted = 0;
    acceptor->last_error = 0;
    assert_int_equal(pthread_create(&acceptor->thread, NULL, accept_until_error, acceptor), 0);
}

static void join(struct acceptor *acceptor)
{
    assert_int_equal(pthread_join(acceptor->thread, NULL), 0);
}

static void expect_canceled_for_good(tcpmsg_listener *listener)
{
    tcpmsg_conn *conn = NO_CONN;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(tcpmsg_accept(listener, &conn, 0), TCPMSG_ECANCELED);
        assert_int_equal(tcpmsg_accept(listener, &conn, TCPMSG_DONTWAIT), TCPMSG_ECANCELED);
    }
    assert_ptr_equal(conn, NO_CONN);
}

static void abort_wakes_every_accept_and_stays(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    tcpmsg_listener *listener = listen_at_a_free_port(address);
    struct acceptor acceptors[THREADS];
    for (int i = 0; i < THREADS; i++)
        start(&acceptors[i], listener);
    sleep_ms(A_WHILE_MS);
    tcpmsg_listener_abort(listener);
    for (int i = 0; i < THREADS; i++) {
        join(&acceptors[i]);
        assert_int_equal(acceptors[i].last_error, TCPMSG_ECANCELED);
    }
    expect_canceled_for_good(listener);
    tcpmsg_listener_abort(listener);
    expect_canceled_for_good(listener);
    tcpmsg_listener_close(listener);
}

static void abort_is_before_a_connection_that_waits(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    tcpmsg_listener *listener = listen_at_a_free_port(address);
    int raw = raw_dial(address);
    assert_true(wait_events(tcpmsg_listener_fd(listener), POLLIN, WAIT_MS) & POLLIN);
    tcpmsg_listener_abort(listener);
    expect_canceled_for_good(listener);
    close(raw);
    tcpmsg_listener_close(listener);
}

static bool all_were_accepted(void *arg)
{
    struct acceptor *acceptors = arg;
    int accepted = 0;
    for (int i = 0; i < THREADS; i++)
        accepted += acceptors[i].accepted;
    return accepted == GUESTS;
}

static void promise_7_many_threads_accept_each_connection_once(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    tcpmsg_listener *listener = listen_at_a_free_port(address);
    struct acceptor acceptors[THREADS];
    int raw[GUESTS];
    for (int i = 0; i < THREADS; i++)
        start(&acceptors[i], listener);
    for (int i = 0; i < GUESTS; i++)
        assert_true((raw[i] = raw_dial(address)) >= 0);
    assert_true(eventually(all_were_accepted, acceptors));
    for (int i = 0; i < GUESTS; i++) {
        assert_int_equal(read_end(raw[i]), 0);
        close(raw[i]);
    }
    tcpmsg_listener_abort(listener);
    for (int i = 0; i < THREADS; i++)
        join(&acceptors[i]);
    assert_true(all_were_accepted(acceptors));
    tcpmsg_listener_close(listener);
}

static void accept_never_reads_from_the_new_connection(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX], peeked[64];
    const char wire[] = "\0\0\0\x02hi\0\0\0\x05 the";
    int waiting = -1;
    tcpmsg_listener *listener = listen_at_a_free_port(address);
    int raw = raw_dial(address);
    assert_true(write_all(raw, wire, sizeof wire));
    tcpmsg_conn *conn = accept_one(listener);
    int fd = tcpmsg_conn_fd(conn);
    assert_true(wait_events(fd, POLLIN, WAIT_MS) & POLLIN);
    assert_int_equal(tcpmsg_next_length(conn), TCPMSG_EAGAIN);
    assert_int_equal(ioctl(fd, FIONREAD, &waiting), 0);
    assert_int_equal(waiting, sizeof wire);
    assert_int_equal(recv(fd, peeked, sizeof peeked, MSG_PEEK | MSG_DONTWAIT), sizeof wire);
    assert_memory_equal(peeked, wire, sizeof wire);
    assert_int_equal(tcpmsg_recv(conn, peeked, sizeof peeked, 0), 2);
    tcpmsg_close(conn);
    close(raw);
    tcpmsg_listener_close(listener);
}

static void an_accepted_connection_has_its_listeners_options(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX], wire[6];
    tcpmsg_listener *listener;
    const tcpmsg_options *options =
        TCPMSG_OPTIONS(.max_message = 4, .framing = {.width = 2, .little_endian = 1},
                       .recv_timeout_ms = 30, .linger_ms = TCPMSG_NO_LINGER);
    assert_int_equal(tcpmsg_listen(&listener, "127.0.0.1:0", options), 0);
    bound_address(listener, address);
    int raw = raw_dial(address);
    tcpmsg_conn *conn = accept_one(listener);
    assert_int_equal(tcpmsg_send(conn, "12345", 5, 0), TCPMSG_EMSGSIZE);
    assert_int_equal(tcpmsg_send(conn, "1234", 4, 0), 0);
    assert_true(read_all(raw, wire, sizeof wire));
    assert_memory_equal(wire,
                        "\x04\0"
                        "1234",
                        sizeof wire);
    assert_int_equal(tcpmsg_recv(conn, wire, sizeof wire, 0), TCPMSG_ETIMEDOUT);
    tcpmsg_close(conn);
    close(raw);
    tcpmsg_listener_close(listener);
}

static void promise_10_every_descriptor_is_close_on_exec(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    bool before[256];
    for (int fd = 0; fd < 256; fd++)
        before[fd] = fcntl(fd, F_GETFD) >= 0;
    tcpmsg_listener *listener = listen_at_a_free_port(address);
    tcpmsg_conn *dialled = dial_to(address), *accepted = accept_one(listener);
    for (int fd = 0; fd < 256; fd++)
        if (!before[fd] && fcntl(fd, F_GETFD) >= 0)
            assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    tcpmsg_close(dialled);
    tcpmsg_close(accepted);
    tcpmsg_listener_close(listener);
    for (int fd = 0; fd < 256; fd++)
        assert_true(before[fd] == (fcntl(fd, F_GETFD) >= 0));
}

static int try_listen(const char *address, bool reuse_port, tcpmsg_listener **out)
{
    return tcpmsg_listen(out, address, TCPMSG_OPTIONS(.reuse_port = reuse_port));
}

static void a_port_that_is_taken_is_EINUSE(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX], why[256] = "";
    tcpmsg_listener *listener = listen_at_a_free_port(address), *second = NO_LISTENER;
    int before = count_descriptors();
    assert_int_equal(try_listen(address, false, &second), TCPMSG_EINUSE);
    assert_int_equal(try_listen(address, true, &second), TCPMSG_EINUSE);
    assert_int_equal(tcpmsg_listen(&second, address, TCPMSG_OPTIONS(.why = why, .why_size = 256)),
                     TCPMSG_EINUSE);
    assert_non_null(strstr(why, address));
    assert_ptr_equal(second, NO_LISTENER);
    assert_int_equal(count_descriptors(), before);
    expect_reachable(listener, address);
    tcpmsg_listener_close(listener);
}

static void reuse_port_lets_listeners_share_a_port(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    tcpmsg_listener *first, *second, *third = NO_LISTENER;
    assert_int_equal(try_listen("127.0.0.1:0", true, &first), 0);
    bound_address(first, address);
    assert_int_equal(try_listen(address, true, &second), 0);
    assert_int_equal(try_listen(address, false, &third), TCPMSG_EINUSE);
    tcpmsg_listener_close(first);
    expect_reachable(second, address);
    tcpmsg_listener_close(second);
}

/* TIME-WAIT of the connections that a server ended does not keep its port from it. */
static void a_port_can_be_listened_at_again_at_once(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    int reuse = 0;
    socklen_t size = sizeof reuse;
    tcpmsg_listener *listener = listen_at_a_free_port(address);
    assert_int_equal(
        getsockopt(tcpmsg_listener_fd(listener), SOL_SOCKET, SO_REUSEADDR, &reuse, &size), 0);
    assert_true(reuse != 0);
    tcpmsg_conn *dialled = dial_to(address), *accepted = accept_one(listener);
    assert_int_equal(tcpmsg_close(accepted), 0);
    assert_int_equal(tcpmsg_close(dialled), 0);
    tcpmsg_listener_close(listener);
    listener = listen_at(address);
    expect_reachable(listener, address);
    tcpmsg_listener_close(listener);
}

static void an_address_of_another_machine_is_EUNREACHABLE(void **state)
{
    (void)state;
    tcpmsg_listener *listener = NO_LISTENER;
    int before = count_descriptors();
    assert_int_equal(tcpmsg_listen(&listener, "192.0.2.1:0", NULL), TCPMSG_EUNREACHABLE);
    assert_ptr_equal(listener, NO_LISTENER);
    assert_int_equal(count_descriptors(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accept_gives_the_connections_in_their_order),
        cmocka_unit_test(accept_with_DONTWAIT_and_nobody_there_is_EAGAIN),
        cmocka_unit_test(arguments_that_are_wrong_are_EINVAL),
        cmocka_unit_test(abort_wakes_every_accept_and_stays),
        cmocka_unit_test(abort_is_before_a_connection_that_waits),
        cmocka_unit_test(promise_7_many_threads_accept_each_connection_once),
        cmocka_unit_test(accept_never_reads_from_the_new_connection),
        cmocka_unit_test(an_accepted_connection_has_its_listeners_options),
        cmocka_unit_test(promise_10_every_descriptor_is_close_on_exec),
        cmocka_unit_test(a_port_that_is_taken_is_EINUSE),
        cmocka_unit_test(reuse_port_lets_listeners_share_a_port),
        cmocka_unit_test(a_port_can_be_listened_at_again_at_once),
        cmocka_unit_test(an_address_of_another_machine_is_EUNREACHABLE),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
