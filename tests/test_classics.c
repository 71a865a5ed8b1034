/* SPDX-License-Identifier: MIT */
/* What bugs put back (tests/seeded) got away with in all other tests: a descriptor that is closed
 * twice when nobody takes its number in between, an error that comes after a connect, a wake-up
 * that comes just before somebody sleeps, memory that is asked for and not used, and others. */
#define _GNU_SOURCE
#include "crowd.h"
#include "guest.h"
#include "reach.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ld(1), --wrap: the library's calls come to __wrap_, __real_ are the system's. */
int __real_close(int fd);
int __wrap_close(int fd);
int __real_eventfd(unsigned count, int flags);
int __wrap_eventfd(unsigned count, int flags);
int __real_poll(struct pollfd *fds, nfds_t count, int timeout);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout);
ssize_t __real_recv(int fd, void *bytes, size_t count, int flags);
ssize_t __wrap_recv(int fd, void *bytes, size_t count, int flags);
void *__real_realloc(void *memory, size_t size);
void *__wrap_realloc(void *memory, size_t size);

int __real_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                       struct addrinfo **found);
int __wrap_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                       struct addrinfo **found);

/* Of descriptors that were not open. */
static atomic_int wrong_closes;

int __wrap_close(int fd)
{
    int r = __real_close(fd);
    if (r < 0 && errno == EBADF)
        atomic_fetch_add(&wrong_closes, 1);
    return r;
}

/* What happens in this thread at one of its system calls: before it, or when it is over; but not
 * after a poll, which may sleep for long. */
static _Thread_local void (*happens)(void);
static _Thread_local int moments_until;
static _Thread_local bool polls;

static void moment(void)
{
    int number = errno;
    if (happens && moments_until-- == 0)
        happens();
    errno = number;
}

int __wrap_eventfd(unsigned count, int flags)
{
    moment();
    int fd = __real_eventfd(count, flags);
    moment();
    return fd;
}

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout)
{
    polls = true;
    moment();
    return __real_poll(fds, count, timeout);
}

/* To this thread a byte comes at a time, and not more than one in a millisecond. */
static _Thread_local bool dribbles;

ssize_t __wrap_recv(int fd, void *bytes, size_t count, int flags)
{
    moment();
    if (dribbles)
        sleep_ms(1);
    ssize_t n = __real_recv(fd, bytes, dribbles ? 1 : count, flags);
    moment();
    return n;
}

/* There is a name of two addresses. */
int __wrap_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                       struct addrinfo **found)
{
    if (!host || strcmp(host, "two.test") != 0 || hints->ai_flags & AI_NUMERICHOST)
        return __real_getaddrinfo(host, port, hints, found);
    int r = __real_getaddrinfo("127.0.0.2", port, hints, found);
    return r != 0 ? r : __real_getaddrinfo("127.0.0.3", port, hints, &(*found)->ai_next);
}

static size_t largest_asked_for;

void *__wrap_realloc(void *memory, size_t size)
{
    if (size > largest_asked_for)
        largest_asked_for = size;
    return __real_realloc(memory, size);
}

/* A length that is too long is not even asked memory for, which might be had and stay unused. */
static void promise_4_over_the_limit_no_memory_is_asked_for(void **state)
{
    (void)state;
    static const uint8_t claim[] = {0x40, 0, 0, 0};
    for (int piece = 1; piece <= 4; piece++) {
        tcpmsg_conn *conn;
        int raw;
        char text[8];
        ssize_t n = TCPMSG_EAGAIN;
        pair_unix(&conn, &raw, TCPMSG_OPTIONS(.max_message = MIB));
        largest_asked_for = 0;
        for (int at = 0; at < 4; at += piece) {
            int count = at + piece < 4 ? piece : 4 - at;
            assert_true(write_all(raw, claim + at, (size_t)count));
            assert_code(n, TCPMSG_EAGAIN);
            n = tcpmsg_recv(conn, text, sizeof text, TCPMSG_DONTWAIT);
        }
        assert_code(n, TCPMSG_EMSGSIZE);
        assert_true(largest_asked_for < MIB);
        (void)tcpmsg_close(conn);
        close(raw);
    }
}

