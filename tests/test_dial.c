/* SPDX-License-Identifier: MIT */
/* Dial: what it says when nobody answers, its one time limit, and both families raced. */
#define _POSIX_C_SOURCE 200809L
#include "crowd.h"
#include "reach.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SHORT_LIMIT_MS 300

/* A clock that counts in coarser steps than the library's may lag behind it. */
#define CLOCK_SLACK_MS 20

/* A dial that fails: leaves *out alone, and its story has the name in it. */
static int failed_dial_named(const char *address, const char *name, int limit_ms)
{
    char why[512] = "";
    tcpmsg_conn *conn = NO_CONN;
    int error = tcpmsg_dial(
        &conn, address,
        TCPMSG_OPTIONS(.connect_timeout_ms = limit_ms, .why = why, .why_size = sizeof why));
    assert_ptr_equal(conn, NO_CONN);
    if (strstr(why, name) == NULL)
        fail_msg("%s: the story of %s is \"%s\"", tcpmsg_error_name(error), address, why);
    return error;
}

static int failed_dial(const char *address, int limit_ms)
{
    return failed_dial_named(address, address, limit_ms);
}

/* The address of a port that nobody listens at; it stays bound to `fd`, so that nobody will. */
static int silent_port(char *address, size_t size)
{
    struct sockaddr_in bound = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof bound;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&bound, length), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&bound, &length), 0);
    snprintf(address, size, "127.0.0.1:%d", ntohs(bound.sin_port));
    return fd;
}

static void nobody_at_a_port_is_EREFUSED(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    int fd = silent_port(address, sizeof address);
    int before = count_descriptors();
    assert_int_equal(failed_dial(address, 0), TCPMSG_EREFUSED);
    assert_int_equal(failed_dial(address, TCPMSG_NO_LIMIT), TCPMSG_EREFUSED);
    assert_int_equal(failed_dial(strrchr(address, ':'), 0), TCPMSG_EREFUSED);
    assert_int_equal(count_descriptors(), before);
    close(fd);
}

static void nobody_at_a_unix_path_is_EREFUSED(void **state)
{
    (void)state;
    char dir[PATH_ROOM], path[PATH_ROOM + 32], address[PATH_ROOM + 64];
    make_temp_dir(dir);
    int before = count_descriptors();

    snprintf(address, sizeof address, "unix:%s/nothing-here", dir);
    assert_int_equal(failed_dial(address, 0), TCPMSG_EREFUSED);
    snprintf(address, sizeof address, "unix:%s/no-such-dir/socket", dir);
    assert_int_equal(failed_dial(address, 0), TCPMSG_EREFUSED);

    snprintf(path, sizeof path, "%s/left-by-the-dead", dir);
    close(raw_bind_unix(path, SOCK_STREAM));
    snprintf(address, sizeof address, "unix:%s", path);
    assert_int_equal(failed_dial(address, 0), TCPMSG_EREFUSED);

    snprintf(path, sizeof path, "%s/a-file", dir);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    snprintf(address, sizeof address, "unix:%s", path);
    assert_int_equal(failed_dial(address, 0), TCPMSG_EREFUSED);

    assert_int_equal(count_descriptors(), before);
    remove_temp_dir(dir);
}

static void nobody_at_an_abstract_name_is_EREFUSED(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    snprintf(address, sizeof address, "unix:@tcpmsg-test-nobody-%ld", (long)getpid());
    assert_int_equal(failed_dial(address, 0), TCPMSG_EREFUSED);
}

/* As nobody, so that root too is told no. */
static int dial_without_permission(void *address)
{
    tcpmsg_conn *conn;
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
        return 77;
    return -tcpmsg_dial(&conn, address, NULL);
}

static void a_path_that_may_not_be_entered_is_EACCESS(void **state)
{
    (void)state;
    char dir[PATH_ROOM], address[PATH_ROOM + 32];
    make_temp_dir(dir);
    snprintf(address, sizeof address, "unix:%s/socket", dir);
    tcpmsg_listener *listener = listen_at(address);
    assert_int_equal(chmod(dir, 0), 0);
    int result = in_child(dial_without_permission, address);
    assert_true(result == -TCPMSG_EACCESS || result == 77);
    assert_int_equal(chmod(dir, 0700), 0);
    tcpmsg_listener_close(listener);
    remove_temp_dir(dir);
}

