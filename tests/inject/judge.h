/* SPDX-License-Identifier: MIT */
/* The end of a test in which something has failed: whether the library let go of everything. */
#ifndef TESTS_INJECT_JUDGE_H
#define TESTS_INJECT_JUDGE_H

/* The worst is the last. */
enum verdict {
    WORKED,   /* the test passed all the same */
    GAVE_UP,  /* it failed, and nothing was left once what it held was closed */
    WAITED,   /* ... when it would have waited for what can't come any more */
    UNJUDGED, /* the test ended from inside of a callback, or stays there */
    LEFT,     /* memory, descriptors or threads are left */
    STUCK,    /* a thread did not come back from the library */
    CRASHED,
    VERDICTS,
};

/* In the process of the test, by a thread that is not in a call of the library's. `so_far` is
 * how the test itself ended; the text says what is left. */
enum verdict judge(enum verdict so_far, char *text, unsigned long size);

#endif
