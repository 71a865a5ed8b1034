/* SPDX-License-Identifier: MIT */
/* Without a descriptor for who comes in: the listener rests, the connections that are there go on,
 * and who has waited is served once it is over. TESTS_SECONDS is for how long there is none. */
#define _GNU_SOURCE
#include "guest.h"
#include "looks.h"
#include "reach.h"
#include "rounds.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { GUESTS = 4, WAITING = 3, PAUSE_MS = 20, SERVED_MS = 100 };

/* What a child that runs out of descriptors answers. */
enum { GOOD, CANT_RUN, NOT_SERVED, NOT_AT_REST, BUSY, SILENT, LET_IN, LATE, WRONG_ANSWER };

static const char *const answers[] = {
    "good",
    "a connection is lost here when there is no descriptor for it: not run",
    "who came first was not served",
    "it looked more than 20 times a second",
    "it took too much of the processor",
    "a connection that was open fell silent",
    "somebody was let in",
    "who had waited was served late",
    "another answer than there should be",
};

/* The seam, beside looks.c: each accept is counted, and fails while there is an error to fail by. */
int __real_accept4(int fd, struct sockaddr *peer, socklen_t *length, int flags);
int __wrap_accept4(int fd, struct sockaddr *peer, socklen_t *length, int flags);

static atomic_long accepts;
static atomic_int refusal;

int __wrap_accept4(int fd, struct sockaddr *peer, socklen_t *length, int flags)
{
    int error = atomic_load(&refusal);
    atomic_fetch_add(&accepts, 1);
    if (error == 0)
        return __real_accept4(fd, peer, length, flags);
    errno = error;
    return -1;
}

static int64_t cpu_ns(clockid_t clock)
{
    struct timespec used;
    clock_gettime(clock, &used);
    return (int64_t)used.tv_sec * 1000000000 + used.tv_nsec;
}

/* What one thread has done since a moment. */
struct account {
    clockid_t clock;
    int64_t begin;
    int64_t cpu;
    long looks;
    long accepts;
};

static struct account account_open(pthread_t thread)
{
    struct account account = {.begin = now_ms(), .looks = looks()};
    pthread_getcpuclockid(thread, &account.clock);
    account.cpu = cpu_ns(account.clock);
    account.accepts = atomic_load(&accepts);
    return account;
}

/* At rest, it looks 20 times a second and takes less than 1% of the time; every day, 10%, for the
 * processor may be slow, or emulated. */
static int judge(const struct account *account, const char *what, bool quiet)
{
    int64_t ms = now_ms() - account->begin;
    int64_t cpu = cpu_ns(account->clock) - account->cpu;
    long tries = atomic_load(&accepts) - account->accepts, looked = looks() - account->looks;
    double share = (double)cpu / 1e4 / (double)ms;
    print_message("%s: in %d ms %ld looks, %ld accepts, %.3f%% of a processor\n", what, (int)ms,
                  looked, tries, share);
    if (tries > ms / 50 + 3 || (quiet && !has_rested(account->looks, ms)))
        return NOT_AT_REST;
    bool slow = SANITIZED || under_valgrind();
    return quiet && share > (is_soak() && !slow ? 1 : 10) && !slow ? BUSY : GOOD;
}

static void limit_descriptors(rlim_t most)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = most;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* All below the limit are used. */
static void use_up_descriptors(void)
{
    int fd;
    limit_descriptors(128);
    while ((fd = dup(STDERR_FILENO)) >= 0)
        continue;
}

static bool talks(int raw)
{
    char back[5];
    return write_all(raw, "\0\0\0\1x", 5) && read_all(raw, back, 5) && back[4] == 'x';
}

/* Each has its answer, in time; how many messages they were, or 0. */
static int talk_for(const int *raws, int ms)
{
    int64_t end = now_ms() + ms;
    int count = 0;
    while (now_ms() < end) {
        for (int i = 0; i < GUESTS; i++)
            if (!talks(raws[i]))
                return 0;
        count += GUESTS;
        sleep_ms(PAUSE_MS);
    }
    return count;
}

