/* The head of an HTTP message, taken apart. */

#ifndef SYNCWS_HTTP_HEAD_H
#define SYNCWS_HTTP_HEAD_H

#include "speedups.h"

/* A function of the module. */
static PyObject *split_head(PyObject *module, PyObject *args);

/* Make the names that the state keeps; return -1 on error. */
static int http_head_init(State *state);
static void http_head_clear(State *state);

#endif
