/* SPDX-License-Identifier: MIT */
#ifndef EXAMPLES_CLI_H
#define EXAMPLES_CLI_H

#include <stdbool.h>
#include <stddef.h>

/* The command line that the two programs share: --help, --version, --max-message N, [ADDRESS]. */

/* An option that one of them has of its own: a flag, "--verbose", or a number, "--threads 4". */
struct cli_option {
    const char *name;
    bool *given; /* of a flag; else NULL */
    int *number; /* of a number from 1 to `most`; else NULL */
    int most;
};

struct cli {
    const char *program;              /* in: its name */
    const char *help;                 /* in: what --help prints */
    const struct cli_option *options; /* in: up to one whose name is NULL; or NULL */
    const char *address;              /* in: the default one; out: the one to use */
    size_t max_message;               /* in: the default, in bytes; out: the limit to use */
};

/*
 * Fills in what argv says. Doesn't return for --help and --version (status 0), nor for nonsense,
 * which is told of on standard error (status 2).
 */
void cli_read(struct cli *cli, int argc, char **argv);

#endif
