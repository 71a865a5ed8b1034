/* SPDX-License-Identifier: MIT */
/* Promise 9, many times over: who closes with input unread, there already or still on its way, has
 * just sent a last reply; the peer has all of it, and then a clean end. Each way a connection can
 * be closed: in the calls that wait and in a loop. TESTS_ROUNDS is how many closes. */
#define _GNU_SOURCE
#include "guest.h"
#include "rounds.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* What the peer does meanwhile. */
enum way {
    THERE,    /* all it sent has arrived before the close */
    PART,     /* the beginning of a message has; the rest comes during the close */
    FLOOD,    /* it never stops sending by itself */
    MESSAGES, /* nor does it here, and each is a whole message */
    FIRST,    /* it reads nothing before it has written all of its own, which is much */
    LATE,     /* it begins to read when the close is over */
    WAYS
};

static const char *const ways[] = {"all there",          "a part there",     "a flood",
                                   "messages on and on", "writes all first", "read late"};

/* More than small buffers hold, on both sides. */
enum { SMALL = 32 * 1024, LARGE = 400000 };

/* One close. */
struct scene {
    enum way way;
    size_t unread;
    size_t reply;
    uint32_t seed;
    struct call writer;
    struct call closer;
};

static struct scene scene_for(long number)
{
    static const size_t sizes[] = {1, 3, 100, 1000, 4000, 17000, 65536, 200000};
    unsigned seed = (unsigned)number * 7919 + 1;
    struct scene scene = {.way = (enum way)(number % WAYS), .seed = (uint32_t)number};
    scene.unread = sizes[(size_t)rand_r(&seed) % COUNT(sizes)] + (size_t)rand_r(&seed) % 50;
    scene.reply = sizes[(size_t)rand_r(&seed) % COUNT(sizes)] + (size_t)rand_r(&seed) % 50;
    /* More than the system holds, which is little here, or than it holds for the peer. */
    if (scene.way == FIRST && number / WAYS % 8 != 0)
        scene.way = MESSAGES;
    if (scene.way == FIRST) {
        scene.unread = LARGE;
        scene.reply = rand_r(&seed) % 2 ? LARGE + (size_t)rand_r(&seed) % LARGE : LARGE / 3;
    }
    /* What nobody reads for now must fit into what the system holds for a peer. */
    if (scene.way == LATE && scene.reply > 20000)
        scene.reply = 20000;
    if ((scene.way == THERE || scene.way == LATE) && scene.unread > 20000)
        scene.unread = 20000;
    return scene;
}

static ssize_t write_junk(struct call *call)
{
    static const uint8_t junk[20000];
    while (!atomic_load(&call->stop) && write_all(call->raw, junk, sizeof junk))
        continue;
    return 0;
}

static ssize_t write_messages(struct call *call)
{
    for (uint32_t i = 0; !atomic_load(&call->stop) && raw_send_filled(call->raw, i % 3000, i); i++)
        continue;
    return 0;
}

/* The rest of a message: its beginning has been sent. */
static ssize_t write_rest(struct call *call)
{
    uint8_t *bytes = calloc(1, call->seed);
    bool written = bytes && write_all(call->raw, bytes, call->seed);
    free(bytes);
    return written;
}

static void limit_buffers(int fd)
{
    int bytes = SMALL;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes), 0);
}

/* Before the close, and beside it. */
static void begin_to_talk(struct scene *scene, int raw)
{
    static ssize_t (*const bodies[WAYS])(struct call *) = {
        [PART] = write_rest, [FLOOD] = write_junk, [MESSAGES] = write_messages};
    struct wire wire = {0};
    wire_add_filled(&wire, NULL, scene->unread, scene->seed);
    size_t first = scene->way == PART || scene->way == FIRST ? wire.count / 20 : wire.count;
    if (scene->way == FIRST)
        limit_buffers(raw);
    assert_true(write_all(raw, wire.bytes, first));
    scene->writer = (struct call){
        .body = bodies[scene->way], .raw = raw, .seed = (uint32_t)(wire.count - first)};
    if (scene->writer.body)
        call_start(&scene->writer);
    wire_free(&wire);
}

static void end_talk(struct scene *scene)
{
    atomic_store(&scene->writer.stop, true);
    if (scene->writer.body)
        call_finish(&scene->writer);
}

static ssize_t close_it(struct call *call)
{
    return tcpmsg_close(call->conn);
}

static int send_reply(tcpmsg_conn *conn, size_t length, uint32_t seed, int flags)
{
    uint8_t *reply = malloc(length);
    if (!reply)
        return TCPMSG_ENOMEM;
    fill(reply, length, seed);
    int r = tcpmsg_send(conn, reply, length, flags);
    free(reply);
    return r;
}

