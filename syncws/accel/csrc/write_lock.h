/* WriteLock: whoever has it may write to the socket. */

#ifndef SYNCWS_WRITE_LOCK_H
#define SYNCWS_WRITE_LOCK_H

#include "speedups.h"

static PyType_Spec lock_spec;

/* Take the lock if it is free; or, if reentrant, if this thread has it already. Never waits.
 * Return whether it was taken. */
static int lock_try(WriteLock *self, int reentrant);

/* What releasing comes back with. */
enum { NOT_OWNED, RELEASED, RELEASED_AND_MISSED };

/* Release the lock. An exception on its way stays. After RELEASED_AND_MISSED, somebody has come in
 * vain meanwhile, and counts on the caller. */
static int lock_release(WriteLock *self);

#endif