/* The refusal comes when the connect has long begun: the queue was full, and then nobody listens.
 * TCP asks again after a second. */
static char late_address[TCPMSG_ADDRESS_MAX];

static ssize_t dial_body(struct call *call)
{
    return tcpmsg_dial(&call->conn, late_address, TCPMSG_OPTIONS(.connect_timeout_ms = WAIT_MS));
}

static void a_refusal_that_comes_late_is_told(void **state)
{
    (void)state;
    struct crowd crowd;
    struct call dial = {.body = dial_body, .conn = NO_CONN};
    crowd_at_port(&crowd, late_address, sizeof late_address);
    atomic_store(&wrong_closes, 0);
    call_start_asleep(&dial);
    assert_int_equal(shutdown(crowd.listening, SHUT_RD), 0); /* it listens no more */
    assert_code(call_finish(&dial), TCPMSG_EREFUSED);
    assert_ptr_equal(dial.conn, NO_CONN);
    assert_int_equal(atomic_load(&wrong_closes), 0);
    crowd_leaves(&crowd);
}

static void a_listen_at_a_name_takes_the_first_address_that_is_free(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX], name[TCPMSG_ADDRESS_MAX], wanted[TCPMSG_ADDRESS_MAX];
    tcpmsg_listener *taken = listen_at("127.0.0.2:0");
    bound_address(taken, address);
    snprintf(name, sizeof name, "two.test%s", strchr(address, ':'));
    snprintf(wanted, sizeof wanted, "127.0.0.3%s", strchr(address, ':'));
    tcpmsg_listener *listener = listen_at(name);
    bound_address(listener, address);
    assert_string_equal(address, wanted);
    tcpmsg_listener_close(listener);
    tcpmsg_listener_close(taken);
}

static char logged[2][256];

static void note(int level, const char *text, tcpmsg_conn *conn, void *arg)
{
    (void)conn;
    (void)arg;
    snprintf(logged[level == TCPMSG_LOG_DEBUG], sizeof logged[0], "%s", text);
}

/* The first refuses, which is no story of the dial's, and yet can be seen. */
static void promise_11_a_dial_goes_on_to_the_next_address(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX], name[TCPMSG_ADDRESS_MAX];
    tcpmsg_conn *conn;
    tcpmsg_listener *listener = listen_at("127.0.0.3:0");
    bound_address(listener, address);
    snprintf(name, sizeof name, "two.test%s", strchr(address, ':'));
    assert_int_equal(tcpmsg_dial(&conn, name, TCPMSG_OPTIONS(.log = note)), 0);
    assert_string_equal(tcpmsg_conn_why(conn), "");
    assert_true(says(logged[0], "connected to 127.0.0.3:"));
    assert_true(says(logged[1], "127.0.0.2"));
    tcpmsg_close(conn);
    tcpmsg_listener_close(listener);
}

static void every_kind_of_end(void)
{
    tcpmsg_conn *one, *other;
    int raw;
    pair_conns(&one, &other, NULL);
    assert_int_equal(tcpmsg_send(one, "bye", 3, 0), 0);
    (void)tcpmsg_close(one);
    (void)tcpmsg_close(other);
    pair_conns_unix(&one, &other, NULL);
    tcpmsg_conn_ref(one);
    (void)tcpmsg_close(one);
    tcpmsg_conn_unref(one);
    tcpmsg_abort(other);
    (void)tcpmsg_close(other);
    pair(&one, &raw, NULL);
    close(raw);
    tcpmsg_conn_unref(one);
}

