/* The hot loops in C: what pure.py and pure_channel.py do in Python, with the same results and
 * the same errors; see there for what each thing means. This file says how.
 *
 *   masking, UTF-8     word-wise, so that the compiler can vectorize; no Python objects
 *   FrameParser        bytes in, finished str, bytes and tuples out
 *   MessageQueue       the messages that nobody took yet
 *   Channel            base of a connection: receiving, the reading role, sending small frames
 *
 * Why a Channel: a signal handler of the main thread runs between two steps of Python code, or
 * where C code asks for it (PyErr_CheckSignals). Taking a message and returning it, or reading
 * bytes and putting the messages in the queue, is one call here in which that is not asked
 * between the first effect and the last: an exception finds all of it done, or nothing.
 *
 * Threads: objects are guarded by the interpreter lock. In free-threaded builds, which have
 * none, LOCK and UNLOCK take the object's own lock; where system calls wait both are let go.
 * What a parser holds belongs to whoever has its connection's reading role.
 *
 * There is no global state: what is shared is in the module's state, one per interpreter.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#ifndef _WIN32
#define HAVE_DIRECT_IO 1
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif
/* Linux: the kernel can wait for more before it sends what it has, until it is told not to. */
#if defined(MSG_MORE) && defined(TCP_CORK) && !defined(Py_GIL_DISABLED)
#define HAVE_HOLDING 1
#define HOLD_FLAG MSG_MORE
#else
#define HOLD_FLAG 0
#endif
#endif

#ifdef Py_GIL_DISABLED
#define LOCK(object) Py_BEGIN_CRITICAL_SECTION(object)
#define UNLOCK() Py_END_CRITICAL_SECTION()
#else
#define LOCK(object) {
#define UNLOCK() }
#endif

#if PY_VERSION_HEX < 0x030A0000
static inline PyObject *
Py_NewRef(PyObject *object)
{
    Py_INCREF(object);
    return object;
}
#endif

#define FIN 0x80
#define RSV 0x70
#define OPCODE 0x0F
#define MASKED 0x80

enum { CONTINUATION = 0, TEXT = 1, BINARY = 2, CLOSE = 8 };

/* --- the module's state --------------------------------------------------------------------- */

/* Masking keys that are drawn from the system's randomness at once (RFC 6455 5.3, 10.3). */
#define KEYS_PER_BLOCK 1024

typedef struct {
    PyTypeObject *parser_type;
    PyTypeObject *queue_type;
    PyTypeObject *channel_type;
    PyTypeObject *iterator_type;
    PyTypeObject *lock_type;
    PyObject *allocate_lock;
    PyObject *urandom;
    PyObject *keys; /* bytes */
    Py_ssize_t keys_used;
#ifdef Py_GIL_DISABLED
    PyMutex keys_lock;
#endif
    PyObject *str_await_message, *str_pass_on, *str_leftover, *str_message, *str_state;
    PyObject *str_fragmenting, *str_ended, *str_send, *str_complete_send, *str_send_failed;
    PyObject *str_flush_batch, *str_acquire, *str_release;
} State;

static struct PyModuleDef module_def;

/* The state, from a type of this module or a class derived of one. Only where objects are made. */
static State *
find_state(PyTypeObject *type)
{
#if PY_VERSION_HEX >= 0x030B0000
    PyObject *module = PyType_GetModuleByDef(type, &module_def);
    return module == NULL ? NULL : PyModule_GetState(module);
#else
    PyObject *mro = type->tp_mro;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(mro); i++) {
        PyObject *base = PyTuple_GET_ITEM(mro, i);
        if (!PyType_HasFeature((PyTypeObject *)base, Py_TPFLAGS_HEAPTYPE)) {
            continue;
        }
        PyObject *module = ((PyHeapTypeObject *)base)->ht_module;
        if (module != NULL && PyModule_GetDef(module) == &module_def) {
            return PyModule_GetState(module);
        }
    }
    PyErr_SetString(PyExc_TypeError, "not a type of this module");
    return NULL;
#endif
}

/* --- masking -------------------------------------------------------------------------------- */

/* The key, turned so that it begins with the byte for this offset, twice. */
static inline uint64_t
turned_key(const uint8_t *key, size_t offset)
{
    uint8_t turned[8];
    for (int i = 0; i < 8; i++) {
        turned[i] = key[(offset + (size_t)i) & 3];
    }
    uint64_t word;
    memcpy(&word, turned, 8);
    return word;
}

/* Copy with the mask applied; in place where both are the same. Return all bytes or-ed: what
 * was written is ASCII if the result's bytes are. */
static uint64_t
mask_copy(uint8_t *to, const uint8_t *from, size_t size, uint64_t key)
{
    uint64_t all = 0;
    size_t i = 0;
    for (; i + 32 <= size; i += 32) {
        uint64_t a, b, c, d;
        memcpy(&a, from + i, 8);
        memcpy(&b, from + i + 8, 8);
        memcpy(&c, from + i + 16, 8);
        memcpy(&d, from + i + 24, 8);
        a ^= key;
        b ^= key;
        c ^= key;
        d ^= key;
        all |= (a | b) | (c | d);
        memcpy(to + i, &a, 8);
        memcpy(to + i + 8, &b, 8);
        memcpy(to + i + 16, &c, 8);
        memcpy(to + i + 24, &d, 8);
    }
    for (; i + 8 <= size; i += 8) {
        uint64_t a;
        memcpy(&a, from + i, 8);
        a ^= key;
        all |= a;
        memcpy(to + i, &a, 8);
    }
    if (i < size) {
        uint8_t turned[8];
        memcpy(turned, &key, 8);
        for (size_t j = 0; i < size; i++, j++) {
            to[i] = from[i] ^ turned[j];
            all |= to[i];
        }
    }
    return all;
}

/* All bytes or-ed. */
static uint64_t
all_bytes(const uint8_t *data, size_t size)
{
    uint64_t all = 0;
    size_t i = 0;
    for (; i + 32 <= size; i += 32) {
        uint64_t words[4];
        memcpy(words, data + i, 32);
        all |= (words[0] | words[1]) | (words[2] | words[3]);
    }
    for (; i < size; i++) {
        all |= data[i];
    }
    return all;
}

#define NOT_ASCII 0x8080808080808080ULL

static PyObject *
apply_mask(PyObject *module, PyObject *args)
{
    Py_buffer data, key;
    (void)module;
    if (!PyArg_ParseTuple(args, "y*y*:apply_mask", &data, &key)) {
        return NULL;
    }
    PyObject *result = NULL;
    if (key.len != 4) {
        PyErr_Format(PyExc_ValueError, "a masking key has 4 bytes, got %zd", key.len);
    }
    else {
        result = PyBytes_FromStringAndSize(NULL, data.len);
        if (result != NULL) {
            mask_copy((uint8_t *)PyBytes_AS_STRING(result), data.buf, (size_t)data.len,
                      turned_key(key.buf, 0));
        }
    }
    PyBuffer_Release(&data);
    PyBuffer_Release(&key);
    return result;
}

/* Have a key to draw. Other threads may run meanwhile, and signal handlers. */
static int
fill_keys(State *state)
{
    if (state->keys != NULL && state->keys_used < 4 * KEYS_PER_BLOCK) {
        return 0;
    }
    PyObject *keys = PyObject_CallFunction(state->urandom, "i", 4 * KEYS_PER_BLOCK);
    if (keys == NULL || !PyBytes_Check(keys) || PyBytes_GET_SIZE(keys) != 4 * KEYS_PER_BLOCK) {
        if (keys != NULL) {
            PyErr_SetString(PyExc_OSError, "the system gave too little randomness");
            Py_DECREF(keys);
        }
        return -1;
    }
    Py_XSETREF(state->keys, keys);
    state->keys_used = 0;
    return 0;
}

/* Draw a key that nobody could predict. */
static int
draw_key(State *state, uint8_t *key)
{
#ifdef Py_GIL_DISABLED
    PyMutex_Lock(&state->keys_lock);
#endif
    int result = fill_keys(state);
    if (result == 0) {
        memcpy(key, PyBytes_AS_STRING(state->keys) + state->keys_used, 4);
        state->keys_used += 4;
    }
#ifdef Py_GIL_DISABLED
    PyMutex_Unlock(&state->keys_lock);
#endif
    return result;
}

static PyObject *
forget_masking_keys(PyObject *module, PyObject *ignored)
{
    (void)ignored;
    State *state = PyModule_GetState(module);
    Py_CLEAR(state->keys);
    Py_RETURN_NONE;
}

/* --- serializing ---------------------------------------------------------------------------- */

#define MAX_HEADER 14

static inline size_t
header_size(uint64_t size, int masked)
{
    return (size < 126 ? 2 : size < 65536 ? 4 : 10) + (masked ? 4 : 0);
}

/* Write a frame's header, without the key; return what comes after it. */
static inline uint8_t *
write_header(uint8_t *to, int first, uint64_t size, int masked)
{
    uint8_t bit = masked ? MASKED : 0;
    *to++ = (uint8_t)first;
    if (size < 126) {
        *to++ = bit | (uint8_t)size;
    }
    else if (size < 65536) {
        *to++ = bit | 126;
        *to++ = (uint8_t)(size >> 8);
        *to++ = (uint8_t)size;
    }
    else {
        *to++ = bit | 127;
        for (int shift = 56; shift >= 0; shift -= 8) {
            *to++ = (uint8_t)(size >> shift);
        }
    }
    return to;
}

/* Write a whole frame; return its size, 0 on error. */
static size_t
write_frame(State *state, uint8_t *to, int first, const uint8_t *payload, size_t size, int masked)
{
    uint8_t *at = write_header(to, first, size, masked);
    if (masked) {
        if (draw_key(state, at) < 0) {
            return 0;
        }
        uint64_t key = turned_key(at, 0);
        at += 4;
        mask_copy(at, payload, size, key);
    }
    else if (size) {
        memcpy(at, payload, size);
    }
    return (size_t)(at - to) + size;
}

static PyObject *
serialize_frame(PyObject *module, PyObject *args)
{
    int first, masked;
    Py_buffer payload;
    if (!PyArg_ParseTuple(args, "iy*p:serialize_frame", &first, &payload, &masked)) {
        return NULL;
    }
    size_t size = (size_t)payload.len;
    PyObject *result =
        PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(header_size(size, masked) + size));
    if (result != NULL && write_frame(PyModule_GetState(module), (uint8_t *)PyBytes_AS_STRING(result),
                                      first, payload.buf, size, masked) == 0) {
        Py_CLEAR(result);
    }
    PyBuffer_Release(&payload);
    return result;
}

/* What a message looks like on the wire, without a copy where the object allows it. */
typedef struct {
    const uint8_t *data;
    size_t size;
    int opcode;
    PyObject *owner; /* keeps data alive, if not the message itself */
    Py_buffer view;
} Payload;

