/* SPDX-License-Identifier: MIT */
#include "conn_in.h"
#include "loop.h"

#include "error.h"

int tm_loop_take(tcpmsg_loop *loop, tcpmsg_conn *conn, tm_service *service, enum tm_stage stage)
{
    tm_mutex_lock(&loop->lock);
    int r = loop->refuses || loop->stop ? TCPMSG_ECANCELED : 0;
    if (r == 0 && stage == TM_JOINING)
        r = tm_conn_keep(conn, &tm_loop_lightest(loop)->keeper);
    if (r == 0) {
        tm_member_of(conn)->added = true;
        tm_member_begin(conn, service, stage);
    }
    tm_mutex_unlock(&loop->lock);
    return r;
}

int tcpmsg_loop_add(tcpmsg_loop *loop, tcpmsg_conn *conn, const tcpmsg_callbacks *callbacks,
                    void *arg)
{
    tm_service *service;
    if (!loop || !conn)
        return TCPMSG_EINVAL;
    int r = tm_service_make(&service, callbacks, arg);
    if (r < 0)
        return r;
    r = tm_loop_take(loop, conn, service, TM_JOINING);
    tm_service_unref(service);
    return r;
}

static int set_paused(tcpmsg_conn *conn, bool paused)
{
    if (!conn || !tm_is_kept(conn))
        return TCPMSG_EINVAL;
    if (conn->in.error || conn->closing)
        return conn->in.error ? conn->in.error : TCPMSG_ECANCELED;
    tm_member_of(conn)->paused = paused;
    tm_member_attend(tm_member_of(conn));
    return 0;
}

int tcpmsg_pause(tcpmsg_conn *conn)
{
    return set_paused(conn, true);
}

int tcpmsg_resume(tcpmsg_conn *conn)
{
    return set_paused(conn, false);
}
