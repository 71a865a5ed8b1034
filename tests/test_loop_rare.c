/* SPDX-License-Identifier: MIT */
/* A loop when the system answers what it seldom does. */
#define _GNU_SOURCE
#include "crowd.h"
#include "guest.h"
#include "rare.h"
#include "reach.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static void a_system_without_a_poller_is_told(void **state)
{
    (void)state;
    tcpmsg_loop *loop = NULL;
    rare_fails(RARE_epoll_create1, -1, ENOSYS, 0, 1);
    assert_code(tcpmsg_loop_open(&loop, TCPMSG_LOOP_OPTIONS(.poller = TCPMSG_POLLER_EPOLL)),
                TCPMSG_EINVAL);
    assert_int_equal(rare_over(), 1);
    assert_null(loop);
}

/* Connections that died in the queue, more than are passed over at once: a rest, and on. */
static void promise_12_a_loop_passes_over_the_dead(void **state)
{
    (void)state;
    struct looper *looper = looper_serve(TCP, &echo, NULL, NULL);
    for (int count = 1; count <= 40; count += 39) {
        rare_fails(RARE_accept4, -1, ECONNABORTED, 0, count);
        int raw = looper_guest(looper, NULL);
        assert_int_equal(rare_over(), count);
        assert_true(raw_send(raw, "hello") && raw_gets(raw, "hello"));
        close(raw);
    }
    looper_finish(looper);
}

static atomic_int short_fd, shortage;

static int no_buffers(const struct rare *now)
{
    bool here = now->call == RARE_recv && !now->behind && now->fd == short_fd;
    return here ? atomic_exchange(&shortage, 0) : 0;
}

static void a_read_without_buffers_comes_again(void **state)
{
    (void)state;
    static const int shortages[] = {ENOBUFS, ENOMEM};
    struct looper *looper = looper_serve(TCP, &echo, NULL, NULL);
    struct seen *seen;
    int raw = looper_guest(looper, &seen);
    short_fd = tcpmsg_conn_fd(seen->conn);
    rarely = no_buffers;
    for (size_t i = 0; i < COUNT(shortages); i++) {
        shortage = shortages[i];
        assert_true(raw_send(raw, "hello") && raw_gets(raw, "hello"));
        assert_int_equal(shortage, 0);
    }
    rare_over();
    close(raw);
    looper_finish(looper);
}

static struct seen *_Atomic to_write;

static int queue_while_the_loop_writes(const struct rare *now)
{
    struct seen *seen = to_write;
    bool here = seen && now->call == RARE_send && !now->behind;
    if (here && now->fd == tcpmsg_conn_fd(seen->conn) && atomic_exchange(&to_write, NULL))
        assert_int_equal(tcpmsg_send(seen->conn, "late", 4, 0), 0);
    return 0;
}

static bool counts_both(void *looper)
{
    tcpmsg_stats stats;
    int r = tcpmsg_loop_stats(((struct looper *)looper)->loop, &stats, sizeof stats);
    return r == 0 && stats.messages_sent == 2 && stats.bytes_sent == 9;
}

/* It is taken along, and its own pass finds nothing left to write. */
static void what_is_queued_while_the_loop_writes_is_counted(void **state)
{
    (void)state;
    struct looper *looper = looper_serve(TCP, &echo, NULL, NULL);
    struct seen *seen;
    int raw = looper_guest(looper, &seen);
    to_write = seen;
    rarely = queue_while_the_loop_writes;
    assert_true(raw_send(raw, "hello") && raw_gets(raw, "hello") && raw_gets(raw, "late"));
    assert_true(eventually(counts_both, looper));
    rare_over();
    close(raw);
    looper_finish(looper);
}

static void send_much(struct seen *seen, const void *message, size_t length)
{
    static uint8_t much[4 * MIB];
    (void)message;
    (void)length;
    atomic_store(&seen->mark, 1 + tcpmsg_send(seen->conn, much, sizeof much, 0));
}

