/* SPDX-License-Identifier: MIT */
#ifndef TM_HINTS_H
#define TM_HINTS_H

/* What the long way of a call does, kept out of the short one that most calls take. */
#if defined(__GNUC__) || defined(__clang__)
#define TM_SELDOM __attribute__((noinline, cold))
#define TM_RARELY(condition) __builtin_expect(!!(condition), 0)
#else
#define TM_SELDOM
#define TM_RARELY(condition) (condition)
#endif

#endif
