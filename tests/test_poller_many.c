/* SPDX-License-Identifier: MIT */
/* Many descriptors in a poller: the turns they have, the room they take, and all at random. */
#define _GNU_SOURCE
#include "clock.h"
#include "ends.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static void tell(int some)
{
    int n = tm_poller_wait(poller, ready, some, TM_FOREVER);
    assert_int_equal(n, some);
    for (int i = 0; i < n; i++)
        end_of(&ready[i])->told++;
}

/* Nobody is told a second time before everybody has been told once. */
static void expect_fair(struct end *const *ends, size_t count)
{
    int least = ends[0]->told, most = least;
    for (size_t i = 1; i < count; i++) {
        int told = ends[i]->told;
        least = told < least ? told : least;
        most = told > most ? told : most;
    }
    assert_in_range(most - least, 0, 1);
}

static void each_has_its_turn_also_when_others_leave(void **state)
{
    (void)state;
    enum { ALL = 300, SOME = 7 };
    unsigned seed = 1;
    struct end *ends = ends_open(ALL, POLLOUT), *here[ALL];
    for (size_t i = 0; i < ALL; i++)
        here[i] = &ends[i];
    for (int i = 0; i < 2 * ALL; i++) {
        tell(1 + i % 20);
        expect_fair(here, ALL);
    }
    for (size_t count = ALL; count > SOME; count--) {
        tell(SOME);
        expect_fair(here, count);
        size_t leaves = (size_t)rand_r(&seed) % count;
        tm_poller_drop(poller, &here[leaves]->watch);
        here[leaves] = here[count - 1];
    }
    ends_close(ends, ALL);
}

/* Those that come in a round have their turn in it or in the next. */
static void each_has_its_turn_also_when_others_come(void **state)
{
    (void)state;
    enum { FIRST = 20, MORE = 100, SOME = 5 };
    struct end *ends = ends_open(FIRST, POLLOUT), more[MORE];
    for (size_t i = 0; i < MORE; i++) {
        tell(SOME);
        end_open(&more[i]);
        end_watch(&more[i], POLLOUT);
    }
    for (int told = 0; told < 2 * (FIRST + MORE); told += SOME)
        tell(SOME);
    for (size_t i = 0; i < MORE; i++) {
        assert_true(more[i].told > 0);
        end_close(&more[i]);
    }
    for (size_t i = 0; i < FIRST; i++)
        assert_true(ends[i].told > 1);
    ends_close(ends, FIRST);
}

static void a_wait_needs_no_memory(void **state)
{
    (void)state;
    struct end *ends = ends_open(100, POLLOUT);
    call_fails(CALL_malloc, ENOMEM, 1);
    call_fails(CALL_calloc, ENOMEM, 1);
    call_fails(CALL_realloc, ENOMEM, 1);
    assert_int_equal(look(), 100);
    assert_int_equal(calls_failed(), 0);
    ends_close(ends, 100);
}

static enum scarce_call change(void)
{
    return is_epoll() ? CALL_epoll_ctl : CALL_kevent_change;
}

/* What it takes to watch one more: epoll's is the system's, poll's is two arrays'. */
static bool meets_shortage(enum scarce_call call, int error, int after)
{
    enum { ALL = 70 };
    struct end ends[ALL];
    call_fails_later(call, error, after);
    for (int i = 0; i < ALL; i++) {
        end_open(&ends[i]);
        int r = tm_poller_set(poller, &ends[i].watch, POLLOUT);
        if (r != 0) {
            assert_int_equal(r, -error);
            assert_false(ends[i].watch.watched);
            assert_int_equal(look(), i);
            end_watch(&ends[i], POLLOUT);
        }
        assert_int_equal(look(), i + 1);
    }
    for (int i = 0; i < ALL; i++)
        end_close(&ends[i]);
    return calls_failed() > 0;
}

