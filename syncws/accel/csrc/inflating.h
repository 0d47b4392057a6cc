/* Inflater: compressed payloads in, what they mean out (RFC 7692 7.2.2). */

#ifndef SYNCWS_INFLATING_H
#define SYNCWS_INFLATING_H

#include "speedups.h"

static PyType_Spec inflater_spec;

/* Inflate a frame's payload, the last of its message if fin is set. A limit of -1 is none. Return
 * bytes; or a tuple, as in a parser's error, if they can't be; or NULL with an exception set. No
 * Python code runs meanwhile, so that no signal handler does. */
static PyObject *inflate(Inflater *self, PyObject *payload, int fin, int64_t max_size);

#endif
