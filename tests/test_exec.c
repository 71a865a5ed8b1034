/* SPDX-License-Identifier: MIT */
/* A program that is started at any moment, while threads dial, listen, accept, attach and run
 * loops, has none of their descriptors. And a child that starts none lets go of what it copied,
 * whatever the threads of its parent were doing then. TESTS_ROUNDS is how many children. */
#define _GNU_SOURCE
#include "guest.h"
#include "rounds.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static char self[4096]; /* this program */
static const char question[] = "what is open";
enum { MOST = 100, NOT_STARTED = 101, STORMS = 3 };

/* In the program that was started: how many there are beside the first three. */
static int tell_open(void)
{
    char path[32], name[128];
    int count = 0;
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    int most = limit.rlim_cur > 4096 ? 4096 : (int)limit.rlim_cur;
    for (int fd = 3; fd < most; fd++) {
        if (fcntl(fd, F_GETFD) < 0)
            continue;
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(path, name, sizeof name - 1);
        fprintf(stderr, "%d is open: %.*s\n", fd, length > 0 ? (int)length : 0, name);
        count++;
    }
    return count < MOST ? count : MOST;
}

/* The seam: behind each call that opens a descriptor others run for a while, so that one which
 * would be close-on-exec only a moment later is met as it is. */
static void hesitate(void)
{
    static atomic_uint calls;
    struct timespec nap = {.tv_nsec = 500000};
    if (atomic_fetch_add(&calls, 1) % 4 == 0)
        nanosleep(&nap, NULL);
}

#define HESITATING(name, parameters, arguments)                                                    \
    int __real_##name parameters;                                                                  \
    int __wrap_##name parameters;                                                                  \
    int __wrap_##name parameters                                                                   \
    {                                                                                              \
        int fd = __real_##name arguments;                                                          \
        hesitate();                                                                                \
        return fd;                                                                                 \
    }

HESITATING(accept4, (int listening, struct sockaddr *peer, socklen_t *length, int flags),
           (listening, peer, length, flags))
HESITATING(epoll_create1, (int flags), (flags))
HESITATING(eventfd, (unsigned count, int flags), (count, flags))
HESITATING(socket, (int family, int type, int protocol), (family, type, protocol))

static pid_t spawn(void)
{
    char *const arguments[] = {self, (char *)question, NULL};
    pid_t child;
    return posix_spawn(&child, self, NULL, NULL, arguments, environ) == 0 ? child : -1;
}

static pid_t fork_and_exec(void)
{
    pid_t child = fork();
    if (child == 0) {
        execl(self, self, question, (char *)NULL);
        _exit(NOT_STARTED);
    }
    return child;
}

