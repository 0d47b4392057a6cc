/* Channel, receiving: from the queue to callers of recv() and to for loops. A message is taken and
 * returned in one step. Only if there is none does the caller read, or wait for the thread that
 * does. */

#include "channel.h"

#include "message_queue.h"

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
    int waited = read_flag(&self->batching);
    if (waited) { /* what this thread has collected goes out first */
        PyObject *done =
            PyObject_CallMethodObjArgs((PyObject *)self, self->state->str_flush_batch, NULL);
        if (done == NULL) {
            return NULL;
        }
        Py_DECREF(done);
    }
    for (;;) {
        PyObject *message;
        /* Others wait, and nobody reads. This comes before a message is taken: if it raises,
         * nothing is lost. */
        if (read_size(&self->queue->waiting) && read_size(&self->queue->count) &&
            read_flag(&self->role) == FREE) {
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
            if (read_size(&self->queue->count) == 0) {
                PyErr_Format(PyExc_TimeoutError, "no message within %S s", timeout);
                return NULL;
            }
            continue;
        }
        if (result == READ_SOME) {
            /* A message that drips in must not keep signal handlers waiting. */
            if (read_size(&self->queue->count) == 0 &&
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
        PyObject *done = PyObject_CallMethodObjArgs(
            (PyObject *)self, self->state->str_await_message, remaining, timeout, NULL);
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

/* --- iteration --- */

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

static int
iterator_clear(Iterator *self)
{
    Channel *channel;
    LOCK(self);
    channel = self->channel;
    self->channel = NULL;
    UNLOCK();
    Py_XDECREF(channel);
    return 0;
}

static PyObject *
iterator_next(Iterator *self)
{
    /* A reference of our own: a signal handler, or another thread, may reach the end first. */
    Channel *channel;
    LOCK(self);
    channel = (Channel *)self->channel;
    Py_XINCREF(channel);
    UNLOCK();
    if (channel == NULL) {
        return NULL;
    }
    PyObject *message = channel_receive(channel, Py_None, Py_None);
    if (message != NULL) {
        Py_DECREF(channel);
        return message;
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *ended = PyObject_GetAttr((PyObject *)channel, channel->state->str_ended);
    if (ended != NULL && PyErr_GivenExceptionMatches(type, ended)) {
        iterator_clear(self);
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
