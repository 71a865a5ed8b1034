/* SPDX-License-Identifier: MIT */
/*
 * A sweep, when TESTS_SWEEP of the environment asks for one. "memory": each test of the program
 * runs again and again, each time in a child of its own, and each time another allocation of the
 * library's fails: the first, the second, and so on until none is left; once, and from then on.
 * The test may fail then, but not die, and the library may not hold on to anything, or to anybody.
 * "calls": the same with each system call and each error that its manual page documents; it is
 * for tests that bear that, and they have to pass.
 * Where TESTS_SWEEP_MS milliseconds are too few for one way to fail, as many of its points are
 * left out as must be, evenly; all of them when the test itself takes longer. TESTS_ONLY names the
 * tests to run, sweep or not: "promise_8_*".
 */
#define _GNU_SOURCE
#undef _FORTIFY_SOURCE /* it would make siglongjmp(3) our own __longjmp_chk */
#include "../support.h"
#include "judge.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "calls.h"
#include "errnos.h"
#include "fair_only.h"
#include "handles.h"
#include "real_only.h"
#include "traces.h"
#include "weather.h"

/* How long a test may take more than it does when nothing fails, before it is ended. */
#define MORE_MS 1000
#define TIMES 4

#define TESTS_MOST 256

/* ... and that one. */
#define LIMIT_MS (TEST_SECONDS * INT64_C(1000))

/* What a child leaves to its parent. */
static struct shared {
    struct injection injection;
    enum verdict verdict;
    bool judged;
    char text[256];
} * shared;

static const char *const verdicts[VERDICTS] = {
    [WORKED] = "worked", [GAVE_UP] = "gave up", [WAITED] = "waited",   [UNJUDGED] = "unjudged",
    [LEFT] = "LEFT",     [STUCK] = "STUCK",     [CRASHED] = "CRASHED",
};

static const char *const call_names[INJECTED_CALLS + 1] = {[INJECTED_MEMORY] = "allocation",
#define NAME(name) [INJECTED_##name] = #name,
                                                           SYSTEM_CALLS(NAME)
#undef NAME
};

static int64_t limit_ms;
static pthread_mutex_t one_judge = PTHREAD_MUTEX_INITIALIZER;

/* The child's last act. Whoever comes second waits for the end. */
static void end_child(enum verdict so_far)
{
    pthread_mutex_lock(&one_judge);
    shared->injection.on = false;
    shared->verdict = judge(so_far, shared->text, sizeof shared->text);
    shared->judged = true;
    fflush(NULL);
    _exit(0);
}

static void *watch(void *unused)
{
    int64_t end = now_ms() + limit_ms;
    while (now_ms() < end)
        sleep_ms(5);
    end_child(WAITED);
    return unused;
}

static pid_t tested;

/* A test that fails in another thread than cmocka's exits. Each exit takes one of these off the
 * list: where none is left, the process is gone before it is judged. */
#define EXITS_MOST 30

static void at_exit(void)
{
    if (getpid() == tested)
        end_child(GAVE_UP);
}

/* cmocka leaves a test that has failed by longjmp(3); but its threads may still use what is in its
 * frames. So in a child the test ends right there. glibc's name of it, under _FORTIFY_SOURCE. */
void __longjmp_chk(jmp_buf place, int value);
void __longjmp_chk(jmp_buf place, int value)
{
    if (getpid() == tested)
        end_child(GAVE_UP);
    siglongjmp(place, value);
}

/* cmocka takes a fatal signal for a test that has failed; in a child it is to be fatal. */
void (*signal(int number, void (*handler)(int)))(int)
{
    struct sigaction before, action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    bool fatal = number == SIGSEGV || number == SIGBUS || number == SIGILL || number == SIGFPE ||
                 number == SIGSYS;
    if (fatal && getpid() == tested)
        return SIG_DFL;
    return sigaction(number, &action, &before) == 0 ? before.sa_handler : SIG_ERR;
}

int __real__cmocka_run_group_tests(const char *name, const struct CMUnitTest *tests, size_t count,
                                   CMFixtureFunction begin, CMFixtureFunction end);
int __wrap__cmocka_run_group_tests(const char *name, const struct CMUnitTest *tests, size_t count,
                                   CMFixtureFunction begin, CMFixtureFunction end);

struct group {
    const char *name;
    CMFixtureFunction begin;
    CMFixtureFunction end;
};

