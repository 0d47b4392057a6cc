/* Channel, sending. A small message is one frame, which is built and written in one step if
 * nothing is in the way: the write lock is free, and nothing is left to be written before it.
 * Everything else, and what the kernel doesn't take, is left to Python code. */

#include "channel.h"

#include "deflating.h"
#include "serializing.h"
#include "masking.h"
#include "write_lock.h"

/* Larger messages are sent by code that lets other threads run meanwhile. */
#define MAX_SENT_AT_ONCE 16384
/* The same for a frame that many connections send: it is built already. */
#define MAX_POSTED_AT_ONCE 65536
/* Frames up to this size are built on the stack. */
#define SMALL_FRAME 2048

#ifdef HAVE_DIRECT_IO

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

/* Take the write lock if a frame may be sent at once. Return 1 if so; 0 if not; -1 on error. */
static int
may_send(Channel *self)
{
    /* Not re-entrant: a signal handler must not send in the middle of what it interrupted. */
    if (!is_published(&self->direct) || read_flag(&self->batching) || !lock_try(self->lock, 0)) {
        return 0;
    }
    int result = is_published(&self->direct) && PyByteArray_GET_SIZE(self->backlog) == 0 &&
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

static int
write_now(Channel *self, const uint8_t *frame, size_t size, int flags, int keep)
{
    /* The interpreter lock is kept: to let go of it, and to get it back while others want it,
     * would take longer than this. */
    ssize_t sent;
    do {
        sent = send(self->fd, frame, size, MSG_DONTWAIT | MSG_NOSIGNAL | flags);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0) {
        if (errno != EAGAIN && errno != EWOULDBLOCK) {
            PyErr_SetFromErrno(PyExc_OSError);
            return SEND_FAILED;
        }
        if (!keep) {
            return NOT_SENT;
        }
        sent = 0;
    }
    add_to_counter(&self->messages_sent, 1);
    add_to_counter(&self->bytes_sent, (uint64_t)sent);
    if ((size_t)sent == size) {
        return SENT;
    }
    return keep_rest(self, frame + sent, (Py_ssize_t)(size - (size_t)sent));
}

static int
keep_rest(Channel *self, const uint8_t *rest, Py_ssize_t size)
{
    if (PyByteArray_Resize(self->backlog, size) < 0) {
        return SEND_FAILED;
    }
    memcpy(PyByteArray_AS_STRING(self->backlog), rest, (size_t)size);
    return SENT_IN_PART;
}

/* Release the write lock, and return what is left to be done. */
static int
end_send(Channel *self, int result)
{
    /* Others have found the lock taken, and left their output to us: encrypting and compressing let
     * other threads run; without an interpreter lock they always do. */
    int look = lock_release(self->lock) == RELEASED_AND_MISSED || read_flag(&self->has_output);
    if (result == SENT && look) {
        result = SENT_AND_LOOK;
    }
    if (result == SEND_CUT) {
        (void)tell(self, self->state->str_abort);
        result = SEND_INTERRUPTED;
    }
    if (result == SEND_INTERRUPTED_IN_PART || (result == SEND_INTERRUPTED && look)) {
        (void)tell(self, self->state->str_drain);
        result = SEND_INTERRUPTED;
    }
    return result;
}

/* Compress a message. Return bytes; None if it goes out as it is; NULL with an exception. */
static PyObject *
compress_message(Channel *self, const Payload *payload)
{
    PyObject *view = PyMemoryView_FromMemory((char *)payload->data, (Py_ssize_t)payload->size,
                                             PyBUF_READ);
    if (view == NULL) {
        return NULL;
    }
    PyObject *compressed = deflate_message(self->deflater, view, (Py_ssize_t)payload->size);
    Py_DECREF(view);
    return compressed;
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
        /* Before the write lock is taken, since other threads may run in there: one that found the
         * lock taken would leave its frame to us, and nobody would look for it. */
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
    int first = FIN | payload.opcode;
    PyObject *built = NULL, *compressed = NULL;
    if (self->deflater != NULL && payload.size >= (size_t)self->min_size) {
        compressed = compress_message(self, &payload);
        if (compressed == NULL) {
            release_payload(&payload);
            return end_send(self, SEND_INTERRUPTED);
        }
        if (compressed != Py_None) {
            first |= RSV1;
            payload.data = (const uint8_t *)PyBytes_AS_STRING(compressed);
            payload.size = (size_t)PyBytes_GET_SIZE(compressed);
        }
    }
    size_t size = header_size(payload.size, self->masked) + payload.size;
    if (self->tls != NULL || size > sizeof small) {
        built = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
        frame = built == NULL ? NULL : (uint8_t *)PyBytes_AS_STRING(built);
    }
    if (frame != NULL) {
        size = write_frame(self->state, frame, first, payload.data, payload.size, self->masked);
    }
    else {
        size = 0;
    }
    Py_XDECREF(compressed);
    release_payload(&payload);
    /* Once compressed, a message must go out: others will refer to it. */
    int is_compressed = first & RSV1;
    if (size && self->tls == NULL) {
        result = write_now(self, frame, size, 0, is_compressed);
    }
    else if (size) {
        result = tls_send(self, built, 0);
    }
    Py_XDECREF(built);
    if (is_compressed && result != SENT && result != SENT_IN_PART) {
        forget(self->deflater);
    }
    return end_send(self, result);
}

/* Hand a failure to Python code, which ends the connection and raises. */
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

#endif /* HAVE_DIRECT_IO */

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
        case SEND_INTERRUPTED:
            return NULL;
        case NOT_SENT:
            break;
        case SENT_AND_LOOK:
            return PyObject_CallMethodNoArgs((PyObject *)self, self->state->str_drain);
        default:
            return PyObject_CallMethodObjArgs((PyObject *)self, self->state->str_complete_send,
                                              NULL);
        }
    }
