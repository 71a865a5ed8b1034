/* SPDX-License-Identifier: MIT */
/* Accepting: in batches, up to max_conns, and on when there is nothing to accept with. */
#define _GNU_SOURCE
#include "guest.h"
#include "looks.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static void a_crowd_at_the_door_is_let_in_at_once(void **state)
{
    (void)state;
    enum { CROWD = 300 };
    static int raws[CROWD];
    for (int threads = 1; threads <= 4; threads += 3) {
        struct looper *looper =
            looper_serve(TCP, &echo, TCPMSG_LOOP_OPTIONS(.threads = threads), NULL);
        looper_hold(looper);
        for (int i = 0; i < CROWD; i++) {
            assert_true((raws[i] = raw_reach(looper->address)) >= 0);
            assert_true(raw_send(raws[i], "early"));
        }
        looper_go_on(looper);
        for (int i = 0; i < CROWD; i++)
            assert_true(raw_gets(raws[i], "early"));
        assert_int_equal(atomic_load(&looper->count), CROWD);
        for (int i = 0; i < CROWD; i++)
            close(raws[i]);
        looper_finish(looper);
    }
}

enum { ROOM = 5, WAITING = 12 };

static atomic_int inside, most_inside;

static void come_in(struct seen *seen)
{
    (void)seen;
    int now = atomic_fetch_add(&inside, 1) + 1, most = atomic_load(&most_inside);
    while (now > most && !atomic_compare_exchange_weak(&most_inside, &most, now))
        continue;
}

static void go_out(struct seen *seen)
{
    (void)seen;
    atomic_fetch_sub(&inside, 1);
}

/* Who finds no room waits in the queue, and comes in when somebody has gone. */
static void max_conns_is_the_most_there_are(void **state)
{
    (void)state;
    const struct acts acts = {
        .on_open = come_in, .on_message = echo.on_message, .on_close = go_out};
    for (int threads = 1; threads <= 4; threads += 3) {
        struct looper *looper = looper_serve(
            TCP, &acts, TCPMSG_LOOP_OPTIONS(.threads = threads, .max_conns = ROOM), NULL);
        int raws[ROOM + WAITING];
        atomic_store(&inside, 0);
        atomic_store(&most_inside, 0);
        for (int i = 0; i < ROOM + WAITING; i++) {
            assert_true((raws[i] = raw_reach(looper->address)) >= 0);
            assert_true(raw_send(raws[i], "hello"));
        }
        assert_true(reaches(&looper->count, ROOM));
        assert_true(all_rest(300));
        assert_int_equal(atomic_load(&looper->count), ROOM);
        for (int i = 0; i < ROOM + WAITING; i++) {
            assert_true(raw_gets(raws[i], "hello"));
            close(raws[i]);
        }
        assert_true(reaches(&looper->count, ROOM + WAITING));
        looper_finish(looper);
        assert_int_equal(atomic_load(&most_inside), ROOM);
        assert_int_equal(atomic_load(&inside), 0);
    }
}

/* A pause in the run of those who go does not keep the next ones out for good. */
static void room_that_was_made_in_a_callback_is_used(void **state)
{
    (void)state;
    struct looper *looper = looper_serve(UNIX, &echo, TCPMSG_LOOP_OPTIONS(.max_conns = 1), NULL);
    int last = raw_reach(looper->address);
    assert_true(last >= 0);
    for (int i = 0; i < 50; i++) {
        int next = raw_reach(looper->address);
        assert_true(next >= 0);
        assert_true(raw_send(last, "x") && raw_gets(last, "x"));
        if (i % 2)
            close(last);
        else
            tcpmsg_abort(looper_seen(looper, i)->conn);
        assert_true(raw_send(next, "y") && raw_gets(next, "y"));
        if (i % 2 == 0)
            close(last);
        last = next;
    }
    close(last);
    looper_finish(looper);
}

/* Who leaves before being let in harms nobody. */
static void who_died_in_the_queue_harms_nobody(void **state)
{
    (void)state;
    struct looper *looper = looper_serve(TCP, &echo, NULL, NULL);
    looper_hold(looper);
    for (int i = 0; i < 20; i++) {
        int raw = raw_reach(looper->address);
        if (i % 2)
            raw_reset(raw);
        else
            close(raw);
    }
    int raw = raw_reach(looper->address);
    looper_go_on(looper);
    assert_true(raw_send(raw, "alive") && raw_gets(raw, "alive"));
    close(raw);
    looper_finish(looper);
}

/* What a child that runs out of descriptors answers. */
enum { GOOD, CANT_RUN, NOT_SERVED, NOT_AT_REST, LET_IN, NOT_LET_IN, WRONG_ERROR };

static void expect_good(int answer)
{
    if (answer == CANT_RUN)
        print_message("a connection is lost here when there is no descriptor for it: not run\n");
    else
        assert_int_equal(answer, GOOD);
}

