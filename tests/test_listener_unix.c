/* SPDX-License-Identifier: MIT */
/* The file of a Unix listener: made, replaced when its server is dead, removed while it is ours. */
#define _POSIX_C_SOURCE 200809L
#include "crowd.h"
#include "reach.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define RIVALS 4
#define ROUNDS 300

/* A place in a new folder, as a path and as an address. */
struct place {
    char dir[PATH_ROOM];
    char path[PATH_ROOM + 16];
    char address[PATH_ROOM + 32];
};

static int make_place(void **state)
{
    struct place *place = malloc(sizeof *place);
    assert_non_null(place);
    make_temp_dir(place->dir);
    snprintf(place->path, sizeof place->path, "%s/socket", place->dir);
    snprintf(place->address, sizeof place->address, "unix:%s", place->path);
    *state = place;
    return 0;
}

static int leave_place(void **state)
{
    struct place *place = *state;
    remove_temp_dir(place->dir);
    free(place);
    return 0;
}

static bool exists(const char *path)
{
    struct stat found;
    return lstat(path, &found) == 0;
}

static bool is_socket(const char *path)
{
    struct stat found;
    return lstat(path, &found) == 0 && S_ISSOCK(found.st_mode);
}

static void make_file(const char *path)
{
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "precious", 8), 8);
    close(fd);
}

static void expect_file_intact(const char *path)
{
    char text[16] = "";
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(read(fd, text, sizeof text), 8);
    assert_string_equal(text, "precious");
    close(fd);
}

static void expect_in_use(const char *address)
{
    char why[256] = "";
    tcpmsg_listener *listener = NO_LISTENER;
    int before = count_descriptors();
    assert_int_equal(
        tcpmsg_listen(&listener, address, TCPMSG_OPTIONS(.why = why, .why_size = sizeof why)),
        TCPMSG_EINUSE);
    assert_ptr_equal(listener, NO_LISTENER);
    assert_non_null(strstr(why, address));
    assert_int_equal(count_descriptors(), before);
}

static void the_file_is_removed_at_close(void **state)
{
    const struct place *place = *state;
    for (int i = 0; i < 2; i++) {
        tcpmsg_listener *listener = listen_at(place->address);
        assert_true(is_socket(place->path));
        expect_reachable(listener, place->address);
        tcpmsg_listener_close(listener);
        assert_false(exists(place->path));
    }
}

static void abort_leaves_the_file_to_close(void **state)
{
    const struct place *place = *state;
    tcpmsg_listener *listener = listen_at(place->address);
    tcpmsg_listener_abort(listener);
    assert_true(is_socket(place->path));
    tcpmsg_listener_close(listener);
    assert_false(exists(place->path));
}

static void a_dead_servers_file_is_replaced(void **state)
{
    const struct place *place = *state;
    int dead = raw_bind_unix(place->path, SOCK_STREAM);
    assert_int_equal(listen(dead, 1), 0);
    close(dead);
    assert_true(is_socket(place->path));
    tcpmsg_listener *listener = listen_at(place->address);
    expect_reachable(listener, place->address);
    tcpmsg_listener_close(listener);
    assert_false(exists(place->path));
}

static void a_live_servers_file_is_EINUSE_and_stays(void **state)
{
    const struct place *place = *state;
    tcpmsg_listener *listener = listen_at(place->address);
    expect_in_use(place->address);
    tcpmsg_conn *dialled = dial_to(place->address);
    for (bool found = false; !found;) { /* what looked whether the server lives may come first */
        char hello[8];
        tcpmsg_conn *accepted = accept_one(listener);
        assert_int_equal(tcpmsg_send(dialled, "hello", 5, 0), 0);
        found = tcpmsg_recv(accepted, hello, sizeof hello, 0) == 5;
        tcpmsg_close(accepted);
    }
    tcpmsg_close(dialled);
    tcpmsg_listener_close(listener);
}

