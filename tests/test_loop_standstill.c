/* SPDX-License-Identifier: MIT */
/* Connections that stand still, each for a reason of its own: what they may hold meanwhile, and
 * what may end them. */
#define _GNU_SOURCE
#include "guest.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loop.h"

enum { PREFIX = 4 };

/* What the loop's own thread says of itself, and of one connection. */
struct look {
    struct looper *looper;
    const tcpmsg_conn *conn;
    atomic_int looked;
    size_t held; /* by all half-received messages */
    size_t own;  /* ... and by this one's */
    bool favoured;
    bool over;
    bool blocked;
    int ended; /* the receiving: why, or 0 */
};

static void look(void *arg)
{
    struct look *it = arg;
    const tm_thread *thread = &it->looper->loop->threads[0];
    it->held = thread->held;
    it->own = tm_buffer_held(&it->conn->in.buffer);
    it->favoured = thread->favoured == it->conn;
    it->over = it->conn->out.over;
    it->blocked = tm_member_of(it->conn)->blocked != 0;
    it->ended = it->conn->in.error;
    atomic_fetch_add(&it->looked, 1);
}

static void take_look(struct look *it)
{
    int before = atomic_load(&it->looked);
    assert_int_equal(tcpmsg_loop_post(it->looper->loop, look, it), 0);
    assert_true(reaches(&it->looked, before + 1));
}

/* The system takes a few hundred KiB at once. */
static void allow_much(int fd)
{
    int bytes = 256 * 1024;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes), 0);
}

static void close_all(const int *raws, int count)
{
    for (int i = 0; i < count; i++)
        close(raws[i]);
}

enum { IDLE = 64, EACH = 400 };

/* From the first on a message leaves straight from its sender's memory, if the system takes it. */
static const size_t large_lengths[] = {64 * 1024, 150000};
static uint8_t large[150000];

/* Its length chooses the answer's. */
static void answer_at_once(struct seen *seen, const void *message, size_t length)
{
    (void)message;
    (void)seen_send(seen, large, large_lengths[length], 0);
    if (seen->conn->out.box.len > 0)
        looper_fault(seen->looper, "an answer did not leave at once");
}

/* Memory had been there for each, in case that it did not leave at once. */
static void who_has_sent_a_large_message_holds_nothing_of_it(void **state)
{
    (void)state;
    static const struct acts acts = {.on_message = answer_at_once};
    struct looper *looper = looper_open(NULL);
    int raws[IDLE];
    looper->forgetful = true;
    looper_listen(looper, TCP, &acts, NULL);
    looper_start(looper);
    fill(large, sizeof large, 1);
    for (int i = 0; i < IDLE; i++) {
        struct seen *seen;
        raws[i] = looper_guest(looper, &seen);
        allow_much(tcpmsg_conn_fd(seen->conn));
    }
    size_t before = allocated_bytes(), most = before + (size_t)IDLE * EACH;
    for (int i = 0; i < IDLE; i++) {
        assert_true(raw_send(raws[i], i % 2 == 0 ? "" : "1"));
        assert_true(raw_gets_filled(raws[i], large_lengths[i % 2], 1));
    }
    /* What the thread keeps for the next one goes back, too, soon. */
    for (int64_t end = now_ms() + WAIT_MS; allocated_bytes() > most && now_ms() < end;)
        sleep_ms(1);
    print_message("%d idle connections: %zd bytes more\n", IDLE,
                  (ssize_t)(allocated_bytes() - before));
    assert_true(allocated_bytes() <= most);
    close_all(raws, IDLE);
    looper_finish(looper);
}

enum { BUDGET = 4 * 1024 * 1024, CROWD = 24, GIANT = 1024 * 1024, BEGINNING = 132 * 1024 };

/* All of a giant, and then the beginning of the next one, which comes in one piece: it would fill
 * an eighth of the memory that the first had. */
static void send_one_and_an_eighth(struct looper *looper, int raw, struct seen *seen,
                                   const struct wire *giant)
{
    assert_true(write_all(raw, giant->bytes, giant->count));
    seen_messages(seen, 1);
    looper_hold(looper);
    assert_true(write_all(raw, giant->bytes, BEGINNING));
    looper_go_on(looper);
}

