/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L

#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tcpmsg/tcpmsg.h>

_Noreturn static void refuse(const struct cli *cli, const char *sentence, const char *word)
{
    fprintf(stderr, "%s: %s: \"%s\"; see %s --help\n", cli->program, sentence, word, cli->program);
    exit(2); /* NOLINT(concurrency-mt-unsafe): there is one thread yet */
}

/* Ends the program; the status is 1 when standard output did not take what was printed. */
_Noreturn static void leave(void)
{
    int status = fflush(stdout) == 0 && !ferror(stdout) ? EXIT_SUCCESS : EXIT_FAILURE;
    exit(status); /* NOLINT(concurrency-mt-unsafe): there is one thread yet */
}

/* A number from 1 to `most`; false for any other word. */
static bool read_number(const char *word, uintmax_t most, uintmax_t *number)
{
    char *end;
    errno = 0;
    *number = strtoumax(word, &end, 10);
    /* strtoumax would take a sign and make something huge of it. */
    bool digits = word[0] >= '0' && word[0] <= '9' && *end == '\0' && errno == 0;
    return digits && *number >= 1 && *number <= most;
}

static size_t read_size(const struct cli *cli, const char *word)
{
    uintmax_t size;
    if (!read_number(word, SSIZE_MAX, &size))
        refuse(cli, "--max-message wants a number of bytes", word);
    return (size_t)size;
}

static int read_int(const struct cli *cli, const struct cli_option *option, const char *word)
{
    uintmax_t number;
    char sentence[80];
    snprintf(sentence, sizeof sentence, "%s wants a number from 1 to %d", option->name,
             option->most);
    if (!read_number(word, (uintmax_t)option->most, &number))
        refuse(cli, sentence, word);
    return (int)number;
}

/* The value of an option that argv[*at] may be, as "--name value" or "--name=value"; or NULL. */
static const char *option_value(const struct cli *cli, char **argv, int *at, const char *name)
{
    size_t length = strlen(name);
    const char *word = argv[*at];
    if (strncmp(word, name, length) != 0 || (word[length] != '\0' && word[length] != '='))
        return NULL;
    if (word[length] == '=')
        return word + length + 1;
    if (argv[*at + 1] == NULL)
        refuse(cli, "a value is missing after", word);
    return argv[++*at];
}

/* Takes what argv[*at] says when it is an option of the program's own. */
static bool read_own(const struct cli *cli, char **argv, int *at)
{
    for (const struct cli_option *option = cli->options; option != NULL && option->name != NULL;
         option++) {
        const char *value;
        if (option->given != NULL && strcmp(argv[*at], option->name) == 0)
            return *option->given = true;
        if (option->number != NULL && (value = option_value(cli, argv, at, option->name)) != NULL) {
            *option->number = read_int(cli, option, value);
            return true;
        }
    }
    return false;
}

/* The next socket would get the number of a standard stream that is closed, and its traffic. */
static void keep_standard_streams_taken(void)
{
    int fd;
    do {
        fd = open("/dev/null", O_RDONLY);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

void cli_read(struct cli *cli, int argc, char **argv)
{
    bool options = true; /* until "--" */
    bool address = false;

    keep_standard_streams_taken();
    for (int at = 1; at < argc; at++) {
        const char *word = argv[at];
        const char *value;
        if (!options || word[0] != '-') {
            if (address)
                refuse(cli, "one address is enough", word);
            address = true;
            cli->address = word;
        } else if (strcmp(word, "--") == 0) {
            options = false;
        } else if (strcmp(word, "--help") == 0) {
            fputs(cli->help, stdout);
            leave();
        } else if (strcmp(word, "--version") == 0) {
            printf("%s, libtcpmsg %s\n", cli->program, tcpmsg_version());
            leave();
        } else if ((value = option_value(cli, argv, &at, "--max-message")) != NULL) {
            cli->max_message = read_size(cli, value);
        } else if (!read_own(cli, argv, &at)) {
            refuse(cli, "unknown option", word);
        }
    }
}