/* By another thread, for who closes may have to wait until the reply is read. */
static void reply_and_close(struct scene *scene, tcpmsg_conn *conn)
{
    char some[64];
    if (scene->reply >= LARGE)
        limit_buffers(tcpmsg_conn_fd(conn));
    if (scene->seed % 3 == 1)
        (void)!tcpmsg_recv(conn, some, sizeof some, TCPMSG_DONTWAIT);
    int flags = TCPMSG_DONTWAIT | (scene->seed % 2 ? TCPMSG_MORE : 0);
    assert_int_equal(send_reply(conn, scene->reply, scene->seed, flags), 0);
    scene->closer = (struct call){.body = close_it, .conn = conn};
    call_start(&scene->closer);
}

static void finish_writing(struct scene *scene)
{
    if (scene->way == FIRST)
        (void)write_rest(&scene->writer);
}

static void expect_reply_and_end(int raw, struct scene *scene)
{
    finish_writing(scene);
    if (!raw_gets_filled(raw, scene->reply, scene->seed))
        fail_msg("the reply %u of %zu bytes is lost: %s", scene->seed, scene->reply,
                 ways[scene->way]);
    int end = read_end(raw);
    if (end != 0)
        fail_msg("no clean end after reply %u: %s, %s", scene->seed, strerror(end),
                 ways[scene->way]);
}

static void promise_9_closes_that_wait_lose_no_reply(void **state)
{
    (void)state;
    long closes = test_rounds(SANITIZED ? 200 : 400);
    for (long i = 0; i < closes; i++) {
        struct scene scene = scene_for(i);
        tcpmsg_conn *conn;
        int raw;
        pair(&conn, &raw, TCPMSG_OPTIONS(.linger_ms = WAIT_MS));
        begin_to_talk(&scene, raw);
        reply_and_close(&scene, conn);
        ssize_t answer = scene.way == LATE ? call_finish(&scene.closer) : 0;
        expect_reply_and_end(raw, &scene);
        end_talk(&scene);
        if (scene.way != LATE)
            answer = call_finish(&scene.closer);
        assert_int_equal(answer, 0);
        close(raw);
    }
    print_message("%ld closes, not one reply lost\n", closes);
}

static ssize_t send_on(struct call *call)
{
    static const uint8_t junk[3000];
    ssize_t r = 0;
    while (r == 0 && !atomic_load(&call->stop))
        r = tcpmsg_send(call->conn, junk, sizeof junk, 0);
    return r;
}

/* Both ends are ours: what the peer's sends meet does not hide the reply from its receive. */
static void promise_9_a_peer_of_ours_that_sends_on_has_the_reply(void **state)
{
    (void)state;
    long closes = test_rounds(SANITIZED ? 100 : 200), resets = 0;
    for (long i = 0; i < closes; i++) {
        struct scene scene = scene_for(i);
        tcpmsg_conn *conn, *peer;
        const void *got;
        pair_conns(&conn, &peer, TCPMSG_OPTIONS(.linger_ms = WAIT_MS));
        scene.writer = (struct call){.body = send_on, .conn = peer};
        call_start(&scene.writer);
        reply_and_close(&scene, conn);
        ssize_t length = tcpmsg_recv_view(peer, &got, 0);
        if (length < 0)
            fail_msg("%s instead of reply %ld", tcpmsg_error_name((int)length), i);
        assert_int_equal(length, scene.reply);
        assert_true(is_filled(got, scene.reply, scene.seed));
        length = tcpmsg_recv_view(peer, &got, 0);
        assert_true(length == TCPMSG_EOF || length == TCPMSG_ERESET);
        resets += length == TCPMSG_ERESET;
        atomic_store(&scene.writer.stop, true);
        call_finish(&scene.writer);
        assert_int_equal(call_finish(&scene.closer), 0);
        tcpmsg_close(peer);
    }
    print_message("%ld closes, not one reply lost; the end was a reset %ld times\n", closes,
                  resets);
}

/* With hardly a linger, or none, a reply may be lost; but not one whose close has answered 0. */
static void an_answer_of_0_means_that_the_reply_has_arrived(void **state)
{
    (void)state;
    static const int lingers[] = {TCPMSG_NO_LINGER, 1};
    long closes = test_rounds(SANITIZED ? 200 : 400);
    for (size_t l = 0; l < COUNT(lingers); l++) {
        long known = 0, arrived = 0;
        for (long i = 0; i < closes / 4; i++) {
            struct scene scene = scene_for(i);
            tcpmsg_conn *conn;
            int raw;
            pair(&conn, &raw, TCPMSG_OPTIONS(.linger_ms = lingers[l]));
            begin_to_talk(&scene, raw);
            reply_and_close(&scene, conn);
            finish_writing(&scene);
            bool whole = raw_gets_filled(raw, scene.reply, scene.seed);
            end_talk(&scene);
            ssize_t answer = call_finish(&scene.closer);
            assert_true(answer == 0 || answer == TCPMSG_ETIMEDOUT || answer == TCPMSG_ERESET);
            assert_true(whole || answer != 0);
            known += answer == 0;
            arrived += whole;
            close(raw);
        }
        print_message("linger %d ms: of %ld, %ld known to have arrived, %ld arrived\n", lingers[l],
                      closes / 4, known, arrived);
    }
}

