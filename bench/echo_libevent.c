/* SPDX-License-Identifier: MIT */
/*
 * The same messages on libevent: a bufferevent for each client. It knows that it is an echo: the
 * messages that are whole move from the input to the output buffer, all at once, as they lie
 * there. libevent 2.1 reads 4 KiB at a time, whatever bufferevent_set_max_single_read says.
 */
#define _POSIX_C_SOURCE 200809L

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <signal.h>
#include <stdint.h>

#include "bench.h"
#include "echo.h"

enum { MAX_MESSAGE = 16 << 20, HIGH_WATER = 1 << 20, SINGLE_MAX = 256 << 10 };

/* How many bytes of the input are whole messages; -1: the next one is too long. */
static ssize_t whole_messages(struct evbuffer *input)
{
    size_t count = evbuffer_get_length(input);
    size_t whole = 0;
    struct evbuffer_ptr at;
    evbuffer_ptr_set(input, &at, 0, EVBUFFER_PTR_SET);
    while (count - whole >= BENCH_PREFIX) {
        uint32_t length;
        evbuffer_copyout_from(input, &at, &length, BENCH_PREFIX);
        length = ntohl(length);
        if (length > MAX_MESSAGE) {
            return -1;
        }
        if (length > count - whole - BENCH_PREFIX) {
            break;
        }
        whole += BENCH_PREFIX + length;
        evbuffer_ptr_set(input, &at, BENCH_PREFIX + length, EVBUFFER_PTR_ADD);
    }
    return (ssize_t)whole;
}

static void on_read(struct bufferevent *client, void *arg)
{
    (void)arg;
    struct evbuffer *input = bufferevent_get_input(client);
    struct evbuffer *output = bufferevent_get_output(client);
    ssize_t whole = whole_messages(input);
    if (whole < 0) {
        bufferevent_free(client);
        return;
    }
    if (whole > 0) {
        bench_require(evbuffer_remove_buffer(input, output, (size_t)whole) == whole, "evbuffer");
    }
    if (evbuffer_get_length(output) > HIGH_WATER) {
        bufferevent_disable(client, EV_READ);
    }
}

/* The output has come down to its low-water mark. */
static void on_write(struct bufferevent *client, void *arg)
{
    (void)arg;
    if ((bufferevent_get_enabled(client) & EV_READ) == 0) {
        bufferevent_enable(client, EV_READ);
    }
}

static void on_end(struct bufferevent *client, short what, void *arg)
{
    (void)what;
    (void)arg;
    bufferevent_free(client);
}

static void on_connection(struct evconnlistener *listener, evutil_socket_t fd,
                          struct sockaddr *address, int size, void *arg)
{
    (void)address;
    (void)size;
    (void)arg;
    echo_prepare(fd);
    struct bufferevent *client =
        bufferevent_socket_new(evconnlistener_get_base(listener), fd, BEV_OPT_CLOSE_ON_FREE);
    bench_require(client != NULL, "bufferevent_socket_new");
    bufferevent_setcb(client, on_read, on_write, on_end, NULL);
    bufferevent_setwatermark(client, EV_WRITE, HIGH_WATER / 2, 0);
    bufferevent_set_max_single_read(client, SINGLE_MAX);
    bufferevent_set_max_single_write(client, SINGLE_MAX);
    bufferevent_enable(client, EV_READ);
}

static void on_accept_error(struct evconnlistener *listener, void *arg)
{
    (void)listener;
    (void)arg;
    bench_fail_system("accept");
}

/* One thread, and no descriptor that is another's duplicate: so both flags are allowed. */
static struct event_base *make_base(void)
{
    struct event_config *config = event_config_new();
    bench_require(config != NULL, "event_config_new");
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    event_config_set_flag(config, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST);
    struct event_base *base = event_base_new_with_config(config);
    bench_require(base != NULL, "event_base_new_with_config");
    event_config_free(config);
    return base;
}

int main(int argc, char **argv)
{
    const echo_option options[] = {{.name = NULL}};
    const char *text =
        echo_command_line(argc, argv, options, "127.0.0.1:0", "usage: echo_libevent [ADDRESS]\n");
    struct sockaddr_in address = echo_address(text);
    signal(SIGPIPE, SIG_IGN);
    struct event_base *base = make_base();
    int fd = echo_listen(&address);
    struct evconnlistener *listener =
        evconnlistener_new(base, on_connection, NULL, LEV_OPT_CLOSE_ON_FREE, 0, fd);
    bench_require(listener != NULL, "evconnlistener_new");
    evconnlistener_set_error_cb(listener, on_accept_error);
    echo_announce(fd);
    return event_base_dispatch(base);
}