static void a_watch_that_there_is_no_room_for_is_left_out(void **state)
{
    (void)state;
    int after = 0;
    while (meets_shortage(is_poll() ? CALL_realloc : change(), is_poll() ? ENOMEM : ENOSPC, after))
        after++;
    assert_int_equal(after, is_poll() ? 4 : 70);
}

static void a_change_that_fails_changes_nothing(void **state)
{
    (void)state;
    struct end *one = ends_open(1, POLLOUT);
    if (!is_poll()) {
        call_fails(change(), ENOMEM, 1);
        assert_int_equal(tm_poller_set(poller, &one->watch, POLLIN), -ENOMEM);
        assert_int_equal(calls_failed(), 1);
    }
    assert_true(one->watch.watched);
    assert_int_equal(one->watch.events, POLLOUT);
    expect_only(one, POLLOUT);
    end_watch(one, POLLIN);
    assert_int_equal(look(), 0);
    ends_close(one, 1);
}

/* With kqueue(2) one kind of filter makes place for another: what was there is put back. */
static void a_change_that_fails_in_the_middle_is_taken_back(void **state)
{
    (void)state;
    static const short events[][2] = {
        {0, POLLIN}, {0, POLLOUT}, {POLLIN, 0}, {POLLOUT, 0}, {0, POLLIN | POLLOUT}};
    struct end *one = ends_open(1, 0);
    end_fill(one);
    for (size_t i = 0; !is_poll() && i < COUNT(events); i++)
        for (int after = 0; after < 2; after++) {
            end_watch(one, events[i][0]);
            call_fails_later(change(), ENOMEM, after);
            int r = tm_poller_set(poller, &one->watch, events[i][1]);
            int failed = calls_failed();
            assert_int_equal(r, failed ? -ENOMEM : 0);
            assert_int_equal(one->watch.events, events[i][r == 0]);
            short expected = wait_events(one->watch.fd, one->watch.events, 0);
            assert_int_equal(look(), expected != 0);
            if (expected)
                expect_only(one, expected);
        }
    ends_close(one, 1);
}

/* ... and where that fails as well there is no watch, and no harm in that. */
static void a_change_that_can_not_be_taken_back_is_known(void **state)
{
    (void)state;
    struct end *one = ends_open(1, POLLIN);
    end_fill(one);
    if (!is_poll()) {
        call_fails(change(), ENOMEM, 2);
        assert_int_equal(tm_poller_set(poller, &one->watch, 0), -ENOMEM);
        calls_failed();
        assert_int_equal(look(), one->watch.watched);
    }
    end_watch(one, POLLIN);
    expect_only(one, POLLIN);
    ends_close(one, 1);
}

/* Each of the ready is told within a few waits, and no other one. */
static void expect_every(struct end *ends, size_t count, size_t step)
{
    size_t expected = (count + step - 1) / step, told = 0;
    for (size_t i = 0; i < count; i++)
        ends[i].told = 0;
    for (int waits = 0; told < expected; waits++) {
        assert_in_range(waits, 0, 100);
        int n = look();
        assert_true(n > 0);
        for (int i = 0; i < n; i++) {
            struct end *end = end_of(&ready[i]);
            assert_int_equal((size_t)(end - ends) % step, 0);
            told += end->told++ == 0;
        }
    }
}

/* When an array can't be moved then, it stays, and nothing breaks. */
static void memory_that_is_no_longer_needed_goes_back(void **state)
{
    (void)state;
    enum { ALL = 600, STAY = 256 };
    struct end *ends = ends_open(ALL, POLLOUT);
    for (int after = 0; after < 2; after++) {
        call_fails_later(CALL_realloc, ENOMEM, after);
        for (int i = STAY; i < ALL; i++)
            tm_poller_drop(poller, &ends[i].watch);
        assert_int_equal(calls_failed(), is_poll() ? 1 : 0);
        assert_int_equal(look(), STAY);
        for (int i = STAY; i < ALL; i++)
            end_watch(&ends[i], POLLOUT);
        expect_every(ends, ALL, 1);
    }
    ends_close(ends, ALL);
}

