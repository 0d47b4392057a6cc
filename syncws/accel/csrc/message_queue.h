/* MessageQueue: messages on their way from the reader to callers. */

#ifndef SYNCWS_MESSAGE_QUEUE_H
#define SYNCWS_MESSAGE_QUEUE_H

#include "speedups.h"

static PyType_Spec queue_spec;

/* Whether the queue is above its marks. */
static int queue_is_full(const Queue *self);

/* Add a message; or drop it, while closing. Takes over its reference. */
static int queue_put(Queue *self, PyObject *message);

/* Take the first complete message. Return 1; 0 if there is none; -1 if it can't be converted or a
 * signal handler raised: then it stays. The caller holds a reference to the queue, since handlers
 * may fork. */
static int queue_receive(Queue *self, State *state, PyObject *decode, int waited,
                         PyObject **result);

#endif
