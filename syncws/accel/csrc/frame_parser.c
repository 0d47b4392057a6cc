/* FrameParser: finds frames in what was received, unmasks them, checks their text, and hands out
 * str, bytes and tuples. A frame that is complete in the input is copied once, to the object that
 * is handed out. One that isn't is filled as it comes: each byte is touched once, however slowly
 * they drip in, and invalid text is noticed at once. */

#include "frame_parser.h"

#include "channel.h"
#include "frame_header.h"
#include "masking.h"
#include "utf8.h"

/* A payload's buffer starts with at most this, and grows to its final size in steps of at most
 * twice what has arrived: a header alone must not cost the memory that it promises. */
#define FIRST_BUFFER (1 << 20)

/* Hand out an event. Takes over its reference. */
static inline int
emit(Sink *sink, PyObject *event)
{
    int result;
    if (event == NULL) {
        return -1;
    }
    if (sink->channel != NULL) {
        return channel_emit(sink->channel, event);
    }
    result = PyList_Append(sink->list, event);
    Py_DECREF(event);
    return result;
}

static int
fail_text(Parser *self, const char *reason, uint64_t position)
{
    return set_error(self, Py_BuildValue("(isK)", 1007, reason, (unsigned long long)position));
}

/* Any thread may do so, also while another one parses. */
static void
parser_stop(Parser *self)
{
    if (read_object(&self->error) == NULL) {
        PyObject *stopped = Py_BuildValue("(is)", 1000, "stopped");
        if (!fill_object(&self->error, stopped)) {
            Py_XDECREF(stopped);
        }
    }
}

/* Hand out a frame as a tuple, and keep track of the message that it is part of. */
static int
finish_frame(Parser *self, uint8_t first, PyObject *payload, int validated, Sink *sink)
{
    int compressed = 0;
    if (!(first & 8)) {
        if (first & OPCODE) {
            self->unchecked = self->raw || (first & RSV) != 0;
            if ((first & OPCODE) == TEXT && !self->unchecked && !validated) {
                memset(&self->text, 0, sizeof self->text);
                self->validating = 1;
            }
        }
        if (self->validating && !validated) {
            const char *reason;
            uint64_t position;
            if (utf8_feed(&self->text, (uint8_t *)PyBytes_AS_STRING(payload),
                          (size_t)PyBytes_GET_SIZE(payload), (first & FIN) != 0, &reason,
                          &position) < 0) {
                Py_DECREF(payload);
                return fail_text(self, reason, position);
            }
        }
        compressed = self->unchecked && sink->channel != NULL && sink->channel->inflater != NULL;
        if (first & FIN) {
            self->in_message = self->unchecked = self->validating = 0;
            self->message_size = 0;
        }
        else {
            self->in_message = 1;
            self->message_size += (uint64_t)PyBytes_GET_SIZE(payload);
        }
    }
    if (compressed) {
        return channel_emit_compressed(sink->channel, first, payload);
    }
    if (emit(sink, Py_BuildValue("(iN)", first, payload)) < 0) {
        return -1;
    }
    if ((first & OPCODE) == CLOSE) {
        parser_stop(self);
    }
    return 0;
}

/* Decode bytes that aren't ASCII, and may not be UTF-8 either. */
static PyObject *
decode_text(Parser *self, const uint8_t *data, size_t size)
{
    PyObject *text = PyUnicode_DecodeUTF8((const char *)data, (Py_ssize_t)size, NULL);
    if (text == NULL && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
        Utf8 utf8 = {{0}, 0, 0};
        const char *reason;
        uint64_t position;
        PyErr_Clear();
        if (utf8_feed(&utf8, data, size, 1, &reason, &position) < 0) {
            fail_text(self, reason, position);
        }
        else { /* can't happen */
            PyErr_SetString(PyExc_SystemError, "two decoders disagree");
        }
    }
    return text;
}

/* Hand out a frame whose whole payload is there. */
static int
whole_frame(Parser *self, const Header *header, const uint8_t *data, Sink *sink)
{
    size_t size = (size_t)header->size;
    uint64_t key = self->mask_bit ? turned_key(header->key, 0) : 0;
    if (header->kind == WHOLE_TEXT && !self->raw) {
        PyObject *text = PyUnicode_New((Py_ssize_t)size, 127);
        if (text == NULL || size == 0) {
            return emit(sink, text);
        }
        uint8_t *to = PyUnicode_DATA(text);
        if (mask_copy(to, data, size, key) & NOT_ASCII) {
            PyObject *decoded = decode_text(self, to, size);
            Py_DECREF(text);
            text = decoded;
        }
        return emit(sink, text);
    }
    PyObject *payload = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (payload == NULL) {
        return -1;
    }
    if (size) {
        mask_copy((uint8_t *)PyBytes_AS_STRING(payload), data, size, key);
    }
    if (header->kind == WHOLE_BINARY && !self->raw) {
        return emit(sink, payload);
    }
    return finish_frame(self, header->first, payload, 0, sink);
}