static size_t as_many_as_allowed(size_t most)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    return limit.rlim_max / 2 < most + 50 ? (size_t)limit.rlim_max / 2 - 50 : most;
}

static void thousands_are_watched(void **state)
{
    (void)state;
    size_t count = as_many_as_allowed(4000);
    struct end *ends = ends_open(count, POLLIN);
    assert_int_equal(look(), 0);
    for (size_t i = 0; i < count; i += 3)
        end_fill(&ends[i]);
    expect_every(ends, count, 3);
    for (size_t i = 0; i < count; i++)
        if (i % 6 != 0)
            tm_poller_drop(poller, &ends[i].watch);
    expect_every(ends, count, 6);
    for (size_t i = 0; i < count; i += 6)
        end_watch(&ends[i], 0);
    assert_int_equal(look(), 0);
    ends_close(ends, count);
}

/* Against poll(2) of each one alone. */
static void expect_as_each_alone(struct end *ends, size_t count)
{
    int expected = 0;
    for (size_t i = 0; i < count; i++) {
        tm_watch *watch = &ends[i].watch;
        ends[i].events = watch->watched ? wait_events(watch->fd, watch->events, 0) : 0;
        expected += ends[i].events != 0;
    }
    assert_int_equal(look(), expected);
    for (int i = 0; i < expected; i++) {
        struct end *end = end_of(&ready[i]);
        assert_int_equal(ready[i].events, end->events);
        end->events = 0; /* not twice */
    }
}

static void do_anything(struct end *end, unsigned *seed)
{
    static const short events[] = {0, POLLIN, POLLOUT, POLLIN | POLLOUT};
    switch (rand_r(seed) % 8) {
    case 0:
        tm_poller_drop(poller, &end->watch);
        break;
    case 1:
        end_close(end);
        end_open(end);
        break;
    case 2:
        shutdown(end->peer, rand_r(seed) % 2 ? SHUT_WR : SHUT_RDWR);
        break;
    case 3:
        send(end->peer, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        break;
    case 4:
        end_empty(end);
        break;
    default:
        end_watch(end, events[rand_r(seed) % 4]);
    }
}

static void any_sequence_goes_as_with_each_alone(void **state)
{
    (void)state;
    const char *given = getenv("TEST_SEED");
    unsigned seed =
        given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)(now_ms() * 31 + getpid());
    print_message("TEST_SEED=%u\n", seed);
    struct end *ends = ends_open(150, POLLIN);
    for (int i = 0; i < 1000; i++) {
        for (int k = rand_r(&seed) % 30; k >= 0; k--)
            do_anything(&ends[rand_r(&seed) % 150], &seed);
        tm_poller_wait(poller, ready, 1 + rand_r(&seed) % 100, 0); /* turns begin anywhere */
        expect_as_each_alone(ends, 150);
    }
    ends_close(ends, 150);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OPENED(each_has_its_turn_also_when_others_leave),
        OPENED(each_has_its_turn_also_when_others_come),
        OPENED(a_wait_needs_no_memory),
        OPENED(a_watch_that_there_is_no_room_for_is_left_out),
        OPENED(a_change_that_fails_changes_nothing),
        OPENED(a_change_that_fails_in_the_middle_is_taken_back),
        OPENED(a_change_that_can_not_be_taken_back_is_known),
        OPENED(memory_that_is_no_longer_needed_goes_back),
        OPENED(thousands_are_watched),
        OPENED(any_sequence_goes_as_with_each_alone),
    };
    alarm(TEST_SECONDS);
    poller_kind = TCPMSG_POLLER_EPOLL;
    int failed = cmocka_run_group_tests_name("with epoll", tests, NULL, NULL);
#ifdef TM_KQUEUE
    poller_kind = TCPMSG_POLLER_KQUEUE;
    failed += cmocka_run_group_tests_name("with kqueue", tests, NULL, NULL);
#endif
    poller_kind = TCPMSG_POLLER_POLL;
    return failed + cmocka_run_group_tests_name("with poll", tests, NULL, NULL);
}