static void every_kind_of_listener(void)
{
    char folder[PATH_ROOM], path[TCPMSG_ADDRESS_MAX], address[TCPMSG_ADDRESS_MAX];
    tcpmsg_listener *listener, *none = NO_LISTENER;
    tcpmsg_conn *one, *other = NO_CONN;
    make_temp_dir(folder);
    snprintf(path, sizeof path, "unix:%s/s", folder);
    const char *const places[] = {"127.0.0.1:0", path};
    for (size_t i = 0; i < COUNT(places); i++) {
        listener = listen_at(places[i]);
        bound_address(listener, address);
        assert_code(tcpmsg_accept(listener, &other, TCPMSG_DONTWAIT), TCPMSG_EAGAIN);
        assert_code(tcpmsg_listen(&none, address, NULL), TCPMSG_EINUSE);
        one = dial_to(address);
        other = accept_one(listener);
        (void)tcpmsg_close(one);
        (void)tcpmsg_close(other);
        tcpmsg_listener_abort(listener);
        tcpmsg_listener_close(listener);
        one = NO_CONN;
        assert_code(tcpmsg_dial(&one, address, NULL), TCPMSG_EREFUSED);
        other = NO_CONN;
    }
    remove_temp_dir(folder);
}

/* Two that end at about the same time, for different reasons. */
static void promise_5_each_connection_tells_its_own_story(void **state)
{
    (void)state;
    static const char *const inside[] = {"\0\0\0\11half", "\0\0\0\7ha"};
    tcpmsg_conn *conns[2];
    char byte;
    for (int i = 0; i < 2; i++) {
        int raw;
        pair_unix(&conns[i], &raw, NULL);
        assert_true(write_all(raw, inside[i], 8 - 2 * (size_t)i));
        close(raw);
    }
    for (int i = 0; i < 2; i++)
        assert_code(tcpmsg_recv(conns[i], &byte, 1, 0), TCPMSG_ETRUNCATED);
    assert_true(says_number(tcpmsg_conn_why(conns[0]), 9));
    assert_true(says_number(tcpmsg_conn_why(conns[1]), 7));
    for (int i = 0; i < 2; i++)
        (void)tcpmsg_close(conns[i]);
}

/* Byte after byte of a long message, which is not to be over for seconds: it is the call that has
 * a limit, not the byte. */
static void promise_2_a_peer_that_dribbles_stretches_no_limit(void **state)
{
    (void)state;
    static const uint8_t bytes[4 + 3000] = {0, 1, 0, 0};
    tcpmsg_conn *conn;
    int raw;
    char text[64];
    pair_unix(&conn, &raw, TCPMSG_OPTIONS(.recv_timeout_ms = 100));
    assert_true(write_all(raw, bytes, sizeof bytes));
    dribbles = true;
    int64_t begin = now_ms();
    ssize_t n = tcpmsg_recv(conn, text, sizeof text, 0);
    dribbles = false;
    assert_code(n, TCPMSG_ETIMEDOUT);
    assert_true(now_ms() - begin < 1500);
    (void)tcpmsg_close(conn);
    close(raw);
}

/* `:port` is for both families; an IPv6 address is for one. */
static void an_ipv6_address_leaves_ipv4s_port_alone(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX], other[TCPMSG_ADDRESS_MAX];
    if (!has_ipv6())
        return;
    for (int tries = 0; tries < 20; tries++) { /* another program may have that port of IPv4's */
        tcpmsg_listener *v6 = listen_at("[::]:0"), *v4 = NO_LISTENER;
        bound_address(v6, address);
        snprintf(other, sizeof other, "0.0.0.0%s", strrchr(address, ':'));
        int r = tcpmsg_listen(&v4, other, NULL);
        tcpmsg_listener_close(v6);
        if (r == 0) {
            tcpmsg_listener_close(v4);
            return;
        }
        assert_code(r, TCPMSG_EINUSE);
    }
    fail_msg("no port of IPv4's is free beside one of IPv6's");
}