static void run_child(const struct group *group, const struct CMUnitTest *test, int output)
{
    pthread_t watcher;
    tested = getpid();
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    handles_begin();
    traces_begin();
    for (int i = 0; i < EXITS_MOST; i++)
        atexit(at_exit);
    if (pthread_create(&watcher, NULL, watch, NULL) != 0)
        abort();
    int failed = __real__cmocka_run_group_tests(group->name, test, 1, group->begin, group->end);
    end_child(failed ? GAVE_UP : WORKED);
}

static void show(int output)
{
    char bytes[4096];
    ssize_t length;
    lseek(output, 0, SEEK_SET);
    while ((length = read(output, bytes, sizeof bytes)) > 0)
        fwrite(bytes, 1, (size_t)length, stdout);
    fflush(stdout);
}

static long counts[VERDICTS];
static bool of_calls;

/* The first two hand a connection over in steps of the library's inner functions: between two of
 * them nobody could close it. The others hold a thread of the library's in one of its calls, or a
 * lock that their callbacks wait for. */
static const char *const half_way[] = {
    "a_call_while_a_connection_is_added_waits_for_it",
    "a_call_that_began_before_the_loop_had_it_does_not_wait",
    "what_is_asked_for_at_any_moment_of_a_pass_is_done",
    "a_forked_child_only_lets_go",
    "an_end_waits_for_a_notice_under_way",
    "promise_1_an_abort_takes_back_no_message_that_is_out",
    "promise_1_what_was_sent_beside_a_flush_goes_out",
    "promise_7_a_storm_of_calls_from_other_threads",
};

static bool is_half_way(const char *test)
{
    for (size_t i = 0; i < COUNT(half_way); i++)
        if (strcmp(half_way[i], test) == 0)
            return true;
    return false;
}

/* A test of how the system fails is to pass. */
static bool is_bad(enum verdict verdict)
{
    return verdict > (of_calls ? WORKED : UNJUDGED);
}

static void tell(const struct CMUnitTest *test, const char *what, const char *more, int status)
{
    const struct injection *now = &shared->injection;
    printf("%s, %s %ld%s (%s): %s %s (status %#x)\n", test->name, call_names[now->call], now->first,
           now->count == 1 ? "" : " and all after it", strerror(now->error), what, more,
           (unsigned)status);
}

/* One test, with one failure; 0 for none. */
static enum verdict play(const struct group *group, const struct CMUnitTest *test, long first,
                         long count, bool quiet)
{
    int status = 0;
    int output = memfd_create("output", MFD_CLOEXEC);
    long slowest = shared->injection.slowest;
    shared->injection = (struct injection){
        .call = shared->injection.call,
        .error = shared->injection.error,
        .slowest = slowest,
        .first = first,
        .count = count,
        .on = true,
    };
    shared->judged = false;
    shared->text[0] = '\0';
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        run_child(group, test, output);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    enum verdict verdict = shared->verdict;
    if (!shared->judged)
        verdict = CRASHED;
    if ((verdict == LEFT || verdict == STUCK) && is_half_way(test->name))
        verdict = UNJUDGED;
    if (is_bad(verdict) || (first == 0 && verdict != WORKED)) {
        tell(test, verdicts[verdict], shared->text, status);
        if (!quiet)
            show(output);
    }
    if (shared->injection.slowest > slowest) {
        char ms[32];
        snprintf(ms, sizeof ms, "%ld ms", shared->injection.slowest);
        tell(test, "the next one waited longest so far,", ms, status);
    }
    close(output);
    return verdict;
}

static int64_t way_ms, play_ms;
static long ways, sampled, left_out;

/* How far it is to the next one, so that there is time enough for as many of the rest. */
static long stride(long done, int64_t took, long left, int64_t ms_left)
{
    if (ms_left <= 0)
        return left + 1;
    int64_t step = (took * left / done + ms_left - 1) / ms_left;
    return step > 1 ? (long)step : 1;
}

/* One way to fail, at one call after another; how many points that were. */
static long sweep_way(const struct group *group, const struct CMUnitTest *test, long calls,
                      long span)
{
    int64_t begun = now_ms();
    long done = 0, shown = 0, skipped = 0, step;
    if (calls == 0)
        return 0;
    ways++;
    if (play_ms > way_ms) {
        left_out++;
        return 0;
    }
    for (long first = 1; first <= calls; first += step) {
        enum verdict verdict = play(group, test, first, span, shown >= 3);
        if (shared->injection.failed > 0) {
            counts[verdict]++;
            shown += is_bad(verdict);
            done++;
        }
        int64_t took = now_ms() - begun;
        step = stride(done > 0 ? done : 1, took, calls - first, way_ms - took);
        skipped += step - 1;
    }
    sampled += skipped > 0;
    return done;
}