static void expect_timed_out(const char *address)
{
    int64_t begin = now_ms();
    assert_int_equal(failed_dial(address, SHORT_LIMIT_MS), TCPMSG_ETIMEDOUT);
    int64_t took = now_ms() - begin;
    assert_true(took >= SHORT_LIMIT_MS - CLOCK_SLACK_MS);
    assert_true(took < WAIT_MS);
}

static void promise_11_no_answer_is_ETIMEDOUT_within_the_limit(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    struct crowd crowd;
    crowd_at_port(&crowd, address, sizeof address);
    int before = count_descriptors();
    expect_timed_out(address);
    assert_int_equal(count_descriptors(), before);
    crowd_leaves(&crowd);
}

static void note_signal(int number)
{
    (void)number;
}

static timer_t start_signals(void)
{
    struct sigaction action = {.sa_handler = note_signal};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    const struct itimerspec often = {.it_value.tv_nsec = 3000000, .it_interval.tv_nsec = 3000000};
    timer_t timer;
    assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
    assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
    assert_int_equal(timer_settime(timer, 0, &often, NULL), 0);
    return timer;
}

static void promise_2_signals_do_not_stretch_the_limit_of_a_dial(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    struct crowd crowd;
    crowd_at_port(&crowd, address, sizeof address);
    timer_t timer = start_signals();
    expect_timed_out(address);
    assert_int_equal(timer_delete(timer), 0);
    crowd_leaves(&crowd);
}

static void expect_full_unix_queue_timed_out(void)
{
    char dir[PATH_ROOM], path[PATH_ROOM + 32], address[PATH_ROOM + 64];
    struct crowd crowd;
    make_temp_dir(dir);
    snprintf(path, sizeof path, "%s/socket", dir);
    snprintf(address, sizeof address, "unix:%s", path);
    crowd_at_path(&crowd, path);
    int before = count_descriptors();
    expect_timed_out(address);
    assert_int_equal(count_descriptors(), before);
    crowd_leaves(&crowd);
    remove_temp_dir(dir);
}

static void promise_11_a_full_unix_queue_is_ETIMEDOUT_within_the_limit(void **state)
{
    (void)state;
    expect_full_unix_queue_timed_out();
}

static void promise_2_signals_do_not_stretch_the_limit_of_a_unix_dial(void **state)
{
    (void)state;
    timer_t timer = start_signals();
    expect_full_unix_queue_timed_out();
    assert_int_equal(timer_delete(timer), 0);
}

/* Lets in as many as fit the queue and the dial that waits for room in it, after a while. */
static void *accept_later(void *arg)
{
    const struct crowd *crowd = arg;
    sleep_ms(100);
    for (int i = 0; i < crowd->count && wait_events(crowd->listening, POLLIN, WAIT_MS); i++)
        close(accept(crowd->listening, NULL, NULL));
    return NULL;
}

static void a_dial_waits_for_room_in_a_unix_queue(void **state)
{
    (void)state;
    char dir[PATH_ROOM], path[PATH_ROOM + 32], address[PATH_ROOM + 64];
    struct crowd crowd;
    pthread_t thread;
    make_temp_dir(dir);
    snprintf(path, sizeof path, "%s/socket", dir);
    snprintf(address, sizeof address, "unix:%s", path);
    crowd_at_path(&crowd, path);
    assert_int_equal(pthread_create(&thread, NULL, accept_later, &crowd), 0);
    tcpmsg_conn *conn = dial_to(address);
    assert_int_equal(pthread_join(thread, NULL), 0);
    tcpmsg_close(conn);
    crowd_leaves(&crowd);
    remove_temp_dir(dir);
}

/* ERESOLVE where there is a name server that says so, ETIMEDOUT where nobody answers. */
static void expect_unresolved(const char *host, int limit_ms)
{
    char address[256 + 2];
    snprintf(address, sizeof address, "%s:1", host);
    int64_t begin = now_ms();
    int error = failed_dial_named(address, host, limit_ms);
    if (error != TCPMSG_ERESOLVE && error != TCPMSG_ETIMEDOUT)
        fail_msg("%s: %s", address, tcpmsg_error_name(error));
    assert_true(now_ms() - begin < limit_ms + WAIT_MS);
}

static void promise_11_the_limit_covers_the_look_up_of_a_name(void **state)
{
    (void)state;
    expect_unresolved("no-such-host.invalid", 1000);
    expect_unresolved("no-such-host.invalid", 1);
    expect_unresolved("256.256.256.256", 1000);
}