/* The beginnings together are within the budget, the memory of the giants is six times as much. */
static void promise_4_beginnings_do_not_hold_what_giants_have_had(void **state)
{
    (void)state;
    struct looper *looper = looper_open(TCPMSG_LOOP_OPTIONS(.memory_budget = BUDGET));
    struct wire giant = {0};
    int raws[CROWD];
    struct seen *seen[CROWD];
    looper->forgetful = true;
    looper_listen(looper, UNIX, &nothing, NULL);
    looper_start(looper);
    wire_add_filled(&giant, NULL, GIANT, 1);
    for (int i = 0; i < CROWD; i++) {
        raws[i] = looper_guest(looper, &seen[i]);
        allow_much(raws[i]);
    }
    size_t before = allocated_bytes();
    for (int i = 0; i < CROWD; i++)
        send_one_and_an_eighth(looper, raws[i], seen[i], &giant);
    looper_settle(looper);
    struct look it = {.looper = looper, .conn = seen[0]->conn};
    take_look(&it);
    print_message("a budget of %d KiB: %zu KiB held\n", BUDGET / 1024, it.held / KIB);
    assert_true(it.held >= (size_t)CROWD * BEGINNING);
    assert_true(it.held <= 2 * (size_t)BUDGET);
    if (!SANITIZED) /* 2 MiB: what the thread keeps for the next one */
        assert_true(allocated_bytes() <= before + 2 * (size_t)BUDGET + 2 * MIB);
    close_all(raws, CROWD);
    wire_free(&giant);
    looper_finish(looper);
}

enum { FEW = 16, MIDDLE = 64000, MOST_OF_IT = 60000, LEFT = 9000 };

/* While there was plenty they got memory for most of a message. Then one that has come in part
 * takes more than half of the budget; they finish theirs, and begin the next. */
static void short_of_memory_nothing_is_held_that_nothing_is_in(void **state)
{
    (void)state;
    struct looper *looper =
        looper_serve(UNIX, &nothing, TCPMSG_LOOP_OPTIONS(.memory_budget = BUDGET), NULL);
    static const uint8_t part[BUDGET / 8 * 5] = {1}; /* of 16 MiB */
    struct wire two = {0};
    int raws[FEW];
    struct look it = {.looper = looper};
    wire_add_filled(&two, NULL, MIDDLE, 1);
    wire_add_filled(&two, NULL, MIDDLE, 2);
    for (int i = 0; i < FEW; i++) {
        raws[i] = looper_guest(looper, NULL);
        assert_true(write_all(raws[i], two.bytes, MOST_OF_IT));
    }
    struct seen *seen;
    int large_one = looper_guest(looper, &seen);
    it.conn = seen->conn;
    assert_true(write_all(large_one, part, sizeof part));
    looper_settle(looper);
    take_look(&it);
    assert_true(it.own > BUDGET / 2);
    for (int i = 0; i < FEW; i++) {
        size_t rest = PREFIX + MIDDLE - MOST_OF_IT;
        assert_true(write_all(raws[i], two.bytes + MOST_OF_IT, rest + LEFT));
        seen_messages(looper_seen(looper, i), 1);
    }
    looper_settle(looper);
    take_look(&it);
    assert_int_equal(it.held - it.own, FEW * tm_buffer_memory(LEFT));
    close_all(raws, FEW);
    close(large_one);
    wire_free(&two);
    looper_finish(looper);
}

enum { RIVALS = 10, ANSWER = 200000, FIRST = 6000, SECOND = 20000 };

static uint8_t answer[ANSWER];

static void answer_much(struct seen *seen, const void *message, size_t length)
{
    (void)message;
    (void)length;
    (void)seen_send(seen, answer, sizeof answer, 0);
}

static bool is_favoured_and_not_read_from(void *arg)
{
    struct look *it = arg;
    take_look(it);
    return it->favoured && it->over;
}

static bool has_left_the_favour(void *arg)
{
    struct look *it = arg;
    take_look(it);
    return !it->favoured;
}

/* All at once, each for more than its share. */
static void rivals_want_memory(struct looper *looper, const int *rivals, const uint8_t *bytes)
{
    looper_hold(looper);
    for (int i = 0; i < RIVALS; i++)
        assert_true(write_all(rivals[i], bytes, SECOND / 2));
    looper_go_on(looper);
}

