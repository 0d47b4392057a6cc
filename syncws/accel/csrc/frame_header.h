/* A frame's header and its rules (RFC 6455 5.2). */

#ifndef SYNCWS_FRAME_HEADER_H
#define SYNCWS_FRAME_HEADER_H

#include "atomics.h"
#include "speedups.h"

enum { REFUSED, WHOLE_TEXT, WHOLE_BINARY, START, CONTINUED, CONTROL };

typedef struct {
    uint8_t first;
    int kind;
    uint8_t key[4];
    uint64_t size;
} Header;

static inline int
frame_kind(const Parser *self, uint8_t first)
{
    uint8_t opcode = first & OPCODE, rsv = first & RSV;
    if (rsv & ~self->rsv) {
        return REFUSED;
    }
    switch (opcode) {
    case TEXT:
    case BINARY:
        if ((first & FIN) && !rsv) {
            return opcode == TEXT ? WHOLE_TEXT : WHOLE_BINARY;
        }
        return START;
    case CONTINUATION:
        /* Only the first frame of a message carries an extension's bit (RFC 7692 6.1). */
        return !rsv || self->rsv != 0x40 ? CONTINUED : REFUSED;
    case 8:
    case 9:
    case 10:
        return (first & FIN) && !rsv ? CONTROL : REFUSED;
    default:
        return REFUSED;
    }
}

/* Note what broke the rules, which is taken over; what was noted before doesn't count any more.
 * That stays until the parser goes, since another thread may just be reading it. Return -1. */
static int set_error(Parser *self, PyObject *error);

/* Parse a header. Return its size; 0 if it is cut off; -1 if it is wrong. */
static int parse_header(Parser *self, const uint8_t *data, size_t available, Header *header);

#endif
