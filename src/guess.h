/* SPDX-License-Identifier: MIT */
#ifndef TM_GUESS_H
#define TM_GUESS_H

#include <stddef.h>
#include <stdint.h>

/* The protocol that a stream beginning with these bytes seems to speak ("HTTP"), or NULL. */
const char *tm_guess_protocol(const uint8_t *bytes, size_t count);

#endif
