/* SPDX-License-Identifier: MIT */
#include "poller.h"

#include <errno.h>

#include <tcpmsg/loop.h>

int tm_poller_open(tm_poller **out, int kind)
{
#ifdef __linux__
    if (kind == 0 || kind == TCPMSG_POLLER_EPOLL) {
        int r = tm_poller_epoll.open(out);
        if (r != -ENOSYS) /* as a sandbox may say: then there is poll(2) */
            return r;
    }
#endif
#ifdef TM_KQUEUE
    if (kind == 0 || kind == TCPMSG_POLLER_KQUEUE)
        return tm_poller_kqueue.open(out);
#endif
    if (kind == 0 || kind == TCPMSG_POLLER_POLL)
        return tm_poller_poll.open(out);
    return -ENOSYS;
}

void tm_poller_close(tm_poller *poller)
{
    if (poller)
        poller->kind->close(poller);
}