static int
get_payload(PyObject *message, Payload *payload)
{
    payload->owner = NULL;
    payload->view.obj = NULL;
    if (PyUnicode_Check(message)) {
        payload->opcode = TEXT;
#if PY_VERSION_HEX < 0x030C0000
        if (PyUnicode_READY(message) < 0) {
            return -1;
        }
#endif
        if (PyUnicode_IS_COMPACT_ASCII(message)) {
            payload->data = PyUnicode_DATA(message);
            payload->size = (size_t)PyUnicode_GET_LENGTH(message);
            return 0;
        }
        payload->owner = PyUnicode_AsUTF8String(message);
        if (payload->owner == NULL) {
            return -1;
        }
        payload->data = (const uint8_t *)PyBytes_AS_STRING(payload->owner);
        payload->size = (size_t)PyBytes_GET_SIZE(payload->owner);
        return 0;
    }
    payload->opcode = BINARY;
    if (PyBytes_Check(message)) {
        payload->data = (const uint8_t *)PyBytes_AS_STRING(message);
        payload->size = (size_t)PyBytes_GET_SIZE(message);
        return 0;
    }
    if (!PyByteArray_Check(message) && !PyMemoryView_Check(message)) {
        PyErr_Format(PyExc_TypeError, "%.200s can't be sent; str and bytes can",
                     Py_TYPE(message)->tp_name);
        return -1;
    }
    if (PyObject_GetBuffer(message, &payload->view, PyBUF_SIMPLE) < 0) {
        if (!PyErr_ExceptionMatches(PyExc_BufferError)) {
            return -1;
        }
        PyErr_Clear(); /* not contiguous */
        payload->owner = PyBytes_FromObject(message);
        if (payload->owner == NULL) {
            return -1;
        }
        payload->data = (const uint8_t *)PyBytes_AS_STRING(payload->owner);
        payload->size = (size_t)PyBytes_GET_SIZE(payload->owner);
        return 0;
    }
    payload->data = payload->view.buf;
    payload->size = (size_t)payload->view.len;
    return 0;
}

static void
release_payload(Payload *payload)
{
    Py_CLEAR(payload->owner);
    if (payload->view.obj != NULL) {
        PyBuffer_Release(&payload->view);
    }
}

static PyObject *
serialize_messages(PyObject *module, PyObject *args)
{
    PyObject *messages;
    int masked;
    if (!PyArg_ParseTuple(args, "O!p:serialize_messages", &PyList_Type, &messages, &masked)) {
        return NULL;
    }
    State *state = PyModule_GetState(module);
    size_t capacity = (size_t)PyList_GET_SIZE(messages) * 80 + 256, used = 0;
    PyObject *result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)capacity);
    for (Py_ssize_t i = 0; result != NULL && i < PyList_GET_SIZE(messages); i++) {
        Payload payload;
        PyObject *message = Py_NewRef(PyList_GET_ITEM(messages, i));
        if (get_payload(message, &payload) < 0) {
            Py_DECREF(message);
            Py_CLEAR(result);
            break;
        }
        size_t wanted = used + MAX_HEADER + payload.size;
        if (wanted > capacity) {
            capacity = wanted + (wanted >> 1);
            _PyBytes_Resize(&result, (Py_ssize_t)capacity);
        }
        if (result != NULL) {
            size_t size = write_frame(state, (uint8_t *)PyBytes_AS_STRING(result) + used,
                                      FIN | payload.opcode, payload.data, payload.size, masked);
            used += size;
            if (size == 0) {
                Py_CLEAR(result);
            }
        }
        release_payload(&payload);
        Py_DECREF(message);
    }
    if (result != NULL) {
        _PyBytes_Resize(&result, (Py_ssize_t)used);
    }
    return result;
}

/* --- UTF-8 ---------------------------------------------------------------------------------- */

typedef struct {
    uint8_t pending[4]; /* the beginning of a character */
    int count;
    uint64_t size; /* bytes taken so far */
} Utf8;

/* The reasons that the interpreter's own decoder gives. */
static const char *const BAD_START = "invalid start byte";
static const char *const BAD_CONTINUATION = "invalid continuation byte";
static const char *const BAD_END = "unexpected end of data";

/* Look at one character: return its size; 0 if it is cut off; -1 if it is wrong. */
static inline int
utf8_character(const uint8_t *at, size_t size, const char **reason)
{
    uint8_t lead = at[0], low = 0x80, high = 0xBF;
    int wanted;
    if (lead < 0x80) {
        return 1;
    }
    if (lead < 0xC2 || lead > 0xF4) {
        *reason = BAD_START;
        return -1;
    }
    if (lead < 0xE0) {
        wanted = 2;
    }
    else if (lead < 0xF0) {
        wanted = 3;
        if (lead == 0xE0) {
            low = 0xA0;
        }
        else if (lead == 0xED) {
            high = 0x9F; /* no surrogates */
        }
    }
    else {
        wanted = 4;
        if (lead == 0xF0) {
            low = 0x90;
        }
        else if (lead == 0xF4) {
            high = 0x8F;
        }
    }
    for (int i = 1; i < wanted; i++) {
        if ((size_t)i >= size) {
            return 0;
        }
        if (at[i] < low || at[i] > high) {
            *reason = BAD_CONTINUATION;
            return -1;
        }
        low = 0x80;
        high = 0xBF;
    }
    return wanted;
}

/* Check characters up to one that is cut off or wrong; return the bytes before that. */
static size_t
utf8_scan(const uint8_t *data, size_t size, const char **reason)
{
    size_t at = 0;
    while (at < size) {
        while (at + 8 <= size) {
            uint64_t word;
            memcpy(&word, data + at, 8);
            if (word & NOT_ASCII) {
                break;
            }
            at += 8;
        }
        if (at == size) {
            break;
        }
        int taken = utf8_character(data + at, size - at, reason);
        if (taken <= 0) {
            break;
        }
        at += (size_t)taken;
    }
    return at;
}

/* Take more of a text. Return 0, or -1 with what is wrong and where. */
static int
utf8_feed(Utf8 *text, const uint8_t *data, size_t size, int final, const char **reason,
          uint64_t *position)
{
    *reason = NULL;
    uint64_t start = text->size - (uint64_t)text->count;
    text->size += size;
    size_t at = 0;
    while (text->count && at < size) {
        text->pending[text->count++] = data[at++];
        int taken = utf8_character(text->pending, (size_t)text->count, reason);
        if (taken < 0) {
            *position = start;
            return -1;
        }
        if (taken > 0) {
            start += (uint64_t)taken;
            text->count = 0;
        }
    }
    if (!text->count) {
        size_t good = utf8_scan(data + at, size - at, reason);
        start += good;
        at += good;
        if (*reason != NULL) {
            *position = start;
            return -1;
        }
        text->count = (int)(size - at);
        memcpy(text->pending, data + at, size - at);
    }
    if (final && text->count) {
        *reason = BAD_END;
        *position = start;
        return -1;
    }
    return 0;
}

/* --- FrameParser ---------------------------------------------------------------------------- */

/* A payload's buffer grows to its final size in steps, each of at most twice what has arrived,
 * from this: a header alone shall not cost the memory that it promises. */
#define FIRST_BUFFER (1 << 20)

enum { REFUSED, WHOLE_TEXT, WHOLE_BINARY, START, CONTINUED, CONTROL };

typedef struct {
    PyObject_HEAD
    PyObject *error; /* a tuple, or NULL */
    int64_t max_message, max_fragment; /* -1: unlimited */
    uint8_t mask_bit, rsv, raw;
    /* The message under way, if fragmented. */
    uint8_t in_message, unchecked, validating;
    uint64_t message_size;
    Utf8 text; /* of the message; or of the frame, for text in one frame */
    /* The frame under way. */
    uint8_t header[MAX_HEADER];
    uint8_t header_count; /* bytes of a header that isn't complete */
    uint8_t first, whole_text;
    uint8_t key[4];
    uint64_t size, filled;
    /* Bytes of the size that there is room for; or, for text as long as it is ASCII, a str.
     * NULL between frames. */
    PyObject *payload;
} Parser;

/* Where events go: to a list, or to a channel. */
typedef struct {
    PyObject *list;
    struct Channel *channel;
} Sink;

static int channel_emit(struct Channel *channel, PyObject *event);

/* Hand out an event, whose reference is taken over. */
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
fail_protocol(Parser *self, const char *text)
{
    Py_XSETREF(self->error, Py_BuildValue("(is)", 1002, text));
    return -1;
}

static int
fail_text(Parser *self, const char *reason, uint64_t position)
{
    Py_XSETREF(self->error, Py_BuildValue("(isK)", 1007, reason, (unsigned long long)position));
    return -1;
}

static int
fail_size(Parser *self, uint64_t size, int64_t limit, uint64_t before)
{
    unsigned long long big = size;
    PyObject *error = before ? Py_BuildValue("(iKLK)", 1009, big, (long long)limit,
                                             (unsigned long long)before)
                             : Py_BuildValue("(iKLO)", 1009, big, (long long)limit, Py_None);
    Py_XSETREF(self->error, error);
    return -1;
}

static void
parser_stop(Parser *self)
{
    if (self->error == NULL) {
        self->error = Py_BuildValue("(is)", 1000, "stopped");
    }
}

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

typedef struct {
    uint8_t first;
    int kind;
    uint8_t key[4];
    uint64_t size;
} Header;

/* Parse a header: return its size; 0 if it is cut off; -1 if it is wrong. */
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

/* Keep track of the message that a frame is part of, and hand it out as a tuple. */
static int
finish_frame(Parser *self, uint8_t first, PyObject *payload, int validated, Sink *sink)
{
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
        if (first & FIN) {
            self->in_message = self->unchecked = self->validating = 0;
            self->message_size = 0;
        }
        else {
            self->in_message = 1;
            self->message_size += (uint64_t)PyBytes_GET_SIZE(payload);
        }
    }
    if (emit(sink, Py_BuildValue("(iN)", first, payload)) < 0) {
        return -1;
    }
    if ((first & OPCODE) == CLOSE) {
        parser_stop(self);
    }
    return 0;
}

/* Make a str of bytes that aren't ASCII, and are perhaps no UTF-8 at all. */
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
        else { /* can't be */
            PyErr_SetString(PyExc_SystemError, "two decoders disagree");
        }
    }
    return text;
}

/* Hand out a frame whose payload is all there. */
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

/* Where the next bytes of the frame under way go, and how many there is room for. */
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

/* Take bytes of the frame under way that are in their place, still masked. */
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

/* Take bytes; stop at what breaks the rules. Return -1 for that too: an exception is set only if
 * something failed on our side. */