static int
begin_frame(Parser *self, const Header *header)
{
    Py_ssize_t room = header->size < FIRST_BUFFER ? (Py_ssize_t)header->size : FIRST_BUFFER;
    self->whole_text = header->kind == WHOLE_TEXT && !self->raw;
    self->payload =
        self->whole_text ? PyUnicode_New(room, 127) : PyBytes_FromStringAndSize(NULL, room);
    if (self->payload == NULL) {
        return -1;
    }
    write_flag(&self->under_way, 1);
    self->first = header->first;
    self->size = header->size;
    self->filled = 0;
    if (self->mask_bit) {
        memcpy(self->key, header->key, 4);
    }
    if (self->whole_text || (header->kind == START && (header->first & OPCODE) == TEXT &&
                             !(header->first & RSV) && !self->raw)) {
        memset(&self->text, 0, sizeof self->text);
        self->validating = !self->whole_text;
    }
    return 0;
}

static inline uint8_t *
payload_data(const Parser *self)
{
    return PyUnicode_Check(self->payload) ? PyUnicode_DATA(self->payload)
                                          : (uint8_t *)PyBytes_AS_STRING(self->payload);
}

static int
frame_room(Parser *self, uint8_t **to, size_t *room)
{
    int is_text = PyUnicode_Check(self->payload);
    uint64_t capacity = (uint64_t)(is_text ? PyUnicode_GET_LENGTH(self->payload)
                                           : PyBytes_GET_SIZE(self->payload));
    if (self->filled == capacity) {
        uint64_t grown = capacity > self->size / 2 ? self->size : 2 * capacity;
        if (grown > (uint64_t)PY_SSIZE_T_MAX - 128) {
            PyErr_NoMemory();
            return -1;
        }
        if ((is_text ? PyUnicode_Resize(&self->payload, (Py_ssize_t)grown)
                     : _PyBytes_Resize(&self->payload, (Py_ssize_t)grown)) < 0) {
            Py_CLEAR(self->payload);
            write_flag(&self->under_way, 0);
            return -1;
        }
        capacity = grown;
    }
    *to = payload_data(self) + self->filled;
    *room = (size_t)(capacity - self->filled);
    return 0;
}

/* The text isn't ASCII: keep what there is as bytes. */
static int
keep_as_bytes(Parser *self)
{
    PyObject *text = self->payload;
    PyObject *bytes = PyBytes_FromStringAndSize(PyUnicode_DATA(text), PyUnicode_GET_LENGTH(text));
    if (bytes == NULL) {
        return -1;
    }
    self->payload = bytes;
    Py_DECREF(text);
    return 0;
}

static int
frame_filled(Parser *self, size_t count, Sink *sink)
{
    uint8_t *data = payload_data(self) + self->filled;
    int is_text = self->whole_text || (self->validating && !(self->first & 8));
    uint64_t all = 0;
    if (self->mask_bit) {
        all = mask_copy(data, data, count, turned_key(self->key, (size_t)self->filled));
    }
    else if (is_text) {
        all = all_bytes(data, count);
    }
    if ((all & NOT_ASCII) && PyUnicode_Check(self->payload)) {
        if (keep_as_bytes(self) < 0) {
            return -1;
        }
        data = payload_data(self) + self->filled;
    }
    self->filled += count;
    int final = self->filled == self->size;
    if (is_text && !(all & NOT_ASCII) && self->text.count == 0) {
        self->text.size += count;
    }
    else if (is_text) {
        const char *reason;
        uint64_t position;
        int last = final && (self->whole_text || (self->first & FIN));
        if (utf8_feed(&self->text, data, count, last, &reason, &position) < 0) {
            return fail_text(self, reason, position);
        }
    }
    if (!final) {
        return 0;
    }
    PyObject *payload = self->payload;
    self->payload = NULL;
    write_flag(&self->under_way, 0);
    if (self->whole_text && PyBytes_Check(payload)) {
        PyObject *text = PyUnicode_DecodeUTF8(PyBytes_AS_STRING(payload),
                                              PyBytes_GET_SIZE(payload), NULL);
        Py_DECREF(payload);
        return emit(sink, text);
    }
    if (self->whole_text || (frame_kind(self, self->first) == WHOLE_BINARY && !self->raw)) {
        return emit(sink, payload);
    }
    return finish_frame(self, self->first, payload, 1, sink);
}