static long calls_in_all;

/* How many of these calls the test makes, and how long it takes, when nothing fails. */
static long measure(const struct group *group, const struct CMUnitTest *test)
{
    limit_ms = LIMIT_MS;
    int64_t begun = now_ms();
    play(group, test, 0, 0, false);
    play_ms = now_ms() - begun;
    limit_ms = play_ms * TIMES + MORE_MS;
    calls_in_all += shared->injection.met;
    return shared->injection.met;
}

static void sweep_memory(const struct group *group, const struct CMUnitTest *test)
{
    shared->injection.call = INJECTED_MEMORY;
    long calls = measure(group, test);
    long points = sweep_way(group, test, calls, 1);
    points += sweep_way(group, test, calls, LONG_MAX);
    printf("%s: %ld allocations, %ld points\n", test->name, calls, points);
}

static void sweep_call(const struct group *group, const struct CMUnitTest *test, int call)
{
    shared->injection.call = call;
    long calls = measure(group, test), points = 0;
    for (int i = 0; errnos[call][i] != 0; i++) {
        shared->injection.error = errnos[call][i];
        points += sweep_way(group, test, calls, 1);
        points += sweep_way(group, test, calls, LONG_MAX);
    }
    if (points > 0)
        printf("%s, %s: %ld calls, %ld points\n", test->name, call_names[call], calls, points);
}

static int sum_up(void)
{
    long points = 0, bad = 0;
    for (enum verdict i = 0; i < VERDICTS; i++) {
        points += counts[i];
        bad += is_bad(i) ? counts[i] : 0;
    }
    printf("swept: %ld calls, %ld ways, %ld sampled, %ld left out, %ld points", calls_in_all, ways,
           sampled, left_out, points);
    for (enum verdict i = 0; i < VERDICTS; i++)
        printf(", %ld %s", counts[i], verdicts[i]);
    if (of_calls)
        printf("; the next one was served within %ld ms", shared->injection.slowest);
    printf("\n");
    return bad > 0;
}

static int sweep(const struct group *group, const struct CMUnitTest *tests, size_t count)
{
    alarm(0);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return 1;
    injection = &shared->injection;
    for (size_t i = 0; i < count; i++) {
        if (!of_calls)
            sweep_memory(group, &tests[i]);
        for (int call = INJECTED_SYSTEM; of_calls && call < INJECTED_CALLS; call++)
            sweep_call(group, &tests[i], call);
        fflush(stdout);
    }
    return sum_up();
}

static bool needs_fair_weather(const char *test)
{
    for (size_t i = 0; i < COUNT(fair_only); i++)
        if (strcmp(fair_only[i].test, test) == 0)
            return fair_only[i].without >> weather() & 1;
    return false;
}

static bool needs_a_real_machine(const char *test)
{
    bool big_endian = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__;
    for (size_t i = 0; i < COUNT(real_only); i++)
        if (strcmp(real_only[i].test, test) == 0)
            return big_endian || !real_only[i].big_endian;
    return false;
}

/* Those that are asked for and that the weather, and the machine, let run. Not in memory of the allocator's: there
 * are tests that count what is taken from it. */
static const struct CMUnitTest *choose(const struct CMUnitTest *tests, size_t *count)
{
    static struct CMUnitTest chosen[TESTS_MOST];
    const char *only = getenv("TESTS_ONLY");
    bool emulated = getenv("TESTS_EMULATED") != NULL;
    size_t fit = 0;
    if (*count > TESTS_MOST)
        abort();
    for (size_t i = 0; i < *count; i++)
        if (only && fnmatch(only, tests[i].name, 0) != 0)
            continue;
        else if (needs_fair_weather(tests[i].name))
            printf("%s: not in this weather\n", tests[i].name);
        else if (emulated && needs_a_real_machine(tests[i].name))
            printf("%s: not under an emulator\n", tests[i].name);
        else
            chosen[fit++] = tests[i];
    *count = fit;
    return chosen;
}

int __wrap__cmocka_run_group_tests(const char *name, const struct CMUnitTest *tests, size_t count,
                                   CMFixtureFunction begin, CMFixtureFunction end)
{
    const char *what = getenv("TESTS_SWEEP"), *limit = getenv("TESTS_SWEEP_MS");
    struct group group = {name, begin, end};
    tests = choose(tests, &count);
    if (!what)
        return count ? __real__cmocka_run_group_tests(name, tests, count, begin, end) : 0;
    of_calls = strcmp(what, "calls") == 0;
    way_ms = limit ? atoi(limit) : 1000;
    return sweep(&group, tests, count);
}
