/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L

/*
 * Connections one after the other, each opened, used for one message and its answer, and closed by
 * who opened it.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"

static void open_nothing(bench_end *end)
{
    (void)end;
}

static void open_bare(bench_end *end)
{
    end->fd = bench_listen(end->port);
}

static void close_bare(bench_end *end)
{
    close(end->fd);
}

/* With shutdown(2) the end leaves although somebody else, a forked child say, has a copy. */
static void end_bare(int fd, bool shuts)
{
    if (shuts)
        shutdown(fd, SHUT_WR);
    close(fd);
}

static void use(const bench_end *end, const bench_load *load, bool shuts)
{
    size_t framed = BENCH_PREFIX + load->length;
    unsigned char *message = bench_memory(framed);
    bench_prefix(message, load->length);
    for (size_t i = 0; i < load->count; i++) {
        int fd = bench_connect(end->port);
        bench_send_all(fd, message, framed);
        bench_recv_all(fd, message, framed, 0);
        end_bare(fd, shuts);
    }
    free(message);
}

static void serve(const bench_end *end, const bench_load *load, bool shuts)
{
    size_t framed = BENCH_PREFIX + load->length;
    unsigned char *message = bench_memory(framed);
    for (size_t i = 0; i < load->count; i++) {
        int fd = accept(end->fd, NULL, NULL);
        bench_system(fd >= 0, "accept");
        bench_recv_all(fd, message, framed, 0);
        bench_send_all(fd, message, framed);
        bench_system(recv(fd, message, framed, 0) == 0, "recv: the end");
        end_bare(fd, shuts);
    }
    free(message);
}

static void bare_use(const bench_end *end, const bench_load *load)
{
    use(end, load, false);
}

static void bare_serve(const bench_end *end, const bench_load *load)
{
    serve(end, load, false);
}

static void shut_use(const bench_end *end, const bench_load *load)
{
    use(end, load, true);
}

static void shut_serve(const bench_end *end, const bench_load *load)
{
    serve(end, load, true);
}

static void address_of(const bench_end *end, char *address, size_t size)
{
    snprintf(address, size, "127.0.0.1:%d", end->port);
}

static void open_ours(bench_end *end)
{
    char address[32];
    tcpmsg_listener *listener;
    address_of(end, address, sizeof(address));
    bench_ours(tcpmsg_listen(&listener, address, NULL), "tcpmsg_listen");
    end->own = listener;
}

static void close_ours(bench_end *end)
{
    tcpmsg_listener_close(end->own);
}

static void our_use(const bench_end *end, const bench_load *load)
{
    unsigned char *message = bench_memory(load->length);
    char address[32];
    address_of(end, address, sizeof(address));
    for (size_t i = 0; i < load->count; i++) {
        tcpmsg_conn *conn;
        bench_ours(tcpmsg_dial(&conn, address, NULL), "tcpmsg_dial");
        bench_ours(tcpmsg_send(conn, message, load->length, 0), "tcpmsg_send");
        bench_ours(tcpmsg_recv(conn, message, load->length, 0), "tcpmsg_recv");
        bench_ours(tcpmsg_close(conn), "tcpmsg_close");
    }
    free(message);
}

static void our_serve(const bench_end *end, const bench_load *load)
{
    unsigned char *message = bench_memory(load->length);
    for (size_t i = 0; i < load->count; i++) {
        tcpmsg_conn *conn;
        bench_ours(tcpmsg_accept(end->own, &conn, 0), "tcpmsg_accept");
        bench_ours(tcpmsg_recv(conn, message, load->length, 0), "tcpmsg_recv");
        bench_ours(tcpmsg_send(conn, message, load->length, 0), "tcpmsg_send");
        ssize_t end_of_it = tcpmsg_recv(conn, message, load->length, 0);
        bench_require(end_of_it == TCPMSG_EOF, "tcpmsg_recv: the end");
        bench_ours(tcpmsg_close(conn), "tcpmsg_close");
    }
    free(message);
}

static const bench_kind near_kind = {true, open_nothing, open_nothing};
static const bench_kind bare_listener = {true, open_bare, close_bare};
static const bench_kind our_listener = {true, open_ours, close_ours};

int main(int argc, char **argv)
{
    static const bench_way bare = {"bare",   "bare sockets", &near_kind, &bare_listener,
                                   bare_use, bare_serve,     0};
    static const bench_way shut = {"shutdown", "bare sockets, shutdown before close",
                                   &near_kind, &bare_listener,
                                   shut_use,   shut_serve,
                                   0};
    static const bench_way ours = {"ours",  "ours",    &near_kind, &our_listener,
                                   our_use, our_serve, 0};
    static const bench_way *const ways[] = {&bare, &shut, &ours, NULL};
    return bench_main(ways, argc, argv);
}
