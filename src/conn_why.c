/* SPDX-License-Identifier: MIT */
#include "conn.h"
#include "conn_client.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "error.h"
#include "frame.h"
#include "guess.h"
#include "log.h"
#include "probe.h"

#define STORY_MOST 400

static const char no_memory[] = "the connection ended, and there was no memory to say why";
static const char peer_ended[] = "the peer ended the connection";

bool tm_conn_tell_plainly(tcpmsg_conn *conn, int level, const char *text)
{
    const char *none = NULL;
    if (!atomic_compare_exchange_strong(&conn->why, &none, text))
        return false;
    TM_PROBE(ended, conn, text);
    tm_log(conn->settings, level, conn, "%s", text);
    return true;
}

void tm_conn_log_opening(tcpmsg_conn *conn, const char *how)
{
    char text[TCPMSG_ADDRESS_MAX] = "a peer that has gone";
    tm_sockaddr peer = {0};
    if (!conn->settings->log)
        return;
    if (conn->tcp)
        tm_conn_peer(conn, &peer);
    else
        tm_socket_peer(conn->fd, &peer);
    tm_sockaddr_print(&peer, text, sizeof text);
    tm_log(conn->settings, TCPMSG_LOG_INFO, conn, "%s %s", how, text);
}

void tm_conn_log_loss(tcpmsg_conn *conn, int error)
{
    char room[TM_ERRNO_TEXT_MOST];
    tm_log(conn->settings, TCPMSG_LOG_WARNING, conn, "what was sent last may not have arrived: %s",
           tm_conn_reason(conn, error, room));
}

static void publish(tcpmsg_conn *conn, const char *text)
{
    char *copy = strdup(text);
    /* Without memory for the story, its shortest form is better than none. */
    if (!copy)
        tm_conn_tell_plainly(conn, TCPMSG_LOG_WARNING, no_memory);
    else if (tm_conn_tell_plainly(conn, TCPMSG_LOG_WARNING, copy))
        conn->why_copied = true;
    else
        free(copy);
}

void tm_conn_tell(tcpmsg_conn *conn, const char *format, ...)
{
    char text[STORY_MOST];
    va_list arguments;
    if (conn->why)
        return;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    publish(conn, text);
}

void tm_conn_free_story(tcpmsg_conn *conn)
{
    if (conn->why_copied)
        free((char *)conn->why);
}

int tm_conn_os_error(tcpmsg_conn *conn, ssize_t answer)
{
    int none = 0, number = (int)-answer;
    /* What an abort of our own does to the socket is no news. */
    if (conn->out.error != TCPMSG_ECANCELED)
        atomic_compare_exchange_strong(&conn->os_error, &none, number);
    int error = tm_error_from_errno(number);
    switch (error) {
    case TCPMSG_ERESET:
    case TCPMSG_ESTALLED:
    case TCPMSG_EUNREACHABLE:
        return error;
    case TCPMSG_EREFUSED:
    case TCPMSG_EACCESS:
        return TCPMSG_EUNREACHABLE; /* a firewall told it by ICMP before the time was out */
    default:
        return TCPMSG_ESYSTEM; /* the other codes are not what an open connection meets */
    }
}

const char *tm_conn_reason(const tcpmsg_conn *conn, int error, char room[TM_ERRNO_TEXT_MOST])
{
    return error == TCPMSG_ESYSTEM && conn->os_error ? tm_errno_text(conn->os_error, room)
                                                     : tcpmsg_strerror(error);
}

/* The first bytes as a C string would say them: "GET ", "\x16\x03\x01\x00". */
static void tell_bytes(tm_story *story, const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        bool plain = bytes[i] >= ' ' && bytes[i] < 0x7f && bytes[i] != '"' && bytes[i] != '\\';
        tm_story_add(story, plain ? "%c" : "\\x%02x", bytes[i]);
    }
}

/* The length that the prefix would say in the other byte order; 0 when that is no better. */
static uint64_t swapped_length(const tcpmsg_conn *conn, const tm_ending *ending)
{
    const tm_codec *codec = &conn->settings->codec;
    if (codec->width == TCPMSG_VARINT || codec->width == 1 || ending->prefix == 0)
        return 0;
    uint64_t length = codec->little_endian ? tm_load_big(ending->bytes, ending->prefix)
                                           : tm_load_little(ending->bytes, ending->prefix);
    uint64_t own = codec->own ? ending->prefix : 0;
    if (length < own || length - own > conn->settings->max_message)
        return 0;
    return length - own < ending->length ? length - own : 0;
}