static void limit_descriptors(rlim_t most)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = most;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static bool talks(int raw)
{
    char back[5];
    return write_all(raw, "\0\0\0\1x", 5) && read_all(raw, back, 5);
}

/* A loop that has no descriptor left, one guest inside and some that wait. */
struct full_house {
    struct looper *looper;
    int inside;
    int waiting[3];
    int spare; /* closing it makes room for one */
};

static bool knocks(int fd, const char *address)
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

static int fill_the_house(struct full_house *house)
{
    char bare_address[TCPMSG_ADDRESS_MAX];
    int bare = raw_listen(bare_address, sizeof bare_address), at_bare = raw_dial(bare_address);
    house->looper = looper_serve(TCP, &echo, NULL, NULL);
    house->inside = raw_reach(house->looper->address);
    if (at_bare < 0 || !talks(house->inside) || !(wait_events(bare, POLLIN, WAIT_MS) & POLLIN))
        return NOT_SERVED;
    for (int i = 0; i < 3; i++)
        house->waiting[i] = socket(AF_INET, SOCK_STREAM, 0);
    limit_descriptors(100);
    for (int fd; (fd = dup(STDERR_FILENO)) >= 0;)
        house->spare = fd;
    if (loses_connections(bare))
        return CANT_RUN;
    for (int i = 0; i < 3; i++)
        if (!knocks(house->waiting[i], house->looper->address))
            return NOT_SERVED;
    return GOOD;
}

static int rest_and_go_on(void *unused)
{
    (void)unused;
    struct full_house house;
    int answer = fill_the_house(&house);
    if (answer != GOOD)
        return answer;
    sleep_ms(50);
    if (!all_rest(1000))
        return NOT_AT_REST;
    if (atomic_load(&house.looper->count) != 1)
        return LET_IN;
    if (!talks(house.inside))
        return NOT_SERVED;
    limit_descriptors(120);
    for (int i = 0; i < 3; i++)
        if (!talks(house.waiting[i]))
            return NOT_LET_IN;
    return GOOD;
}

static void promise_12_out_of_descriptors_it_rests_and_goes_on(void **state)
{
    (void)state;
    expect_good(in_child(rest_and_go_on, NULL));
}

/* A descriptor that comes free outside of the loop, and one that a connection's end gives back. */
static int use_what_comes_free(void *unused)
{
    (void)unused;
    struct full_house house;
    int answer = fill_the_house(&house);
    if (answer != GOOD)
        return answer;
    sleep_ms(100);
    close(house.spare);
    if (!talks(house.waiting[0]))
        return NOT_LET_IN;
    shutdown(house.inside, SHUT_RDWR);
    return talks(house.waiting[1]) ? GOOD : NOT_LET_IN;
}

static void promise_12_a_descriptor_that_comes_free_is_used(void **state)
{
    (void)state;
    expect_good(in_child(use_what_comes_free, NULL));
}

static int stop_at_rest(void *unused)
{
    (void)unused;
    struct full_house house;
    int answer = fill_the_house(&house);
    if (answer != GOOD)
        return answer;
    sleep_ms(100);
    looper_finish(house.looper);
    return read_end(house.waiting[0]) == ETIMEDOUT ? NOT_LET_IN : GOOD;
}

static void promise_12_a_loop_at_rest_can_be_stopped(void **state)
{
    (void)state;
    expect_good(in_child(stop_at_rest, NULL));
}

/* A dial that finds none says so, and spoils nothing. */
static int dial_at_rest(void *unused)
{
    (void)unused;
    struct full_house house;
    int answer = fill_the_house(&house);
    if (answer != GOOD)
        return answer;
    int result = looper_dial(house.looper, house.looper->address, NULL, &nothing);
    if (result == 0)
        result = seen_end(looper_seen(house.looper, 1));
    if (result != TCPMSG_EMFILE)
        return WRONG_ERROR;
    return talks(house.inside) ? GOOD : NOT_SERVED;
}

static void a_dial_out_of_descriptors_is_EMFILE(void **state)
{
    (void)state;
    expect_good(in_child(dial_at_rest, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crowd_at_the_door_is_let_in_at_once),
        cmocka_unit_test(max_conns_is_the_most_there_are),
        cmocka_unit_test(room_that_was_made_in_a_callback_is_used),
        cmocka_unit_test(who_died_in_the_queue_harms_nobody),
        cmocka_unit_test(promise_12_out_of_descriptors_it_rests_and_goes_on),
        cmocka_unit_test(promise_12_a_descriptor_that_comes_free_is_used),
        cmocka_unit_test(promise_12_a_loop_at_rest_can_be_stopped),
        cmocka_unit_test(a_dial_out_of_descriptors_is_EMFILE),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