static int answer_of(pid_t child)
{
    int status;
    while (child > 0 && waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return child > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The storm: all that opens a descriptor of the library's, as often as it goes. The test's own are
 * close-on-exec from the start. */
static atomic_bool over;
static atomic_long opened;

static void talk_and_close(tcpmsg_conn *conn)
{
    char text[8];
    (void)!tcpmsg_send(conn, "x", 1, 0);
    (void)!tcpmsg_recv(conn, text, sizeof text, 0); /* which opens what wakes it */
    tcpmsg_close(conn);
    atomic_fetch_add(&opened, 1);
}

static void listen_and_dial(const char *where, bool by_name)
{
    const tcpmsg_options options = {
        .size = sizeof options, .recv_timeout_ms = 2, .connect_timeout_ms = WAIT_MS};
    char address[TCPMSG_ADDRESS_MAX], named[TCPMSG_ADDRESS_MAX + 16];
    tcpmsg_listener *listener;
    tcpmsg_conn *one, *other;
    if (tcpmsg_listen(&listener, where, &options) != 0)
        return;
    (void)tcpmsg_listener_address(listener, address, sizeof address);
    snprintf(named, sizeof named, "%s%s", by_name ? "localhost" : "",
             by_name ? strrchr(address, ':') : address);
    if (tcpmsg_dial(&one, named, &options) == 0) {
        if (tcpmsg_accept(listener, &other, 0) == 0)
            talk_and_close(other);
        talk_and_close(one);
    }
    tcpmsg_listener_close(listener);
}

static void *listen_and_dial_on(void *folder)
{
    char path[TCPMSG_ADDRESS_MAX];
    snprintf(path, sizeof path, "unix:%s/door", (char *)folder);
    for (int i = 0; !atomic_load(&over); i++)
        listen_and_dial(i % 4 == 0 ? path : i % 4 == 1 ? "[::1]:0" : "127.0.0.1:0", i % 4 == 2);
    return NULL;
}

static void stop(void *arg)
{
    tcpmsg_loop_stop(arg);
}

static void run_a_loop(int poller)
{
    const tcpmsg_options options = {.size = sizeof options, .linger_ms = 1};
    char address[TCPMSG_ADDRESS_MAX];
    tcpmsg_loop *loop;
    tcpmsg_listener *listener;
    if (tcpmsg_loop_open(&loop, TCPMSG_LOOP_OPTIONS(.threads = 2, .poller = poller)) != 0)
        return;
    if (tcpmsg_listen(&listener, "127.0.0.1:0", &options) == 0) {
        (void)tcpmsg_listener_address(listener, address, sizeof address);
        if (tcpmsg_loop_listen(loop, listener, TCPMSG_CALLBACKS(.on_open = NULL), NULL) != 0)
            tcpmsg_listener_close(listener);
        for (int i = 0; i < 3; i++)
            (void)!tcpmsg_loop_dial(loop, address, &options, TCPMSG_CALLBACKS(.on_open = NULL),
                                    NULL);
        (void)!tcpmsg_loop_after(loop, 2, stop, loop);
        (void)!tcpmsg_loop_run(loop);
    }
    tcpmsg_loop_close(loop);
    atomic_fetch_add(&opened, 1);
}

static void *run_loops(void *unused)
{
    for (int i = 0; !atomic_load(&over); i++)
        run_a_loop(i % 2 ? TCPMSG_POLLER_EPOLL : TCPMSG_POLLER_POLL);
    return unused;
}

/* What is attached becomes close-on-exec if it was not; here it is all the time. */
static void *attach_on(void *unused)
{
    while (!atomic_load(&over)) {
        tcpmsg_conn *conn;
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
            continue;
        if (tcpmsg_attach(&conn, ends[0], TCPMSG_OPTIONS(.recv_timeout_ms = 1)) == 0)
            talk_and_close(conn);
        close(ends[1]);
    }
    return unused;
}

static pthread_t storm[STORMS];

static void storm_breaks(char *folder)
{
    static void *(*const bodies[STORMS])(void *) = {listen_and_dial_on, run_loops, attach_on};
    atomic_store(&over, false);
    atomic_store(&opened, 0);
    for (int i = 0; i < STORMS; i++)
        assert_int_equal(pthread_create(&storm[i], NULL, bodies[i], folder), 0);
}

static void storm_calms(void)
{
    atomic_store(&over, true);
    for (int i = 0; i < STORMS; i++)
        assert_int_equal(pthread_join(storm[i], NULL), 0);
    print_message("%ld times something was opened and closed meanwhile\n", atomic_load(&opened));
}

static void promise_10_a_program_that_is_started_holds_nothing_of_ours(void **state)
{
    (void)state;
    long children = test_rounds(SANITIZED ? 60 : 200), started = 0;
    char folder[PATH_ROOM];
    int held = 0;
    make_temp_dir(folder);
    storm_breaks(folder);
    for (; started < children && held == 0; started++)
        held = answer_of(started % 2 ? spawn() : fork_and_exec());
    storm_calms();
    remove_temp_dir(folder);
    print_message("%ld programs were started\n", started);
    assert_int_equal(held, 0);
}

/* What was attached without it is close-on-exec from then on. */
static void promise_10_what_is_handed_over_is_closed_too(void **state)
{
    (void)state;
    char folder[PATH_ROOM], path[PATH_ROOM + 8], address[16];
    tcpmsg_listener *listener;
    tcpmsg_conn *one, *other;
    make_temp_dir(folder);
    snprintf(path, sizeof path, "%s/door", folder);
    int listening = raw_bind_unix(path, SOCK_STREAM);
    assert_int_equal(listen(listening, 1), 0);
    pair_conns_unix(&one, &other, NULL);
    assert_int_equal(answer_of(spawn()), 1);
    snprintf(address, sizeof address, "fd:%d", listening);
    assert_int_equal(tcpmsg_listen(&listener, address, NULL), 0);
    assert_int_equal(answer_of(spawn()), 0);
    assert_int_equal(answer_of(fork_and_exec()), 0);
    tcpmsg_listener_close(listener);
    tcpmsg_close(one);
    tcpmsg_close(other);
    remove_temp_dir(folder);
}

/* A child that goes on with the program of its parent: all that it copied is let go, and nobody
 * notices. The parent's threads may hold any lock at that moment. */
static struct {
    tcpmsg_conn *ends[2];
    tcpmsg_conn *idle[2];
    tcpmsg_listener *listener;
    struct looper *looper;
    struct seen *seen;
    int raw;
} house;

enum { LENGTH = 700 };

static ssize_t send_in_order(struct call *call)
{
    uint8_t message[LENGTH];
    uint32_t number = 0;
    for (; !atomic_load(&call->stop); number++) {
        fill(message, sizeof message, number);
        if (tcpmsg_send(call->conn, message, sizeof message, number % 3 ? 0 : TCPMSG_MORE) != 0)
            return -1;
    }
    return tcpmsg_shutdown(call->conn) == 0 ? (ssize_t)number : -1;
}

static ssize_t receive_in_order(struct call *call)
{
    const void *message;
    ssize_t length;
    uint32_t number = 0;
    for (; (length = tcpmsg_recv_view(call->conn, &message, 0)) >= 0; number++)
        if (length != LENGTH || !is_filled(message, LENGTH, number))
            return -1;
    return length == TCPMSG_EOF ? (ssize_t)number : length;
}

static ssize_t accept_nobody(struct call *call)
{
    tcpmsg_conn *conn;
    (void)call;
    return tcpmsg_accept(house.listener, &conn, 0);
}

static ssize_t echo_on(struct call *call)
{
    for (uint32_t i = 0; !atomic_load(&call->stop); i++)
        if (!raw_send_filled(call->raw, i % 300, i) || !raw_gets_filled(call->raw, i % 300, i))
            return -1;
    return 0;
}

static int let_go_of_all(void *unused)
{
    (void)unused;
    for (int i = 0; i < 2; i++) {
        tcpmsg_abort(house.ends[i]);
        tcpmsg_abort(house.idle[i]);
        tcpmsg_conn_unref(tcpmsg_conn_ref(house.ends[i]));
        tcpmsg_close(house.ends[i]);
        tcpmsg_conn_unref(house.idle[i]);
    }
    tcpmsg_abort(house.seen->conn);
    tcpmsg_close(house.seen->conn);
    tcpmsg_loop_stop(house.looper->loop);
    tcpmsg_loop_close(house.looper->loop);
    tcpmsg_listener_close(house.listener);
    return 0;
}

static void furnish(void)
{
    pair_conns(&house.ends[0], &house.ends[1], NULL);
    pair_conns(&house.idle[0], &house.idle[1], NULL);
    assert_int_equal(tcpmsg_send(house.idle[0], "later", 5, TCPMSG_MORE), 0);
    assert_int_equal(tcpmsg_listen(&house.listener, "127.0.0.1:0", NULL), 0);
    house.looper = looper_serve(TCP, &echo, TCPMSG_LOOP_OPTIONS(.threads = 2), NULL);
    house.looper->forgetful = true;
    house.raw = looper_guest(house.looper, &house.seen);
}

static void promise_9_a_child_of_any_moment_only_lets_go(void **state)
{
    (void)state;
    long children = test_rounds(SANITIZED ? 40 : 100);
    char text[8];
    furnish();
    struct call calls[] = {
        {.body = send_in_order, .conn = house.ends[0]},
        {.body = receive_in_order, .conn = house.ends[1]},
        {.body = accept_nobody},
        {.body = echo_on, .raw = house.raw},
    };
    for (size_t i = 0; i < COUNT(calls); i++)
        call_start(&calls[i]);
    for (long i = 0; i < children; i++)
        assert_int_equal(in_child(let_go_of_all, NULL), 0);
    for (size_t i = 0; i < COUNT(calls); i++)
        atomic_store(&calls[i].stop, true);
    tcpmsg_listener_abort(house.listener);
    ssize_t sent = call_finish(&calls[0]);
    print_message("%ld children, %ld messages meanwhile\n", children, (long)sent);
    assert_true(sent > 0);
    assert_int_equal(call_finish(&calls[1]), sent);
    assert_code(call_finish(&calls[2]), TCPMSG_ECANCELED);
    assert_int_equal(call_finish(&calls[3]), 0);
    assert_int_equal(tcpmsg_flush(house.idle[0], 0), 0);
    assert_int_equal(tcpmsg_recv(house.idle[1], text, sizeof text, 0), 5);
    for (int i = 0; i < 2; i++) {
        tcpmsg_close(house.ends[i]);
        tcpmsg_close(house.idle[i]);
    }
    tcpmsg_listener_close(house.listener);
    close(house.raw);
    looper_finish(house.looper);
}

/* What this program was started with is none of the library's. */
static void hide_what_is_open(void)
{
    for (int fd = 3; fd < 1024; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            fcntl(fd, F_SETFD, FD_CLOEXEC);
}

int main(int count, char **arguments)
{
    if (count == 2 && strcmp(arguments[1], question) == 0)
        return tell_open();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promise_10_a_program_that_is_started_holds_nothing_of_ours),
        cmocka_unit_test(promise_10_what_is_handed_over_is_closed_too),
        cmocka_unit_test(promise_9_a_child_of_any_moment_only_lets_go),
    };
    hide_what_is_open();
    if (readlink("/proc/self/exe", self, sizeof self - 1) <= 0)
        return 77;
    if (!is_soak())
        alarm(under_valgrind() ? 5 * TEST_SECONDS : TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
