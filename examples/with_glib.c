/* SPDX-License-Identifier: MIT */
/*
 * with_glib [ADDRESS]: sends each line of standard input as a message, and prints each message
 * that comes as a line, driven by GLib's main loop.
 *
 * A GSource of our own stands for the connection: before each poll it says what to poll for. The
 * end of the input ends our sending only; the server's end, SIGINT or SIGTERM ends the program.
 */
#define _POSIX_C_SOURCE 200809L

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <gio/gio.h>
#include <gio/gunixinputstream.h>
#include <glib-unix.h>

#include <tcpmsg/tcpmsg.h>

struct chat {
    GMainLoop *loop;
    tcpmsg_conn *conn;
    GDataInputStream *input;
    GCancellable *cancellable;
    gboolean reading;  /* a line of the input is being waited for */
    gboolean said_all; /* there is none any more */
    char *line;        /* one for which there was no room to send it, or NULL */
    gsize length;
    int status;
};

struct source {
    GSource base;
    struct chat *chat;
    gpointer socket; /* GLib's name for it */
    int events;
};

/* With a whole message at hand there is nothing to wait for: of it, no poll would tell. */
static gboolean prepare(GSource *base, gint *timeout)
{
    struct source *source = (struct source *)base;
    int events = tcpmsg_conn_events(source->chat->conn); /* GIOCondition has poll(2)'s bits */
    /* A send that was TCPMSG_EAGAIN has left nothing to be written: POLLOUT is ours to ask for. */
    if (source->chat->line != NULL)
        events |= G_IO_OUT;
    if (events != source->events) /* each change wakes the loop up once more */
        g_source_modify_unix_fd(base, source->socket, (GIOCondition)events);
    source->events = events;
    *timeout = -1;
    return tcpmsg_next_length(source->chat->conn) != TCPMSG_EAGAIN;
}

/* Whatever came, G_IO_ERR and G_IO_HUP too: the connection's own calls tell the rest. */
static gboolean check(GSource *base)
{
    struct source *source = (struct source *)base;
    return g_source_query_unix_fd(base, source->socket) != 0 ||
           tcpmsg_next_length(source->chat->conn) != TCPMSG_EAGAIN;
}

static void on_line(GObject *input, GAsyncResult *result, gpointer arg);

static void read_line(struct chat *chat)
{
    chat->reading = TRUE;
    g_data_input_stream_read_line_async(chat->input, G_PRIORITY_DEFAULT, chat->cancellable, on_line,
                                        chat);
}

/* While the server takes no more, the line stays, and no other is read. */
static void say_line(struct chat *chat)
{
    int error = tcpmsg_send(chat->conn, chat->line, chat->length, TCPMSG_DONTWAIT);
    if (error == TCPMSG_EAGAIN || error == TCPMSG_ENOMEM)
        return;
    if (error == TCPMSG_EMSGSIZE)
        fprintf(stderr, "%s: the line is left out\n", tcpmsg_strerror(error));
    g_free(chat->line);
    chat->line = NULL;
    read_line(chat);
}

/* With nothing left to write, a shutdown does not wait. */
static void end_sending(struct chat *chat)
{
    if (tcpmsg_flush(chat->conn, TCPMSG_DONTWAIT) == 0)
        tcpmsg_shutdown(chat->conn);
}

static void on_line(GObject *input, GAsyncResult *result, gpointer arg)
{
    struct chat *chat = arg;
    chat->reading = FALSE;
    chat->line = g_data_input_stream_read_line_finish(G_DATA_INPUT_STREAM(input), result,
                                                      &chat->length, NULL);
    chat->said_all = chat->line == NULL;
    if (chat->said_all)
        end_sending(chat);
    else
        say_line(chat);
}

static void leave(struct chat *chat, int error)
{
    if (error == TCPMSG_EOF && chat->said_all)
        chat->status = EXIT_SUCCESS;
    else
        fprintf(stderr, "%s\n", tcpmsg_conn_why(chat->conn));
    g_main_loop_quit(chat->loop);
}

/* One message a turn: the loop's other sources have theirs, and prepare() knows of the rest. */
static gboolean dispatch(GSource *base, GSourceFunc callback, gpointer arg)
{
    struct chat *chat = ((struct source *)base)->chat;
    const void *message;
    (void)callback;
    (void)arg;
    tcpmsg_flush(chat->conn, TCPMSG_DONTWAIT); /* if it fails for good, the receive tells why */
    if (chat->line != NULL)
        say_line(chat);
    if (chat->said_all)
        end_sending(chat);
    ssize_t length = tcpmsg_recv_view(chat->conn, &message, TCPMSG_DONTWAIT);
    if (length >= 0) {
        fwrite(message, 1, (size_t)length, stdout);
        putchar('\n');
        fflush(stdout);
    } else if (length != TCPMSG_EAGAIN) {
        leave(chat, (int)length);
    }
    return G_SOURCE_CONTINUE;
}

static gboolean on_signal(gpointer arg)
{
    struct chat *chat = arg;
    g_main_loop_quit(chat->loop);
    return G_SOURCE_CONTINUE;
}

static GSource *watch(struct chat *chat)
{
    static GSourceFuncs functions = {.prepare = prepare, .check = check, .dispatch = dispatch};
    GSource *base = g_source_new(&functions, sizeof(struct source));
    struct source *source = (struct source *)base;
    source->chat = chat;
    source->socket = g_source_add_unix_fd(base, tcpmsg_conn_fd(chat->conn), 0);
    g_source_attach(base, NULL);
    return base;
}

int main(int argc, char **argv)
{
    char why[512] = "";
    struct chat chat = {.status = EXIT_FAILURE};
    if (tcpmsg_dial(&chat.conn, argc > 1 ? argv[1] : "127.0.0.1:5000",
                    TCPMSG_OPTIONS(.why = why, .why_size = sizeof why)) != 0) {
        fprintf(stderr, "%s: %s\n", argv[0], why);
        return EXIT_FAILURE;
    }
    GInputStream *bytes = g_unix_input_stream_new(STDIN_FILENO, FALSE);
    chat.input = g_data_input_stream_new(bytes);
    chat.loop = g_main_loop_new(NULL, FALSE);
    chat.cancellable = g_cancellable_new();
    GSource *source = watch(&chat);
    g_unix_signal_add(SIGINT, on_signal, &chat);
    g_unix_signal_add(SIGTERM, on_signal, &chat);
    read_line(&chat);
    g_main_loop_run(chat.loop);

    g_source_destroy(source);
    g_cancellable_cancel(chat.cancellable);
    while (chat.reading)
        g_main_context_iteration(NULL, TRUE);
    tcpmsg_close(chat.conn);
    g_free(chat.line);
    g_source_unref(source);
    g_object_unref(chat.cancellable);
    g_object_unref(chat.input);
    g_object_unref(bytes);
    g_main_loop_unref(chat.loop);
    return chat.status;
}
