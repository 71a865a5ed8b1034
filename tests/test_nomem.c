/* SPDX-License-Identifier: MIT */
/* No memory: the n-th allocation fails, for every n, once and for good. What a call answers with
 * TCPMSG_ENOMEM has not happened, and everything else goes on. Linked with ld's --wrap for
 * malloc, calloc, realloc and strdup. */
#define _GNU_SOURCE
#include "peer.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
char *__real_strdup(const char *text);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
char *__wrap_strdup(const char *text);

static struct {
    bool armed;    /* only the library's own allocations fail */
    bool for_good; /* all that come after the n-th too */
    int left;      /* how many still succeed */
    int failed;
} memory;

static bool fails(void)
{
    if (!memory.armed || memory.left-- > 0 || (memory.failed > 0 && !memory.for_good))
        return false;
    memory.failed++;
    return true;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return fails() ? NULL : __real_realloc(old, size);
}

char *__wrap_strdup(const char *text)
{
    return fails() ? NULL : __real_strdup(text);
}

/* One call under the faults; after a failure that is not for good the same call works. */
#define CALL(result, call)                                                                         \
    do {                                                                                           \
        memory.armed = true;                                                                       \
        (result) = (call);                                                                         \
        memory.armed = false;                                                                      \
    } while ((result) == TCPMSG_ENOMEM && !memory.for_good)

enum { GIANT = 600000 };

static uint8_t giant[GIANT], got_giant[GIANT];
static struct wire accepted, seen;

static void expect_done(ssize_t result, ssize_t wanted)
{
    if (result != wanted && !(memory.for_good && result == TCPMSG_ENOMEM))
        fail_msg("%zd, not %zd", result, wanted);
}

static void say(tcpmsg_conn *conn, size_t length, int flags)
{
    int result;
    fill(giant, length, (uint32_t)length);
    CALL(result, tcpmsg_send(conn, giant, length, flags));
    expect_done(result, 0);
    if (result == 0)
        wire_add_message(&accepted, NULL, giant, length);
    memset(giant, 0, length);
}

static void say_parts(tcpmsg_conn *conn)
{
    int result;
    struct iovec parts[200];
    fill(giant, COUNT(parts), 200);
    for (size_t i = 0; i < COUNT(parts); i++)
        parts[i] = (struct iovec){giant + i, 1};
    CALL(result, tcpmsg_sendv(conn, parts, COUNT(parts), 0));
    expect_done(result, 0);
    if (result == 0)
        wire_add_message(&accepted, NULL, giant, COUNT(parts));
}

/* What fits is out, what does not waits in memory that was had before; then the peer reads. */
static void speak(tcpmsg_conn *conn, int raw)
{
    int result;
    say(conn, 10, TCPMSG_MORE);
    say(conn, 3000, TCPMSG_MORE);
    say(conn, 20000, 0);
    say_parts(conn);
    say(conn, 60000, TCPMSG_MORE);
    say(conn, GIANT, TCPMSG_DONTWAIT);
    for (int i = 0; i < 20; i++) {
        raw_take(raw, &seen, GIANT);
        CALL(result, tcpmsg_flush(conn, TCPMSG_DONTWAIT));
        assert_true(result == 0 || result == TCPMSG_EAGAIN ||
                    (memory.for_good && result == TCPMSG_ENOMEM));
    }
    raw_take(raw, &seen, GIANT);
}

static const size_t heard[] = {5, 40000, 0, 300000, 70000, 12};

/* A receive that fails for want of memory loses nothing: the next one has the message. */
static void listen_to(tcpmsg_conn *conn, int raw)
{
    struct wire wire = {0};
    size_t at = 0;
    for (uint32_t i = 0; i < COUNT(heard); i++)
        wire_add_filled(&wire, NULL, heard[i], i);
    for (uint32_t next = 0; next < COUNT(heard);) {
        const void *message = got_giant;
        ssize_t sent = send(raw, wire.bytes + at, wire.count - at, MSG_DONTWAIT | MSG_NOSIGNAL);
        ssize_t result;
        at += sent > 0 ? (size_t)sent : 0;
        if (next % 2)
            CALL(result, tcpmsg_recv(conn, got_giant, GIANT, TCPMSG_DONTWAIT));
        else
            CALL(result, tcpmsg_recv_view(conn, &message, TCPMSG_DONTWAIT));
        if (result == TCPMSG_ENOMEM)
            memory.left = 1000000; /* it is over: there is memory again */
        if (result == TCPMSG_EAGAIN || result == TCPMSG_ENOMEM)
            continue;
        assert_int_equal(result, heard[next]);
        assert_true(is_filled(message, (size_t)result, next));
        next++;
    }
    wire_free(&wire);
}

/* Whatever has failed: what was accepted arrives, whole, and nothing else does. */
static void converse(int ends[2])
{
    tcpmsg_conn *conn = NULL;
    int result;
    char byte;
    CALL(result, tcpmsg_attach(&conn, ends[0], NULL));
    expect_done(result, 0);
    if (result != 0) {
        assert_null(conn);
        assert_true(fcntl(ends[0], F_GETFD) >= 0);
        close(ends[0]);
        return;
    }
    speak(conn, ends[1]);
    listen_to(conn, ends[1]);
    shutdown(ends[1], SHUT_WR);
    ssize_t end;
    CALL(end, tcpmsg_recv(conn, &byte, 1, 0));
    expect_done(end, TCPMSG_EOF);
    assert_string_not_equal(tcpmsg_conn_why(conn), "");
    CALL(result, tcpmsg_close(conn));
    assert_int_equal(result, 0);
    raw_take(ends[1], &seen, GIANT);
    assert_true(wire_equal(&seen, &accepted));
}

/* True when this conversation met a failure: the next one goes on further. */
static bool converse_with(int successes, bool for_good)
{
    int ends[2], before = open_descriptors();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    memory.left = successes;
    memory.failed = 0;
    memory.for_good = for_good;
    converse(ends);
    close(ends[1]);
    wire_free(&accepted);
    wire_free(&seen);
    assert_int_equal(open_descriptors(), before);
    return memory.failed > 0;
}

static void promise_1_no_memory_once(void **state)
{
    (void)state;
    int successes = 0;
    while (converse_with(successes, false))
        successes++;
    print_message("%d allocations\n", successes);
    assert_true(successes > 3);
}

static void promise_1_no_memory_for_good(void **state)
{
    (void)state;
    int successes = 0;
    while (converse_with(successes, true))
        successes++;
    assert_true(successes > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promise_1_no_memory_once),
        cmocka_unit_test(promise_1_no_memory_for_good),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
