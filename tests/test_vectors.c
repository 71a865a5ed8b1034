/* SPDX-License-Identifier: MIT */
/* The vectors of vectors/, which are there for every language: the codec, and connections. */
#define _POSIX_C_SOURCE 200809L
#include "peer.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* What a call to the codec answers: the prefix's size, 0 for more, or an error. */
struct prefix_vector {
    tcpmsg_framing framing;
    uint64_t length;
    int answer;
    uint8_t bytes[24];
    size_t count;
};

struct stream_vector {
    const char *name;
    tcpmsg_framing framing;
    size_t max_message;
    bool sender;
    const uint8_t *wire;
    size_t wire_size;
    const uint8_t *said; /* the messages, one after the other */
    const size_t *sizes; /* of each */
    size_t count;
    int end;
};

/* Made of the JSON by vectors/header.py. */
#include "vectors.h"

/* The longest that goes through a connection here. */
#define LONG_ENOUGH (64 * KIB + 1)

#define UNTOUCHED ((size_t)0xa5a5a5a5)

/* Reads a copy that has no byte too many, so that a sanitizer sees one that is read behind it. */
static ssize_t decode(const tcpmsg_framing *framing, const void *bytes, size_t count,
                      size_t *length)
{
    unsigned char *copy = malloc(count ? count : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, count);
    *length = UNTOUCHED;
    ssize_t answer = tcpmsg_frame_decode(framing, copy, count, length);
    free(copy);
    return answer;
}

/* What this machine should answer: a size_t of 32 bits holds less than the vectors say. */
static int answer_here(const struct prefix_vector *vector)
{
    return vector->answer > 0 && vector->length > SSIZE_MAX ? TCPMSG_EMSGSIZE : vector->answer;
}

static void expect_answer(const struct prefix_vector *vector, ssize_t got, ssize_t wanted)
{
    const tcpmsg_framing *framing = &vector->framing;
    if (got != wanted)
        fail_msg("width %d, little-endian %d, counts the prefix %d, a length of %llu: %zd, not %zd",
                 framing->width, framing->little_endian, framing->counts_prefix,
                 (unsigned long long)vector->length, got, wanted);
}

static void expect_decoded(const struct prefix_vector *vector)
{
    size_t length;
    int answer = answer_here(vector);
    expect_answer(vector, decode(&vector->framing, vector->bytes, vector->count, &length), answer);
    assert_true(length == (answer > 0 ? (size_t)vector->length : UNTOUCHED));
}

/* Of a prefix that is good or refused, each shorter part. */
static void expect_cuts_need_more(const struct prefix_vector *vector, size_t prefix_size)
{
    for (size_t count = 0; count < prefix_size; count++) {
        size_t length;
        expect_answer(vector, decode(&vector->framing, vector->bytes, count, &length), 0);
        assert_true(length == UNTOUCHED);
    }
}

static void the_codec_writes_each_prefix_of_the_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(encodings); i++) {
        const struct prefix_vector *vector = &encodings[i];
        uint8_t prefix[TCPMSG_PREFIX_MAX], before[TCPMSG_PREFIX_MAX];
        if (vector->length > SIZE_MAX)
            continue;
        memset(before, 0xa5, sizeof before);
        memcpy(prefix, before, sizeof prefix);
        int answer = tcpmsg_frame_encode(&vector->framing, (size_t)vector->length, prefix);
        expect_answer(vector, answer, answer_here(vector));
        size_t written = answer > 0 ? (size_t)answer : 0;
        assert_memory_equal(prefix, vector->bytes, written);
        if (written == 0)
            assert_memory_equal(prefix, before, sizeof prefix);
    }
}

static void the_codec_reads_each_prefix_that_an_encoder_writes(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(encodings); i++) {
        if (encodings[i].answer < 0)
            continue;
        expect_decoded(&encodings[i]);
        expect_cuts_need_more(&encodings[i], encodings[i].count);
    }
}

static void the_codec_reads_and_refuses_what_the_vectors_say(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(decodings); i++) {
        expect_decoded(&decodings[i]);
        if (decodings[i].answer > 0)
            expect_cuts_need_more(&decodings[i], (size_t)decodings[i].answer);
    }
}

/* A connection that is to receive a stream, and what of it has come. */
struct hearing {
    const struct stream_vector *stream;
    tcpmsg_conn *conn;
    int raw;
    const uint8_t *next;
    size_t count;
};

static void hearing_begin(struct hearing *hearing, const struct stream_vector *stream)
{
    *hearing = (struct hearing){.stream = stream, .next = stream->said};
    pair_unix(&hearing->conn, &hearing->raw,
              TCPMSG_OPTIONS(.framing = stream->framing, .max_message = stream->max_message,
                             .recv_timeout_ms = WAIT_MS));
}

/* Takes all whole messages; returns what came after the last of them. */
static ssize_t hear(struct hearing *hearing, int flags)
{
    const struct stream_vector *stream = hearing->stream;
    for (;;) {
        const void *message;
        ssize_t length = tcpmsg_recv_view(hearing->conn, &message, flags);
        if (length < 0)
            return length;
        assert_true(hearing->count < stream->count);
        assert_int_equal(length, stream->sizes[hearing->count++]);
        assert_memory_equal(message, hearing->next, (size_t)length);
        hearing->next += length;
    }
}