static void a_host_name_of_the_longest_length_is_looked_up(void **state)
{
    (void)state;
    char host[253 + 1];
    memset(host, 'a', sizeof host);
    for (size_t dot = 50; dot < 240; dot += 50)
        host[dot] = '.';
    strcpy(host + 253 - strlen(".invalid"), ".invalid");
    expect_unresolved(host, 500);
}

static void localhost_is_a_name_like_any_other(void **state)
{
    (void)state;
    char bound[TCPMSG_ADDRESS_MAX], address[64];
    tcpmsg_listener *listener = listen_at("127.0.0.1:0");
    bound_address(listener, bound);
    snprintf(address, sizeof address, "localhost%s", strrchr(bound, ':'));
    expect_reachable(listener, address);
    tcpmsg_listener_close(listener);
}

/* An IPv6 side of the same port that does not answer; false when somebody has that port. */
static bool crowd_at_v6_port_of(const char *v4_bound, struct crowd *crowd)
{
    struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int only = 1, fd = socket(AF_INET6, SOCK_STREAM, 0);
    to.sin6_port = htons((uint16_t)strtoul(strrchr(v4_bound, ':') + 1, NULL, 10));
    assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only), 0);
    if (bind(fd, (struct sockaddr *)&to, sizeof to) != 0) {
        close(fd);
        return false;
    }
    assert_int_equal(listen(fd, 0), 0);
    crowd_around(crowd, fd);
    return true;
}

static void promise_11_an_IPv6_that_does_not_answer_is_passed_by_IPv4(void **state)
{
    (void)state;
    char bound[TCPMSG_ADDRESS_MAX], peer[TCPMSG_ADDRESS_MAX];
    struct crowd crowd;
    tcpmsg_listener *listener = listen_at("127.0.0.1:0");
    bound_address(listener, bound);
    if (has_ipv6() && crowd_at_v6_port_of(bound, &crowd)) {
        int64_t begin = now_ms();
        tcpmsg_conn *conn = dial_to(strrchr(bound, ':'));
        assert_true(now_ms() - begin < WAIT_MS);
        assert_int_equal(tcpmsg_conn_peer(conn, peer, sizeof peer), 0);
        assert_string_equal(peer, bound);
        assert_int_equal(tcpmsg_close(conn), 0);
        crowd_leaves(&crowd);
    }
    tcpmsg_listener_close(listener);
}

static void a_dialled_connection_has_its_options(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    tcpmsg_conn *conn;
    int listening = raw_listen(address, sizeof address);
    const tcpmsg_options *options = TCPMSG_OPTIONS(.max_message = 4, .framing.width = 1);
    assert_int_equal(tcpmsg_dial(&conn, address, options), 0);
    int raw = raw_accept(listening);
    char wire[5] = "";
    assert_int_equal(tcpmsg_send(conn, "12345", 5, 0), TCPMSG_EMSGSIZE);
    assert_int_equal(tcpmsg_send(conn, "1234", 4, 0), 0);
    assert_true(read_all(raw, wire, 5));
    assert_memory_equal(wire,
                        "\x04"
                        "1234",
                        5);
    assert_true(fcntl(tcpmsg_conn_fd(conn), F_GETFD) & FD_CLOEXEC);
    close(raw);
    tcpmsg_close(conn);
    close(listening);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_at_a_port_is_EREFUSED),
        cmocka_unit_test(nobody_at_a_unix_path_is_EREFUSED),
        cmocka_unit_test(nobody_at_an_abstract_name_is_EREFUSED),
        cmocka_unit_test(a_path_that_may_not_be_entered_is_EACCESS),
        cmocka_unit_test(promise_11_no_answer_is_ETIMEDOUT_within_the_limit),
        cmocka_unit_test(promise_2_signals_do_not_stretch_the_limit_of_a_dial),
        cmocka_unit_test(promise_11_a_full_unix_queue_is_ETIMEDOUT_within_the_limit),
        cmocka_unit_test(promise_2_signals_do_not_stretch_the_limit_of_a_unix_dial),
        cmocka_unit_test(a_dial_waits_for_room_in_a_unix_queue),
        cmocka_unit_test(promise_11_the_limit_covers_the_look_up_of_a_name),
        cmocka_unit_test(a_host_name_of_the_longest_length_is_looked_up),
        cmocka_unit_test(localhost_is_a_name_like_any_other),
        cmocka_unit_test(promise_11_an_IPv6_that_does_not_answer_is_passed_by_IPv4),
        cmocka_unit_test(a_dialled_connection_has_its_options),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