static int
parser_feed(Parser *self, const uint8_t *data, size_t size, Sink *sink)
{
    while (size && self->error == NULL) {
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
            }
        }
        else {
            used = parse_header(self, data, size, &header);
            if (used == 0) {
                memcpy(self->header, data, size);
                self->header_count = (uint8_t)size;
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
    LOCK(self);
    parser_stop(self);
    UNLOCK();
    Py_RETURN_NONE;
}

static PyObject *
parser_receiving(Parser *self, void *closure)
{
    (void)closure;
    return PyBool_FromLong(self->error == NULL &&
                           (self->payload != NULL || self->header_count > 0));
}

static PyMethodDef parser_methods[] = {
    {"receive", (PyCFunction)parser_receive, METH_O,
     "receive($self, data, /)\n--\n\nReturn what ``data`` completes."},
    {"stop", (PyCFunction)parser_stop_method, METH_NOARGS,
     "stop($self, /)\n--\n\nDiscard all that comes from now on."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef parser_getset[] = {
    {"receiving", (getter)parser_receiving, NULL, "Whether a frame has begun and isn't complete.",
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef parser_members[] = {
    {"error", T_OBJECT, offsetof(Parser, error), READONLY, "What broke the rules, or None."},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot parser_slots[] = {
    {Py_tp_doc, "Parses the frames that one endpoint receives."},
    {Py_tp_new, parser_new},
    {Py_tp_dealloc, parser_dealloc},
    {Py_tp_methods, parser_methods},
    {Py_tp_getset, parser_getset},
    {Py_tp_members, parser_members},
    {0, NULL},
};

static PyType_Spec parser_spec = {
    .name = "syncws.accel._speedups.FrameParser",
    .basicsize = sizeof(Parser),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = parser_slots,
};

/* --- MessageQueue --------------------------------------------------------------------------- */

/* Rings above this are given back when they are empty. */
#define KEPT_RING 64

typedef struct {
    PyObject *message;
    Py_ssize_t size; /* -1: not complete */
} Item;

typedef struct {
    PyObject_HEAD
    Item *ring;
    size_t capacity, head, length; /* the capacity is a power of two, or 0 */
    Py_ssize_t count, size, streamed, waiting, high, low, limit;
    char bounded, dropping, used;
    PyObject *room; /* a lock that is held until there is room; or None */
} Queue;

/* The memory that a message takes, as its __sizeof__() says: an empty one isn't free. */
static inline Py_ssize_t
message_cost(PyObject *message)
{
    if (PyBytes_CheckExact(message)) {
        return (Py_ssize_t)offsetof(PyBytesObject, ob_sval) + PyBytes_GET_SIZE(message) + 1;
    }
    if (PyUnicode_IS_COMPACT_ASCII(message)) {
        return (Py_ssize_t)sizeof(PyASCIIObject) + PyUnicode_GET_LENGTH(message) + 1;
    }
    const PyCompactUnicodeObject *text = (PyCompactUnicodeObject *)message;
    Py_ssize_t encoded = text->utf8 == NULL ? 0 : text->utf8_length + 1; /* kept beside it */
    return (Py_ssize_t)sizeof(PyCompactUnicodeObject) + encoded +
           (PyUnicode_GET_LENGTH(message) + 1) * (Py_ssize_t)PyUnicode_KIND(message);
}

static inline int
queue_is_full(const Queue *self)
{
    return (self->high >= 0 && self->count > self->high) ||
           self->size + self->streamed > self->limit;
}

/* Whether what comes now is dropped: from the first thing on that was, so that nothing is missing
 * between what is taken. */
static inline int
queue_drops(Queue *self)
{
    self->dropping = !self->bounded && (self->dropping || queue_is_full(self));
    return self->dropping;
}

/* Where the next item goes; NULL without memory. */
static Item *
queue_place(Queue *self)
{
    if (self->length == self->capacity) {
        size_t grown = self->capacity ? 4 * self->capacity : 8;
        Item *ring = PyMem_New(Item, grown);
        if (ring == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        for (size_t i = 0; i < self->length; i++) {
            ring[i] = self->ring[(self->head + i) & (self->capacity - 1)];
        }
        PyMem_Free(self->ring);
        self->ring = ring;
        self->capacity = grown;
        self->head = 0;
    }
    return &self->ring[(self->head + self->length) & (self->capacity - 1)];
}

/* Add a message, whose reference is taken over; or drop it while closing. */
static int
queue_put(Queue *self, PyObject *message)
{
    int result = 0;
    LOCK(self);
    if (queue_drops(self)) {
        Py_DECREF(message);
    }
    else {
        Item *item = queue_place(self);
        if (item == NULL) {
            Py_DECREF(message);
            result = -1;
        }
        else {
            item->message = message;
            item->size = message_cost(message);
            self->length++;
            self->count++;
            self->size += item->size;
        }
    }
    UNLOCK();
    return result;
}

/* Release the lock that the reader waits for, if there is room, or no need for any. Runs no
 * Python code, and so no signal handler. */
static void
queue_make_room(Queue *self)
{
    if (self->room == NULL || self->room == Py_None) {
        return;
    }
    if (self->bounded && ((self->high >= 0 && self->count > self->low) ||
                          self->size + self->streamed > self->limit / 2)) {
        return;
    }
    PyObject *room = self->room;
    self->room = Py_NewRef(Py_None);
    PyObject *result = PyObject_CallMethod(room, "release", NULL);
    if (result == NULL) {
        PyErr_Clear(); /* it was released before */
    }
    Py_XDECREF(result);
    Py_DECREF(room);
}

/* Remove the first item; its reference goes to the caller. */
static PyObject *
queue_remove_first(Queue *self)
{
    Item item = self->ring[self->head];
    self->used = 1;
    self->head = (self->head + 1) & (self->capacity - 1);
    self->length--;
    if (item.size >= 0) {
        self->count--;
        self->size -= item.size;
    }
    if (self->length == 0 && self->capacity > KEPT_RING) {
        PyMem_Free(self->ring);
        self->ring = NULL;
        self->capacity = self->head = 0;
    }
    queue_make_room(self);
    return item.message;
}

/* Return a new reference to the first item; NULL if there is none. */
static PyObject *
queue_peek(Queue *self, int *complete)
{
    PyObject *message = NULL;
    LOCK(self);
    if (self->length) {
        Item *item = &self->ring[self->head];
        message = Py_NewRef(item->message);
        *complete = item->size >= 0;
    }
    UNLOCK();
    return message;
}

/* Remove the first item if it is this one, and tell its size; return whether it was. */
static int
queue_take(Queue *self, PyObject *message, Py_ssize_t *size)
{
    int taken = 0;
    LOCK(self);
    if (self->length && self->ring[self->head].message == message) {
        *size = self->ring[self->head].size;
        Py_DECREF(queue_remove_first(self)); /* the caller has a reference of its own */
        taken = 1;
    }
    UNLOCK();
    return taken;
}

/* The message as the caller wants it. */
static PyObject *
convert(State *state, PyObject *message, PyObject *decode)
{
    int is_text = PyUnicode_CheckExact(message);
    if (!is_text && !PyBytes_CheckExact(message)) { /* fragments */
        return PyObject_CallMethodObjArgs(message, state->str_message, decode, NULL);
    }
    if (decode == Py_None) {
        return Py_NewRef(message);
    }
    int wanted = PyObject_IsTrue(decode);
    if (wanted < 0) {
        return NULL;
    }
    if (wanted == is_text) {
        return Py_NewRef(message);
    }
    if (is_text) {
        return PyUnicode_AsUTF8String(message);
    }
    return PyUnicode_FromEncodedObject(message, "utf-8", NULL);
}

/* Take the first item if it is a whole message and taking it wakes nobody: the usual case, in one
 * step, which no signal handler and no other thread comes between. Return it, or NULL. */
static inline PyObject *
queue_take_plain(Queue *self)
{
    PyObject *message = NULL;
    LOCK(self);
    if (self->length && (self->room == NULL || self->room == Py_None)) {
        PyObject *first = self->ring[self->head].message;
        if (PyUnicode_CheckExact(first) || PyBytes_CheckExact(first)) {
            message = queue_remove_first(self);
        }
    }
    UNLOCK();
    return message;
}

/* Put a message back in front. Return whether there was memory to do so. */
static int
queue_add_first(Queue *self, PyObject *message, Py_ssize_t size)
{
    int done = 0;
    LOCK(self);
    if (queue_place(self) != NULL) {
        self->head = (self->head - 1) & (self->capacity - 1);
        self->ring[self->head].message = Py_NewRef(message);
        self->ring[self->head].size = size;
        self->length++;
        if (size >= 0) {
            self->count++;
            self->size += size;
        }
        done = 1;
    }
    UNLOCK();
    return done;
}

/* Put a complete message back that was taken, with an exception on its way. */
static void
queue_put_back(Queue *self, PyObject *message, Py_ssize_t size)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    queue_add_first(self, message, size);
    PyErr_Clear(); /* there may be no memory for it */
    PyErr_Restore(type, value, traceback);
}

/* Take the first complete message: 1; 0 if there is none; -1 if it can't be converted, or a signal
 * handler raised: it stays. The caller has a reference to the queue, as handlers may fork.
 *
 * What handlers raise after the message was taken would lose it. The interpreter looks for signals
 * just before this call and just after it, and does not where it iterates. So there is nothing to
 * look for but where time went by in between: as this thread waited for the interpreter lock
 * (waited), as fragments were put together and freed, as the kernel was told to wake the reader. */
static int
queue_receive(Queue *self, State *state, PyObject *decode, int waited, PyObject **result)
{
    if (decode == Py_None && !waited && (*result = queue_take_plain(self)) != NULL) {
        return 1;
    }
    for (;;) {
        int complete = 0;
        PyObject *message = queue_peek(self, &complete);
        if (message == NULL || !complete) {
            Py_XDECREF(message);
            return 0;
        }
        *result = convert(state, message, decode);
        int plain = PyUnicode_CheckExact(message) || PyBytes_CheckExact(message);
        int taken = *result != NULL && ((plain && !waited) || PyErr_CheckSignals() == 0);
        if (taken) {
            int wakes = self->room != NULL && self->room != Py_None;
            Py_ssize_t size = 0;
            taken = queue_take(self, message, &size);
            if (taken && decode == Py_None &&
                (PyUnicode_CheckExact(*result) || PyBytes_CheckExact(*result))) {
                /* What came in fragments is whole now; freeing them would take its time below. */
                Py_SETREF(message, Py_NewRef(*result));
            }
            if (taken && (wakes || waited || !plain) && PyErr_CheckSignals() < 0) {
                queue_put_back(self, message, size);
                taken = 0;
            }
        }
        Py_DECREF(message);
        if (taken) {
            return 1;
        }
        Py_CLEAR(*result);
        if (PyErr_Occurred()) {
            return -1;
        }
        /* Another thread took it: look again. */
    }
}

static PyObject *
queue_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"high", "low", "limit", NULL};
    PyObject *high = Py_None;
    Py_ssize_t most = -1, low = 0, limit = PY_SSIZE_T_MAX;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|Onn:MessageQueue", names, &high, &low,
                                     &limit)) {
        return NULL;
    }
    if (high != Py_None) {
        most = PyNumber_AsSsize_t(high, PyExc_OverflowError);
        if (most == -1 && PyErr_Occurred()) {
            return NULL;
        }
    }
    if ((high != Py_None && most < 0) || low < 0 || limit < 0) {
        PyErr_SetString(PyExc_ValueError, "a mark of the queue is negative");
        return NULL;
    }
    Queue *self = (Queue *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->room = Py_NewRef(Py_None);
    self->bounded = 1;
    self->low = low;
    self->limit = limit;
    self->high = most;
    return (PyObject *)self;
}

static int
queue_traverse(Queue *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->room);
    for (size_t i = 0; i < self->length; i++) {
        Py_VISIT(self->ring[(self->head + i) & (self->capacity - 1)].message);
    }
    return 0;
}

static int
queue_clear(Queue *self)
{
    self->count = self->size = 0;
    while (self->length) {
        PyObject *message = self->ring[self->head].message;
        self->head = (self->head + 1) & (self->capacity - 1);
        self->length--;
        Py_DECREF(message);
    }
    Py_CLEAR(self->room);
    return 0;
}

static void
queue_dealloc(Queue *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    queue_clear(self);
    PyMem_Free(self->ring);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
queue_put_method(Queue *self, PyObject *messages)
{
    if (!PyList_Check(messages)) {
        PyErr_SetString(PyExc_TypeError, "messages are a list");
        return NULL;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(messages); i++) {
        PyObject *message = PyList_GET_ITEM(messages, i);
        if (!PyUnicode_CheckExact(message) && !PyBytes_CheckExact(message)) {
            PyErr_SetString(PyExc_TypeError, "a message is str or bytes");
            return NULL;
        }
        if (queue_put(self, Py_NewRef(message)) < 0) {
            return NULL;
        }
    }
    Py_RETURN_NONE;
}

static PyObject *
queue_begin(Queue *self, PyObject *message)
{
    int done = 0;
    LOCK(self);
    Item *item = queue_place(self);
    if (item != NULL) {
        item->message = Py_NewRef(message);
        item->size = -1;
        self->length++;
        done = 1;
    }
    UNLOCK();
    return done ? Py_NewRef(Py_None) : NULL;
}

static PyObject *
queue_complete(Queue *self, PyObject *args)
{
    PyObject *message;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(args, "On:complete", &message, &size)) {
        return NULL;
    }
    int found = 0;
    LOCK(self);
    if (self->length) {
        Item *item = &self->ring[(self->head + self->length - 1) & (self->capacity - 1)];
        if (item->message == message && item->size < 0) {
            item->size = size;
            self->count++;
            self->size += size;
            found = 1;
        }
    }
    UNLOCK();
    return PyBool_FromLong(found);
}

static PyObject *
queue_cancel(Queue *self, PyObject *ignored)
{
    PyObject *message = NULL;
    (void)ignored;
    LOCK(self);
    if (self->length) {
        Item *item = &self->ring[(self->head + self->length - 1) & (self->capacity - 1)];
        if (item->size < 0) {
            message = item->message;
            self->length--;
        }
    }
    UNLOCK();
    Py_XDECREF(message);
    Py_RETURN_NONE;
}

static PyObject *
queue_first(Queue *self, PyObject *ignored)
{
    int complete;
    (void)ignored;
    PyObject *message = queue_peek(self, &complete);
    return message == NULL ? Py_NewRef(Py_None) : message;
}

static PyObject *
queue_take_method(Queue *self, PyObject *args)
{
    PyObject *message, *receipt;
    if (!PyArg_ParseTuple(args, "OO!:take", &message, &PyList_Type, &receipt)) {
        return NULL;
    }
    Py_ssize_t size;
    int taken = queue_take(self, message, &size);
    if (taken && PyList_SetItem(receipt, 0, Py_NewRef(message)) < 0) {
        return NULL;
    }
    return PyBool_FromLong(taken);
}

static PyObject *
queue_restore(Queue *self, PyObject *args)
{
    PyObject *message;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(args, "On:restore", &message, &size)) {
        return NULL;
    }
    return queue_add_first(self, message, size) ? Py_NewRef(Py_None) : NULL;
}

static PyObject *
queue_make_room_method(Queue *self, PyObject *ignored)
{
    (void)ignored;
    LOCK(self);
    queue_make_room(self);
    UNLOCK();
    Py_RETURN_NONE;
}

static PyObject *
queue_drops_method(Queue *self, PyObject *ignored)
{
    int drops;
    (void)ignored;
    LOCK(self);
    drops = queue_drops(self);
    UNLOCK();
    return PyBool_FromLong(drops);
}

static PyObject *
queue_get_is_full(Queue *self, void *closure)
{
    (void)closure;
    return PyBool_FromLong(queue_is_full(self));
}

static PyObject *
queue_get_room(Queue *self, void *closure)
{
    (void)closure;
    return Py_NewRef(self->room == NULL ? Py_None : self->room);
}

static int
queue_set_room(Queue *self, PyObject *room, void *closure)
{
    (void)closure;
    if (room == NULL) {
        PyErr_SetString(PyExc_AttributeError, "room can't be deleted");
        return -1;
    }
    LOCK(self);
    Py_XSETREF(self->room, Py_NewRef(room));
    UNLOCK();
    return 0;
}

static PyMethodDef queue_methods[] = {
    {"put", (PyCFunction)queue_put_method, METH_O,
     "put($self, messages, /)\n--\n\nAdd whole messages."},
    {"drops", (PyCFunction)queue_drops_method, METH_NOARGS,
     "drops($self, /)\n--\n\nReturn whether what comes now is not to be added."},
    {"begin", (PyCFunction)queue_begin, METH_O,
     "begin($self, message, /)\n--\n\nAdd a message that isn't complete."},
    {"complete", (PyCFunction)queue_complete, METH_VARARGS,
     "complete($self, message, size, /)\n--\n\nCount the last message, unless it was taken."},
    {"cancel", (PyCFunction)queue_cancel, METH_NOARGS,
     "cancel($self, /)\n--\n\nRemove the last message if it isn't complete."},
    {"first", (PyCFunction)queue_first, METH_NOARGS,
     "first($self, /)\n--\n\nReturn the first message, complete or not, or None."},
    {"take", (PyCFunction)queue_take_method, METH_VARARGS,
     "take($self, message, receipt, /)\n--\n\nRemove the first message if it is this one."},
    {"restore", (PyCFunction)queue_restore, METH_VARARGS,
     "restore($self, message, size, /)\n--\n\nPut a message back in front."},
    {"make_room", (PyCFunction)queue_make_room_method, METH_NOARGS,
     "make_room($self, /)\n--\n\nRelease the lock in room if there is room."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef queue_members[] = {
    {"count", T_PYSSIZET, offsetof(Queue, count), READONLY, "Complete messages."},
    {"size", T_PYSSIZET, offsetof(Queue, size), READONLY, "Their bytes."},
    {"streamed", T_PYSSIZET, offsetof(Queue, streamed), 0, "Bytes of a message that is streamed."},
    {"waiting", T_PYSSIZET, offsetof(Queue, waiting), 0, "Callers that wait."},
    {"bounded", T_BOOL, offsetof(Queue, bounded), 0, "Whether the marks count."},
    {"used", T_BOOL, offsetof(Queue, used), READONLY, "Whether a message was ever taken."},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef queue_getset[] = {
    {"is_full", (getter)queue_get_is_full, NULL, "Whether the queue is above its marks.", NULL},
    {"room", (getter)queue_get_room, (setter)queue_set_room, "A held lock, or None.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot queue_slots[] = {
    {Py_tp_doc, "The received messages that nobody took yet."},
    {Py_tp_new, queue_new},
    {Py_tp_dealloc, queue_dealloc},
    {Py_tp_traverse, queue_traverse},
    {Py_tp_clear, queue_clear},
    {Py_tp_methods, queue_methods},
    {Py_tp_members, queue_members},
    {Py_tp_getset, queue_getset},
    {0, NULL},
};

static PyType_Spec queue_spec = {
    .name = "syncws.accel._speedups.MessageQueue",
    .basicsize = sizeof(Queue),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = queue_slots,
};

/* --- WriteLock ------------------------------------------------------------------------------ */

/* A re-entrant lock, as threading.RLock, that C code takes and releases without a call. While
 * threads wait it is never free: who releases it hands it to the first of them. */
typedef struct {
    PyObject_HEAD
    State *state;
    unsigned long owner;
    Py_ssize_t count;
    PyObject *waiters; /* a list of (held lock, thread); or NULL */
} WriteLock;

static int
lock_try(WriteLock *self, int reentrant)
{
    unsigned long me = PyThread_get_thread_ident();
    int taken = 0;
    LOCK(self);
    if (self->count == 0) {
        self->owner = me;
        self->count = 1;
        taken = 1;
    }
    else if (reentrant && self->owner == me) {
        self->count++;
        taken = 1;
    }
    UNLOCK();
    return taken;
}

/* Release it; the exception on its way, if there is one, stays. Return whether it was held. */
static int
lock_release(WriteLock *self)
{
    PyObject *next = NULL;
    int held = 0;
    LOCK(self);
    if (self->count && self->owner == PyThread_get_thread_ident()) {
        held = 1;
        if (--self->count == 0 && self->waiters != NULL && PyList_GET_SIZE(self->waiters)) {
            next = Py_NewRef(PyList_GET_ITEM(self->waiters, 0));
            PyList_SetSlice(self->waiters, 0, 1, NULL);
            self->owner = PyLong_AsUnsignedLong(PyTuple_GET_ITEM(next, 1));
            self->count = 1;
        }
    }
    UNLOCK();
    if (next != NULL) {
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        Py_XDECREF(PyObject_CallMethodNoArgs(PyTuple_GET_ITEM(next, 0), self->state->str_release));
        Py_DECREF(next);
        PyErr_Restore(type, value, traceback);
    }
    return held;
}

/* Stop waiting; return whether the lock was handed to this thread already. */
static int
lock_leave(WriteLock *self, PyObject *entry)
{
    int handed = 1;
    LOCK(self);
    for (Py_ssize_t i = 0; self->waiters != NULL && i < PyList_GET_SIZE(self->waiters); i++) {
        if (PyList_GET_ITEM(self->waiters, i) == entry) {
            PyList_SetSlice(self->waiters, i, i + 1, NULL);
            handed = 0;
            break;
        }
    }
    UNLOCK();
    return handed;
}

/* Become known as waiting; or take the lock if it has become free: then *taken is set. */
static PyObject *
lock_enter(WriteLock *self, int *taken)
{
    PyObject *waiter = PyObject_CallNoArgs(self->state->allocate_lock);
    PyObject *held =
        waiter == NULL ? NULL : PyObject_CallMethodNoArgs(waiter, self->state->str_acquire);
    PyObject *entry = NULL;
    Py_XDECREF(held);
    if (held != NULL) {
        entry = Py_BuildValue("(Ok)", waiter, PyThread_get_thread_ident());
    }
    Py_XDECREF(waiter);
    if (entry == NULL) {
        return NULL;
    }
    int failed = 0;
    LOCK(self);
    if (self->waiters == NULL) {
        self->waiters = PyList_New(0);
    }
    if (self->count == 0) {
        self->owner = PyThread_get_thread_ident();
        self->count = 1;
        *taken = 1;
    }
    else {
        failed = self->waiters == NULL || PyList_Append(self->waiters, entry) < 0;
    }
    UNLOCK();
    if (failed) {
        Py_CLEAR(entry);
    }
    return entry;
}

static PyObject *
lock_acquire(WriteLock *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"blocking", "timeout", NULL};
    int blocking = 1, taken = 0;
    double timeout = -1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|pd:acquire", names, &blocking, &timeout)) {
        return NULL;
    }
    if (!blocking && timeout != -1) {
        PyErr_SetString(PyExc_ValueError, "can't specify a timeout for a non-blocking call");
        return NULL;
    }
    if (!(timeout >= 0 || timeout == -1)) {
        PyErr_SetString(PyExc_ValueError, "timeout value must be a non-negative number");
        return NULL;
    }
    if (timeout * 1e6 > (double)PY_TIMEOUT_MAX) {
        PyErr_SetString(PyExc_OverflowError, "timeout value is too large");
        return NULL;
    }
    if (lock_try(self, 1)) {
        Py_RETURN_TRUE;
    }
    if (!blocking || timeout == 0) {
        Py_RETURN_FALSE;
    }
    PyObject *entry = lock_enter(self, &taken);
    if (entry == NULL) {
        return NULL;
    }
    if (!taken) {
        PyObject *result =
            PyObject_CallMethod(PyTuple_GET_ITEM(entry, 0), "acquire", "Od", Py_True, timeout);
        taken = result == Py_True || lock_leave(self, entry);
        if (result == NULL) {
            Py_DECREF(entry);
            if (taken) { /* handed to us, and a signal handler raised */
                lock_release(self);
            }
            return NULL;
        }
        Py_DECREF(result);
    }
    Py_DECREF(entry);
    return PyBool_FromLong(taken);
}

static PyObject *
lock_release_method(WriteLock *self, PyObject *ignored)
{
    (void)ignored;
    if (!lock_release(self)) {
        PyErr_SetString(PyExc_RuntimeError, "cannot release un-acquired lock");
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
lock_exit(WriteLock *self, PyObject *args)
{
    (void)args;
    return lock_release_method(self, NULL);
}

static int
lock_is_owned(const WriteLock *self)
{
    return self->count && self->owner == PyThread_get_thread_ident();
}

/* In a forked child: free the lock of a thread that only the parent has; or hand it to the calling
 * one, if a signal handler forked while that waited. */
static PyObject *
lock_at_fork_reinit(WriteLock *self, PyObject *ignored)
{
    (void)ignored;
    PyObject *waiters = self->waiters;
    self->waiters = NULL;
    self->count = 0;
    for (Py_ssize_t i = 0; waiters != NULL && i < PyList_GET_SIZE(waiters); i++) {
        PyObject *entry = PyList_GET_ITEM(waiters, i);
        unsigned long thread = PyLong_AsUnsignedLong(PyTuple_GET_ITEM(entry, 1));
        if (self->count == 0 && thread == PyThread_get_thread_ident()) {
            self->owner = thread;
            self->count = 1;
            Py_XDECREF(PyObject_CallMethodNoArgs(PyTuple_GET_ITEM(entry, 0),
                                                 self->state->str_release));
        }
    }
    Py_XDECREF(waiters);
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

static PyObject *
lock_is_owned_method(WriteLock *self, PyObject *ignored)
{
    (void)ignored;
    return PyBool_FromLong(lock_is_owned(self));
}

static PyObject *
lock_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    if (PyTuple_GET_SIZE(args) || (kwargs != NULL && PyDict_GET_SIZE(kwargs))) {
        PyErr_SetString(PyExc_TypeError, "WriteLock() takes no arguments");
        return NULL;
    }
    State *state = find_state(type);
    if (state == NULL) {
        return NULL;
    }
    WriteLock *self = (WriteLock *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->state = state;
    }
    return (PyObject *)self;
}

static void
lock_dealloc(WriteLock *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_CLEAR(self->waiters);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef lock_methods[] = {
    {"acquire", (PyCFunction)(void (*)(void))lock_acquire, METH_VARARGS | METH_KEYWORDS,
     "acquire($self, blocking=True, timeout=-1)\n--\n\nTake it; return whether it was to be had."},
    {"release", (PyCFunction)lock_release_method, METH_NOARGS,
     "release($self, /)\n--\n\nGive it back."},
    {"__enter__", (PyCFunction)(void (*)(void))lock_acquire, METH_VARARGS | METH_KEYWORDS, NULL},
    {"__exit__", (PyCFunction)lock_exit, METH_VARARGS, NULL},
    {"_is_owned", (PyCFunction)lock_is_owned_method, METH_NOARGS,
     "_is_owned($self, /)\n--\n\nTell whether the calling thread has it."},
    {"_at_fork_reinit", (PyCFunction)lock_at_fork_reinit, METH_NOARGS,
     "_at_fork_reinit($self, /)\n--\n\nForget other threads, in a forked child."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot lock_slots[] = {
    {Py_tp_doc, "A re-entrant lock that C code can take without a call."},
    {Py_tp_new, lock_new},
    {Py_tp_dealloc, lock_dealloc},
    {Py_tp_methods, lock_methods},
    {0, NULL},
};

static PyType_Spec lock_spec = {
    .name = "syncws.accel._speedups.WriteLock",
    .basicsize = sizeof(WriteLock),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = lock_slots,
};

/* --- Channel -------------------------------------------------------------------------------- */

/* Bytes read at once: on the stack, until a connection shows that it has more. */
#define SMALL_READ 4096
#define LARGE_READ 65536
/* Bytes of one large payload read at once. */
#define PAYLOAD_READ (1 << 20)
/* Larger messages are sent by code that lets other threads run meanwhile. */
#define MAX_SENT_AT_ONCE 16384
/* The same, for what many connections send: it need not be built. */
#define MAX_POSTED_AT_ONCE 65536
/* Frames up to this are built on the stack. */
#define SMALL_FRAME 2048
/* Seconds after which the main thread looks for signals while it waits: one that comes just
 * before the system call does not interrupt it. */
#define SIGNAL_INTERVAL 0.25

enum { FREE, HELD, ENDED };

typedef struct Channel {
    PyObject_HEAD
    State *state;
    Queue *queue;
    Parser *parser;    /* there if direct */
    PyObject *pending; /* a list: what was read and isn't a finished message, and what follows */
    WriteLock *lock;
    PyObject *protocol, *open_state, *output, *backlog; /* for sending */
    unsigned long main_thread;
    unsigned long long messages_received, bytes_received, messages_sent, bytes_sent;
    int fd, error_number;
    char role, active, direct, ended, has_pending, hungry, batching, masked, has_signal_interval;
} Channel;

static inline int
has_leftover(const Channel *self)
{
    return self->ended || self->has_pending ||
           (self->parser != NULL && self->parser->error != NULL);
}

/* Called by the parser: queue a message, or keep what Python code has to look at, in order. */
static int
channel_emit(Channel *self, PyObject *event)
{
    int plain = !PyTuple_CheckExact(event);
    if (plain && !self->has_pending) {
        self->messages_received++;
        return queue_put(self->queue, event);
    }
    if (self->pending == NULL) {
        self->pending = PyList_New(0);
        if (self->pending == NULL) {
            Py_DECREF(event);
            return -1;
        }
    }
    int result = PyList_Append(self->pending, event);
    self->has_pending = 1;
    Py_DECREF(event);
    return result;
}

static int
take_role(Channel *self)
{
    int taken = 0;
    LOCK(self);
    if (self->role == FREE) {
        self->role = HELD;
        self->active = 1;
        taken = 1;
    }
    UNLOCK();
    return taken;
}

static void
give_up_role(Channel *self)
{
    LOCK(self);
    if (self->role == HELD) {
        self->role = FREE;
        self->active = 1;
    }
    UNLOCK();
}

/* What fails on our side, for lack of memory, ends the connection: bytes are lost. */
static void
check_failure(Channel *self)
{
    if (PyErr_Occurred()) {
        PyErr_Clear();
        self->ended = 1;
        self->error_number = ENOMEM;
    }
}

/* Parse bytes that were read. */
static void
channel_feed(Channel *self, const uint8_t *data, size_t size)
{
    Sink sink = {NULL, self};
    parser_feed(self->parser, data, size, &sink);
    check_failure(self);
}

#ifdef HAVE_DIRECT_IO

static double
now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* What a thread that reads comes back with. */
enum { READ_FAILED = -1, READ_NOTHING = 0, READ_SOME = 1, READ_TIMED_OUT = 2, LOST_ROLE = 3 };

/* Let signal handlers run: not before the role is free again, since they may want to receive.
 * Return whether the role is still ours; an exception of theirs is set. */
static int
run_signal_handlers(Channel *self, int is_main)
{
    if (!is_main) {
        return 1;
    }
    give_up_role(self);
    if (PyErr_CheckSignals() < 0) {
        return 0;
    }
    return take_role(self);
}

/* Wait until the socket can be read from; return what poll() does, errno kept. */
static int
wait_readable(int fd, double seconds)
{
    struct pollfd descriptor = {fd, POLLIN, 0};
    int result, milliseconds = -1;
    if (seconds >= 0) {
        milliseconds = seconds > 1e6 ? 1000000000 : (int)(seconds * 1000) + 1;
    }
    Py_BEGIN_ALLOW_THREADS
    result = poll(&descriptor, 1, milliseconds);
    Py_END_ALLOW_THREADS
    return result;
}

/* Receive into one place, or into two, one after the other. */
static ssize_t
receive_bytes(int fd, struct iovec *places, int flags)
{
    ssize_t count;
    Py_BEGIN_ALLOW_THREADS
    if (places[1].iov_len) {
        struct msghdr message = {.msg_iov = places, .msg_iovlen = 2};
        count = recvmsg(fd, &message, flags);
    }
    else {
        count = recv(fd, places[0].iov_base, places[0].iov_len, flags);
    }
    Py_END_ALLOW_THREADS
    return count;
}

/* Take bytes that were read to where they belong, unless the parser was stopped meanwhile. */
static void
channel_filled(Channel *self, size_t count)
{
    Sink sink = {NULL, self};
    if (self->parser->error == NULL) {
        frame_filled(self->parser, count, &sink);
        check_failure(self);
    }
}

/* Read once, and parse: what arrived is in the queue, or pending, when this returns. The caller
 * has the role; it has it afterwards too unless *has_role is 0. Without a limit timeout is -1. */
static int
channel_read(Channel *self, double timeout, int *has_role)
{
    uint8_t small[SMALL_READ];
    uint8_t *large = NULL;
    int is_main = PyThread_get_thread_ident() == self->main_thread;
    double end = timeout > 0 ? now() + timeout : 0;
    int result = READ_SOME;
    if (is_main && timeout < 0 && !self->has_signal_interval) {
        struct timeval interval = {0, (long)(SIGNAL_INTERVAL * 1e6)};
        setsockopt(self->fd, SOL_SOCKET, SO_RCVTIMEO, &interval, sizeof interval);
        self->has_signal_interval = 1;
    }
    for (;;) {
        Parser *parser = self->parser;
        struct iovec places[2] = {{small, sizeof small}, {NULL, 0}};
        size_t in_place = 0;
        if (parser->payload != NULL && parser->error == NULL &&
            parser->size - parser->filled >= sizeof small) {
            uint8_t *to;
            if (frame_room(parser, &to, &in_place) < 0) {
                check_failure(self);
                break;
            }
            if (in_place <= PAYLOAD_READ) {
                places[1] = places[0]; /* for what follows */
            }
            else {
                in_place = PAYLOAD_READ;
            }
            places[0] = (struct iovec){to, in_place};
        }
        struct iovec *following = in_place ? &places[1] : &places[0];
        if (self->hungry && following->iov_len &&
            (large != NULL || (large = PyMem_RawMalloc(LARGE_READ)))) {
            *following = (struct iovec){large, LARGE_READ};
        }
        ssize_t count = receive_bytes(self->fd, places, timeout < 0 ? 0 : MSG_DONTWAIT);
        if (count > 0) {
            size_t filled = (size_t)count < in_place ? (size_t)count : in_place;
            self->bytes_received += (unsigned long long)count;
            self->hungry = (size_t)count - filled == sizeof small || count > LARGE_READ / 4;
            if (filled) {
                channel_filled(self, filled);
            }
            if ((size_t)count > filled && !self->ended) {
                channel_feed(self, following->iov_base, (size_t)count - filled);
            }
            break;
        }
        if (count == 0) {
            self->ended = 1;
            break;
        }
        if (errno != EINTR && errno != EAGAIN && errno != EWOULDBLOCK) {
            self->ended = 1;
            self->error_number = errno;
            break;
        }
        if (errno != EINTR && (timeout >= 0 || !is_main)) {
            double left = timeout < 0 ? -1 : timeout > 0 ? end - now() : 0;
            if (timeout >= 0 && left <= 0) {
                result = READ_TIMED_OUT;
                break;
            }
            if (is_main && left > SIGNAL_INTERVAL) {
                left = SIGNAL_INTERVAL;
            }
            wait_readable(self->fd, left);
        }
        if (!run_signal_handlers(self, is_main)) {
            *has_role = 0;
            result = PyErr_Occurred() ? READ_FAILED : READ_SOME;
            break;
        }
        if (self->queue->count || has_leftover(self)) {
            break; /* a signal handler has received too, and read more than it took */
        }
    }
    PyMem_RawFree(large);
    return result;
}

/* Call a method that others are woken by, with an exception on its way or not. */
static int
tell(Channel *self, PyObject *name)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *result = PyObject_CallMethodObjArgs((PyObject *)self, name, NULL);
    if (type != NULL) {
        Py_XDECREF(result);
        PyErr_Restore(type, value, traceback);
        return -1;
    }
    if (result == NULL) {
        return -1;
    }
    Py_DECREF(result);
    return 0;
}

/* Read on a caller's thread, if that is possible. */
static int
read_as_caller(Channel *self, double timeout)
{
    if (!self->direct || has_leftover(self) || !take_role(self)) {
        return READ_NOTHING;
    }
    int has_role = 1;
    int result = channel_read(self, timeout, &has_role);
    if (has_role) {
        give_up_role(self);
    }
    /* Before anything is taken: what these raise, or signal handlers in them, loses nothing. */
    if (has_leftover(self) && tell(self, self->state->str_leftover) < 0) {
        result = READ_FAILED;
    }
    if (self->queue->waiting && tell(self, self->state->str_pass_on) < 0) {
        result = READ_FAILED;
    }
    return result;
}

#endif /* HAVE_DIRECT_IO */

static double
get_timeout(PyObject *timeout)
{
    if (timeout == Py_None) {
        return -1;
    }
    double seconds = PyFloat_AsDouble(timeout);
    return seconds > 0 || (seconds == -1 && PyErr_Occurred()) ? seconds : 0;
}

/* Receive a message: what recv() and iteration do. */
static PyObject *
channel_receive(Channel *self, PyObject *timeout, PyObject *decode)
{
    double end = 0, seconds = get_timeout(timeout);
    if (seconds == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (self->queue == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "__init__() was not called");
        return NULL;
    }
    if (self->batching) { /* what this thread has collected is to be sent first */
        PyObject *done =
            PyObject_CallMethodObjArgs((PyObject *)self, self->state->str_flush_batch, NULL);
        if (done == NULL) {
            return NULL;
        }
        Py_DECREF(done);
    }
    int waited = self->batching;
    for (;;) {
        PyObject *message;
        /* Others wait, and nobody reads: before a message is taken, as above. */
        if (self->queue->waiting && self->queue->count && self->role == FREE) {
            PyObject *done = PyObject_CallMethodObjArgs((PyObject *)self,
                                                        self->state->str_pass_on, NULL);
            if (done == NULL) {
                return NULL;
            }
            Py_DECREF(done);
            waited = 1;
        }
        Queue *queue = (Queue *)Py_NewRef((PyObject *)self->queue); /* a fork replaces it */
        int taken = queue_receive(queue, self->state, decode, waited, &message);
        Py_DECREF(queue);
        if (taken) {
            return taken > 0 ? message : NULL;
        }
        waited = 1;
        double left = seconds;
#ifdef HAVE_DIRECT_IO
        if (seconds > 0 && end == 0) {
            end = now() + seconds;
        }
        else if (seconds > 0) {
            left = end - now();
            left = left > 0 ? left : 0;
        }
        int result = read_as_caller(self, left);
        if (result == READ_FAILED) {
            return NULL;
        }
        if (result == READ_TIMED_OUT) {
            if (self->queue->count == 0) {
                PyErr_Format(PyExc_TimeoutError, "no message within %S s", timeout);
                return NULL;
            }
            continue;
        }
        if (result == READ_SOME) {
            /* A message that drips in shall not keep signal handlers waiting. */
            if (self->queue->count == 0 &&
                PyThread_get_thread_ident() == self->main_thread && PyErr_CheckSignals() < 0) {
                return NULL;
            }
            continue;
        }
#else
        (void)end;
#endif
        PyObject *remaining = left < 0 ? Py_NewRef(Py_None) : PyFloat_FromDouble(left);
        if (remaining == NULL) {
            return NULL;
        }
        PyObject *done = PyObject_CallMethodObjArgs((PyObject *)self, self->state->str_await_message,
                                                    remaining, timeout, NULL);
        Py_DECREF(remaining);
        if (done == NULL) {
            return NULL;
        }
        Py_DECREF(done);
    }
}

static PyObject *
channel_recv(Channel *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *values[2] = {NULL, NULL};
    static const char *const known[2] = {"timeout", "decode"};
    if (count > 2) {
        PyErr_Format(PyExc_TypeError, "recv() takes at most 2 arguments (%zd given)", count);
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        values[i] = args[i];
    }
    for (Py_ssize_t i = 0; names != NULL && i < PyTuple_GET_SIZE(names); i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i);
        int index = PyUnicode_CompareWithASCIIString(name, known[0]) == 0   ? 0
                    : PyUnicode_CompareWithASCIIString(name, known[1]) == 0 ? 1
                                                                            : -1;
        if (index < 0) {
            PyErr_Format(PyExc_TypeError, "recv() got an unexpected keyword argument '%U'", name);
            return NULL;
        }
        if (values[index] != NULL) {
            PyErr_Format(PyExc_TypeError, "recv() got multiple values for argument '%U'", name);
            return NULL;
        }
        values[index] = args[count + i];
    }
    return channel_receive(self, values[0] ? values[0] : Py_None, values[1] ? values[1] : Py_None);
}

/* --- Channel: iteration --- */

typedef struct {
    PyObject_HEAD
    Channel *channel;
} Iterator;

static PyObject *
channel_iter(Channel *self)
{
    if (self->state == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "__init__() was not called");
        return NULL;
    }
    PyTypeObject *type = self->state->iterator_type;
    Iterator *iterator = (Iterator *)type->tp_alloc(type, 0);
    if (iterator != NULL) {
        iterator->channel = (Channel *)Py_NewRef((PyObject *)self);
    }
    return (PyObject *)iterator;
}

static PyObject *
iterator_next(Iterator *self)
{
    if (self->channel == NULL) {
        return NULL;
    }
    /* A reference of our own: a signal handler, or another thread, may come to the end first. */
    Channel *channel = (Channel *)Py_NewRef((PyObject *)self->channel);
    PyObject *message = channel_receive(channel, Py_None, Py_None);
    if (message != NULL) {
        Py_DECREF(channel);
        return message;
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *ended = PyObject_GetAttr((PyObject *)channel, channel->state->str_ended);
    if (ended != NULL && PyErr_GivenExceptionMatches(type, ended)) {
        Py_CLEAR(self->channel);
        Py_XDECREF(type);
        Py_XDECREF(value);
        Py_XDECREF(traceback);
    }
    else {
        PyErr_Restore(type, value, traceback);
    }
    Py_XDECREF(ended);
    Py_DECREF(channel);
    return NULL;
}

static int
iterator_traverse(Iterator *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->channel);
    return 0;
}

static int
iterator_clear(Iterator *self)
{
    Py_CLEAR(self->channel);
    return 0;
}

static void
iterator_dealloc(Iterator *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_CLEAR(self->channel);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot iterator_slots[] = {
    {Py_tp_doc, "The messages of a connection until it is closed normally."},
    {Py_tp_dealloc, iterator_dealloc},
    {Py_tp_traverse, iterator_traverse},
    {Py_tp_clear, iterator_clear},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, iterator_next},
    {0, NULL},
};

static PyType_Spec iterator_spec = {
    .name = "syncws.accel._speedups.ChannelIterator",
    .basicsize = sizeof(Iterator),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = iterator_slots,
};

/* --- Channel: sending --- */

#ifdef HAVE_DIRECT_IO

/* Whether an attribute of the protocol is this object; -1 on error. */
static int
protocol_has(Channel *self, PyObject *name, PyObject *wanted)
{
    PyObject *value = PyObject_GetAttr(self->protocol, name);
    if (value == NULL) {
        return -1;
    }
    int same = value == wanted;
    Py_DECREF(value);
    return same;
}

/* Whether a frame may be sent now, at once, and the write lock is ours: 1, 0, or -1 on error. */
static int
may_send(Channel *self)
{
    /* Not re-entrant: a signal handler must not send in the middle of what it interrupted. */
    if (!self->direct || self->batching || !lock_try(self->lock, 0)) {
        return 0;
    }
    int result = self->direct && PyByteArray_GET_SIZE(self->backlog) == 0 &&
                 PyList_GET_SIZE(self->output) == 0;
    if (result > 0) {
        result = protocol_has(self, self->state->str_state, self->open_state);
    }
    if (result > 0) {
        result = protocol_has(self, self->state->str_fragmenting, Py_False);
    }
    if (result <= 0) {
        lock_release(self->lock);
    }
    return result;
}

enum { SEND_FAILED = -1, NOT_SENT, SENT, SENT_AND_LOOK, SENT_IN_PART };

/* Write what the kernel takes of a frame, unless that is nothing; the rest becomes the backlog.
 * With the write lock, and without a backlog. */
static int
write_now(Channel *self, const uint8_t *frame, size_t size, int flags)
{
    /* The interpreter lock is kept: letting it go, and getting it back while others want it,
     * would take longer than this. */
    ssize_t sent;
    do {
        sent = send(self->fd, frame, size, MSG_DONTWAIT | MSG_NOSIGNAL | flags);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return NOT_SENT;
        }
        PyErr_SetFromErrno(PyExc_OSError);
        return SEND_FAILED;
    }
    self->messages_sent++;
    self->bytes_sent += (unsigned long long)sent;
    if ((size_t)sent == size) {
        return SENT;
    }
    Py_ssize_t left = (Py_ssize_t)(size - (size_t)sent);
    if (PyByteArray_Resize(self->backlog, left) < 0) {
        return SEND_FAILED;
    }
    memcpy(PyByteArray_AS_STRING(self->backlog), frame + sent, (size_t)left);
    return SENT_IN_PART;
}

/* Send a message in one frame without waiting, if nothing is in the way. */
static int
send_now(Channel *self, PyObject *message)
{
    Payload payload;
    uint8_t small[SMALL_FRAME], *frame = small;
    if (!PyUnicode_Check(message) && !PyBytes_Check(message)) {
        return NOT_SENT;
    }
    if (get_payload(message, &payload) < 0) {
        return SEND_FAILED;
    }
    int result = NOT_SENT;
    if (payload.size <= MAX_SENT_AT_ONCE) {
#ifndef Py_GIL_DISABLED
        /* Not with the write lock: who finds it taken would leave, and nobody look. */
        result = self->masked && fill_keys(self->state) < 0 ? SEND_FAILED : may_send(self);
#else
        result = may_send(self);
#endif
    }
    if (result <= 0) {
        release_payload(&payload);
        return result;
    }
    result = SEND_FAILED;
    if (payload.size + MAX_HEADER > sizeof small) {
        frame = PyMem_Malloc(payload.size + MAX_HEADER);
    }
    size_t size = 0;
    if (frame == NULL) {
        PyErr_NoMemory();
    }
    else {
        size = write_frame(self->state, frame, FIN | payload.opcode, payload.data, payload.size,
                           self->masked);
    }
    if (size) {
        result = write_now(self, frame, size, 0);
    }
    if (frame != small) {
        PyMem_Free(frame);
    }
    release_payload(&payload);
    lock_release(self->lock);
#ifdef Py_GIL_DISABLED
    if (result == SENT) {
        result = SENT_AND_LOOK; /* somebody may have found the lock taken, and left */
    }
#endif
    return result;
}

#endif /* HAVE_DIRECT_IO */

/* Hand what failed to Python code, which ends the connection and raises. */
static PyObject *
send_failed(Channel *self)
{
    PyObject *type, *value, *traceback;
    if (!PyErr_ExceptionMatches(PyExc_OSError)) {
        return NULL;
    }
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    PyObject *result = PyObject_CallMethodObjArgs((PyObject *)self, self->state->str_send_failed,
                                                  value, NULL);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
    return result;
}

static PyObject *
channel_send(Channel *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    static const char *const known[] = {"message", "text", "timeout", "compress"};
    PyObject *values[4] = {NULL, Py_None, Py_None, Py_None};
    int plain = 1;
    if (count > 1) {
        PyErr_Format(PyExc_TypeError, "send() takes 1 positional argument but %zd were given",
                     count);
        return NULL;
    }
    if (count) {
        values[0] = args[0];
    }
    for (Py_ssize_t i = 0; names != NULL && i < PyTuple_GET_SIZE(names); i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i);
        int index = 0;
        while (index < 4 && PyUnicode_CompareWithASCIIString(name, known[index]) != 0) {
            index++;
        }
        if (index == 4 || (index == 0 && count)) {
            PyErr_Format(PyExc_TypeError, index ? "send() got an unexpected keyword argument '%U'"
                                                : "send() got multiple values for argument '%U'",
                         name);
            return NULL;
        }
        values[index] = args[count + i];
        plain = plain && (index == 0 || values[index] == Py_None);
    }
    if (values[0] == NULL) {
        PyErr_SetString(PyExc_TypeError, "send() missing 1 required argument: 'message'");
        return NULL;
    }
#ifdef HAVE_DIRECT_IO
    if (plain) {
        switch (send_now(self, values[0])) {
        case SENT:
            Py_RETURN_NONE;
        case SEND_FAILED:
            return send_failed(self);
        case NOT_SENT:
            break;
        default:
            return PyObject_CallMethodObjArgs((PyObject *)self, self->state->str_complete_send,
                                              NULL);
        }
    }
#endif
    return PyObject_CallMethodObjArgs((PyObject *)self, self->state->str_send, values[0], values[1],
                                      values[2], values[3], NULL);
}

/* --- Channel: what Python code of the connection uses --- */

/* Send a frame that many connections send, if nothing is in the way; the kernel may be told to
 * hold it back. */
static PyObject *
channel_post_now(Channel *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2 || !PyBytes_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "_post_now() takes a frame, bytes, and a bool");
        return NULL;
    }
    PyObject *frame = args[0];
    int result = NOT_SENT;
#ifdef HAVE_DIRECT_IO
    int flags = args[1] == Py_True ? HOLD_FLAG : 0;
    if (PyBytes_GET_SIZE(frame) <= MAX_POSTED_AT_ONCE) {
        result = may_send(self);
    }
    if (result > 0) {
        result = write_now(self, (const uint8_t *)PyBytes_AS_STRING(frame),
                           (size_t)PyBytes_GET_SIZE(frame), flags);
        lock_release(self->lock);
    }
    if (result < 0) {
        return NULL;
    }
    if (flags && result == SENT) {
        result = -1;
    }
#ifdef Py_GIL_DISABLED
    result = result == SENT ? SENT_AND_LOOK : result;
#endif
#endif
    return PyLong_FromLong(result);
}

/* Tell the kernel to hold nothing back any more. */
static PyObject *
channel_push(Channel *self, PyObject *ignored)
{
    (void)ignored;
#ifdef HAVE_HOLDING
    if (self->direct) { /* otherwise it is closed, or soon will be: that pushes, too */
        int off = 0;
        (void)setsockopt(self->fd, IPPROTO_TCP, TCP_CORK, &off, sizeof off); /* if it is TCP */
    }
#else
    (void)self;
#endif
    Py_RETURN_NONE;
}

static PyObject *
channel_go_direct(Channel *self, PyObject *args)
{
    int fd, masked;
    unsigned long main_thread;
    PyObject *parser, *protocol, *open_state, *lock, *output, *backlog;
    if (!PyArg_ParseTuple(args, "iO!kOOO!O!O!p:_go_direct", &fd, self->state->parser_type, &parser,
                          &main_thread, &protocol, &open_state, self->state->lock_type, &lock,
                          &PyList_Type, &output, &PyByteArray_Type, &backlog, &masked)) {
        return NULL;
    }
    if (self->queue == NULL || self->parser != NULL) {
        PyErr_SetString(PyExc_RuntimeError, self->queue == NULL
                                                ? "__init__() was not called"
                                                : "the connection is read from directly already");
        return NULL;
    }
#ifdef HAVE_DIRECT_IO
    self->fd = fd;
    self->main_thread = main_thread;
    self->masked = (char)masked;
    /* For good, so that calls may borrow them: only the queue is ever replaced, after a fork. */
    self->parser = (Parser *)Py_NewRef(parser);
    self->protocol = Py_NewRef(protocol);
    self->open_state = Py_NewRef(open_state);
    self->lock = (WriteLock *)Py_NewRef(lock);
    self->output = Py_NewRef(output);
    self->backlog = Py_NewRef(backlog);
    self->direct = 1;
#endif
    return PyBool_FromLong(self->direct);
}

static PyObject *
channel_take_role(Channel *self, PyObject *ignored)
{
    (void)ignored;
    return PyBool_FromLong(take_role(self));
}

static PyObject *
channel_give_up_role(Channel *self, PyObject *ignored)
{
    (void)ignored;
    give_up_role(self);
    Py_RETURN_NONE;
}

static PyObject *
channel_end_role(Channel *self, PyObject *ignored)
{
    (void)ignored;
    LOCK(self);
    self->role = ENDED;
    self->direct = 0;
    UNLOCK();
    Py_RETURN_NONE;
}

static PyObject *
channel_was_active(Channel *self, PyObject *ignored)
{
    (void)ignored;
    int active;
    LOCK(self);
    active = self->active || self->role != FREE;
    self->active = self->role == HELD;
    UNLOCK();
    return PyBool_FromLong(active);
}

static PyObject *
channel_feed_method(Channel *self, PyObject *data)
{
    Py_buffer view;
    if (self->parser == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "there is no parser");
        return NULL;
    }
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    channel_feed(self, view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    Py_RETURN_NONE;
}

static PyObject *
channel_take_pending(Channel *self, PyObject *ignored)
{
    (void)ignored;
    PyObject *pending = self->pending;
    self->pending = NULL;
    self->has_pending = 0;
    return pending == NULL ? PyList_New(0) : pending;
}

#ifdef HAVE_DIRECT_IO

static PyObject *
channel_read_method(Channel *self, PyObject *timeout)
{
    int has_role = 1;
    double seconds = get_timeout(timeout);
    if (seconds == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (!self->direct) {
        PyErr_SetString(PyExc_RuntimeError, "the connection isn't read from directly");
        return NULL;
    }
    int result = channel_read(self, seconds, &has_role);
    return result == READ_FAILED ? NULL : PyLong_FromLong(has_role ? result : LOST_ROLE);
}

static PyObject *
channel_read_direct(Channel *self, PyObject *timeout)
{
    double seconds = get_timeout(timeout);
    if (seconds == -1 && PyErr_Occurred()) {
        return NULL;
    }
    int result = read_as_caller(self, seconds);
    return result == READ_FAILED ? NULL : PyLong_FromLong(result);
}

#endif

static PyObject *
channel_get_leftover(Channel *self, void *closure)
{
    (void)closure;
    return PyBool_FromLong(has_leftover(self));
}

static PyObject *
channel_get_role_is_free(Channel *self, void *closure)
{
    (void)closure;
    return PyBool_FromLong(self->role == FREE);
}

static PyObject *
channel_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args;
    (void)kwargs;
    State *state = find_state(type);
    if (state == NULL) {
        return NULL;
    }
    Channel *self = (Channel *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->state = state;
        self->fd = -1;
    }
    return (PyObject *)self;
}

static int
channel_set_queue(Channel *self, PyObject *queue, void *closure)
{
    (void)closure;
    if (queue == NULL || !PyObject_TypeCheck(queue, self->state->queue_type)) {
        PyErr_SetString(PyExc_TypeError, "_queue is a MessageQueue");
        return -1;
    }
    Py_XSETREF(self->queue, (Queue *)Py_NewRef(queue));
    return 0;
}

static PyObject *
channel_get_queue(Channel *self, void *closure)
{
    (void)closure;
    return Py_NewRef(self->queue == NULL ? Py_None : (PyObject *)self->queue);
}

static int
channel_traverse(Channel *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->queue);
    Py_VISIT(self->pending);
    Py_VISIT(self->lock);
    Py_VISIT(self->protocol);
    Py_VISIT(self->open_state);
    Py_VISIT(self->output);
    Py_VISIT(self->backlog);
    return 0;
}

