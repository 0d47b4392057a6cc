/* MessageQueue: a ring of messages, with their number and size. Readers put them in and callers
 * take them out, each in one step that neither a signal handler nor another thread can
 * interrupt. */

#include "message_queue.h"

#include "atomics.h"

/* Larger rings are freed when they are empty. */
#define KEPT_RING 64

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

static int
queue_is_full(const Queue *self)
{
    return (self->high >= 0 && read_size(&self->count) > self->high) ||
           read_size(&self->size) + read_size(&self->streamed) > self->limit;
}

/* With LOCK: count a message more, or one less. */
static inline void
queue_count(Queue *self, int messages, Py_ssize_t size)
{
    write_size(&self->count, self->count + messages);
    write_size(&self->size, self->size + size);
}

/* Whether to drop what comes now. Once something was dropped, all that follows is, so that there
 * is no gap in what callers take. */
static inline int
queue_drops(Queue *self)
{
    self->dropping = !read_flag(&self->bounded) && (self->dropping || queue_is_full(self));
    return self->dropping;
}

/* Return the place for the next item; NULL without memory. */
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
            queue_count(self, 1, item->size);
        }
    }
    UNLOCK();
    return result;
}

/* Release the lock that the reader waits for, if there is room or none is needed. Runs no Python
 * code, and so no signal handler. */
static void
queue_make_room(Queue *self)
{
    if (self->room == NULL || self->room == Py_None) {
        return;
    }
    if (read_flag(&self->bounded) &&
        ((self->high >= 0 && self->count > self->low) ||
         self->size + read_size(&self->streamed) > self->limit / 2)) {
        return;
    }
    PyObject *room = self->room;
    self->room = Py_NewRef(Py_None);
    PyObject *result = PyObject_CallMethod(room, "release", NULL);
    if (result == NULL) {
        PyErr_Clear(); /* it was released already */
    }
    Py_XDECREF(result);
    Py_DECREF(room);
}

/* Remove the first item; its reference goes to the caller. */
static PyObject *
queue_remove_first(Queue *self)
{
    Item item = self->ring[self->head];
    write_flag(&self->used, 1);
    self->head = (self->head + 1) & (self->capacity - 1);
    self->length--;
    if (item.size >= 0) {
        queue_count(self, -1, -item.size);
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

/* Whether somebody waits for room. */
static inline int
queue_has_waiter(const Queue *self)
{
    return self->room != NULL && self->room != Py_None;
}

/* Remove the first item if it is this one; report its size, and whether somebody waited for room.
 * Return whether it was. */
static int
queue_take(Queue *self, PyObject *message, Py_ssize_t *size, int *wakes)
{
    int taken = 0;
    LOCK(self);
    if (self->length && self->ring[self->head].message == message) {
        *wakes = queue_has_waiter(self);
        *size = self->ring[self->head].size;
        Py_DECREF(queue_remove_first(self)); /* the caller has a reference of its own */
        taken = 1;
    }
    UNLOCK();
    return taken;
}

/* Return the message as the caller wants it. */
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

/* Forget that an item isn't UTF-8 if it isn't the first any more: a thread that streams it may have
 * taken a piece that ended within a character. Return whether it was forgotten. */
static int
queue_forgives(Queue *self, PyObject *message)
{
    int is_first;
    LOCK(self);
    is_first = self->length && self->ring[self->head].message == message;
    UNLOCK();
    if (is_first || !PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
        return 0;
    }
    PyErr_Clear();
    return 1;
}

/* Take the first item if it is a whole message and taking it wakes nobody. This is the usual
 * case, in one step that neither a signal handler nor another thread can interrupt. Return it,
 * or NULL. */
static inline PyObject *
queue_take_plain(Queue *self)
{
    PyObject *message = NULL;
    LOCK(self);
    if (self->length && !queue_has_waiter(self)) {
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
            queue_count(self, 1, size);
        }
        done = 1;
    }
    UNLOCK();
    return done;
}

/* Put back a complete message that was taken. The exception on its way stays. */
static void
queue_put_back(Queue *self, PyObject *message, Py_ssize_t size)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    queue_add_first(self, message, size);
    PyErr_Clear(); /* there may be no memory for it */
    PyErr_Restore(type, value, traceback);
}