/* In a loop. The peer's first message says what to answer, and who closes. */
enum closer { THE_CALLBACK, ANOTHER_THREAD, A_PAUSED_ONE, THE_STOP, CLOSERS };

struct order {
    size_t reply;
    uint32_t seed;
    enum closer closer;
};

static void follow_order(struct seen *seen, const void *message, size_t length)
{
    struct order order;
    if (atomic_load(&seen->mark) || length != sizeof order)
        return;
    memcpy(&order, message, sizeof order);
    if (order.reply >= LARGE)
        small_output(seen);
    if (order.closer == A_PAUSED_ONE && tcpmsg_pause(seen->conn) != 0)
        looper_fault(seen->looper, "pause in a callback");
    if (send_reply(seen->conn, order.reply, order.seed, 0) != 0)
        looper_fault(seen->looper, "the reply is refused");
    if (order.closer == THE_CALLBACK && tcpmsg_close(seen->conn) != 0)
        looper_fault(seen->looper, "close in a callback");
    atomic_store(&seen->mark, 1);
}

static const struct acts obedient = {.on_message = follow_order};

static struct looper *serve(void)
{
    struct looper *looper = looper_open(TCPMSG_LOOP_OPTIONS(.threads = 2));
    looper->forgetful = true;
    looper_listen(looper, TCP, &obedient, TCPMSG_OPTIONS(.linger_ms = WAIT_MS));
    looper_start(looper);
    return looper;
}

static void give_order(int raw, const struct scene *scene, enum closer closer)
{
    struct order order = {.reply = scene->reply, .seed = scene->seed, .closer = closer};
    struct wire wire = {0};
    wire_add_message(&wire, NULL, &order, sizeof order);
    assert_true(write_all(raw, wire.bytes, wire.count));
    wire_free(&wire);
}

static void one_close_in_a_loop(struct looper *looper, long number)
{
    struct scene scene = scene_for(number);
    enum closer closer = (enum closer)(number / WAYS % THE_STOP);
    struct seen *seen;
    int raw = looper_guest(looper, &seen);
    if (number % 2)
        looper_hold(looper); /* the order and what follows it are read at once */
    give_order(raw, &scene, closer);
    begin_to_talk(&scene, raw);
    if (number % 2)
        looper_go_on(looper);
    assert_true(reaches(&seen->mark, 1));
    if (closer != THE_CALLBACK)
        assert_int_equal(tcpmsg_close(seen->conn), 0);
    if (scene.way == LATE)
        assert_int_equal(seen_end(seen), 0);
    expect_reply_and_end(raw, &scene);
    end_talk(&scene);
    int why = seen_end(seen);
    if (why != 0)
        fail_msg("on_close says %s: %s", tcpmsg_error_name(why), ways[scene.way]);
    close(raw);
}

static void promise_9_closes_in_a_loop_lose_no_reply(void **state)
{
    (void)state;
    long closes = test_rounds(SANITIZED ? 200 : 400);
    for (long i = 0; i < closes;) {
        struct looper *looper = serve();
        for (int round = 0; round < 500 && i < closes; round++)
            one_close_in_a_loop(looper, i++);
        looper_finish(looper);
    }
    print_message("%ld closes, not one reply lost\n", closes);
}

enum { CROWD = 20 };

/* The loop stops, and all of them had their reply queued. */
static void one_stop(long number)
{
    struct looper *looper = serve();
    struct scene scenes[CROWD];
    struct seen *seen[CROWD];
    int raws[CROWD];
    for (int i = 0; i < CROWD; i++) {
        scenes[i] = scene_for(number + i);
        if (scenes[i].way == LATE)
            scenes[i].way = THERE;
        raws[i] = looper_guest(looper, &seen[i]);
        give_order(raws[i], &scenes[i], THE_STOP);
        begin_to_talk(&scenes[i], raws[i]);
    }
    for (int i = 0; i < CROWD; i++)
        assert_true(reaches(&seen[i]->mark, 1));
    tcpmsg_loop_stop(looper->loop);
    for (int i = 0; i < CROWD; i++) {
        expect_reply_and_end(raws[i], &scenes[i]);
        end_talk(&scenes[i]);
        assert_code(seen_end(seen[i]), TCPMSG_ECANCELED);
        close(raws[i]);
    }
    looper_finish(looper);
}

static void promise_9_a_stop_loses_no_reply(void **state)
{
    (void)state;
    long closes = test_rounds(SANITIZED ? 200 : 400) / 2;
    for (long i = 0; i < closes; i += CROWD)
        one_stop(i);
    print_message("%ld closes, not one reply lost\n", closes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promise_9_closes_that_wait_lose_no_reply),
        cmocka_unit_test(promise_9_a_peer_of_ours_that_sends_on_has_the_reply),
        cmocka_unit_test(an_answer_of_0_means_that_the_reply_has_arrived),
        cmocka_unit_test(promise_9_closes_in_a_loop_lose_no_reply),
        cmocka_unit_test(promise_9_a_stop_loses_no_reply),
    };
    if (!is_soak())
        alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
