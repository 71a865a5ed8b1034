/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L

#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double calibration_s = 0.03;

typedef struct settings {
    const bench_way *way;
    size_t length;
    double seconds;
} settings;

/* How many messages make a measurement long enough, found with ever longer ones. */
static size_t calibrate(const settings *set)
{
    bench_load load = {.length = set->length, .count = 16};
    bench_taken taken = bench_measure(set->way, &load);
    while (taken.seconds < calibration_s) {
        load.count *= 4;
        taken = bench_measure(set->way, &load);
    }
    return (size_t)((double)load.count * set->seconds / taken.seconds) + 1;
}

static void print_figures(const bench_taken *taken, size_t count)
{
    double us = 1e6 / (double)count;
    printf("messages a second: %.1f\n", (double)count / taken->seconds);
    printf("microseconds a message: %.4f\n", taken->seconds * us);
    printf("sender, user: %.4f\n", taken->near_user * us);
    printf("sender, system: %.4f\n", taken->near_system * us);
    printf("receiver, user: %.4f\n", taken->far_user * us);
    printf("receiver, system: %.4f\n", taken->far_system * us);
}

static int usage(const bench_way *const *ways, const char *program)
{
    fprintf(stderr,
            "usage: %s WAY [--size BYTES] [--seconds S]\n"
            "Measures one way, once. Processor times are microseconds a message. WAY is one of\n",
            program);
    for (; *ways != NULL; ways++) {
        fprintf(stderr, "  %-12s %s\n", (*ways)->name, (*ways)->title);
    }
    return 2;
}

static const bench_way *way_named(const bench_way *const *ways, const char *name)
{
    while (*ways != NULL && strcmp((*ways)->name, name) != 0) {
        ways++;
    }
    return *ways;
}

static bool read_setting(settings *set, const char *key, const char *value)
{
    char *end;
    if (strcmp(key, "--seconds") == 0) {
        set->seconds = strtod(value, &end);
        return *value != '\0' && *end == '\0' && set->seconds > 0 && set->seconds <= 10;
    }
    set->length = strtoul(value, &end, 10);
    return strcmp(key, "--size") == 0 && *value != '\0' && *end == '\0' && set->length > 0;
}

int bench_main(const bench_way *const *ways, int argc, char **argv)
{
    settings set = {.length = 64, .seconds = 0.3};
    bool fine = argc % 2 == 0 && (set.way = way_named(ways, argv[1])) != NULL;
    for (int i = 2; fine && i < argc; i += 2) {
        fine = read_setting(&set, argv[i], argv[i + 1]);
    }
    if (!fine) {
        return usage(ways, argv[0]);
    }
    bench_load load = {.length = set.length, .count = calibrate(&set)};
    bench_taken taken = bench_measure(set.way, &load);
    print_figures(&taken, load.count);
    return 0;
}