/* The poller has no memory for another wish: it is asked again a little later. */
static void a_wish_that_the_poller_refused_is_made_again(void **state)
{
    (void)state;
    const struct acts acts = {.on_open = small_output, .on_message = send_much};
    struct looper *looper = looper_serve(TCP, &acts, NULL, NULL);
    struct seen *seen;
    int raw = looper_guest_small(looper, &seen);
    rare_fails(RARE_epoll_ctl, EPOLL_CTL_MOD, ENOMEM, 0, 2);
    assert_true(raw_send(raw, "much"));
    struct reader reader = {0};
    reader_start(&reader, raw);
    assert_true(reaches(&seen->mark, 1));
    looper_settle(looper);
    assert_int_equal(tcpmsg_close(seen->conn), 0);
    reader_finish(&reader);
    rare_over();
    assert_int_equal(reader.end, 0);
    assert_int_equal(reader.got.count, 4 + 4 * MIB);
    wire_free(&reader.got);
    close(raw);
    looper_finish(looper);
}

static tcpmsg_conn *met;
static int read_answer;

static int abort_in_recv(const struct rare *now)
{
    if (now->call != RARE_recv || now->behind || now->fd != short_fd)
        return 0;
    tcpmsg_abort(met);
    return read_answer;
}

/* What the system says of the socket then is the abort's doing. */
static void an_abort_just_before_a_read_is_told_as_one(void **state)
{
    (void)state;
    static const int answers[] = {0, ECONNRESET};
    for (size_t i = 0; i < COUNT(answers); i++) {
        struct looper *looper = looper_serve(TCP, &echo, NULL, NULL);
        struct seen *seen;
        int raw = looper_guest(looper, &seen);
        met = seen->conn;
        short_fd = tcpmsg_conn_fd(met);
        read_answer = answers[i];
        rarely = abort_in_recv;
        assert_true(raw_send(raw, "hello"));
        assert_code(seen_end(seen), TCPMSG_ECANCELED);
        rare_over();
        close(raw);
        looper_finish(looper);
    }
}

static int no_write_and_no_memory(const struct rare *now)
{
    if (now->call == RARE_send)
        return ECONNRESET;
    return now->call == RARE_realloc ? ENOMEM : 0;
}

static int late_peer;

static int no_write_and_late_input(const struct rare *now)
{
    if (now->fd != short_fd || now->behind)
        return 0;
    if (now->call == RARE_send)
        return raw_send(late_peer, "last") ? ECONNRESET : EIO;
    return now->call == RARE_recv ? atomic_exchange(&shortage, 0) : 0;
}

/* The read that was to bring the last messages came a little too early for them. */
static void promise_3_what_comes_just_behind_the_last_read_is_not_lost(void **state)
{
    (void)state;
    struct looper *looper = looper_serve(TCP, NULL, NULL, NULL);
    struct seen *seen;
    late_peer = looper_guest(looper, &seen);
    short_fd = tcpmsg_conn_fd(seen->conn);
    shortage = EAGAIN;
    rarely = no_write_and_late_input;
    assert_int_equal(tcpmsg_send(seen->conn, "x", 1, 0), 0);
    assert_code(seen_end(seen), TCPMSG_ERESET);
    rare_over();
    assert_int_equal(atomic_load(&seen->messages), 1);
    close(late_peer);
    looper_finish(looper);
}

/* The sending ends while a large message comes in, and there is no memory for the rest of it. */
static void without_memory_the_last_message_of_all_is_lost(void **state)
{
    (void)state;
    static const uint8_t beginning[104] = {0, 16}; /* of 1 MiB */
    struct looper *looper = looper_serve(TCP, NULL, NULL, NULL);
    struct seen *seen;
    int raw = looper_guest(looper, &seen);
    assert_true(write_all(raw, beginning, sizeof beginning));
    looper_settle(looper);
    rarely = no_write_and_no_memory;
    assert_int_equal(tcpmsg_send(seen->conn, "x", 1, 0), 0);
    assert_code(seen_end(seen), TCPMSG_ERESET);
    rare_over();
    assert_int_equal(atomic_load(&seen->messages), 0);
    close(raw);
    looper_finish(looper);
}