static void fail_in_every_way(const char *taken, tcpmsg_listener *listener)
{
    tcpmsg_conn *conn = NO_CONN;
    tcpmsg_listener *none = NO_LISTENER;
    assert_code(tcpmsg_accept(listener, &conn, TCPMSG_DONTWAIT), TCPMSG_EAGAIN);
    assert_code(tcpmsg_listen(&none, taken, NULL), TCPMSG_EINUSE);
    assert_code(tcpmsg_dial(&conn, "unix:/nowhere/at/all", NULL), TCPMSG_EREFUSED);
    assert_code(tcpmsg_attach(&conn, tcpmsg_listener_fd(listener), NULL), TCPMSG_EINVAL);
    assert_ptr_equal(conn, NO_CONN);
}

static void a_call_that_fails_keeps_no_memory(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    tcpmsg_listener *listener = listen_at_a_free_port(address);
    fail_in_every_way(address, listener);
    size_t before = allocated_bytes();
    for (int times = 0; times < 500; times++)
        fail_in_every_way(address, listener);
    assert_true(allocated_bytes() < before + 32 * KIB);
    tcpmsg_listener_close(listener);
}

/* Alone in its process a second close harms nobody, and is seen only here. */
static void nothing_is_closed_that_is_not_open(void **state)
{
    (void)state;
    tcpmsg_conn *conn = NO_CONN;
    tcpmsg_listener *listener = NO_LISTENER;
    int ends[2];
    atomic_store(&wrong_closes, 0);
    every_kind_of_end();
    every_kind_of_listener();
    assert_int_equal(pipe(ends), 0);
    char place[32];
    snprintf(place, sizeof place, "fd:%d", ends[0]);
    assert_code(tcpmsg_attach(&conn, ends[0], NULL), TCPMSG_EINVAL);
    assert_code(tcpmsg_listen(&listener, place, NULL), TCPMSG_EINVAL);
    assert_int_equal(__real_close(ends[0]), 0);
    assert_int_equal(__real_close(ends[1]), 0);
    assert_int_equal(atomic_load(&wrong_closes), 0);
}

/* A close that another thread makes in the middle of a receive: it returns when that has left. */
static struct call closer;
static bool closed_at_last;

static ssize_t close_body(struct call *call)
{
    return tcpmsg_close(call->conn);
}

static void close_now(void)
{
    closed_at_last = polls;
    call_start_asleep(&closer);
}

/* At whatever moment up to the last one before it sleeps: it does not. */
static void promise_7_a_close_at_any_moment_ends_a_receive(void **state)
{
    (void)state;
    closed_at_last = false;
    for (int at = 0; !closed_at_last; at++) {
        tcpmsg_conn *conn;
        int raw;
        char byte;
        pair_unix(&conn, &raw, TCPMSG_OPTIONS(.recv_timeout_ms = WAIT_MS));
        closer = (struct call){.body = close_body, .conn = tcpmsg_conn_ref(conn)};
        polls = false;
        moments_until = at;
        happens = close_now;
        int64_t begin = now_ms();
        assert_code(tcpmsg_recv(conn, &byte, 1, 0), TCPMSG_ECANCELED);
        happens = NULL;
        if (now_ms() - begin > WAIT_MS / 2)
            fail_msg("moment %d: the receive slept on", at);
        (void)call_finish(&closer);
        tcpmsg_conn_unref(conn);
        close(raw);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promise_4_over_the_limit_no_memory_is_asked_for),
        cmocka_unit_test(a_refusal_that_comes_late_is_told),
        cmocka_unit_test(a_listen_at_a_name_takes_the_first_address_that_is_free),
        cmocka_unit_test(promise_11_a_dial_goes_on_to_the_next_address),
        cmocka_unit_test(promise_5_each_connection_tells_its_own_story),
        cmocka_unit_test(promise_2_a_peer_that_dribbles_stretches_no_limit),
        cmocka_unit_test(an_ipv6_address_leaves_ipv4s_port_alone),
        cmocka_unit_test(a_call_that_fails_keeps_no_memory),
        cmocka_unit_test(nothing_is_closed_that_is_not_open),
        cmocka_unit_test(promise_7_a_close_at_any_moment_ends_a_receive),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
