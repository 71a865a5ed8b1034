/* SPDX-License-Identifier: MIT */
#include "model.h"

#include <stdint.h>

#include <tcpmsg/error.h>

bool model_make(struct model *model, const tcpmsg_framing *framing)
{
    static const int widths[] = {0, 1, 2, 3, 4, 8, TCPMSG_VARINT};
    static const unsigned bytes[] = {4, 1, 2, 3, 4, 8, 0};
    bool known = false;
    *model = (struct model){.little = framing->little_endian, .counts = framing->counts_prefix};
    for (unsigned i = 0; i < sizeof widths / sizeof widths[0]; i++)
        if (framing->width == widths[i]) {
            known = true;
            model->width = bytes[i];
        }
    for (unsigned i = 0; i < sizeof framing->reserved / sizeof framing->reserved[0]; i++)
        known = known && framing->reserved[i] == 0;
    if (framing->little_endian != model->little || framing->counts_prefix != model->counts)
        return false;
    uint64_t said = 1;
    for (unsigned i = 0; i < model->width && model->width < 8; i++)
        said *= 256;
    model->most = model->width == 8 || model->width == 0 ? INT64_MAX : said - 1;
    if (model->counts && model->width < 8)
        model->most -= model->width;
    model_limit(model, PTRDIFF_MAX);
    return known && !(model->width == 0 && model->counts);
}

void model_limit(struct model *model, uint64_t most)
{
    if (model->most > most)
        model->most = most;
}

int model_encode(const struct model *model, uint64_t length, uint8_t prefix[TCPMSG_PREFIX_MAX])
{
    if (length > model->most)
        return TCPMSG_EMSGSIZE;
    if (model->width == 0) {
        int size = 0;
        for (; length >= 128; length /= 128)
            prefix[size++] = (uint8_t)(128 + length % 128);
        prefix[size++] = (uint8_t)length;
        return size;
    }
    length += model->counts ? model->width : 0;
    for (unsigned i = 0; i < model->width; i++, length /= 256)
        prefix[model->little ? i : model->width - 1 - i] = (uint8_t)(length % 256);
    return (int)model->width;
}

/* At most ten bytes, the last of them 0 or 1, since a length has 64 bits. */
static int decode_varint(const uint8_t *bytes, size_t count, uint64_t *length)
{
    uint64_t weight = 1;
    *length = 0;
    for (size_t i = 0; i < count; i++, weight *= 128) {
        if (i == 9 && bytes[i] > 1)
            return TCPMSG_EPROTO;
        *length += bytes[i] % 128 * weight;
        if (bytes[i] < 128)
            return (int)i + 1;
    }
    return 0;
}

static int decode_fixed(const struct model *model, const uint8_t *bytes, size_t count,
                        uint64_t *length)
{
    if (count < model->width)
        return 0;
    *length = 0;
    for (unsigned i = 0; i < model->width; i++)
        *length = *length * 256 + bytes[model->little ? model->width - 1 - i : i];
    if (!model->counts)
        return (int)model->width;
    if (*length < model->width)
        return TCPMSG_EPROTO;
    *length -= model->width;
    return (int)model->width;
}

int model_decode(const struct model *model, const uint8_t *bytes, size_t count, uint64_t *length)
{
    int size = model->width == 0 ? decode_varint(bytes, count, length)
                                 : decode_fixed(model, bytes, count, length);
    return size > 0 && *length > model->most ? TCPMSG_EMSGSIZE : size;
}
