/* The turnstile. A thread that waits for CPython's interpreter lock wakes up every 5 ms to ask for
 * it: a single one does no harm. But when thousands of connections end at once, as many threads
 * wake up, and ask again and again: the machine then does little else for as long as it takes them
 * all to get the lock, which is most of a minute. So threads that come back from a call that blocks
 * queue at a lock of ours first, and one at a time waits for the interpreter lock.
 *
 * - There are two lanes: those that have received something must not wait for all that leave, and
 *   one that leaves must not stand in a queue of hundreds that receive. One that leaves at a time
 *   may be next; each TURNS-th that receives gives it its place. So those that receive get most of
 *   the time while a crowd leaves, and that is over soon.
 * - Nobody waits at the turnstile with the interpreter lock, and nothing is done in it but waiting
 *   for that lock. So whoever has the lock gives it up sooner or later, and the queue moves.
 * - The main thread walks past. Signal handlers run there, and it must not queue for that; and it
 *   ends the interpreter.
 * - When the interpreter ends, threads that ask for its lock never come back, one of them with the
 *   place of the next. Those behind it wait here for ever, instead of for that lock. Both happen to
 *   daemon threads only, and end with the process. A program that goes on, and starts another
 *   interpreter, has another turnstile there. That is why none is ever freed: some 200 bytes for
 *   each interpreter.
 * - A forked child has one thread, which did not come back just then; the locks may be a thread's
 *   that only the parent has. So the child makes others.
 * - Interpreters with locks of their own have turnstiles of their own.
 * - Free-threaded builds have none: there is nothing to queue for. */

#include "turnstile.h"

#ifdef HAVE_DIRECT_IO

/* Threads that have received something, for each one that leaves. A message takes some 20 us, the
 * end of a connection ten times that. With 600 connections that are busy all the time, 2,400 that
 * leave are gone in 2 s; with 80 turns it takes 3.3 s, and 35 when all stood in one queue. */
#define TURNS 16

/* Microseconds after which a thread that leaves looks by itself whether it may be next: whoever was
 * to give it its place may have looked just before it came. */
#define LOOK_AGAIN 1000

static Turnstile *
turnstile_new(void)
{
#ifdef Py_GIL_DISABLED
    return NULL;
#else
    Turnstile *turnstile = calloc(1, sizeof(Turnstile));
    if (turnstile != NULL) {
        turnstile->next = PyThread_allocate_lock();
        turnstile->leaving = PyThread_allocate_lock();
        turnstile->given = PyThread_allocate_lock();
        if (turnstile->next == NULL || turnstile->leaving == NULL || turnstile->given == NULL) {
            return NULL;
        }
        PyThread_acquire_lock(turnstile->given, NOWAIT_LOCK);
    }
    return turnstile; /* without memory there is none, which is slower */
#endif
}

/* Take the place of the next one, as a thread that leaves. */
static void
wait_to_leave(Turnstile *turnstile)
{
    if (PyThread_acquire_lock(turnstile->next, NOWAIT_LOCK)) {
        return;
    }
    __atomic_store_n(&turnstile->wants, 1, __ATOMIC_SEQ_CST);
    while (PyThread_acquire_lock_timed(turnstile->given, LOOK_AGAIN, 0) != PY_LOCK_ACQUIRED) {
        if (PyThread_acquire_lock(turnstile->next, NOWAIT_LOCK)) {
            if (!__atomic_exchange_n(&turnstile->wants, 0, __ATOMIC_SEQ_CST)) {
                /* It is given to us as well: one place is enough. */
                PyThread_acquire_lock(turnstile->given, WAIT_LOCK);
                PyThread_release_lock(turnstile->next);
            }
            return;
        }
    }
}

static void
turnstile_pass(Turnstile *turnstile, PyThreadState *thread, int is_main, int leaves)
{
    if (is_main || turnstile == NULL) {
        PyEval_RestoreThread(thread);
        return;
    }
    int error = errno;
    if (leaves) {
        PyThread_acquire_lock(turnstile->leaving, WAIT_LOCK);
        wait_to_leave(turnstile);
        PyEval_RestoreThread(thread);
        PyThread_release_lock(turnstile->next);
        PyThread_release_lock(turnstile->leaving);
    }
    else {
        PyThread_acquire_lock(turnstile->next, WAIT_LOCK);
        PyEval_RestoreThread(thread);
        if (++turnstile->turns >= TURNS && __atomic_load_n(&turnstile->wants, __ATOMIC_SEQ_CST) &&
            __atomic_exchange_n(&turnstile->wants, 0, __ATOMIC_SEQ_CST)) {
            turnstile->turns = 0;
            PyThread_release_lock(turnstile->given);
        }
        else {
            PyThread_release_lock(turnstile->next);
        }
    }
    errno = error;
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