static void a_live_server_with_a_full_queue_is_EINUSE(void **state)
{
    const struct place *place = *state;
    struct crowd crowd;
    crowd_at_path(&crowd, place->path);
    expect_in_use(place->address);
    assert_true(is_socket(place->path));
    crowd_leaves(&crowd);
}

static void a_live_server_of_datagrams_is_EINUSE(void **state)
{
    const struct place *place = *state;
    int datagrams = raw_bind_unix(place->path, SOCK_DGRAM);
    expect_in_use(place->address);
    assert_true(is_socket(place->path));
    close(datagrams);
}

static void a_file_that_is_no_socket_is_EINUSE_and_stays(void **state)
{
    const struct place *place = *state;
    make_file(place->path);
    expect_in_use(place->address);
    expect_file_intact(place->path);
}

static void a_link_or_a_folder_is_EINUSE_and_stays(void **state)
{
    const struct place *place = *state;
    assert_int_equal(symlink("nowhere", place->path), 0);
    expect_in_use(place->address);
    assert_true(exists(place->path));
    unlink(place->path);

    assert_int_equal(mkdir(place->path, 0700), 0);
    expect_in_use(place->address);
    assert_true(exists(place->path));
    rmdir(place->path);
}

static void promise_9_a_file_that_replaced_ours_stays_at_close(void **state)
{
    const struct place *place = *state;
    tcpmsg_listener *listener = listen_at(place->address);
    assert_int_equal(unlink(place->path), 0);
    make_file(place->path);
    tcpmsg_listener_close(listener);
    expect_file_intact(place->path);
}

static void promise_9_a_server_that_replaced_ours_stays_at_close(void **state)
{
    const struct place *place = *state;
    tcpmsg_listener *first = listen_at(place->address);
    assert_int_equal(unlink(place->path), 0);
    tcpmsg_listener *second = listen_at(place->address);
    tcpmsg_listener_close(first);
    assert_true(is_socket(place->path));
    expect_reachable(second, place->address);
    tcpmsg_listener_close(second);
    assert_false(exists(place->path));
}

static void promise_9_a_file_that_is_gone_already_is_fine(void **state)
{
    const struct place *place = *state;
    tcpmsg_listener *listener = listen_at(place->address);
    assert_int_equal(unlink(place->path), 0);
    tcpmsg_listener_close(listener);
    assert_false(exists(place->path));
}

static int close_in_child(void *listener)
{
    tcpmsg_listener_close(listener);
    return 0;
}

static void promise_9_a_childs_close_leaves_the_file_and_the_server(void **state)
{
    const struct place *place = *state;
    tcpmsg_conn *conn;
    tcpmsg_listener *listener = listen_at(place->address);
    assert_int_equal(in_child(close_in_child, listener), 0);
    assert_true(is_socket(place->path));
    assert_int_equal(tcpmsg_accept(listener, &conn, TCPMSG_DONTWAIT), TCPMSG_EAGAIN);
    expect_reachable(listener, place->address);
    tcpmsg_listener_close(listener);
    assert_false(exists(place->path));
}

static int listen_without_permission(void *address)
{
    tcpmsg_listener *listener;
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
        return 77;
    return -tcpmsg_listen(&listener, address, NULL);
}

static void a_folder_that_may_not_be_written_is_EACCESS(void **state)
{
    struct place *place = *state;
    assert_int_equal(chmod(place->dir, 0500), 0);
    int result = in_child(listen_without_permission, place->address);
    assert_true(result == -TCPMSG_EACCESS || result == 77);
    assert_int_equal(chmod(place->dir, 0700), 0);
    assert_false(exists(place->path));
}

static void a_folder_that_is_not_there_is_an_error(void **state)
{
    const struct place *place = *state;
    char address[sizeof place->address + 16];
    tcpmsg_listener *listener = NO_LISTENER;
    snprintf(address, sizeof address, "%s/no-such-dir/s", place->address);
    assert_true(tcpmsg_listen(&listener, address, NULL) < 0);
    assert_ptr_equal(listener, NO_LISTENER);
}

