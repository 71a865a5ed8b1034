/* SPDX-License-Identifier: MIT */
/*
 * The same messages on libuv, framed by hand: a read buffer that all clients share, the start of
 * an unfinished message kept apart, uv_try_write, and uv_write for what that leaves. It knows that
 * it is an echo: the messages that one read brought go back as they lie there, in one write.
 */
#define _POSIX_C_SOURCE 200809L

#include <arpa/inet.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "bench.h"
#include "echo.h"

enum {
    MAX_MESSAGE = 16 << 20,
    HIGH_WATER = 1 << 20,
    FIRST_PART = 256,
    SHARED_MAX = 1 << 20,
};

struct client {
    uv_tcp_t tcp;
    char *part; /* the start of an unfinished frame; NULL: none */
    size_t held;
    size_t room;
    bool stopped; /* not read from: too much is queued */
};

typedef struct late_write {
    uv_write_t request;
    char bytes[];
} late_write;

static char shared[SHARED_MAX];
static long read_size = 65536; /* what libuv suggests */

static void need(int result, const char *what)
{
    bench_require(result >= 0, what);
}

static void on_close(uv_handle_t *handle)
{
    struct client *client = handle->data;
    free(client->part);
    free(client);
}

static void end(struct client *client)
{
    if (!uv_is_closing((uv_handle_t *)&client->tcp)) {
        uv_close((uv_handle_t *)&client->tcp, on_close);
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    (void)handle;
    (void)suggested;
    *buffer = uv_buf_init(shared, (unsigned)read_size);
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer);

static void on_written(uv_write_t *request, int status)
{
    uv_stream_t *stream = request->handle;
    struct client *client = stream->data;
    free(request->data);
    if (status < 0) {
        end(client);
    } else if (client->stopped && uv_stream_get_write_queue_size(stream) < HIGH_WATER / 2) {
        client->stopped = false;
        uv_read_start(stream, on_alloc, on_read);
    }
}

static void write_late(struct client *client, const char *bytes, size_t size)
{
    uv_stream_t *stream = (uv_stream_t *)&client->tcp;
    late_write *late = malloc(sizeof(*late) + size);
    bench_system(late != NULL, "malloc");
    memcpy(late->bytes, bytes, size);
    late->request.data = late;
    uv_buf_t buffer = uv_buf_init(late->bytes, (unsigned)size);
    if (uv_write(&late->request, stream, &buffer, 1, on_written) < 0) {
        free(late);
        end(client);
    } else if (!client->stopped && uv_stream_get_write_queue_size(stream) > HIGH_WATER) {
        client->stopped = true;
        uv_read_stop(stream);
    }
}

static void send_back(struct client *client, const char *bytes, size_t size)
{
    if (size == 0 || uv_is_closing((uv_handle_t *)&client->tcp)) {
        return;
    }
    uv_buf_t buffer = uv_buf_init((char *)bytes, (unsigned)size);
    int sent = uv_try_write((uv_stream_t *)&client->tcp, &buffer, 1);
    if (sent < 0 && sent != UV_EAGAIN) {
        end(client);
        return;
    }
    size_t taken = sent > 0 ? (size_t)sent : 0;
    if (taken < size) {
        write_late(client, bytes + taken, size - taken);
    }
}

/* The frame's size, 0 when not even the prefix is there, or -1 when it is too long. */
static ssize_t frame_size(const char *bytes, size_t count)
{
    uint32_t length;
    if (count < BENCH_PREFIX) {
        return 0;
    }
    memcpy(&length, bytes, BENCH_PREFIX);
    length = ntohl(length);
    return length > MAX_MESSAGE ? -1 : (ssize_t)(BENCH_PREFIX + length);
}

/* Memory grows with what has come, not with what was announced. */
static void keep(struct client *client, const char *bytes, size_t count)
{
    if (client->held + count > client->room) {
        size_t room = client->room > 0 ? client->room : FIRST_PART;
        while (room < client->held + count) {
            room *= 2;
        }
        client->part = realloc(client->part, room);
        bench_system(client->part != NULL, "realloc");
        client->room = room;
    }
    memcpy(client->part + client->held, bytes, count);
    client->held += count;
}

/* Takes what the unfinished frame lacks. Returns how much that was, or -1. */
static ssize_t finish_part(struct client *client, const char *bytes, size_t count)
{
    size_t taken = 0;
    if (client->held < BENCH_PREFIX) {
        taken = BENCH_PREFIX - client->held < count ? BENCH_PREFIX - client->held : count;
        keep(client, bytes, taken);
    }
    ssize_t size = frame_size(client->part, client->held);
    if (size <= 0) {
        return size < 0 ? -1 : (ssize_t)taken;
    }
    size_t lacking = (size_t)size - client->held;
    size_t more = lacking < count - taken ? lacking : count - taken;
    keep(client, bytes + taken, more);
    if (client->held == (size_t)size) {
        send_back(client, client->part, client->held);
        free(client->part);
        client->part = NULL;
        client->held = client->room = 0;
    }
    return (ssize_t)(taken + more);
}

static bool take(struct client *client, const char *bytes, size_t count)
{
    if (client->held > 0) {
        ssize_t taken = finish_part(client, bytes, count);
        if (taken < 0) {
            return false;
        }
        bytes += taken;
        count -= (size_t)taken;
    }
    size_t whole = 0;
    ssize_t size;
    while ((size = frame_size(bytes + whole, count - whole)) > 0 && (size_t)size <= count - whole) {
        whole += (size_t)size;
    }
    send_back(client, bytes, whole);
    if (size >= 0 && whole < count) {
        keep(client, bytes + whole, count - whole);
    }
    return size >= 0;
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer)
{
    struct client *client = stream->data;
    if (count < 0 || (count > 0 && !take(client, buffer->base, (size_t)count))) {
        end(client);
    }
}

static void on_connection(uv_stream_t *listener, int status)
{
    need(status, "listening");
    struct client *new = calloc(1, sizeof(*new));
    bench_system(new != NULL, "calloc");
    need(uv_tcp_init(listener->loop, &new->tcp), "uv_tcp_init");
    new->tcp.data = new;
    need(uv_accept(listener, (uv_stream_t *)&new->tcp), "uv_accept");
    need(uv_tcp_nodelay(&new->tcp, 1), "uv_tcp_nodelay");
    need(uv_read_start((uv_stream_t *)&new->tcp, on_alloc, on_read), "uv_read_start");
}

int main(int argc, char **argv)
{
    const echo_option options[] = {{.name = "--read-size", .number = &read_size, .least = 1},
                                   {.name = NULL}};
    const char *text = echo_command_line(argc, argv, options, "127.0.0.1:0",
                                         "usage: echo_libuv [--read-size BYTES] [ADDRESS]\n");
    bench_require(read_size <= SHARED_MAX, "the read buffer is at most 1 MiB");
    struct sockaddr_in address = echo_address(text);
    signal(SIGPIPE, SIG_IGN); /* libuv's writes raise it: so its guide advises */
    uv_loop_t *loop = uv_default_loop();
    uv_tcp_t listener;
    int fd = echo_listen(&address);
    need(uv_tcp_init(loop, &listener), "uv_tcp_init");
    need(uv_tcp_open(&listener, fd), "uv_tcp_open");
    need(uv_listen((uv_stream_t *)&listener, SOMAXCONN, on_connection), "uv_listen");
    echo_announce(fd);
    return uv_run(loop, UV_RUN_DEFAULT);
}