static bool knock(int fd, const char *address)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    to.sin_port = htons((uint16_t)strtoul(strrchr(address, ':') + 1, NULL, 10));
    return connect(fd, (struct sockaddr *)&to, sizeof to) == 0;
}

/* A connection that found no descriptor waits on; an emulated accept(2) may lose it. */
static bool loses_connections(int listening)
{
    return accept(listening, NULL, NULL) >= 0 || wait_events(listening, POLLIN, 0) == 0;
}

/* Who is inside, and who will come when there is no descriptor left. */
struct house {
    int inside[GUESTS];
    int waiting[WAITING];
    int bare;
    int64_t served_ms;
    int error; /* of every accept; 0: there is really none */
};

static int prepare(struct house *house)
{
    char address[TCPMSG_ADDRESS_MAX];
    house->bare = raw_listen(address, sizeof address);
    if (raw_dial(address) < 0 || !(wait_events(house->bare, POLLIN, WAIT_MS) & POLLIN))
        return NOT_SERVED;
    for (int i = 0; i < WAITING; i++)
        house->waiting[i] = socket(AF_INET, SOCK_STREAM, 0);
    return GOOD;
}

static int begin_shortage(struct house *house, const char *address)
{
    if (house->error == 0) {
        use_up_descriptors();
        if (loses_connections(house->bare))
            return CANT_RUN;
    }
    atomic_store(&refusal, house->error);
    for (int i = 0; i < WAITING; i++)
        if (!knock(house->waiting[i], address))
            return NOT_SERVED;
    return GOOD;
}

static void end_shortage(struct house *house)
{
    house->served_ms = now_ms();
    atomic_store(&refusal, 0);
    limit_descriptors(256);
}

/* All that had waited; 100 ms are for a machine that does nothing else. */
static int expect_served(struct house *house)
{
    for (int i = 0; i < WAITING; i++)
        if (!talks(house->waiting[i]))
            return LATE;
    int64_t took = now_ms() - house->served_ms;
    print_message("all were served %d ms after it was over\n", (int)took);
    bool strict = is_soak() && !SANITIZED;
    return took <= (strict ? SERVED_MS : 50 * SERVED_MS) ? GOOD : LATE;
}

static int quiet_then_talking(struct house *house, pthread_t thread)
{
    int ms = (house->error ? 250 : 500) * test_seconds(1);
    sleep_ms(50);
    struct account quiet = account_open(thread);
    sleep_ms(ms);
    int answer = judge(&quiet, "at rest", true);
    if (answer != GOOD)
        return answer;
    struct account talking = account_open(thread);
    int messages = talk_for(house->inside, ms);
    if (messages == 0)
        return SILENT;
    print_message("%d messages answered meanwhile\n", messages);
    return judge(&talking, "with traffic", false);
}

static int loop_without_descriptors(void *arg)
{
    struct house *house = arg;
    struct looper *looper = looper_serve(TCP, &echo, NULL, NULL);
    for (int i = 0; i < GUESTS; i++)
        if ((house->inside[i] = raw_reach(looper->address)) < 0 || !talks(house->inside[i]))
            return NOT_SERVED;
    int answer = prepare(house);
    if (answer == GOOD)
        answer = begin_shortage(house, looper->address);
    if (answer == GOOD)
        answer = quiet_then_talking(house, looper->thread);
    if (answer == GOOD && atomic_load(&looper->count) != GUESTS)
        answer = LET_IN;
    end_shortage(house);
    return answer == GOOD ? expect_served(house) : answer;
}

/* A server of threads: one accepts, one for each connection answers. */
struct server {
    tcpmsg_listener *listener;
    pthread_t accepting;
    atomic_int let_in;
    int error;
};

