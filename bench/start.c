/* SPDX-License-Identifier: MIT */
/* Does nothing. What its start takes is the loader's work for the library it is linked with, of
 * which it knows one function, USED. */

#ifdef USED
extern int USED(void);
static int (*const volatile used)(void) = USED;
#endif

int main(void)
{
#ifdef USED
    return used ? 0 : 1;
#else
    return 0;
#endif
}
