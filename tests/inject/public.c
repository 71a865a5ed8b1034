/* SPDX-License-Identifier: MIT */
/* The public functions, on their way from a test to the library, which has them as library_…. */
#include <tcpmsg/loop.h>
#include <tcpmsg/tcpmsg.h>

#include "conn.h"
#include "handles.h"
#include "traces.h"

#define TYPED(type, name, parameters, arguments)                                                   \
    type library_##name parameters;                                                                \
    type name parameters                                                                           \
    {                                                                                              \
        library_enter();                                                                           \
        type answer = library_##name arguments;                                                    \
        library_leave();                                                                           \
        return answer;                                                                             \
    }

#define VOID(name, parameters, arguments)                                                          \
    void library_##name parameters;                                                                \
    void name parameters                                                                           \
    {                                                                                              \
        library_enter();                                                                           \
        library_##name arguments;                                                                  \
        library_leave();                                                                           \
    }

/* The test has what comes out of it. */
#define OPENS(kind, name, parameters, arguments)                                                   \
    int library_##name parameters;                                                                 \
    int name parameters                                                                            \
    {                                                                                              \
        library_enter();                                                                           \
        int answer = library_##name arguments;                                                     \
        if (answer == 0)                                                                           \
            handle_opened(kind, *out);                                                             \
        library_leave();                                                                           \
        return answer;                                                                             \
    }

/* The test has it no more, when the answer is 0. */
#define TAKES(object, name, parameters, arguments)                                                 \
    int library_##name parameters;                                                                 \
    int name parameters                                                                            \
    {                                                                                              \
        library_enter();                                                                           \
        int answer = library_##name arguments;                                                     \
        if (answer == 0)                                                                           \
            handle_closed(object);                                                                 \
        library_leave();                                                                           \
        return answer;                                                                             \
    }

/* The test has it no more, from before the call: the next one may be where it was. */
#define DROPS(object, name, parameters, arguments)                                                 \
    void library_##name parameters;                                                                \
    void name parameters                                                                           \
    {                                                                                              \
        library_enter();                                                                           \
        handle_closed(object);                                                                     \
        library_##name arguments;                                                                  \
        library_leave();                                                                           \
    }

TYPED(const char *, tcpmsg_version, (void), ())
TYPED(const char *, tcpmsg_strerror, (int error), (error))
TYPED(const char *, tcpmsg_error_name, (int error), (error))
TYPED(int, tcpmsg_frame_encode,
      (const tcpmsg_framing *framing, size_t length, uint8_t prefix[TCPMSG_PREFIX_MAX]),
      (framing, length, prefix))
TYPED(ssize_t, tcpmsg_frame_decode,
      (const tcpmsg_framing *framing, const void *bytes, size_t count, size_t *length),
      (framing, bytes, count, length))

OPENS(HANDLE_CONN, tcpmsg_dial,
      (tcpmsg_conn * *out, const char *address, const tcpmsg_options *options),
      (out, address, options))
TYPED(int, tcpmsg_send, (tcpmsg_conn * conn, const void *message, size_t length, int flags),
      (conn, message, length, flags))
TYPED(int, tcpmsg_sendv, (tcpmsg_conn * conn, const struct iovec *parts, int count, int flags),
      (conn, parts, count, flags))
TYPED(int, tcpmsg_flush, (tcpmsg_conn * conn, int flags), (conn, flags))
TYPED(ssize_t, tcpmsg_recv, (tcpmsg_conn * conn, void *buffer, size_t size, int flags),
      (conn, buffer, size, flags))
TYPED(ssize_t, tcpmsg_recv_view, (tcpmsg_conn * conn, const void **message, int flags),
      (conn, message, flags))
TYPED(ssize_t, tcpmsg_next_length, (const tcpmsg_conn *conn), (conn))
TYPED(int, tcpmsg_shutdown, (tcpmsg_conn * conn), (conn))
VOID(tcpmsg_abort, (tcpmsg_conn * conn), (conn))
TYPED(int, tcpmsg_conn_fd, (const tcpmsg_conn *conn), (conn))
TYPED(short, tcpmsg_conn_events, (const tcpmsg_conn *conn), (conn))
TYPED(int, tcpmsg_conn_set_timeouts, (tcpmsg_conn * conn, int send_ms, int recv_ms),
      (conn, send_ms, recv_ms))
TYPED(int, tcpmsg_conn_local, (const tcpmsg_conn *conn, char *text, size_t size),
      (conn, text, size))