static int
parser_feed(Parser *self, const uint8_t *data, size_t size, Sink *sink)
{
    while (size && read_object(&self->error) == NULL) {
        if (self->payload != NULL) {
            uint8_t *to;
            size_t room;
            if (frame_room(self, &to, &room) < 0) {
                return -1;
            }
            if (room > size) {
                room = size;
            }
            memcpy(to, data, room);
            data += room;
            size -= room;
            if (frame_filled(self, room, sink) < 0) {
                return -1;
            }
            continue;
        }
        Header header;
        int used;
        if (self->header_count) {
            size_t more = MAX_HEADER - (size_t)self->header_count;
            if (more > size) {
                more = size;
            }
            memcpy(self->header + self->header_count, data, more);
            used = parse_header(self, self->header, self->header_count + more, &header);
            if (used == 0) {
                self->header_count += (uint8_t)more;
                return 0;
            }
            if (used > 0) {
                data += used - self->header_count;
                size -= (size_t)(used - self->header_count);
                self->header_count = 0;
                write_flag(&self->under_way, 0);
            }
        }
        else {
            used = parse_header(self, data, size, &header);
            if (used == 0) {
                memcpy(self->header, data, size);
                self->header_count = (uint8_t)size;
                write_flag(&self->under_way, 1);
                return 0;
            }
            if (used > 0) {
                data += used;
                size -= (size_t)used;
            }
        }
        if (used < 0) {
            return -1;
        }
        if (header.size > size) {
            if (begin_frame(self, &header) < 0) {
                return -1;
            }
            continue;
        }
        if (whole_frame(self, &header, data, sink) < 0) {
            return -1;
        }
        data += header.size;
        size -= (size_t)header.size;
    }
    return 0;
}

/* --- the type --- */

static int
get_limit(PyObject *value, const char *name, int64_t *limit)
{
    int overflow;
    *limit = -1;
    if (value == NULL || value == Py_None) {
        return 0;
    }
    long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (number == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (overflow < 0 || (!overflow && number < 0)) {
        PyErr_Format(PyExc_ValueError, "%s is negative: %S", name, value);
        return -1;
    }
    *limit = overflow > 0 ? INT64_MAX : number;
    return 0;
}

static PyObject *
parser_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"masked", "max_message", "max_fragment", "rsv", "raw", NULL};
    int masked = -1, rsv = 0, raw = 0;
    PyObject *max_message = NULL, *max_fragment = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$pOOip:FrameParser", names, &masked,
                                     &max_message, &max_fragment, &rsv, &raw)) {
        return NULL;
    }
    if (masked < 0) {
        PyErr_SetString(PyExc_TypeError, "FrameParser() missing argument 'masked'");
        return NULL;
    }
    Parser *self = (Parser *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    if (get_limit(max_message, "max_message", &self->max_message) < 0 ||
        get_limit(max_fragment, "max_fragment", &self->max_fragment) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    self->mask_bit = masked ? MASKED : 0;
    self->rsv = (uint8_t)rsv;
    self->raw = (uint8_t)raw;
    return (PyObject *)self;
}

static void
parser_dealloc(Parser *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_CLEAR(self->error);
    Py_CLEAR(self->overruled);
    Py_CLEAR(self->payload);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
parser_receive(Parser *self, PyObject *data)
{
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    Sink sink = {PyList_New(0), NULL};
    if (sink.list != NULL) {
        LOCK(self);
        parser_feed(self, view.buf, (size_t)view.len, &sink);
        UNLOCK();
        if (PyErr_Occurred()) {
            Py_CLEAR(sink.list);
        }
    }
    PyBuffer_Release(&view);
    return sink.list;
}

static PyObject *
parser_stop_method(Parser *self, PyObject *ignored)
{
    (void)ignored;
    parser_stop(self);
    Py_RETURN_NONE;
}

static PyObject *
parser_receiving(Parser *self, void *closure)
{
    (void)closure;
    return PyBool_FromLong(read_object(&self->error) == NULL && read_flag(&self->under_way));
}

static PyObject *
parser_get_error(Parser *self, void *closure)
{
    (void)closure;
    PyObject *error = read_object(&self->error);
    return Py_NewRef(error == NULL ? Py_None : error);
}

static PyMethodDef parser_methods[] = {
    {"receive", (PyCFunction)parser_receive, METH_O,
     "receive($self, data, /)\n--\n\nReturn what ``data`` completes."},
    {"stop", (PyCFunction)parser_stop_method, METH_NOARGS,
     "stop($self, /)\n--\n\nDiscard everything from now on."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef parser_getset[] = {
    {"receiving", (getter)parser_receiving, NULL, "Whether a frame has begun and isn't complete.",
     NULL},
    {"error", (getter)parser_get_error, NULL, "What broke the rules, or None.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot parser_slots[] = {
    {Py_tp_doc, "Parses the frames that one endpoint receives."},
    {Py_tp_new, parser_new},
    {Py_tp_dealloc, parser_dealloc},
    {Py_tp_methods, parser_methods},
    {Py_tp_getset, parser_getset},
    {0, NULL},
};

static PyType_Spec parser_spec = {
    .name = "syncws.accel._speedups.FrameParser",
    .basicsize = sizeof(Parser),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = parser_slots,
};