static void *answer_one(void *arg)
{
    tcpmsg_conn *conn = arg;
    char message[16];
    ssize_t length;
    while ((length = tcpmsg_recv(conn, message, sizeof message, 0)) >= 0)
        if (tcpmsg_send(conn, message, (size_t)length, 0) != 0)
            break;
    tcpmsg_close(conn);
    return NULL;
}

static void *accept_all(void *arg)
{
    struct server *server = arg;
    tcpmsg_conn *conn;
    pthread_t thread;
    while ((server->error = tcpmsg_accept(server->listener, &conn, 0)) == 0) {
        atomic_fetch_add(&server->let_in, 1);
        if (pthread_create(&thread, NULL, answer_one, conn) != 0)
            abort();
        pthread_detach(thread);
    }
    return NULL;
}

/* A receiver that falls asleep for the first time wants a descriptor, to be woken by; without one
 * it looks around. These have it, and the one that accepts. */
static bool all_sleep_well(void *unused)
{
    char path[32], name[32];
    int wakes = 0;
    (void)unused;
    for (int fd = 0; fd < 128; fd++) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(path, name, sizeof name - 1);
        wakes += length > 0 && memmem(name, (size_t)length, "eventfd", 7) != NULL;
    }
    return wakes == GUESTS + 1;
}

static int accept_without_descriptors(void *arg)
{
    struct house *house = arg;
    char address[TCPMSG_ADDRESS_MAX];
    static struct server server;
    server = (struct server){.listener = listen_at_a_free_port(address)};
    if (pthread_create(&server.accepting, NULL, accept_all, &server) != 0)
        return NOT_SERVED;
    for (int i = 0; i < GUESTS; i++)
        if ((house->inside[i] = raw_dial(address)) < 0 || !talks(house->inside[i]))
            return NOT_SERVED;
    int answer = prepare(house);
    if (answer == GOOD && !eventually(all_sleep_well, NULL))
        answer = NOT_SERVED;
    if (answer == GOOD)
        answer = begin_shortage(house, address);
    if (answer == GOOD)
        answer = quiet_then_talking(house, server.accepting);
    if (answer == GOOD && atomic_load(&server.let_in) != GUESTS)
        answer = LET_IN;
    end_shortage(house);
    if (answer == GOOD)
        answer = expect_served(house);
    tcpmsg_listener_abort(server.listener);
    pthread_join(server.accepting, NULL);
    return server.error == TCPMSG_ECANCELED ? answer : WRONG_ANSWER;
}

static void expect_good(int (*body)(void *arg), int error)
{
    struct house house = {.error = error};
    if (error)
        print_message("%s at accept\n", strerror(error));
    int answer = in_child(body, &house);
    if (answer < 0 || answer >= (int)COUNT(answers))
        fail_msg("the child has died");
    if (answer == CANT_RUN)
        print_message("%s\n", answers[answer]);
    else if (answer != GOOD)
        fail_msg("%s", answers[answer]);
}

static void promise_12_a_loop_out_of_descriptors_rests_and_its_connections_go_on(void **state)
{
    (void)state;
    expect_good(loop_without_descriptors, 0);
}

static void promise_12_an_accept_out_of_descriptors_rests_and_others_go_on(void **state)
{
    (void)state;
    expect_good(accept_without_descriptors, 0);
}

static const int shortages[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM};

static void promise_12_a_loop_rests_whatever_an_accept_lacks(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(shortages); i++)
        expect_good(loop_without_descriptors, shortages[i]);
}

static void promise_12_an_accept_rests_whatever_it_lacks(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(shortages); i++)
        expect_good(accept_without_descriptors, shortages[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promise_12_a_loop_out_of_descriptors_rests_and_its_connections_go_on),
        cmocka_unit_test(promise_12_an_accept_out_of_descriptors_rests_and_others_go_on),
        cmocka_unit_test(promise_12_a_loop_rests_whatever_an_accept_lacks),
        cmocka_unit_test(promise_12_an_accept_rests_whatever_it_lacks),
    };
    alarm((unsigned)(TEST_SECONDS + 10 * test_seconds(0)));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
