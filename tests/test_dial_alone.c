/* SPDX-License-Identifier: MIT */
/*
 * Dials that meet themselves. The system picks a free port for the dialling side; when it picks
 * the very port that is dialled, TCP connects the socket with itself (RFC 9293 section 3.5).
 */
#define _GNU_SOURCE /* unshare */
#include "reach.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define CANT_RUN 77

/* How often dial may meet itself among a machine's thousands of ports; by luck it does. */
#define MANY 3000

/* In a world of four ports it can't miss. */
#define PORTS "40000 40003"
#define DIALLED "127.0.0.1:40002"
#define PORTS_TIMES_MANY 200

static void reset(int fd)
{
    const struct linger now = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
}

/* A port that connect(2) has just picked, and may pick again: nobody listens there. */
static void port_for_dialling(char *address, size_t size)
{
    char listening_address[TCPMSG_ADDRESS_MAX];
    struct sockaddr_in local;
    socklen_t length = sizeof local;
    int listening = raw_listen(listening_address, sizeof listening_address);
    int fd = raw_dial(listening_address);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&local, &length), 0);
    snprintf(address, size, "127.0.0.1:%d", ntohs(local.sin_port));
    reset(fd);
    close(listening);
}

/* Somebody else may have taken the port meanwhile: then, and only then, it is no meeting. */
static bool meets_itself(tcpmsg_conn *conn)
{
    char local[TCPMSG_ADDRESS_MAX], peer[TCPMSG_ADDRESS_MAX];
    return tcpmsg_conn_local(conn, local, sizeof local) != 0 ||
           tcpmsg_conn_peer(conn, peer, sizeof peer) != 0 || strcmp(local, peer) == 0;
}

static void promise_11_no_dial_connects_to_itself(void **state)
{
    (void)state;
    char address[TCPMSG_ADDRESS_MAX];
    port_for_dialling(address, sizeof address);
    int before = count_descriptors();
    for (int i = 0; i < MANY; i++) {
        tcpmsg_conn *conn = NO_CONN;
        int error = tcpmsg_dial(&conn, address, NULL);
        if (error == 0) {
            assert_false(meets_itself(conn));
            tcpmsg_close(conn);
            break;
        }
        assert_int_equal(error, TCPMSG_EREFUSED);
        assert_ptr_equal(conn, NO_CONN);
    }
    assert_int_equal(count_descriptors(), before);
}

static bool write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);
    bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return done;
}

/* A network of this process alone: the loopback and nothing else. */
static bool enter_small_world(void)
{
#ifdef CLONE_NEWNET
    struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
        return false;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    bool up = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &loopback) == 0;
    close(fd);
    return up && write_file("/proc/sys/net/ipv4/ip_local_port_range", PORTS);
#else
    return false;
#endif
}

/* Whether a bare connect meets itself here, so that the test shows something. */
static bool bare_connect_meets_itself(void)
{
    for (int i = 0; i < PORTS_TIMES_MANY; i++) {
        int fd = raw_dial(DIALLED);
        if (fd >= 0) {
            reset(fd);
            return true;
        }
    }
    return false;
}

static int dial_in_small_world(void *unused)
{
    (void)unused;
    if (!enter_small_world() || !bare_connect_meets_itself())
        return CANT_RUN;
    for (int i = 0; i < PORTS_TIMES_MANY; i++) {
        tcpmsg_conn *conn = NO_CONN;
        int error = tcpmsg_dial(&conn, DIALLED, NULL);
        if (error != TCPMSG_EREFUSED || conn != NO_CONN)
            return error < 0 ? -error : 1;
    }
    return 0;
}

static void promise_11_a_connection_to_itself_is_EREFUSED(void **state)
{
    (void)state;
    int result = in_child(dial_in_small_world, NULL);
    if (result == CANT_RUN)
        print_message("needs a network namespace, or TCP that meets itself: not run\n");
    else
        assert_int_equal(result, 0);
}

static int dial_what_has_no_route(void *unused)
{
    (void)unused;
    tcpmsg_conn *conn;
    if (!enter_small_world())
        return CANT_RUN;
    return -tcpmsg_dial(&conn, "192.0.2.1:5000", NULL);
}

static void no_way_to_the_address_is_EUNREACHABLE(void **state)
{
    (void)state;
    int result = in_child(dial_what_has_no_route, NULL);
    if (result == CANT_RUN)
        print_message("needs a network namespace: not run\n");
    else
        assert_int_equal(result, -TCPMSG_EUNREACHABLE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promise_11_no_dial_connects_to_itself),
        cmocka_unit_test(promise_11_a_connection_to_itself_is_EREFUSED),
        cmocka_unit_test(no_way_to_the_address_is_EUNREACHABLE),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
