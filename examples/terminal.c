/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L

#include "terminal.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static struct termios found; /* how the terminal was */
static struct termios ours;
static volatile sig_atomic_t taken; /* it is as in ours */

void terminal_give_back(void)
{
    if (taken)
        tcsetattr(STDIN_FILENO, TCSANOW, &found);
    taken = 0;
}

static bool set_ours(void)
{
    taken = 1; /* before it is true, lest a signal come in between */
    if (tcsetattr(STDIN_FILENO, TCSANOW, &ours) != 0)
        taken = 0;
    return taken;
}

/* SA_RESETHAND: when it is raised again, the signal does what it does by default. */
static void on_end(int number)
{
    if (taken && write(STDOUT_FILENO, "\n", 1) < 0) {
        /* The terminal is gone, and so are we. */
    }
    terminal_give_back();
    raise(number);
}

static void catch_signals(void)
{
    static const int ends[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    struct sigaction action = {.sa_handler = on_end, .sa_flags = SA_RESETHAND};

    sigemptyset(&action.sa_mask);
    for (size_t at = 0; at < sizeof ends / sizeof ends[0]; at++)
        sigaction(ends[at], &action, NULL);
}

bool terminal_take(void)
{
    const char *kind = getenv("TERM"); /* NOLINT(concurrency-mt-unsafe): nobody sets one */
    if (kind == NULL || kind[0] == '\0' || strcmp(kind, "dumb") == 0)
        return false;
    if (!isatty(STDOUT_FILENO) || tcgetattr(STDIN_FILENO, &found) != 0)
        return false;

    ours = found;
    ours.c_lflag &= ~(tcflag_t)(ICANON | ECHO | IEXTEN);
    ours.c_cc[VSUSP] = _POSIX_VDISABLE;
    ours.c_cc[VMIN] = 1;
    ours.c_cc[VTIME] = 0;
    catch_signals();
    atexit(terminal_give_back);
    return set_ours();
}

void terminal_suspend(void)
{
    terminal_give_back();
    kill(0, SIGTSTP); /* all of the shell's job; comes back when it goes on */
    set_ours();
}

size_t terminal_columns(void)
{
#ifdef TIOCGWINSZ /* not in POSIX before its 2024 edition */
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
#endif
    return 80;
}