static void hearing_end(struct hearing *hearing, ssize_t end)
{
    const struct stream_vector *stream = hearing->stream;
    if (hearing->count != stream->count || end != stream->end)
        fail_msg("\"%s\": %zu of %zu messages, then %s, not %s", stream->name, hearing->count,
                 stream->count, tcpmsg_error_name((int)end), tcpmsg_error_name(stream->end));
    assert_int_equal(tcpmsg_recv(hearing->conn, NULL, 0, 0), end);
    close(hearing->raw);
    tcpmsg_close(hearing->conn);
}

static void a_connection_receives_each_stream_that_comes_at_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(streams); i++) {
        struct hearing hearing;
        hearing_begin(&hearing, &streams[i]);
        assert_true(write_all(hearing.raw, streams[i].wire, streams[i].wire_size));
        assert_int_equal(shutdown(hearing.raw, SHUT_WR), 0);
        hearing_end(&hearing, hear(&hearing, 0));
    }
}

/* How many messages are whole after so many bytes of a stream. */
static size_t whole_messages(const struct stream_vector *stream, size_t bytes)
{
    size_t at = 0, whole = 0;
    for (; whole < stream->count; whole++) {
        size_t length;
        ssize_t prefix = tcpmsg_frame_decode(&stream->framing, stream->wire + at,
                                             stream->wire_size - at, &length);
        assert_true(prefix > 0);
        at += (size_t)prefix + length;
        if (at > bytes)
            break;
    }
    return whole;
}

/* Each message is there with its last byte, and the end with the last that it needs. */
static void a_connection_receives_each_stream_byte_by_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(streams); i++) {
        const struct stream_vector *stream = &streams[i];
        struct hearing hearing;
        ssize_t end = TCPMSG_EAGAIN;
        hearing_begin(&hearing, stream);
        for (size_t at = 0; at < stream->wire_size && end == TCPMSG_EAGAIN; at++) {
            assert_true(write_all(hearing.raw, stream->wire + at, 1));
            end = hear(&hearing, TCPMSG_DONTWAIT);
            if (end == TCPMSG_EAGAIN)
                assert_int_equal(hearing.count, whole_messages(stream, at + 1));
        }
        assert_int_equal(end == TCPMSG_EAGAIN,
                         stream->end == TCPMSG_EOF || stream->end == TCPMSG_ETRUNCATED);
        assert_int_equal(shutdown(hearing.raw, SHUT_WR), 0);
        hearing_end(&hearing, hear(&hearing, 0));
    }
}

static void a_connection_sends_each_stream_as_the_vectors_have_it(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(streams); i++) {
        const struct stream_vector *stream = &streams[i];
        const struct wire wanted = {.bytes = (uint8_t *)stream->wire, .count = stream->wire_size};
        const uint8_t *next = stream->said;
        struct reader reader = {0};
        tcpmsg_conn *conn;
        int raw;
        if (!stream->sender)
            continue;
        pair_unix(&conn, &raw, TCPMSG_OPTIONS(.framing = stream->framing));
        reader_start(&reader, raw);
        for (size_t at = 0; at < stream->count; next += stream->sizes[at++])
            assert_int_equal(tcpmsg_send(conn, next, stream->sizes[at], 0), 0);
        assert_int_equal(tcpmsg_close(conn), 0);
        reader_finish(&reader);
        assert_int_equal(reader.end, 0);
        assert_true(wire_equal(&reader.got, &wanted));
        wire_free(&reader.got);
        close(raw);
    }
}

/* One at a time, so that each has room in the socket. */
static void expect_received_long(tcpmsg_conn *conn, int raw, const struct prefix_vector *vector)
{
    static uint8_t payload[LONG_ENOUGH];
    size_t length = (size_t)vector->length;
    const void *message;
    fill(payload, length, (uint32_t)length);
    assert_true(write_all(raw, vector->bytes, vector->count));
    assert_true(write_all(raw, payload, length));
    assert_int_equal(tcpmsg_recv_view(conn, &message, 0), length);
    assert_true(is_filled(message, length, (uint32_t)length));
}

static void a_connection_receives_a_message_behind_each_prefix_up_to_64_KiB(void **state)
{
    (void)state;
    size_t received = 0;
    for (size_t i = 0; i < COUNT(encodings);) {
        const tcpmsg_framing framing = encodings[i].framing;
        tcpmsg_conn *conn;
        int raw;
        pair_unix(&conn, &raw, TCPMSG_OPTIONS(.framing = framing, .recv_timeout_ms = WAIT_MS));
        for (; i < COUNT(encodings) && memcmp(&framing, &encodings[i].framing, sizeof framing) == 0;
             i++) {
            if (encodings[i].answer < 0 || encodings[i].length > LONG_ENOUGH)
                continue;
            expect_received_long(conn, raw, &encodings[i]);
            received++;
        }
        close(raw);
        tcpmsg_close(conn);
    }
    assert_true(received > 300);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_codec_writes_each_prefix_of_the_vectors),
        cmocka_unit_test(the_codec_reads_each_prefix_that_an_encoder_writes),
        cmocka_unit_test(the_codec_reads_and_refuses_what_the_vectors_say),
        cmocka_unit_test(a_connection_receives_each_stream_that_comes_at_once),
        cmocka_unit_test(a_connection_receives_each_stream_byte_by_byte),
        cmocka_unit_test(a_connection_sends_each_stream_as_the_vectors_have_it),
        cmocka_unit_test(a_connection_receives_a_message_behind_each_prefix_up_to_64_KiB),
    };
    alarm(TEST_SECONDS);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
