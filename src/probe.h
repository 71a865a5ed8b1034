/* SPDX-License-Identifier: MIT */
#ifndef TM_PROBE_H
#define TM_PROBE_H

/*
 * Where gdb, perf, bpftrace or SystemTap can look in (docs/monitoring.md has the list): each is one
 * nop and a note in the library's file, or nothing where <sys/sdt.h> was not there.
 */
#ifdef TM_HAS_SDT
#include <sys/sdt.h>

/* The header's macros are not ISO C's, of which clang tells where they are used. */
#ifdef __clang__
#define TM_LENIENT                                                                                 \
    _Pragma("clang diagnostic push")                                                               \
        _Pragma("clang diagnostic ignored \"-Wgnu-zero-variadic-macro-arguments\"")
#define TM_STRICT _Pragma("clang diagnostic pop")
#else
#define TM_LENIENT
#define TM_STRICT
#endif

#define TM_PROBE(name, first, second)                                                              \
    do {                                                                                           \
        TM_LENIENT                                                                                 \
        DTRACE_PROBE2(tcpmsg, name, first, second);                                                \
        TM_STRICT                                                                                  \
    } while (0)
#else
#define TM_PROBE(name, first, second) ((void)0)
#endif

#endif
