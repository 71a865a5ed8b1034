/* SPDX-License-Identifier: MIT */
/* Who is at the other end of a Unix socket. */
#define _GNU_SOURCE
#include "looper.h"
#include "reach.h"
#include "shortage.h"
#include "socket.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* In the child where we may become it: nobody's. */
enum { NOBODY = 65534 };

struct owner {
    uid_t uid;
    gid_t gid;
    pid_t pid;
};

static struct owner self(void)
{
    return (struct owner){getuid(), getgid(), getpid()};
}

static void expect_owner(const tcpmsg_conn *conn, const struct owner *wanted)
{
    struct owner got;
    assert_int_equal(tcpmsg_conn_credentials(conn, &got.uid, &got.gid, &got.pid), 0);
    assert_int_equal(got.uid, wanted->uid);
    assert_int_equal(got.gid, wanted->gid);
    assert_int_equal(got.pid, wanted->pid);
}

static void expect_no_owner(const tcpmsg_conn *conn, int error)
{
    struct owner got = {1, 2, 3};
    assert_int_equal(tcpmsg_conn_credentials(conn, &got.uid, &got.gid, &got.pid), error);
    assert_true(got.uid == 1 && got.gid == 2 && got.pid == 3);
}

static void both_ends_of_a_pair_are_ours(void **state)
{
    (void)state;
    const struct owner own = self();
    tcpmsg_conn *one, *other;
    pair_conns_unix(&one, &other, NULL);
    expect_owner(one, &own);
    expect_owner(other, &own);
    assert_int_equal(tcpmsg_close(one), 0);
    assert_int_equal(tcpmsg_close(other), 0);
}

static void any_of_the_three_may_be_left_out(void **state)
{
    (void)state;
    struct owner own = self(), got = {0};
    tcpmsg_conn *conn;
    int raw;
    pair_unix(&conn, &raw, NULL);
    assert_int_equal(tcpmsg_conn_credentials(conn, NULL, NULL, NULL), 0);
    assert_int_equal(tcpmsg_conn_credentials(conn, &got.uid, NULL, NULL), 0);
    assert_int_equal(tcpmsg_conn_credentials(conn, NULL, &got.gid, NULL), 0);
    assert_int_equal(tcpmsg_conn_credentials(conn, NULL, NULL, &got.pid), 0);
    assert_true(got.uid == own.uid && got.gid == own.gid && got.pid == own.pid);
    close(raw);
    tcpmsg_close(conn);
}

/* Of another user if we may: dials, and waits until it is looked at. */
static pid_t dial_from_a_child(const char *path)
{
    pid_t child = fork();
    if (child != 0)
        return child;
    alarm(WAIT_MS / 1000);
    char byte;
    int raw = -1;
    if (getuid() != 0 || (setgid(NOBODY) == 0 && setuid(NOBODY) == 0))
        raw = raw_dial_unix(path);
    _exit(raw >= 0 && read(raw, &byte, 1) == 0 ? 0 : 1);
}

static void who_dials_is_known_to_who_accepts(void **state)
{
    (void)state;
    char folder[PATH_ROOM], path[PATH_ROOM + 16], address[PATH_ROOM + 32];
    make_temp_dir(folder);
    assert_int_equal(chmod(folder, 0755), 0);
    snprintf(path, sizeof path, "%s/socket", folder);
    snprintf(address, sizeof address, "unix:%s", path);
    tcpmsg_listener *listener = listen_at(address);
    assert_int_equal(chmod(path, 0777), 0);
    struct owner wanted = self();
    wanted.pid = dial_from_a_child(path);
    assert_true(wanted.pid > 0);
    if (wanted.uid == 0)
        wanted.uid = wanted.gid = NOBODY;
    tcpmsg_conn *conn = accept_one(listener);
    expect_owner(conn, &wanted);
    tcpmsg_close(conn);
    int status;
    assert_int_equal(waitpid(wanted.pid, &status, 0), wanted.pid);
    assert_int_equal(status, 0);
    tcpmsg_listener_close(listener);
    remove_temp_dir(folder);
}

static void who_listens_is_known_to_who_dials(void **state)
{
    (void)state;
    char folder[PATH_ROOM], address[PATH_ROOM + 32];
    const struct owner own = self();
    make_temp_dir(folder);
    snprintf(address, sizeof address, "unix:%s/socket", folder);
    tcpmsg_listener *listener = listen_at(address);
    tcpmsg_conn *conn = dial_to(address);
    expect_owner(conn, &own);
    tcpmsg_close(conn);
    tcpmsg_listener_close(listener);
    remove_temp_dir(folder);
}

static void over_TCP_nobody_knows(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    pair(&conn, &raw, NULL);
    expect_no_owner(conn, TCPMSG_EINVAL);
    expect_no_owner(NULL, TCPMSG_EINVAL);
    close(raw);
    tcpmsg_close(conn);
}

static void of_an_aborted_connection_nothing_is_asked(void **state)
{
    (void)state;
    tcpmsg_conn *conn;
    int raw;
    pair_unix(&conn, &raw, NULL);
    tcpmsg_abort(conn);
    expect_no_owner(conn, TCPMSG_ECANCELED);
    close(raw);
    tcpmsg_close(conn);
}

/* A socket of another kind, and one that the system knows nothing of. */
static void where_nobody_is_known_nobody_is_told(void **state)
{
    (void)state;
    tm_credentials peer;
    tcpmsg_conn *conn;
    int raw;
    pair(&conn, &raw, NULL);
    assert_int_equal(tm_socket_credentials(raw, &peer), -EOPNOTSUPP);
    assert_int_equal(tm_socket_credentials(-1, &peer), -EBADF);
    close(raw);
    tcpmsg_close(conn);
    pair_unix(&conn, &raw, NULL);
    call_fails(CALL_getsockopt, ENOPROTOOPT, 1);
    expect_no_owner(conn, TCPMSG_EINVAL);
    assert_int_equal(calls_failed(), 1);
    close(raw);
    tcpmsg_close(conn);
}

static void note_owner(struct seen *seen)
{
    pid_t pid = 0;
    if (tcpmsg_conn_credentials(seen->conn, NULL, NULL, &pid) == 0 && pid == getpid())
        atomic_store(&seen->mark, 1);
}

static void a_loop_may_ask_in_on_open(void **state)
{
    (void)state;
    static const struct acts acts = {.on_open = note_owner, .on_message = NULL};
    struct looper *looper = looper_serve(UNIX, &acts, NULL, NULL);
    tcpmsg_conn *conn = dial_to(looper->address);
    struct seen *seen = looper_seen(looper, 0);
    assert_true(reaches(&seen->mark, 1));
    tcpmsg_close(conn);
    looper_finish(looper);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ends_of_a_pair_are_ours),
        cmocka_unit_test(any_of_the_three_may_be_left_out),
        cmocka_unit_test(who_dials_is_known_to_who_accepts),
        cmocka_unit_test(who_listens_is_known_to_who_dials),
        cmocka_unit_test(over_TCP_nobody_knows),
        cmocka_unit_test(of_an_aborted_connection_nothing_is_asked),
        cmocka_unit_test(where_nobody_is_known_nobody_is_told),
        cmocka_unit_test(a_loop_may_ask_in_on_open),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