/* If a handler raised after the message was taken, it would be lost. The interpreter looks for
 * signals just before a call and just after it, but not in a for loop. So they need looking for
 * only where time has passed in between: while this thread waited for the interpreter lock
 * (waited), while fragments were joined and freed, while the kernel was told to wake the
 * reader. */
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
        if (*result == NULL && queue_forgives(self, message)) {
            Py_DECREF(message);
            continue;
        }
        int plain = PyUnicode_CheckExact(message) || PyBytes_CheckExact(message);
        int taken = *result != NULL && ((plain && !waited) || PyErr_CheckSignals() == 0);
        if (taken) {
            int wakes = 0;
            Py_ssize_t size = 0;
            taken = queue_take(self, message, &size, &wakes);
            if (taken && decode == Py_None &&
                (PyUnicode_CheckExact(*result) || PyBytes_CheckExact(*result))) {
                /* The fragments are joined now; to free them below would take time. */
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
        /* Another thread has taken it: look again. */
    }
}

/* --- the type --- */

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
            queue_count(self, 1, size);
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
    int wakes, taken = queue_take(self, message, &size, &wakes);
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
    int is_full;
    (void)closure;
    /* Whoever has set room, and asks then, must see what was taken just before that: whoever takes
     * something later sees the room. */
    LOCK(self);
    is_full = queue_is_full(self);
    UNLOCK();
    return PyBool_FromLong(is_full);
}

static PyObject *
queue_get_waiting(Queue *self, void *closure)
{
    (void)closure;
    full_fence(); /* whoever asks has put something in, or has given up the role */
    return PyLong_FromSsize_t(read_size(&self->waiting));
}

/* One half of two hand-overs: a caller says that it waits, and looks after that whether there is a
 * message, and whether nobody has the role. The other half: messages are put in, or the role is
 * given up, and somebody looks after that for callers that wait; the fence of that side is in
 * give_up_role() and in the getter. One of the two sees the other. */
static int
queue_set_waiting(Queue *self, PyObject *waiting, void *closure)
{
    int result = set_size_at((PyObject *)self, waiting, closure);
    full_fence();
    return result;
}

static PyObject *
queue_get_room(Queue *self, void *closure)
{
    PyObject *room;
    (void)closure;
    LOCK(self); /* or another thread, which makes room, frees it before we have a reference */
    room = Py_NewRef(self->room == NULL ? Py_None : self->room);
    UNLOCK();
    return room;
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
     "drops($self, /)\n--\n\nReturn whether to drop what comes now."},
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

static PyGetSetDef queue_getset[] = {
    {"count", get_size_at, NULL, "Complete messages.", FIELD(Queue, count)},
    {"size", get_size_at, NULL, "Their bytes.", FIELD(Queue, size)},
    {"streamed", get_size_at, set_size_at, "Bytes of a message that a caller streams.",
     FIELD(Queue, streamed)},
    {"waiting", (getter)queue_get_waiting, (setter)queue_set_waiting, "Callers that wait.",
     FIELD(Queue, waiting)},
    {"bounded", get_flag_at, set_flag_at, "Whether the marks count.", FIELD(Queue, bounded)},
    {"used", get_flag_at, NULL, "Whether a message was ever taken.", FIELD(Queue, used)},
    {"is_full", (getter)queue_get_is_full, NULL, "Whether the queue is above its marks.", NULL},
    {"room", (getter)queue_get_room, (setter)queue_set_room, "A held lock, or None.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot queue_slots[] = {
    {Py_tp_doc, "The received messages that nobody has taken yet."},
    {Py_tp_new, queue_new},
    {Py_tp_dealloc, queue_dealloc},
    {Py_tp_traverse, queue_traverse},
    {Py_tp_clear, queue_clear},
    {Py_tp_methods, queue_methods},
    {Py_tp_getset, queue_getset},
    {0, NULL},
};

static PyType_Spec queue_spec = {
    .name = "syncws.accel._speedups.MessageQueue",
    .basicsize = sizeof(Queue),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = queue_slots,
};