TYPED(int, tcpmsg_conn_peer, (const tcpmsg_conn *conn, char *text, size_t size), (conn, text, size))
TYPED(const char *, tcpmsg_conn_why, (const tcpmsg_conn *conn), (conn))
TYPED(int, tcpmsg_conn_info, (const tcpmsg_conn *conn, tcpmsg_info *info, size_t size),
      (conn, info, size))
VOID(tcpmsg_conn_set_data, (tcpmsg_conn * conn, void *data), (conn, data))
TYPED(void *, tcpmsg_conn_data, (const tcpmsg_conn *conn), (conn))

OPENS(HANDLE_LISTENER, tcpmsg_listen,
      (tcpmsg_listener * *out, const char *address, const tcpmsg_options *options),
      (out, address, options))
OPENS(HANDLE_CONN, tcpmsg_accept, (tcpmsg_listener * listener, tcpmsg_conn **out, int flags),
      (listener, out, flags))
TYPED(int, tcpmsg_listener_address, (const tcpmsg_listener *listener, char *text, size_t size),
      (listener, text, size))
TYPED(int, tcpmsg_listener_fd, (const tcpmsg_listener *listener), (listener))
VOID(tcpmsg_listener_abort, (tcpmsg_listener * listener), (listener))

OPENS(HANDLE_LOOP, tcpmsg_loop_open, (tcpmsg_loop * *out, const tcpmsg_loop_options *options),
      (out, options))
TAKES(listener, tcpmsg_loop_listen,
      (tcpmsg_loop * loop, tcpmsg_listener *listener, const tcpmsg_callbacks *callbacks, void *arg),
      (loop, listener, callbacks, arg))
TYPED(int, tcpmsg_loop_dial,
      (tcpmsg_loop * loop, const char *address, const tcpmsg_options *options,
       const tcpmsg_callbacks *callbacks, void *arg),
      (loop, address, options, callbacks, arg))
TAKES(conn, tcpmsg_loop_add,
      (tcpmsg_loop * loop, tcpmsg_conn *conn, const tcpmsg_callbacks *callbacks, void *arg),
      (loop, conn, callbacks, arg))
TYPED(int, tcpmsg_loop_post, (tcpmsg_loop * loop, void (*call)(void *arg), void *arg),
      (loop, call, arg))
TYPED(int, tcpmsg_loop_after, (tcpmsg_loop * loop, int ms, void (*call)(void *arg), void *arg),
      (loop, ms, call, arg))
TYPED(int, tcpmsg_loop_run, (tcpmsg_loop * loop), (loop))
VOID(tcpmsg_loop_stop, (tcpmsg_loop * loop), (loop))
DROPS(conn, tcpmsg_conn_unref, (tcpmsg_conn * conn), (conn))
DROPS(listener, tcpmsg_listener_close, (tcpmsg_listener * listener), (listener))
DROPS(loop, tcpmsg_loop_close, (tcpmsg_loop * loop), (loop))
TYPED(int, tcpmsg_pause, (tcpmsg_conn * conn), (conn))
TYPED(int, tcpmsg_resume, (tcpmsg_conn * conn), (conn))

int library_tcpmsg_attach(tcpmsg_conn **out, int fd, const tcpmsg_options *options);
int tcpmsg_attach(tcpmsg_conn **out, int fd, const tcpmsg_options *options)
{
    library_enter();
    int answer = library_tcpmsg_attach(out, fd, options);
    if (answer == 0) {
        handle_opened(HANDLE_CONN, *out);
        trace_descriptor(fd);
    }
    library_leave();
    return answer;
}

/* As DROPS does; of a loop's connection a close takes no reference. */
int library_tcpmsg_close(tcpmsg_conn *conn);
int tcpmsg_close(tcpmsg_conn *conn)
{
    library_enter();
    if (conn && !tm_is_kept(conn))
        handle_closed(conn);
    int answer = library_tcpmsg_close(conn);
    library_leave();
    return answer;
}

tcpmsg_conn *library_tcpmsg_conn_ref(tcpmsg_conn *conn);
tcpmsg_conn *tcpmsg_conn_ref(tcpmsg_conn *conn)
{
    library_enter();
    handle_opened(HANDLE_CONN, conn);
    tcpmsg_conn *answer = library_tcpmsg_conn_ref(conn);
    library_leave();
    return answer;
}
