/* Channel, compressed messages (RFC 7692). A whole message that came in one frame is inflated as it
 * is parsed; fragments are left to Python code, as ever.
 *
 * A few bytes may inflate to a thousand times as many. So that is done only while there is room in
 * the queue: what comes after that is *held* as it was parsed, and the thread that reads next goes
 * on there. What was read is in this order: the queue, what is pending, what is held. The end of
 * the connection, or what broke its rules, comes after that. */

#include "channel.h"

#include "deflating.h"
#include "frame_header.h"
#include "frame_parser.h"
#include "inflating.h"
#include "message_queue.h"

/* Let others see whether something is held: the list is only for who has the role. */
static void
note_held(Channel *self)
{
    write_flag(&self->holds, self->held != NULL && PyList_GET_SIZE(self->held) > 0);
}

static int
hold(Channel *self, PyObject *event)
{
    int result = -1;
    if (self->held == NULL) {
        self->held = PyList_New(0);
    }
    if (self->held != NULL) {
        result = PyList_Append(self->held, event);
    }
    note_held(self);
    Py_DECREF(event);
    return result;
}

static void
drop_held(Channel *self)
{
    Py_CLEAR(self->held);
    note_held(self);
}

/* Inflate a message, and queue it. Return 0; or -1 if that breaks a rule, or with an exception. */
static int
inflate_message(Channel *self, int first, PyObject *payload)
{
    Parser *parser = self->parser;
    int64_t limit = parser->max_message;
    if (limit < 0 || (parser->max_fragment >= 0 && parser->max_fragment < limit)) {
        limit = parser->max_fragment;
    }
    PyObject *message = inflate(self->inflater, payload, 1, limit);
    if (message != NULL && PyTuple_Check(message)) {
        return set_error(parser, message);
    }
    if (message != NULL && (first & OPCODE) == TEXT) {
        Py_SETREF(message, decode_text(parser, (uint8_t *)PyBytes_AS_STRING(message),
                                       (size_t)PyBytes_GET_SIZE(message)));
    }
    if (message == NULL) {
        return -1;
    }
    add_to_counter(&self->messages_received, 1);
    return queue_put(self->queue, message);
}

static int
is_whole(int first)
{
    return (first & (FIN | RSV)) == (FIN | RSV1) && ((first & OPCODE) == TEXT ||
                                                     (first & OPCODE) == BINARY);
}

/* Whether what is compressed may be inflated now. */
static int
may_inflate(const Channel *self)
{
    return !self->has_pending && !(read_flag(&self->queue->bounded) && queue_is_full(self->queue));
}

static int
channel_emit_compressed(Channel *self, int first, PyObject *payload)
{
    int now = !holds(self) && may_inflate(self);
    if (now && is_whole(first)) {
        int result = inflate_message(self, first, payload);
        Py_DECREF(payload);
        return result;
    }
    PyObject *event = Py_BuildValue("(iN)", first, payload);
    return event == NULL ? -1 : now ? channel_emit(self, event) : hold(self, event);
}

/* Deal with an event that was held. */
static int
release_event(Channel *self, PyObject *event)
{
    if (PyTuple_CheckExact(event)) {
        long first = PyLong_AsLong(PyTuple_GET_ITEM(event, 0));
        if (is_whole((int)first)) {
            return inflate_message(self, (int)first, PyTuple_GET_ITEM(event, 1));
        }
    }
    PyObject *held = self->held; /* not there: emitting would hold it again */
    self->held = NULL;
    note_held(self);
    int result = channel_emit(self, Py_NewRef(event));
    self->held = held;
    note_held(self);
    return result;
}

static int
channel_release_held(Channel *self)
{
    Py_ssize_t count = 0;
    int result = 0;
    while (result == 0 && count < PyList_GET_SIZE(self->held) && !self->has_pending &&
           /* Whoever reads although there is no room needs more. */
           (count == 0 || may_inflate(self))) {
        result = release_event(self, PyList_GET_ITEM(self->held, count));
        count++;
    }
    if (result < 0) {
        drop_held(self); /* nothing follows what broke the rules */
    }
    else {
        PyList_SetSlice(self->held, 0, count, NULL);
        note_held(self);
    }
    check_failure(self);
    return count > 0;
}

static PyObject *
channel_get_is_holding(Channel *self, void *closure)
{
    (void)closure;
    return PyBool_FromLong(holds(self));
}

static PyObject *
channel_drop_held(Channel *self, PyObject *ignored)
{
    (void)ignored;
    drop_held(self);
    Py_RETURN_NONE;
}

static int
compression_set(Channel *self, PyObject *parts)
{
    PyObject *inflater, *deflater;
    Py_ssize_t min_size;
    if (!PyArg_ParseTuple(parts, "O!O!n:_go_direct", self->state->inflater_type, &inflater,
                          self->state->deflater_type, &deflater, &min_size)) {
        return -1;
    }
    self->inflater = (Inflater *)Py_NewRef(inflater);
    self->deflater = (Deflater *)Py_NewRef(deflater);
    self->min_size = min_size;
    return 0;
}
