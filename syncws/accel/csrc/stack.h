/* The stack of a thread that waits. */

#ifndef SYNCWS_STACK_H
#define SYNCWS_STACK_H

#include "speedups.h"

/* Give back the memory of what the calling thread's stack has below here. errno may change. Not for
 * the main thread, whose stack grows by itself. */
static void trim_stack(void);

#endif
