/* The turnstile: how threads come back to the interpreter after a call that blocks. */

#ifndef SYNCWS_TURNSTILE_H
#define SYNCWS_TURNSTILE_H

#include "speedups.h"

#ifdef HAVE_DIRECT_IO
/* Make one, for an interpreter, or after a fork; or return NULL, if there is none. */
static Turnstile *turnstile_new(void);

/* Take the interpreter lock again: later than others, if the thread's connection is at its end. The
 * main thread doesn't pass through. errno stays. */
static void turnstile_pass(Turnstile *turnstile, PyThreadState *thread, int is_main, int leaves);
#endif

/* A function of the module. */
static PyObject *renew_turnstile(PyObject *module, PyObject *ignored);

#endif