#endif
    return PyObject_CallMethodObjArgs((PyObject *)self, self->state->str_send, values[0], values[1],
                                      values[2], values[3], NULL);
}

/* Tell the kernel to send what it holds back. */
static void
channel_push(Channel *self)
{
#ifdef HAVE_HOLDING
    if (self->direct) { /* otherwise it is closed, or soon will be, and that pushes as well */
        int off = 0;
        (void)setsockopt(self->fd, IPPROTO_TCP, TCP_CORK, &off, sizeof off); /* if it is TCP */
    }
#else
    (void)self;
#endif
}

/* Send a frame that many connections send, if nothing is in the way. The kernel may be told to
 * hold it back. */
static PyObject *
channel_post_now(Channel *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2 || !PyBytes_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "_post_now() takes a frame, bytes, and a bool");
        return NULL;
    }
    int result = NOT_SENT;
#ifdef HAVE_DIRECT_IO
    PyObject *frame = args[0];
    int flags = args[1] == Py_True ? HOLD_FLAG : 0;
    if (PyBytes_GET_SIZE(frame) <= MAX_POSTED_AT_ONCE) {
        result = may_send(self);
    }
    if (result > 0) {
        if (self->deflater != NULL && (PyBytes_AS_STRING(frame)[0] & RSV1)) {
            forget(self->deflater); /* the peer sees what this one didn't */
        }
        result = self->tls != NULL ? tls_send(self, frame, flags)
                                   : write_now(self, (const uint8_t *)PyBytes_AS_STRING(frame),
                                               (size_t)PyBytes_GET_SIZE(frame), flags, 0);
        result = end_send(self, result);
    }
    if (result < 0) {
        return NULL;
    }
    if (flags && result == SENT) {
        result = -1;
    }
    else if (flags && result == SENT_AND_LOOK) { /* which doesn't say that it is held */
        channel_push(self);
    }
#else
    (void)self;
#endif
    return PyLong_FromLong(result);
}

static PyObject *
channel_push_method(Channel *self, PyObject *ignored)
{
    (void)ignored;
    channel_push(self);
    Py_RETURN_NONE;
}