static void an_abstract_name_that_is_taken_is_EINUSE(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    snprintf(address, sizeof address, "unix:@tcpmsg-test-twice-%ld", (long)getpid());
    tcpmsg_listener *listener = listen_at(address);
    expect_in_use(address);
    expect_reachable(listener, address);
    tcpmsg_listener_close(listener);
}

struct rival {
    const char *address;
    pthread_barrier_t *start;
    tcpmsg_listener *listener;
    int error;
};

static void *listen_at_once(void *arg)
{
    struct rival *rival = arg;
    pthread_barrier_wait(rival->start);
    rival->error = tcpmsg_listen(&rival->listener, rival->address, NULL);
    return NULL;
}

/* Several servers want one place at once: one of them gets it, the others are told. */
static void expect_one_winner(const struct place *place)
{
    pthread_t threads[RIVALS];
    pthread_barrier_t barrier;
    struct rival rivals[RIVALS];
    int winners = 0;
    assert_int_equal(pthread_barrier_init(&barrier, NULL, RIVALS), 0);
    for (int i = 0; i < RIVALS; i++) {
        rivals[i] = (struct rival){.address = place->address, .start = &barrier};
        assert_int_equal(pthread_create(&threads[i], NULL, listen_at_once, &rivals[i]), 0);
    }
    for (int i = 0; i < RIVALS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    pthread_barrier_destroy(&barrier);
    for (int i = 0; i < RIVALS; i++) {
        assert_true(rivals[i].error == 0 || rivals[i].error == TCPMSG_EINUSE);
        winners += rivals[i].error == 0;
        tcpmsg_listener_close(rivals[i].listener);
    }
    assert_int_equal(winners, 1);
    assert_false(exists(place->path));
}

static void one_of_many_servers_gets_a_new_place(void **state)
{
    for (int i = 0; i < ROUNDS; i++)
        expect_one_winner(*state);
}

static void one_of_many_servers_gets_a_dead_ones_place(void **state)
{
    const struct place *place = *state;
    for (int i = 0; i < ROUNDS; i++) {
        close(raw_bind_unix(place->path, SOCK_STREAM));
        expect_one_winner(place);
    }
}

#define AT_A_PLACE(test) cmocka_unit_test_setup_teardown(test, make_place, leave_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        AT_A_PLACE(the_file_is_removed_at_close),
        AT_A_PLACE(abort_leaves_the_file_to_close),
        AT_A_PLACE(a_dead_servers_file_is_replaced),
        AT_A_PLACE(a_live_servers_file_is_EINUSE_and_stays),
        AT_A_PLACE(a_live_server_with_a_full_queue_is_EINUSE),
        AT_A_PLACE(a_live_server_of_datagrams_is_EINUSE),
        AT_A_PLACE(a_file_that_is_no_socket_is_EINUSE_and_stays),
        AT_A_PLACE(a_link_or_a_folder_is_EINUSE_and_stays),
        AT_A_PLACE(promise_9_a_file_that_replaced_ours_stays_at_close),
        AT_A_PLACE(promise_9_a_server_that_replaced_ours_stays_at_close),
        AT_A_PLACE(promise_9_a_file_that_is_gone_already_is_fine),
        AT_A_PLACE(promise_9_a_childs_close_leaves_the_file_and_the_server),
        AT_A_PLACE(a_folder_that_may_not_be_written_is_EACCESS),
        AT_A_PLACE(a_folder_that_is_not_there_is_an_error),
        AT_A_PLACE(an_abstract_name_that_is_taken_is_EINUSE),
        AT_A_PLACE(one_of_many_servers_gets_a_new_place),
        AT_A_PLACE(one_of_many_servers_gets_a_dead_ones_place),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
