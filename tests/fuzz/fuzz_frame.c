/* SPDX-License-Identifier: MIT */
/*
 * The codec against a model of it: a length both ways, and a stream in one go and in pieces.
 * The input: the framing, a limit, a length to encode, how the stream is cut, the stream.
 */
#include "buffer.h"
#include "conn_in.h"
#include "frame.h"
#include "input.h"
#include "model.h"

#include <string.h>

#define UNTOUCHED ((size_t)0xa5a5a5a5)
#define ROOM 16 /* more than a piece needs: without it the time would go into moving the buffer */

/* What a stream held: its whole messages, and what followed the last. */
struct reading {
    unsigned messages;
    size_t taken; /* bytes, up to the end of the last message */
    uint64_t sum; /* of where each began and how long it was */
    int end;      /* 0: more has to come */
};

static void add_message(struct reading *reading, size_t prefix, size_t length)
{
    reading->messages++;
    reading->sum = reading->sum * 31 + reading->taken + prefix;
    reading->sum = reading->sum * 31 + length;
    reading->taken += prefix + length;
}

/* Few bits for the ways that there are; the eighth way is any framing at all. */
static tcpmsg_framing take_framing(struct input *input)
{
    static const int widths[] = {0, 1, 2, 3, 4, 8, TCPMSG_VARINT};
    unsigned choice = take(input);
    tcpmsg_framing framing = {.little_endian = choice >> 3 & 1, .counts_prefix = choice >> 4 & 1};
    if ((choice & 7) < 7) {
        framing.width = widths[choice & 7];
        return framing;
    }
    framing.width = (int8_t)take(input) * ((choice & 32) ? 256 : 1);
    framing.little_endian = (int8_t)take(input);
    framing.counts_prefix = (int8_t)take(input);
    framing.reserved[(choice >> 6) % 5] = (int8_t)take(input);
    return framing;
}

static void check_refused(const tcpmsg_framing *framing)
{
    uint8_t prefix[TCPMSG_PREFIX_MAX] = {0};
    size_t length = UNTOUCHED;
    tm_codec codec;
    MUST(tm_codec_make(&codec, framing) == TCPMSG_EINVAL);
    MUST(tcpmsg_frame_encode(framing, 0, prefix) == TCPMSG_EINVAL);
    MUST(tcpmsg_frame_decode(framing, prefix, sizeof prefix, &length) == TCPMSG_EINVAL);
    MUST(length == UNTOUCHED);
}

/* A prefix and each part of it, right before bytes that nobody may read. */
static void check_parts(const tcpmsg_framing *framing, const uint8_t *prefix, size_t size,
                        uint64_t length)
{
    uint8_t *row = malloc(size);
    size_t told;
    for (size_t count = 0; count < size; count++) {
        memcpy(row + size - count, prefix, count);
        told = UNTOUCHED;
        MUST(tcpmsg_frame_decode(framing, row + size - count, count, &told) == 0);
        MUST(told == UNTOUCHED);
    }
    memcpy(row, prefix, size);
    MUST(tcpmsg_frame_decode(framing, row, size, &told) == (ssize_t)size && told == length);
    free(row);
}

static void check_length(const tcpmsg_framing *framing, const struct model *model, size_t length)
{
    uint8_t prefix[TCPMSG_PREFIX_MAX], before[TCPMSG_PREFIX_MAX], wanted[TCPMSG_PREFIX_MAX];
    memset(prefix, 0xa5, sizeof prefix);
    memcpy(before, prefix, sizeof before);
    int size = model_encode(model, length, wanted);
    MUST(tcpmsg_frame_encode(framing, length, prefix) == size);
    size_t written = size > 0 ? (size_t)size : 0;
    MUST(memcmp(prefix, wanted, written) == 0);
    MUST(memcmp(prefix + written, before, sizeof prefix - written) == 0);
    if (size > 0)
        check_parts(framing, prefix, written, length);
}

