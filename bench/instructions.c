/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L

/*
 * Messages of 64 bytes, sent with TCPMSG_MORE and received by view: for callgrind, which counts
 * the instructions. Both ends are in this process, one after the other.
 */

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"

enum { BATCH = 1000, SIZE = 64 };

static tcpmsg_conn *attach(int fd)
{
    tcpmsg_conn *conn;
    bench_ours(tcpmsg_attach(&conn, fd, NULL), "tcpmsg_attach");
    return conn;
}

static void send_batch(tcpmsg_conn *conn)
{
    static const unsigned char message[SIZE];
    for (int i = 0; i < BATCH; i++) {
        bench_ours(tcpmsg_send(conn, message, SIZE, TCPMSG_MORE), "tcpmsg_send");
    }
    bench_ours(tcpmsg_flush(conn, 0), "tcpmsg_flush");
}

static void receive_batch(tcpmsg_conn *conn)
{
    for (int i = 0; i < BATCH; i++) {
        const void *message;
        bench_ours(tcpmsg_recv_view(conn, &message, 0), "tcpmsg_recv_view");
    }
}

/* usage: instructions BATCHES */
int main(int argc, char **argv)
{
    int listener = bench_listen(0);
    tcpmsg_conn *sender = attach(bench_connect(bench_port(listener)));
    tcpmsg_conn *receiver = attach(accept(listener, NULL, NULL));
    for (int i = argc > 1 ? atoi(argv[1]) : 1; i > 0; i--) {
        send_batch(sender);
        receive_batch(receiver);
    }
    bench_ours(tcpmsg_close(sender), "tcpmsg_close");
    tcpmsg_abort(receiver);
    (void)tcpmsg_close(receiver);
    close(listener);
    return 0;
}
