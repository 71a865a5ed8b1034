/* SPDX-License-Identifier: MIT */
/* How few system calls it takes: one for a message, one for many small ones. */
#define _GNU_SOURCE
#include "faults.h"
#include "peer.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The counts begin anew. */
static void watch(const tcpmsg_conn *conn, const struct faults *wanted)
{
    faults_begin(wanted);
    faults_on(tcpmsg_conn_fd(conn));
}

static void watched_pair(tcpmsg_conn **conn, int *raw, const struct faults *wanted)
{
    pair_unix(conn, raw, NULL);
    watch(*conn, wanted);
}

static void end_pair(tcpmsg_conn *conn, int raw)
{
    faults_end();
    assert_int_equal(tcpmsg_close(conn), 0);
    close(raw);
}

static void a_message_is_one_write(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    char text[] = "together";
    struct iovec parts[] = {{text, 2}, {text + 2, 4}, {text + 6, 2}};
    watched_pair(&conn, &raw, &(struct faults){0});
    assert_int_equal(tcpmsg_send(conn, "together", 8, 0), 0);
    assert_int_equal(writes_made, 1);
    assert_int_equal(tcpmsg_sendv(conn, parts, COUNT(parts), 0), 0);
    assert_int_equal(writes_made, 2);
    for (int i = 0; i < 100; i++)
        assert_int_equal(tcpmsg_send(conn, "buffered", 8, TCPMSG_MORE), 0);
    assert_int_equal(writes_made, 2);
    assert_int_equal(tcpmsg_send(conn, "together", 8, 0), 0);
    assert_int_equal(writes_made, 3);
    assert_int_equal(tcpmsg_flush(conn, 0), 0);
    assert_int_equal(writes_made, 3);
    assert_int_equal(polls_made, 0);
    assert_true(raw_gets(raw, "together") && raw_gets(raw, "together"));
    end_pair(conn, raw);
}

static void many_small_messages_are_one_read(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    char text[8];
    struct wire wire = {0};
    for (int i = 0; i < 200; i++)
        wire_add_message(&wire, NULL, "small", 5);
    watched_pair(&conn, &raw, &(struct faults){0});
    assert_true(write_all(raw, wire.bytes, wire.count));
    for (int i = 0; i < 200; i++)
        assert_int_equal(tcpmsg_recv(conn, text, sizeof text, 0), 5);
    print_message("200 messages: %ld reads, %ld polls\n", reads_made, polls_made);
    assert_true(reads_made <= 2);
    assert_int_equal(polls_made, 0);
    wire_free(&wire);
    end_pair(conn, raw);
}

static ssize_t write_filled(struct call *call)
{
    struct wire wire = {0};
    wire_add_filled(&wire, NULL, 4 * MIB, call->seed);
    bool written = write_all(call->raw, wire.bytes, wire.count);
    wire_free(&wire);
    return written;
}

static void a_giant_is_read_straight_into_the_callers_buffer(void **state)
{
    (void)state;
    struct call writer = {.body = write_filled, .seed = 7};
    char *giant = malloc(4 * MIB);
    assert_non_null(giant);
    watched_pair(&writer.conn, &writer.raw, &(struct faults){.into = giant, .into_size = 4 * MIB});
    call_start(&writer);
    assert_int_equal(tcpmsg_recv(writer.conn, giant, 4 * MIB, 0), 4 * MIB);
    assert_true(call_finish(&writer));
    assert_true(is_filled(giant, 4 * MIB, 7));
    print_message("of %zu bytes, %ld straight\n", 4 * MIB, bytes_into);
    assert_true(bytes_into >= (long)(4 * MIB) / 10 * 9);
    free(giant);
    end_pair(writer.conn, writer.raw);
}

/* As long as the last one: each has its place before it comes, and is there after one read. */
static void large_messages_are_one_read_each(void **state)
{
    (void)state;
    enum { COUNT_OF_THEM = 20 };
    tcpmsg_conn *conn;
    int raw;
    struct wire wire = {0};
    char *large = malloc(64 * KIB);
    assert_non_null(large);
    wire_add_filled(&wire, NULL, 64 * KIB, 9);
    watched_pair(&conn, &raw, &(struct faults){.into = large, .into_size = 64 * KIB});
    for (int i = 0; i < COUNT_OF_THEM; i++) {
        if (i == 1)
            watch(conn, &(struct faults){.into = large, .into_size = 64 * KIB});
        assert_true(write_all(raw, wire.bytes, wire.count));
        assert_int_equal(tcpmsg_recv(conn, large, 64 * KIB, 0), 64 * KIB);
        assert_true(is_filled(large, 64 * KIB, 9));
    }
    assert_int_equal(reads_made, COUNT_OF_THEM - 1);
    assert_int_equal(bytes_into, (COUNT_OF_THEM - 1) * 64 * KIB);
    wire_free(&wire);
    free(large);
    end_pair(conn, raw);
}