static int under_way_unwatched(const struct rare *now)
{
    static atomic_int refused;
    if (now->call == RARE_epoll_ctl && !now->behind && now->what == EPOLL_CTL_ADD &&
        atomic_fetch_add(&refused, 1) == 0)
        return ENOMEM;
    return rare_under_way(now);
}

static void an_attempt_that_took_its_time_is_heard_of(void **state)
{
    (void)state;
    static int (*const ways[])(const struct rare *now) = {rare_under_way, under_way_unwatched};
    for (size_t i = 0; i < COUNT(ways); i++) {
        struct looper *looper = looper_open(NULL);
        char address[TCPMSG_ADDRESS_MAX];
        int listening = raw_listen(address, sizeof address);
        looper_start(looper);
        looper_settle(looper);
        rarely = ways[i];
        assert_int_equal(looper_dial(looper, address, NULL, &echo), 0);
        struct seen *seen = looper_seen(looper, 0);
        rare_over();
        int raw = raw_accept(listening);
        assert_true(raw_send(raw, "hello") && raw_gets(raw, "hello"));
        close(raw);
        assert_code(seen_end(seen), TCPMSG_EOF);
        close(listening);
        looper_finish(looper);
    }
}

enum { NAMESAKES = 12 };

static const struct addrinfo hints = {
    .ai_family = AF_INET, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST};

/* A name with many addresses: one look-up's answer behind another's. */
static int tell_many(const struct rare *now)
{
    struct addrinfo **found = now->filled, *last;
    if (now->call != RARE_getaddrinfo || !now->behind)
        return 0;
    for (last = *found; last->ai_next; last = last->ai_next)
        continue;
    for (int i = 1; i < NAMESAKES; i++, last = last->ai_next) {
        char port[8];
        snprintf(port, sizeof port, "%d",
                 ntohs(((struct sockaddr_in *)(void *)(*found)->ai_addr)->sin_port));
        if (getaddrinfo("127.0.0.1", port, &hints, &last->ai_next) != 0)
            return EAI_MEMORY;
    }
    return 0;
}

/* ... and the poller refuses one watch in five. */
static int tell_many_and_refuse(const struct rare *now)
{
    static atomic_int watches;
    if (now->call == RARE_epoll_ctl && !now->behind && now->what == EPOLL_CTL_ADD)
        return atomic_fetch_add(&watches, 1) % 5 == 0 ? ENOMEM : 0;
    return tell_many(now);
}

/* None of them answers. More attempts are under way than the loop watches; the limit ends all. */
static void more_attempts_than_are_watched(void **state)
{
    (void)state;
    struct looper *looper = looper_open(NULL);
    struct crowd crowd;
    char address[TCPMSG_ADDRESS_MAX], name[TCPMSG_ADDRESS_MAX];
    crowd_at_port(&crowd, address, sizeof address);
    snprintf(name, sizeof name, "localhost%s", strrchr(address, ':'));
    looper_start(looper);
    rarely = tell_many_and_refuse;
    assert_int_equal(looper_dial(looper, name, TCPMSG_OPTIONS(.connect_timeout_ms = 2600), NULL),
                     0);
    struct seen *seen = looper_seen(looper, 0);
    assert_code(seen_end(seen), TCPMSG_ETIMEDOUT);
    rare_over();
    crowd_leaves(&crowd);
    looper_finish(looper);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_system_without_a_poller_is_told),
        cmocka_unit_test(promise_12_a_loop_passes_over_the_dead),
        cmocka_unit_test(a_read_without_buffers_comes_again),
        cmocka_unit_test(what_is_queued_while_the_loop_writes_is_counted),
        cmocka_unit_test(a_wish_that_the_poller_refused_is_made_again),
        cmocka_unit_test(promise_3_what_comes_just_behind_the_last_read_is_not_lost),
        cmocka_unit_test(without_memory_the_last_message_of_all_is_lost),
        cmocka_unit_test(an_attempt_that_took_its_time_is_heard_of),
        cmocka_unit_test(more_attempts_than_are_watched),
        cmocka_unit_test(an_abort_just_before_a_read_is_told_as_one),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
