/* Headers: the rules that they must keep, and the words for those that they break. All of it is
 * checked before any of the payload is looked at, or room is made for it. */

#include "frame_header.h"

static int
set_error(Parser *self, PyObject *error)
{
    PyObject *former = swap_object(&self->error, error);
    if (former != NULL) {
        Py_XSETREF(self->overruled, former);
    }
    return -1;
}

static int
fail_protocol(Parser *self, const char *text)
{
    return set_error(self, Py_BuildValue("(is)", 1002, text));
}

static int
fail_size(Parser *self, uint64_t size, int64_t limit, uint64_t before)
{
    unsigned long long big = size;
    PyObject *error = before ? Py_BuildValue("(iKLK)", 1009, big, (long long)limit,
                                             (unsigned long long)before)
                             : Py_BuildValue("(iKLO)", 1009, big, (long long)limit, Py_None);
    return set_error(self, error);
}

static const char *
complaint(const Parser *self, uint8_t first, uint8_t second, int kind)
{
    uint8_t opcode = first & OPCODE;
    if (first & RSV & ~self->rsv) {
        return "reserved bits must be 0";
    }
    if (opcode >= 8) {
        if (!(first & FIN)) {
            return "a control frame is fragmented";
        }
        if (first & RSV) {
            return "reserved bits of a control frame must be 0";
        }
    }
    else if (opcode == CONTINUATION && (first & RSV) && kind == REFUSED) {
        return "reserved bits of a continuation frame must be 0";
    }
    if ((second & MASKED) != self->mask_bit) {
        return self->mask_bit ? "a frame isn't masked" : "a frame is masked";
    }
    if (opcode >= 8) {
        return "a control frame has more than 125 bytes";
    }
    if (opcode == CONTINUATION) {
        return "a continuation frame without a message to continue";
    }
    return "a new message before the end of the fragmented one";
}

/* Check the limits on the header, before the payload is buffered. */
static int
check_limits(Parser *self, uint8_t first, uint64_t size)
{
    /* Compressed data may be a little larger than what it inflates to. */
    int unchecked = self->raw || (first & RSV) || self->unchecked;
    int64_t slack = unchecked ? (int64_t)(size >> 3) + 64 : 0;
    int64_t wanted = (int64_t)size - slack;
    if (self->max_fragment >= 0 && wanted > self->max_fragment) {
        return fail_size(self, size, self->max_fragment, 0);
    }
    if (self->max_message >= 0) {
        if (unchecked) {
            if (wanted > self->max_message) {
                return fail_size(self, size, self->max_message, 0);
            }
        }
        else if ((int64_t)self->message_size > self->max_message - (int64_t)size) {
            return fail_size(self, size, self->max_message - (int64_t)self->message_size,
                             self->message_size);
        }
    }
    return 0;
}

static int
parse_header(Parser *self, const uint8_t *data, size_t available, Header *header)
{
    if (available < 2) {
        return 0;
    }
    uint8_t first = data[0], second = data[1];
    uint64_t size = second & 0x7F;
    int kind = frame_kind(self, first);
    if (kind == REFUSED || (second & MASKED) != self->mask_bit || (kind == CONTROL && size > 125) ||
        (kind != CONTROL && (kind == CONTINUED) != self->in_message)) {
        uint8_t opcode = first & OPCODE;
        if (!(first & RSV & ~self->rsv) && (opcode > 10 || (opcode > 2 && opcode < 8))) {
            char text[40];
            snprintf(text, sizeof text, "opcode 0x%x is reserved", opcode);
            return fail_protocol(self, text);
        }
        return fail_protocol(self, complaint(self, first, second, kind));
    }
    size_t used = 2;
    if (size > 125) {
        size_t width = size == 126 ? 2 : 8;
        used += width;
        if (available < used) {
            return 0;
        }
        size = 0;
        for (size_t i = 2; i < used; i++) {
            size = size << 8 | data[i];
        }
        if (size >> 63) {
            return fail_protocol(self, "the most significant bit of a length is set");
        }
        if (size < 126 || (width == 8 && size < 65536)) {
            char text[64];
            snprintf(text, sizeof text, "length %u isn't in its shortest form", (unsigned)size);
            return fail_protocol(self, text);
        }
    }
    if (kind != CONTROL && check_limits(self, first, size) < 0) {
        return -1;
    }
    if (self->mask_bit) {
        if (available < used + 4) {
            return 0;
        }
        memcpy(header->key, data + used, 4);
        used += 4;
    }
    header->first = first;
    header->kind = kind;
    header->size = size;
    return (int)used;
}