static ssize_t receive_one(struct call *call)
{
    char text[8];
    return tcpmsg_recv(call->conn, text, sizeof text, 0);
}

/* Who waits does so inside of its read; after a while in poll(2), where others can wake it. */
static void a_message_that_is_waited_for_is_one_read(void **state)
{
    (void)state;
    struct call receiver = {.body = receive_one};
    watched_pair(&receiver.conn, &receiver.raw, &(struct faults){0});
    bool waited_briefly = false;
    for (int i = 0; i < 200 && !waited_briefly; i++) {
        watch(receiver.conn, &(struct faults){0});
        call_start_asleep(&receiver);
        assert_true(raw_send(receiver.raw, "short"));
        assert_int_equal(call_finish(&receiver), 5);
        waited_briefly = polls_made == 0;
        assert_int_equal(reads_made, waited_briefly ? 1 : 2);
    }
    assert_true(waited_briefly);
    end_pair(receiver.conn, receiver.raw);
}

static void expect_polls(struct call *receiver)
{
    watch(receiver->conn, &(struct faults){0});
    call_start_asleep(receiver);
    assert_true(raw_send(receiver->raw, "short"));
    assert_int_equal(call_finish(receiver), 5);
    assert_int_equal(polls_made, 1);
    end_pair(receiver->conn, receiver->raw);
}

/* A close that must not wait must not wait for a receiver that nobody can wake, either. */
static void promise_9_without_linger_who_waits_polls(void **state)
{
    (void)state;
    struct call receiver = {.body = receive_one};
    pair_unix(&receiver.conn, &receiver.raw, TCPMSG_OPTIONS(.linger_ms = TCPMSG_NO_LINGER));
    expect_polls(&receiver);
}

/* Somebody else may have the same socket, and count on it. */
static void what_was_attached_nonblocking_stays_so(void **state)
{
    (void)state;
    struct call receiver = {.body = receive_one};
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(tcpmsg_attach(&receiver.conn, ends[0], NULL), 0);
    receiver.raw = ends[1];
    int copy = dup(ends[0]);
    expect_polls(&receiver);
    assert_true(fcntl(copy, F_GETFL) & O_NONBLOCK);
    close(copy);
}

static void dontwait_never_polls(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    char text[8];
    static const char block[100000];
    watched_pair(&conn, &raw, &(struct faults){0});
    assert_code(tcpmsg_recv(conn, text, sizeof text, TCPMSG_DONTWAIT), TCPMSG_EAGAIN);
    while (tcpmsg_send(conn, block, sizeof block, TCPMSG_DONTWAIT) == 0)
        continue;
    assert_code(tcpmsg_flush(conn, TCPMSG_DONTWAIT), TCPMSG_EAGAIN);
    assert_int_equal(polls_made, 0);
    tcpmsg_abort(conn);
    faults_end();
    tcpmsg_close(conn);
    close(raw);
}

static ssize_t send_one(struct call *call)
{
    return tcpmsg_send(call->conn, "gathered", 8, 0);
}

static bool a_write_is_held(void *arg)
{
    (void)arg;
    return atomic_load(&held_writes) > 0;
}

/* While one thread is inside the system call, the others' messages are gathered for the next. */
static void what_others_send_meanwhile_is_gathered(void **state)
{
    (void)state;
    struct call calls[12] = {{0}};
    tcpmsg_conn *conn;
    int raw;
    watched_pair(&conn, &raw, &(struct faults){0});
    atomic_store(&hold_writes, true);
    for (size_t i = 0; i < COUNT(calls); i++) {
        calls[i].body = send_one;
        calls[i].conn = conn;
        call_start(&calls[i]);
        assert_true(eventually(a_write_is_held, NULL));
    }
    sleep_ms(50);
    atomic_store(&hold_writes, false);
    for (size_t i = 0; i < COUNT(calls); i++)
        assert_int_equal(call_finish(&calls[i]), 0);
    for (size_t i = 0; i < COUNT(calls); i++)
        assert_true(raw_gets(raw, "gathered"));
    print_message("%zu sends: %ld writes\n", COUNT(calls), writes_made);
    assert_true(writes_made < (long)COUNT(calls) / 2);
    end_pair(conn, raw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_is_one_write),
        cmocka_unit_test(many_small_messages_are_one_read),
        cmocka_unit_test(a_giant_is_read_straight_into_the_callers_buffer),
        cmocka_unit_test(large_messages_are_one_read_each),
        cmocka_unit_test(a_message_that_is_waited_for_is_one_read),
        cmocka_unit_test(promise_9_without_linger_who_waits_polls),
        cmocka_unit_test(what_was_attached_nonblocking_stays_so),
        cmocka_unit_test(dontwait_never_polls),
        cmocka_unit_test(what_others_send_meanwhile_is_gathered),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
