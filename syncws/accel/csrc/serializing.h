/* Frames from messages (RFC 6455 5.2). */

#ifndef SYNCWS_SERIALIZING_H
#define SYNCWS_SERIALIZING_H

#include "speedups.h"

/* A message's opcode and bytes: its own memory, where the object gives access to it. */
typedef struct {
    const uint8_t *data;
    size_t size;
    int opcode;
    PyObject *owner; /* keeps the data alive, unless the message itself does */
    Py_buffer view;
} Payload;

/* Find a message's bytes, or make them. Return 0; or -1, with an exception, if it can't be
 * sent. */
static int get_payload(PyObject *message, Payload *payload);
static void release_payload(Payload *payload);

static size_t header_size(uint64_t size, int masked);

/* Write a whole frame. Return its size; 0 on error. */
static size_t write_frame(State *state, uint8_t *to, int first, const uint8_t *payload, size_t size,
                          int masked);

/* Functions of the module. */
static PyObject *serialize_frame(PyObject *module, PyObject *args);
static PyObject *serialize_messages(PyObject *module, PyObject *args);

#endif
