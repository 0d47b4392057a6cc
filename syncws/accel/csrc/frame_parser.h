/* FrameParser: turns received bytes into messages. */

#ifndef SYNCWS_FRAME_PARSER_H
#define SYNCWS_FRAME_PARSER_H

#include "speedups.h"

/* Where events go: to a list, or to a channel. */
typedef struct {
    PyObject *list;
    Channel *channel;
} Sink;

static PyType_Spec parser_spec;

/* Take a limit: a number, not negative; or None, which is -1. Return 0, or -1 with an exception. */
static int get_limit(PyObject *value, const char *name, int64_t *limit);

/* Parse bytes, up to what breaks the rules. Return 0, or -1 for that too: an exception is set only
 * if something failed on our side. */
static int parser_feed(Parser *self, const uint8_t *data, size_t size, Sink *sink);

/* Decode bytes, which may not be UTF-8: then the parser's error says so. Return a str; or NULL. */
static PyObject *decode_text(Parser *self, const uint8_t *data, size_t size);

/* Find where the next bytes of the frame under way go, and how many there is room for. Return 0;
 * or -1 without memory. */
static int frame_room(Parser *self, uint8_t **to, size_t *room);

/* Unmask and check bytes of the frame under way that were written to their place. Return as
 * above. */
static int frame_filled(Parser *self, size_t count, Sink *sink);

#endif