/* Memory is short. The favoured one has its answer to take first, before it is read from again:
 * so it does not get on, and the favour goes to the next, but that is not its fault. */
static void promise_4_who_is_not_read_from_does_not_give_way(void **state)
{
    (void)state;
    static const struct acts acts = {.on_open = small_output, .on_message = answer_much};
    struct looper *looper = looper_serve(
        TCP, &acts, TCPMSG_LOOP_OPTIONS(.memory_budget = 8 * KIB, .high_water = 10000), NULL);
    struct wire requests = {0};
    struct seen *seen;
    int rivals[RIVALS], raw = looper_guest_small(looper, &seen);
    const size_t early = PREFIX + FIRST + PREFIX + SECOND / 4;
    fill(answer, sizeof answer, 3);
    wire_add_filled(&requests, NULL, FIRST, 1);
    wire_add_filled(&requests, NULL, SECOND, 2);
    for (int i = 0; i < RIVALS; i++)
        rivals[i] = looper_guest(looper, NULL);
    struct look it = {.looper = looper, .conn = seen->conn};
    assert_true(write_all(raw, requests.bytes, early));
    assert_true(eventually(is_favoured_and_not_read_from, &it));
    rivals_want_memory(looper, rivals, requests.bytes + PREFIX + FIRST);
    assert_true(eventually(has_left_the_favour, &it));
    assert_true(it.held / 2 > 8 * KIB);
    looper_settle(looper);
    take_look(&it);
    assert_string_equal(tcpmsg_error_name(it.ended), tcpmsg_error_name(0));
    for (int i = 0; i < RIVALS; i++)
        raw_reset(rivals[i]);
    assert_true(raw_gets_filled(raw, ANSWER, 3));
    assert_true(write_all(raw, requests.bytes + early, requests.count - early));
    assert_true(raw_gets_filled(raw, ANSWER, 3));
    close(raw);
    assert_code(seen_end(seen), TCPMSG_EOF);
    wire_free(&requests);
    looper_finish(looper);
}

enum { SHORT_MS = 50, LONG_MS = 3600 * 1000 };

static void send_much(struct seen *seen)
{
    static const uint8_t much[1024 * 1024];
    (void)seen_send(seen, much, sizeof much, 0);
}

static void shorten(void *conn)
{
    (void)tcpmsg_conn_set_timeouts(conn, SHORT_MS, 0);
    tcpmsg_conn_unref(conn);
}

static void expect_shortened(int ms_before, bool in_its_own_thread)
{
    static const struct acts acts = {.on_open = send_much};
    struct looper *looper =
        looper_serve(UNIX, &acts, NULL,
                     TCPMSG_OPTIONS(.send_timeout_ms = ms_before, .linger_ms = TCPMSG_NO_LINGER));
    struct seen *seen;
    int raw = looper_guest(looper, &seen);
    looper_settle(looper);
    struct look it = {.looper = looper, .conn = seen->conn};
    take_look(&it);
    assert_true(it.blocked);
    tcpmsg_conn *conn = tcpmsg_conn_ref(seen->conn);
    if (in_its_own_thread)
        assert_int_equal(tcpmsg_loop_post(looper->loop, shorten, conn), 0);
    else
        shorten(conn);
    assert_code(seen_end(seen), TCPMSG_ESTALLED);
    assert_true(says_number(seen->story, SHORT_MS));
    close(raw);
    looper_finish(looper);
}

/* There was no clock, or one that is set for much later. */
static void a_new_send_timeout_is_for_output_that_waits_already(void **state)
{
    (void)state;
    expect_shortened(TCPMSG_NO_LIMIT, false);
    expect_shortened(TCPMSG_NO_LIMIT, true);
    expect_shortened(LONG_MS, false);
    expect_shortened(LONG_MS, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_has_sent_a_large_message_holds_nothing_of_it),
        cmocka_unit_test(promise_4_beginnings_do_not_hold_what_giants_have_had),
        cmocka_unit_test(short_of_memory_nothing_is_held_that_nothing_is_in),
        cmocka_unit_test(promise_4_who_is_not_read_from_does_not_give_way),
        cmocka_unit_test(a_new_send_timeout_is_for_output_that_waits_already),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
