/* Deflater: payloads in, compressed ones out (RFC 7692 7.2.1); and the memory that this takes. */

#ifndef SYNCWS_DEFLATING_H
#define SYNCWS_DEFLATING_H

#include "speedups.h"

static PyType_Spec budget_spec, deflater_spec;

/* Refer to no message before the next one. */
static void forget(Deflater *self);

/* Compress a whole message. Return bytes; None if it does not become smaller; NULL with an
 * exception set. No Python code runs meanwhile, so that no signal handler does. */
static PyObject *deflate_message(Deflater *self, PyObject *data, Py_ssize_t size);

#endif
