/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "child.h"

#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* What a child that stands still owes is never too much. */
#define HIGH_WATER (1024 * MIB)

static void send_back(tcpmsg_conn *conn, const void *message, size_t length, void *loop)
{
    if (tcpmsg_send(conn, message, length, 0) != 0)
        tcpmsg_loop_stop(loop);
}

/* Nothing is asserted here: it would be the parent's tests that go on. */
static bool open_server(tcpmsg_loop **loop, char address[TCPMSG_ADDRESS_MAX])
{
    tcpmsg_listener *listener;
    net_go(THERE);
    return tcpmsg_listen(&listener, address, NULL) == 0 &&
           tcpmsg_listener_address(listener, address, TCPMSG_ADDRESS_MAX) == 0 &&
           tcpmsg_loop_open(loop, TCPMSG_LOOP_OPTIONS(.high_water = HIGH_WATER)) == 0 &&
           tcpmsg_loop_listen(*loop, listener, TCPMSG_CALLBACKS(.on_message = send_back), *loop) ==
               0;
}

/* Until it is killed; with its parent it ends, even while it stands still. */
static int serve(struct child *child, pid_t parent, int answer)
{
    tcpmsg_loop *loop;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent ||
        !open_server(&loop, child->address) ||
        write(answer, child->address, sizeof child->address) != sizeof child->address)
        return 1;
    close(answer);
    return tcpmsg_loop_run(loop) == 0 ? 0 : 1;
}

void child_start(struct child *child, const char *address)
{
    int ends[2];
    pid_t parent = getpid();
    memset(child->address, 0, sizeof child->address);
    memcpy(child->address, address, strlen(address));
    assert_int_equal(pipe(ends), 0);
    child->pid = fork();
    assert_true(child->pid >= 0);
    if (child->pid == 0)
        _exit(serve(child, parent, ends[1]));
    close(ends[1]);
    ssize_t got = read(ends[0], child->address, sizeof child->address);
    close(ends[0]);
    if (got != sizeof child->address)
        fail_msg("no server at %s", address);
}

void child_stop(const struct child *child)
{
    int status;
    assert_int_equal(kill(child->pid, SIGSTOP), 0);
    assert_int_equal(waitpid(child->pid, &status, WUNTRACED), child->pid);
    assert_true(WIFSTOPPED(status));
}

void child_go_on(const struct child *child)
{
    assert_int_equal(kill(child->pid, SIGCONT), 0);
}

void child_end(const struct child *child)
{
    assert_int_equal(kill(child->pid, SIGKILL), 0);
    assert_int_equal(waitpid(child->pid, NULL, 0), child->pid);
}
