/* SPDX-License-Identifier: MIT */
/* Programs of other releases: a struct of theirs is shorter than ours, or longer. What ours does
 * with sizes that no release has is in test_options.c and test_loop_options.c. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include "looper.h"
#include "reach.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define POISON 0x80 /* as an int or a pointer: refused, or a crash */
#define UP_TO(type, field) (offsetof(type, field) + sizeof(((type *)0)->field))
#define AFTER 256 /* bytes by which the structs of later releases are longer, at most */

/* Two pages, of which nothing can be read or written behind the first. */
struct room {
    char *start;
    size_t page;
};

static void make_room(struct room *room)
{
    room->page = (size_t)sysconf(_SC_PAGESIZE);
    room->start =
        mmap(NULL, 2 * room->page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(room->start != MAP_FAILED);
    assert_int_equal(mprotect(room->start + room->page, room->page, PROT_NONE), 0);
}

static void leave_room(struct room *room)
{
    munmap(room->start, 2 * room->page);
}

/* `count` bytes of zero at the page's very end. */
static void *at_the_end(struct room *room, size_t count)
{
    char *start = room->start + room->page - count;
    memset(start, 0, count);
    return start;
}

/* A struct that says it has `size` bytes, and has `room_for` of them before the page ends. */
static void *led_by(struct room *room, size_t size, size_t room_for)
{
    void *given = at_the_end(room, room_for);
    memcpy(given, &size, sizeof size);
    return given;
}

static int attach_with(const void *options)
{
    int ends[2];
    tcpmsg_conn *conn = NO_CONN;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    int result = tcpmsg_attach(&conn, ends[0], options);
    if (result == 0)
        tcpmsg_close(conn);
    else
        close(ends[0]);
    close(ends[1]);
    return result;
}

static int open_with(const void *options)
{
    tcpmsg_loop *loop = NULL;
    int result = tcpmsg_loop_open(&loop, options);
    tcpmsg_loop_close(loop);
    return result;
}

static int listen_with(const void *callbacks)
{
    char address[TCPMSG_ADDRESS_MAX];
    tcpmsg_loop *loop;
    tcpmsg_listener *listener = listen_at_a_free_port(address);
    assert_int_equal(tcpmsg_loop_open(&loop, NULL), 0);
    int result = tcpmsg_loop_listen(loop, listener, callbacks, NULL);
    if (result != 0)
        tcpmsg_listener_close(listener);
    tcpmsg_loop_close(loop);
    return result;
}

/* The structs that say their own size. `first` is up to the last field of the first release. */
static const struct led {
    size_t first;
    size_t size;
    int (*give)(const void *given);
} structs[] = {
    {UP_TO(tcpmsg_options, log_arg), sizeof(tcpmsg_options), attach_with},
    {UP_TO(tcpmsg_loop_options, poller), sizeof(tcpmsg_loop_options), open_with},
    {UP_TO(tcpmsg_callbacks, on_close), sizeof(tcpmsg_callbacks), listen_with},
};

static void an_older_callers_struct_is_read_up_to_its_end(void **state)
{
    (void)state;
    struct room room;
    make_room(&room);
    for (size_t i = 0; i < COUNT(structs); i++)
        for (size_t size = sizeof size; size <= structs[i].size; size += sizeof size)
            assert_int_equal(structs[i].give(led_by(&room, size, size)), 0);
    leave_room(&room);
}

static void size_zero_is_read_up_to_the_end_of_the_first_releases(void **state)
{
    (void)state;
    struct room room;
    make_room(&room);
    for (size_t i = 0; i < COUNT(structs); i++)
        assert_int_equal(structs[i].give(led_by(&room, 0, structs[i].first)), 0);
    leave_room(&room);
}

static void a_newer_callers_struct_is_taken_while_what_we_dont_know_is_zero(void **state)
{
    (void)state;
    struct room room;
    make_room(&room);
    for (size_t i = 0; i < COUNT(structs); i++) {
        for (size_t more = sizeof more; more <= AFTER; more += sizeof more) {
            size_t size = structs[i].size + more;
            unsigned char *given = led_by(&room, size, size);
            assert_int_equal(structs[i].give(given), 0);
            given[structs[i].size] = 1;
            assert_code(structs[i].give(given), TCPMSG_EINVAL);
            given[structs[i].size] = 0;
            given[size - 1] = 1;
            assert_code(structs[i].give(given), TCPMSG_EINVAL);
        }
    }
    leave_room(&room);
}

/* Its program knew nothing behind max_message; what is there is something else of its own. */
static void of_older_options_what_they_have_counts_and_no_more(void **state)
{
    (void)state;
    tcpmsg_options options;
    tcpmsg_conn *conn;
    int raw;
    memset(&options, POISON, sizeof options);
    options.size = UP_TO(tcpmsg_options, max_message);
    options.max_message = 9;
    pair_unix(&conn, &raw, &options);
    assert_int_equal(tcpmsg_send(conn, "123456789", 9, 0), 0);
    assert_code(tcpmsg_send(conn, "123456789A", 10, 0), TCPMSG_EMSGSIZE);
    tcpmsg_close(conn);
    close(raw);
}

static void of_older_loop_options_what_they_have_counts_and_no_more(void **state)
{
    (void)state;
    tcpmsg_loop_options options;
    memset(&options, POISON, sizeof options);
    options.size = sizeof options;
    assert_code(open_with(&options), TCPMSG_EINVAL);
    options.size = UP_TO(tcpmsg_loop_options, max_conns);
    options.threads = 2;
    options.max_conns = 1;
    assert_int_equal(open_with(&options), 0);
    options.max_conns = -2;
    assert_code(open_with(&options), TCPMSG_EINVAL);
}

static void send_back(tcpmsg_conn *conn, const void *message, size_t length, void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
    (void)!tcpmsg_send(conn, message, length, 0);
}

/* It has an end, too, of which on_close would tell. */
static void of_older_callbacks_what_they_have_is_called_and_no_more(void **state)
{
    (void)state;
    atomic_int called = 0;
    char text[8];
    tcpmsg_conn *conn, *other;
    tcpmsg_callbacks calls;
    memset(&calls, POISON, sizeof calls);
    calls.size = UP_TO(tcpmsg_callbacks, on_message);
    calls.on_open = NULL;
    calls.on_message = send_back;
    struct looper *looper = looper_open(NULL);
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    assert_int_equal(tcpmsg_attach(&conn, ends[0], NULL), 0);
    assert_int_equal(tcpmsg_attach(&other, ends[1], NULL), 0);
    assert_int_equal(tcpmsg_loop_add(looper->loop, conn, &calls, &called), 0);
    looper_start(looper);
    assert_int_equal(tcpmsg_send(other, "hello", 5, 0), 0);
    assert_int_equal(tcpmsg_recv(other, text, sizeof text, 0), 5);
    assert_int_equal(tcpmsg_shutdown(other), 0);
    assert_code(tcpmsg_recv(other, text, sizeof text, 0), TCPMSG_EOF);
    tcpmsg_close(other);
    looper_finish(looper);
    assert_int_equal(atomic_load(&called), 1);
}

/* test_conn.c has what is in it. */
static void info_is_written_up_to_the_callers_end_and_all_of_that(void **state)
{
    (void)state;
    struct room room;
    tcpmsg_conn *conn;
    int raw;
    make_room(&room);
    pair_unix(&conn, &raw, NULL);
    for (size_t size = 8; size <= sizeof(tcpmsg_info) + AFTER; size += 8) {
        unsigned char *info = at_the_end(&room, size);
        memset(room.start, POISON, room.page);
        assert_int_equal(tcpmsg_conn_info(conn, (tcpmsg_info *)(void *)info, size), 0);
        assert_int_equal(info[-1], POISON);
        for (size_t at = sizeof(tcpmsg_info); at < size; at++)
            assert_int_equal(info[at], 0);
    }
    tcpmsg_close(conn);
    close(raw);
    leave_room(&room);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_older_callers_struct_is_read_up_to_its_end),
        cmocka_unit_test(size_zero_is_read_up_to_the_end_of_the_first_releases),
        cmocka_unit_test(a_newer_callers_struct_is_taken_while_what_we_dont_know_is_zero),
        cmocka_unit_test(of_older_options_what_they_have_counts_and_no_more),
        cmocka_unit_test(of_older_loop_options_what_they_have_counts_and_no_more),
        cmocka_unit_test(of_older_callbacks_what_they_have_is_called_and_no_more),
        cmocka_unit_test(info_is_written_up_to_the_callers_end_and_all_of_that),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