/* What the beginning looks like, when it looks like another protocol. */
static void guess(const tcpmsg_conn *conn, const tm_ending *ending, tm_story *story)
{
    const char *protocol = tm_guess_protocol(ending->bytes, ending->count);
    uint64_t swapped = swapped_length(conn, ending);
    if (protocol) {
        size_t count = ending->prefix > 4 ? ending->prefix : 4;
        tm_story_add(story, "; the prefix reads \"");
        tell_bytes(story, ending->bytes, count < ending->count ? count : ending->count);
        tm_story_add(story, "\": is the peer speaking %s?", protocol);
    } else if (swapped > 0) {
        tm_story_add(story,
                     "; read in the other byte order it is %llu: does the peer write its lengths "
                     "%s-endian?",
                     (unsigned long long)swapped,
                     conn->settings->codec.little_endian ? "big" : "little");
    }
}

static void tell_progress(const tcpmsg_conn *conn, const tm_ending *ending, tm_story *story)
{
    int width = conn->settings->codec.width;
    if (ending->prefix > 0)
        tm_story_add(story, " after %zu of its %llu bytes", ending->arrived,
                     (unsigned long long)ending->length);
    else if (width == TCPMSG_VARINT)
        tm_story_add(story, " after %zu bytes of its length prefix", ending->count);
    else
        tm_story_add(story, " after %zu of the %d bytes of its length prefix", ending->count,
                     width);
}

static void tell_cut_off(const tcpmsg_conn *conn, const tm_ending *ending, tm_story *story)
{
    bool by_peer = ending->error == TCPMSG_ETRUNCATED;
    char room[TM_ERRNO_TEXT_MOST];
    tm_story_tell(story, "%s", by_peer ? peer_ended : tm_conn_reason(conn, ending->error, room));
    /* A stall that the system has not told is the message's own clock. */
    if (ending->error == TCPMSG_ESTALLED && conn->os_error == 0)
        tm_story_add(story, " (the limit for a message is %d ms)",
                     conn->settings->message_timeout_ms);
    if (ending->count > 0) {
        tm_story_add(story, ", inside a message,");
        tell_progress(conn, ending, story);
        if (ending->first)
            guess(conn, ending, story);
    }
}

void tm_conn_tell_ending(tcpmsg_conn *conn, const tm_ending *ending)
{
    char text[STORY_MOST];
    tm_story story = {.text = text, .size = sizeof text};
    if (ending->error == TCPMSG_EOF) {
        tm_conn_tell_plainly(conn, TCPMSG_LOG_INFO, peer_ended);
        return;
    }
    if (ending->error == TCPMSG_EMSGSIZE) {
        tm_story_tell(&story, "the peer announced a message of %llu bytes, the limit is %zu",
                      (unsigned long long)ending->length, conn->settings->max_message);
        guess(conn, ending, &story);
    } else if (ending->error == TCPMSG_EPROTO) {
        tm_story_tell(&story, "the peer sent a malformed length prefix, \"");
        tell_bytes(&story, ending->bytes,
                   ending->count < TCPMSG_PREFIX_MAX ? ending->count : TCPMSG_PREFIX_MAX);
        tm_story_add(&story, "\"");
        guess(conn, ending, &story);
    } else {
        tell_cut_off(conn, ending, &story);
    }
    publish(conn, text);
}

void tm_conn_tell_ending_here(tcpmsg_conn *conn, int error, size_t behind)
{
    const tm_in *in = &conn->in;
    if (conn->awaits_client) {
        tm_client_tell_ending(conn, error);
        return;
    }
    tm_ending ending = {.error = error, .first = in->messages == 0};
    size_t have = tm_buffer_len(&in->buffer);
    if (have > 0) {
        ending.bytes = tm_buffer_head(&in->buffer);
        ending.count = have;
        int prefix = tm_frame_value(&conn->settings->codec, ending.bytes, have, &ending.length);
        ending.prefix = prefix > 0 ? (size_t)prefix : 0;
        ending.arrived = have - ending.prefix + behind;
    }
    tm_conn_tell_ending(conn, &ending);
}
