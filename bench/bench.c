/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L

#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ROUNDS_MAX = 1000,
    WAYS_MAX = 16,
    BARE_WAYS = 2,
};

static const double measurement_s = 0.3;
static const double calibration_s = 0.03;

typedef struct settings {
    int rounds;
    size_t length; /* 0: all of them */
    bool chosen[WAYS_MAX];
} settings;

/* The figures of one way, one a round; NULL when it was not chosen. */
typedef struct series {
    size_t count; /* messages in a measurement */
    double *figures;
} series;

/* How many messages make a measurement long enough, found with ever longer ones. */
static size_t calibrate(const bench_way *way, size_t length)
{
    bench_load load = {.length = length, .count = 16};
    double taken = bench_measure(way, &load);
    while (taken < calibration_s) {
        load.count *= 4;
        taken = bench_measure(way, &load);
    }
    return (size_t)((double)load.count * measurement_s / taken) + 1;
}

static double figure(const bench_plan *plan, const bench_way *way, const bench_load *load)
{
    double taken = bench_measure(way, load);
    return plan->rate ? (double)load->count / taken : taken * 1e6 / (double)load->count;
}

static int ascending(const void *left, const void *right)
{
    double a = *(const double *)left;
    double b = *(const double *)right;
    return (a > b) - (a < b);
}

/* Sorts the values, and returns the one in the middle. */
static double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof(*values), ascending);
    int middle = count / 2;
    return count % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

/* The median of the ratios of each round: two figures that were measured side by side. */
static void print_ratio(const series *way, const series *bare, int rounds)
{
    double ratios[ROUNDS_MAX];
    if (bare->figures == NULL) {
        printf(" %12s", "-");
        return;
    }
    for (int round = 0; round < rounds; round++) {
        ratios[round] = way->figures[round] / bare->figures[round];
    }
    printf(" %12.3f", median(ratios, rounds));
}

static void print_way(const bench_plan *plan, const bench_way *way, const double *figures,
                      int rounds)
{
    double sorted[ROUNDS_MAX];
    int digits = plan->rate ? 0 : 2;
    memcpy(sorted, figures, (size_t)rounds * sizeof(*sorted));
    double middle = median(sorted, rounds);
    printf("%-10s %-44s %12.*f %12.*f %12.*f", way->name, way->title, digits, middle, digits,
           sorted[0], digits, sorted[rounds - 1]);
}

static void print_table(const bench_plan *plan, const series *all, size_t length, int rounds)
{
    const bench_way *ways = plan->ways;
    printf("\n%s, %zu bytes, %s, %d rounds\n", plan->title, length,
           plan->rate ? "messages a second" : "microseconds", rounds);
    printf("%-10s %-44s %12s %12s %12s", "", "", "median", "min", "max");
    for (int i = 0; i < BARE_WAYS; i++) {
        printf(" / %10s", ways[i].name);
    }
    printf("\n");
    for (int i = 0; ways[i].name != NULL; i++) {
        if (all[i].figures == NULL) {
            continue;
        }
        print_way(plan, &ways[i], all[i].figures, rounds);
        for (int bare = 0; bare < BARE_WAYS; bare++) {
            print_ratio(&all[i], &all[bare], rounds);
        }
        printf("\n");
    }
    fflush(stdout);
}

static void run_length(const bench_plan *plan, const settings *set, size_t length)
{
    series all[WAYS_MAX] = {{.count = 0}};
    const bench_way *ways = plan->ways;
    for (int i = 0; ways[i].name != NULL; i++) {
        if (set->chosen[i]) {
            all[i].count = calibrate(&ways[i], length);
            all[i].figures = malloc((size_t)set->rounds * sizeof(double));
            bench_system(all[i].figures != NULL, "malloc");
        }
    }
    for (int round = 0; round < set->rounds; round++) {
        for (int i = 0; ways[i].name != NULL; i++) {
            if (set->chosen[i]) {
                bench_load load = {.length = length, .count = all[i].count};
                all[i].figures[round] = figure(plan, &ways[i], &load);
            }
        }
    }
    print_table(plan, all, length, set->rounds);
    for (int i = 0; ways[i].name != NULL; i++) {
        free(all[i].figures);
    }
}

static int usage(const bench_plan *plan, const char *program)
{
    fprintf(stderr, "usage: %s [--rounds N] [--size BYTES] [--only NAME]...\n", program);
    fprintf(stderr, "N: 1 to %d. NAME, which may be given more than once, is one of\n", ROUNDS_MAX);
    for (const bench_way *way = plan->ways; way->name != NULL; way++) {
        fprintf(stderr, "  %-10s %s\n", way->name, way->title);
    }
    return 2;
}

static bool choose(const bench_plan *plan, settings *set, const char *name)
{
    for (int i = 0; plan->ways[i].name != NULL; i++) {
        if (strcmp(plan->ways[i].name, name) == 0) {
            set->chosen[i] = true;
            return true;
        }
    }
    return false;
}

static bool read_setting(const bench_plan *plan, settings *set, const char *key, const char *value)
{
    if (strcmp(key, "--only") == 0) {
        return choose(plan, set, value);
    }
    char *end;
    long number = strtol(value, &end, 10);
    if (*value == '\0' || *end != '\0' || number < 1) {
        return false;
    }
    if (strcmp(key, "--rounds") == 0) {
        set->rounds = (int)number;
        return number <= ROUNDS_MAX;
    }
    set->length = (size_t)number;
    return strcmp(key, "--size") == 0;
}

static bool read_settings(const bench_plan *plan, settings *set, int argc, char **argv)
{
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc || !read_setting(plan, set, argv[i], argv[i + 1])) {
            return false;
        }
    }
    bool any = false;
    for (int i = 0; i < WAYS_MAX; i++) {
        any = any || set->chosen[i];
    }
    for (int i = 0; !any && i < WAYS_MAX; i++) {
        set->chosen[i] = true;
    }
    return true;
}

int bench_main(const bench_plan *plan, int argc, char **argv)
{
    settings set = {.rounds = 5};
    if (!read_settings(plan, &set, argc, argv)) {
        return usage(plan, argv[0]);
    }
    if (set.length != 0) {
        run_length(plan, &set, set.length);
        return 0;
    }
    for (const size_t *length = plan->lengths; *length != 0; length++) {
        run_length(plan, &set, *length);
    }
    return 0;
}