static struct reading read_by_model(const struct model *model, const uint8_t *bytes, size_t count)
{
    struct reading reading = {0};
    uint64_t length;
    while (reading.taken < count) {
        size_t left = count - reading.taken;
        int prefix = model_decode(model, bytes + reading.taken, left, &length);
        reading.end = prefix < 0 ? prefix : 0;
        if (prefix <= 0 || left - (size_t)prefix < length)
            break;
        add_message(&reading, (size_t)prefix, (size_t)length);
    }
    return reading;
}

/* The short way of receiving agrees with the long one wherever it has an answer. */
static void check_short_way(const tm_codec *codec, const uint8_t *bytes, size_t count)
{
    size_t length = 0, told;
    if (!tm_frame_decode_fixed(codec, bytes, count, &told))
        return;
    MUST(tm_frame_decode(codec, bytes, count, &length) == codec->width);
    MUST(length == told);
}

static struct reading read_whole(const tm_codec *codec, const uint8_t *bytes, size_t count)
{
    struct reading reading = {0};
    tm_head head;
    while (reading.end == 0) {
        size_t left = count - reading.taken;
        check_short_way(codec, bytes + reading.taken, left);
        int whole = tm_look(codec, bytes + reading.taken, left, &head);
        if (whole == 0)
            break;
        if (whole > 0)
            add_message(&reading, head.prefix, head.length);
        else
            reading.end = whole;
    }
    return reading;
}

/* The sizes of the pieces: all 1, or by chance from 1 up to so many. */
static size_t next_piece(unsigned *chance, unsigned most)
{
    *chance = *chance * 1103515245u + 12345u;
    return most == 0 ? 1 : 1 + (*chance >> 16) % most;
}

static struct reading read_pieces(const tm_codec *codec, const uint8_t *bytes, size_t count,
                                  unsigned cut)
{
    struct reading reading = {0};
    tm_buffer buffer = {0};
    tm_head head;
    unsigned chance = cut;
    for (size_t at = 0; at < count && reading.end == 0;) {
        size_t piece = next_piece(&chance, cut % 32);
        piece = piece < count - at ? piece : count - at;
        MUST(tm_buffer_reserve(&buffer, piece + ROOM) == 0);
        tm_buffer_append(&buffer, bytes + at, piece);
        at += piece;
        int whole;
        while ((whole = tm_look(codec, tm_buffer_head(&buffer), tm_buffer_len(&buffer), &head)) >
               0) {
            add_message(&reading, head.prefix, head.length);
            tm_buffer_consume(&buffer, head.prefix + head.length);
        }
        reading.end = whole;
        MUST(tm_buffer_valid(&buffer) && reading.taken + tm_buffer_len(&buffer) == at);
    }
    tm_buffer_free(&buffer);
    return reading;
}

static void check_same(const struct reading *one, const struct reading *other)
{
    MUST(one->messages == other->messages && one->taken == other->taken);
    MUST(one->sum == other->sum && one->end == other->end);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    struct model model;
    tm_codec codec;
    tcpmsg_framing framing = take_framing(&input);
    if (!model_make(&model, &framing)) {
        check_refused(&framing);
        return 0;
    }
    unsigned limit = take(&input), cut = take(&input);
    unsigned length_bytes = take(&input) % 9;
    check_length(&framing, &model, (size_t)take_wide(&input, length_bytes));

    /* Under a limit, as a connection's: 0 is none. */
    MUST(tm_codec_make(&codec, &framing) == 0 && codec.most == model.most);
    uint64_t most = limit ? ((uint64_t)1 << (limit & 63)) - 1 + (limit >> 6) : INT64_MAX;
    model_limit(&model, most);
    codec.most = (size_t)model.most;
    struct reading wanted = read_by_model(&model, input.bytes, input.count);
    struct reading whole = read_whole(&codec, input.bytes, input.count);
    check_same(&whole, &wanted);
    struct reading pieces = read_pieces(&codec, input.bytes, input.count, cut);
    check_same(&pieces, &wanted);
    return 0;
}