static int
channel_clear(Channel *self)
{
    self->direct = 0;
    Py_CLEAR(self->queue);
    Py_CLEAR(self->parser);
    Py_CLEAR(self->pending);
    Py_CLEAR(self->lock);
    Py_CLEAR(self->protocol);
    Py_CLEAR(self->open_state);
    Py_CLEAR(self->output);
    Py_CLEAR(self->backlog);
    return 0;
}

static void
channel_dealloc(Channel *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    channel_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

#define RECV_DOC                                                                                   \
    "recv($self, timeout=None, decode=None)\n--\n\n"                                               \
    "Receive the next message: text as ``str``, binary as ``bytes``.\n\n"                          \
    "Blocks until there is one. Several threads may call it: each message goes to one of\n"        \
    "them. After closing, what had been received is still returned first.\n\n"                     \
    "Args:\n"                                                                                      \
    "    timeout: seconds to wait; 0 only looks; ``None`` waits forever.\n"                        \
    "    decode: ``False`` returns text as bytes too, ``True`` binary as str too.\n\n"             \
    "Raises:\n"                                                                                    \
    "    TimeoutError: there was none in time; none is lost.\n"                                    \
    "    ConnectionClosed: there is none, and there will be none.\n"                               \
    "    UnicodeDecodeError: ``decode`` is true and the message isn't UTF-8; it stays first.\n"

#define SEND_DOC                                                                                   \
    "send($self, message, *, text=None, timeout=None, compress=None)\n--\n\n"                      \
    "Send a message: a ``str`` as text, bytes as binary, an iterable of these in fragments.\n\n"    \
    "Blocks until the kernel has taken it, so that a slow peer slows the program down.\n"          \
    "Several threads may call it; messages don't mix, fragmented ones neither. Fragments go\n"      \
    "out one by one, each when it is there; an empty iterable sends nothing.\n\n"                    \
    "Args:\n"                                                                                      \
    "    message: the message.\n"                                                                  \
    "    text: ``True`` sends bytes, which must be UTF-8, as text; ``False`` sends a str as\n"     \
    "        binary, in UTF-8.\n"                                                                  \
    "    timeout: seconds that it may take, for each fragment; ``None`` means the\n"               \
    "        connection's ``send_timeout``.\n"                                                     \
    "    compress: whether to compress, if permessage-deflate was agreed on; ``None``\n"           \
    "        compresses unless the message is small.\n\n"                                          \
    "Raises:\n"                                                                                    \
    "    ConnectionClosed: the connection is closed, or broke; with its cause.\n"                  \
    "    SendTimeout: it was not sent in time. Nothing was written, and the connection\n"          \
    "        stays usable. If a part was written the connection fails instead.\n"                  \
    "    TypeError: the message can't be sent; nothing was.\n"                                     \
    "    UnicodeError: the text isn't UTF-8, or has surrogates; nothing was sent.\n"

static PyMethodDef channel_methods[] = {
    {"recv", (PyCFunction)(void (*)(void))channel_recv, METH_FASTCALL | METH_KEYWORDS, RECV_DOC},
    {"send", (PyCFunction)(void (*)(void))channel_send, METH_FASTCALL | METH_KEYWORDS, SEND_DOC},
    {"_go_direct", (PyCFunction)channel_go_direct, METH_VARARGS, NULL},
    {"_post_now", (PyCFunction)(void (*)(void))channel_post_now, METH_FASTCALL, NULL},
    {"_push", (PyCFunction)channel_push, METH_NOARGS, NULL},
    {"_take_role", (PyCFunction)channel_take_role, METH_NOARGS, NULL},
    {"_give_up_role", (PyCFunction)channel_give_up_role, METH_NOARGS, NULL},
    {"_end_role", (PyCFunction)channel_end_role, METH_NOARGS, NULL},
    {"_was_active", (PyCFunction)channel_was_active, METH_NOARGS, NULL},
    {"_feed", (PyCFunction)channel_feed_method, METH_O, NULL},
    {"_take_pending", (PyCFunction)channel_take_pending, METH_NOARGS, NULL},
#ifdef HAVE_DIRECT_IO
    {"_read", (PyCFunction)channel_read_method, METH_O, NULL},
    {"_read_direct", (PyCFunction)channel_read_direct, METH_O, NULL},
#endif
    {NULL, NULL, 0, NULL},
};

static PyMemberDef channel_members[] = {
    {"_batching", T_BOOL, offsetof(Channel, batching), 0, NULL},
    {"_direct", T_BOOL, offsetof(Channel, direct), READONLY, NULL},
    {"_ended_reading", T_BOOL, offsetof(Channel, ended), READONLY, NULL},
    {"_error_number", T_INT, offsetof(Channel, error_number), READONLY, NULL},
    {"_direct_received", T_ULONGLONG, offsetof(Channel, messages_received), READONLY, NULL},
    {"_direct_bytes_received", T_ULONGLONG, offsetof(Channel, bytes_received), READONLY, NULL},
    {"_direct_sent", T_ULONGLONG, offsetof(Channel, messages_sent), READONLY, NULL},
    {"_direct_bytes_sent", T_ULONGLONG, offsetof(Channel, bytes_sent), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef channel_getset[] = {
    {"_queue", (getter)channel_get_queue, (setter)channel_set_queue, NULL, NULL},
    {"_has_leftover", (getter)channel_get_leftover, NULL, NULL, NULL},
    {"_role_is_free", (getter)channel_get_role_is_free, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot channel_slots[] = {
    {Py_tp_doc, "The hot path of a connection: base of the class that programs use."},
    {Py_tp_new, channel_new},
    {Py_tp_dealloc, channel_dealloc},
    {Py_tp_traverse, channel_traverse},
    {Py_tp_clear, channel_clear},
    {Py_tp_iter, channel_iter},
    {Py_tp_methods, channel_methods},
    {Py_tp_members, channel_members},
    {Py_tp_getset, channel_getset},
    {0, NULL},
};

static PyType_Spec channel_spec = {
    .name = "syncws.accel._speedups.Channel",
    .basicsize = sizeof(Channel),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = channel_slots,
};

/* --- the module ----------------------------------------------------------------------------- */

static PyMethodDef module_methods[] = {
    {"apply_mask", apply_mask, METH_VARARGS,
     "apply_mask($module, data, key, /)\n--\n\nReturn data masked, or unmasked."},
    {"serialize_frame", serialize_frame, METH_VARARGS,
     "serialize_frame($module, first, payload, masked, /)\n--\n\nReturn the bytes of a frame."},
    {"serialize_messages", serialize_messages, METH_VARARGS,
     "serialize_messages($module, messages, masked, /)\n--\n\nReturn messages as frames."},
    {"forget_masking_keys", forget_masking_keys, METH_NOARGS,
     "forget_masking_keys($module, /)\n--\n\nDrop the masking keys that were drawn."},
    {NULL, NULL, 0, NULL},
};

static int
add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **type)
{
    *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    return *type == NULL ? -1 : 0;
}

static int
module_exec(PyObject *module)
{
    State *state = PyModule_GetState(module);
    if (add_type(module, &parser_spec, &state->parser_type) < 0 ||
        add_type(module, &queue_spec, &state->queue_type) < 0 ||
        add_type(module, &channel_spec, &state->channel_type) < 0 ||
        add_type(module, &lock_spec, &state->lock_type) < 0 ||
        add_type(module, &iterator_spec, &state->iterator_type) < 0) {
        return -1;
    }
    if (PyModule_AddType(module, state->parser_type) < 0 ||
        PyModule_AddType(module, state->queue_type) < 0 ||
        PyModule_AddType(module, state->lock_type) < 0 ||
        PyModule_AddType(module, state->channel_type) < 0) {
        return -1;
    }
    struct {
        PyObject **place;
        const char *text;
    } names[] = {
        {&state->str_await_message, "_await_message"},
        {&state->str_pass_on, "_pass_on"},
        {&state->str_leftover, "_leftover"},
        {&state->str_message, "message"},
        {&state->str_state, "state"},
        {&state->str_fragmenting, "fragmenting"},
        {&state->str_ended, "_ended"},
        {&state->str_send, "_send"},
        {&state->str_complete_send, "_complete_send"},
        {&state->str_send_failed, "_send_failed"},
        {&state->str_flush_batch, "_flush_batch"},
        {&state->str_acquire, "acquire"},
        {&state->str_release, "release"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        *names[i].place = PyUnicode_InternFromString(names[i].text);
        if (*names[i].place == NULL) {
            return -1;
        }
    }
    PyObject *os = PyImport_ImportModule("os");
    if (os == NULL) {
        return -1;
    }
    state->urandom = PyObject_GetAttrString(os, "urandom");
    Py_DECREF(os);
    PyObject *thread = PyImport_ImportModule("_thread");
    if (thread == NULL) {
        return -1;
    }
    state->allocate_lock = PyObject_GetAttrString(thread, "allocate_lock");
    Py_DECREF(thread);
    return state->urandom == NULL || state->allocate_lock == NULL ? -1 : 0;
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    State *state = PyModule_GetState(module);
    Py_VISIT(state->parser_type);
    Py_VISIT(state->queue_type);
    Py_VISIT(state->channel_type);
    Py_VISIT(state->iterator_type);
    Py_VISIT(state->lock_type);
    Py_VISIT(state->allocate_lock);
    Py_VISIT(state->urandom);
    return 0;
}

static int
module_clear(PyObject *module)
{
    State *state = PyModule_GetState(module);
    PyObject **names[] = {
        &state->urandom,       &state->keys,        &state->str_await_message,
        &state->str_pass_on,   &state->str_leftover, &state->str_message,
        &state->str_state,     &state->str_fragmenting, &state->str_ended,
        &state->str_send,      &state->str_complete_send, &state->str_send_failed,
        &state->allocate_lock, &state->str_flush_batch, &state->str_acquire,
        &state->str_release,
    };
    Py_CLEAR(state->parser_type);
    Py_CLEAR(state->queue_type);
    Py_CLEAR(state->channel_type);
    Py_CLEAR(state->iterator_type);
    Py_CLEAR(state->lock_type);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        Py_CLEAR(*names[i]);
    }
    return 0;
}

static void
module_free(void *module)
{
    module_clear((PyObject *)module);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#if PY_VERSION_HEX >= 0x030D0000
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "syncws.accel._speedups",
    .m_doc = "The hot loops of syncws in C.",
    .m_size = sizeof(State),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC
PyInit__speedups(void)
{
    return PyModuleDef_Init(&module_def);
}
