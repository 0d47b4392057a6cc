/* The turnstile. A thread that waits for CPython's interpreter lock wakes up every 5 ms to ask for
 * it: a single one does no harm. But when thousands of connections end at once, as many threads
 * wake up, and ask again and again: the machine then does little else for as long as it takes them
 * all to get the lock, which is most of a minute. So threads that come back from a call that blocks
 * queue at a mutex first, and one at a time waits for the interpreter lock.
 *
 * - There are two lanes, as those that have received something must not wait for all that leave:
 *   one of the latter at a time stands in the queue of the former.
 * - Nobody waits at the turnstile with the interpreter lock, and nothing is done in it but waiting
 *   for that lock. So whoever has the lock gives it up sooner or later, and the queue moves.
 * - The main thread walks past. Signal handlers run there, and it must not queue for that; and it
 *   ends the interpreter.
 * - When the interpreter ends, threads that ask for its lock never come back, one of them with the
 *   mutex. Those behind it wait here for ever, instead of for the lock. Both happen to daemon
 *   threads only, and ends with the process. A program that goes on, and starts another
 *   interpreter, has another turnstile there. That is why none is ever freed: 80 bytes for each
 *   interpreter.
 * - A forked child has one thread, which did not come back just then; the mutex may be a thread's
 *   that only the parent has. So the child makes another one.
 * - Interpreters with locks of their own have turnstiles of their own.
 * - Free-threaded builds have none: there is nothing to queue for. */

#include "turnstile.h"

#ifdef HAVE_DIRECT_IO

static Turnstile *
turnstile_new(void)
{
#ifdef Py_GIL_DISABLED
    return NULL;
#else
    Turnstile *turnstile = malloc(sizeof(Turnstile));
    if (turnstile != NULL) {
        *turnstile = (Turnstile){PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER};
    }
    return turnstile; /* without memory there is none, which is slower */
#endif
}

static void
turnstile_pass(Turnstile *turnstile, PyThreadState *thread, int is_main, int leaves)
{
    if (is_main || turnstile == NULL) {
        PyEval_RestoreThread(thread);
        return;
    }
    if (leaves) {
        pthread_mutex_lock(&turnstile->leaving);
    }
    pthread_mutex_lock(&turnstile->next);
    PyEval_RestoreThread(thread);
    pthread_mutex_unlock(&turnstile->next);
    if (leaves) {
        pthread_mutex_unlock(&turnstile->leaving);
    }
}

#endif

static PyObject *
renew_turnstile(PyObject *module, PyObject *ignored)
{
    (void)ignored;
#ifdef HAVE_DIRECT_IO
    State *state = PyModule_GetState(module);
    state->turnstile = turnstile_new();
#else
    (void)module;
#endif
    Py_RETURN_NONE;
}
