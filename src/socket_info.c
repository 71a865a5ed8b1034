/* SPDX-License-Identifier: MIT */
#include "socket.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <unistd.h>

#ifdef __linux__
#include <linux/sockios.h>
#endif

/* What the system tells of a socket. */

static int answer(int r)
{
    return r < 0 ? -errno : r;
}

int tm_socket_local(int fd, tm_sockaddr *address)
{
    *address = (tm_sockaddr){.length = sizeof address->u};
    return answer(getsockname(fd, &address->u.any, &address->length));
}

int tm_socket_peer(int fd, tm_sockaddr *address)
{
    *address = (tm_sockaddr){.length = sizeof address->u};
    return answer(getpeername(fd, &address->u.any, &address->length));
}

static int get_int(int fd, int option)
{
    int value = -1;
    socklen_t length = sizeof value;
    return getsockopt(fd, SOL_SOCKET, option, &value, &length) < 0 ? -1 : value;
}

enum tm_socket_kind tm_socket_kind(int fd)
{
    tm_sockaddr peer;
    if (get_int(fd, SO_TYPE) != SOCK_STREAM)
        return TM_SOCKET_OTHER;
    if (get_int(fd, SO_ACCEPTCONN) == 1)
        return TM_SOCKET_LISTENING;
    return tm_socket_peer(fd, &peer) == 0 ? TM_SOCKET_CONNECTED : TM_SOCKET_OTHER;
}

#ifdef __linux__

int tm_socket_credentials(int fd, tm_credentials *of)
{
    struct ucred peer;
    socklen_t length = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
        return -errno;
    if (peer.uid == (uid_t)-1)
        return -EOPNOTSUPP; /* no Unix socket */
    *of = (tm_credentials){.uid = peer.uid, .gid = peer.gid, .pid = peer.pid};
    return 0;
}

ssize_t tm_socket_unacked(int fd)
{
    int bytes = 0;
    return ioctl(fd, SIOCOUTQ, &bytes) < 0 ? -errno : bytes;
}

void tm_socket_tcp_info(int fd, tm_tcp_info *info)
{
    static const char *const states[] = {
        [TCP_ESTABLISHED] = "ESTABLISHED",
        [TCP_SYN_SENT] = "SYN-SENT",
        [TCP_SYN_RECV] = "SYN-RECEIVED",
        [TCP_FIN_WAIT1] = "FIN-WAIT-1",
        [TCP_FIN_WAIT2] = "FIN-WAIT-2",
        [TCP_TIME_WAIT] = "TIME-WAIT",
        [TCP_CLOSE] = "CLOSED",
        [TCP_CLOSE_WAIT] = "CLOSE-WAIT",
        [TCP_LAST_ACK] = "LAST-ACK",
        [TCP_LISTEN] = "LISTEN",
        [TCP_CLOSING] = "CLOSING",
    };
    struct tcp_info tcp = {0};
    socklen_t length = sizeof tcp;
    *info = (tm_tcp_info){.state = ""};
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &tcp, &length) < 0)
        return;
    if (tcp.tcpi_state < sizeof states / sizeof states[0] && states[tcp.tcpi_state])
        info->state = states[tcp.tcpi_state];
    info->rtt_us = tcp.tcpi_rtt;
    info->retransmits = tcp.tcpi_total_retrans;
    int queued = 0, unsent = 0;
    if (ioctl(fd, SIOCOUTQ, &queued) == 0 && ioctl(fd, SIOCOUTQNSD, &unsent) == 0) {
        info->unsent_bytes = (uint64_t)unsent;
        info->unacked_bytes = queued > unsent ? (uint64_t)(queued - unsent) : 0;
    }
}

#else

int tm_socket_credentials(int fd, tm_credentials *of)
{
    *of = (tm_credentials){.pid = -1};
    return answer(getpeereid(fd, &of->uid, &of->gid));
}

ssize_t tm_socket_unacked(int fd)
{
    (void)fd;
    return -ENOSYS;
}

void tm_socket_tcp_info(int fd, tm_tcp_info *info)
{
    (void)fd;
    *info = (tm_tcp_info){.state = ""};
}

#endif
