/* Channel: the type, and what the connection's Python code uses. Reading, receiving and sending
 * have files of their own. */

#include "channel.h"

#include "write_lock.h"

static PyObject *
channel_go_direct(Channel *self, PyObject *args)
{
    int fd, masked;
    unsigned long main_thread;
    PyObject *parser, *protocol, *open_state, *lock, *output, *backlog, *tls = Py_None;
    PyObject *compression = Py_None;
    if (!PyArg_ParseTuple(args, "iO!kOOO!O!O!p|OO:_go_direct", &fd, self->state->parser_type,
                          &parser, &main_thread, &protocol, &open_state, self->state->lock_type,
                          &lock, &PyList_Type, &output, &PyByteArray_Type, &backlog, &masked,
                          &tls, &compression)) {
        return NULL;
    }
    if (self->queue == NULL || self->parser != NULL) {
        PyErr_SetString(PyExc_RuntimeError, self->queue == NULL
                                                ? "__init__() was not called"
                                                : "the connection is read from directly already");
        return NULL;
    }
#ifdef HAVE_DIRECT_IO
    if (compression != Py_None && compression_set(self, compression) < 0) {
        return NULL;
    }
    if (tls != Py_None && (self->tls = tls_new(self->state, tls)) == NULL) {
        return NULL;
    }
    self->fd = fd;
    self->main_thread = main_thread;
    self->masked = (char)masked;
    /* These are set for good, so that calls may borrow them. Only the queue is ever replaced:
     * after a fork. */
    self->parser = (Parser *)Py_NewRef(parser);
    self->protocol = Py_NewRef(protocol);
    self->open_state = Py_NewRef(open_state);
    self->lock = (WriteLock *)Py_NewRef(lock);
    self->output = Py_NewRef(output);
    self->backlog = Py_NewRef(backlog);
    self->deep = 1;
    publish(&self->direct, 1);
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
    write_flag(&self->role, ENDED);
    publish(&self->direct, 0);
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

#ifdef HAVE_DIRECT_IO
/* Whether TLS has something to be written. Who has its lock just now looks for that. */
static int
has_tls_output(Channel *self)
{
    if (self->tls == NULL || !lock_try(self->tls->lock, 0)) {
        return 0;
    }
    int result = buffered(self, self->tls->outgoing) > 0;
    lock_release(self->tls->lock);
    return result;
}

/* Whether Connection._look() would find something to do; it asks again. A glance is all that most
 * connections need, as a thread reads from them: among ten thousand, looking costs what is fetched
 * from memory. The rest are things that a signal handler, by raising, may have left half done. */
static int
needs_look(Channel *self, int thoroughly)
{
    if (!is_published(&self->direct)) {
        return 1;
    }
    if (thoroughly) {
        /* Without the write lock, and without a lock of the bytearray's. */
        Py_ssize_t left = read_size(&((PyVarObject *)self->backlog)->ob_size);
        if (PyList_GET_SIZE(self->output) || left || has_tls_output(self) ||
            (read_size(&self->queue->waiting) && read_size(&self->queue->count))) {
            return 1;
        }
        int is_open = protocol_has(self, self->state->str_state, self->open_state);
        PyErr_Clear();
        if (is_open != 1) {
            return 1;
        }
    }
    int active;
    LOCK(self);
    active = self->active || self->role != FREE;
    if (active) {
        self->active = self->role == HELD;
    }
    UNLOCK();
    return !active;
}
#endif

static PyObject *
unattended(PyObject *module, PyObject *args)
{
    PyObject *connections;
    int thoroughly;
    if (!PyArg_ParseTuple(args, "O!p:unattended", &PyList_Type, &connections, &thoroughly)) {
        return NULL;
    }
    PyObject *found = PyList_New(0);
#ifdef HAVE_DIRECT_IO
    PyTypeObject *type = ((State *)PyModule_GetState(module))->channel_type;
#else
    (void)module;
#endif
    for (Py_ssize_t i = 0; found != NULL && i < PyList_GET_SIZE(connections); i++) {
        PyObject *connection = Py_NewRef(PyList_GET_ITEM(connections, i));
#ifdef HAVE_DIRECT_IO
        int needs = !PyObject_TypeCheck(connection, type) ||
                    needs_look((Channel *)connection, thoroughly);
#else
        int needs = 1;
#endif
        if (needs && PyList_Append(found, connection) < 0) {
            Py_CLEAR(found);
        }
        Py_DECREF(connection);
    }
    return found;
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
    write_flag(&self->has_pending, 0);
    self->deep = 1;
    return pending == NULL ? PyList_New(0) : pending;
}

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
#ifdef HAVE_DIRECT_IO
    if (tls_is_interrupted(self)) {
        tls_settle(self);
    }
#endif
    return PyBool_FromLong(read_flag(&self->role) == FREE);
}

static PyObject *
channel_get_lost_role(Channel *self, void *closure)
{
    (void)closure;
    int lost;
    LOCK(self);
    lost = self->role != HELD || self->reader != PyThread_get_thread_ident();
    UNLOCK();
    return PyBool_FromLong(lost);
}

static PyObject *
channel_get_tls_error(Channel *self, void *closure)
{
    (void)closure;
    return Py_NewRef(self->tls == NULL || self->tls->error == NULL ? Py_None : self->tls->error);
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
    Py_VISIT(self->held);
    return self->tls == NULL ? 0 : tls_traverse(self->tls, visit, arg);
}

static int
channel_clear(Channel *self)
{
    self->direct = 0; /* nobody else has a reference any more */
    Py_CLEAR(self->queue);
    Py_CLEAR(self->parser);
    Py_CLEAR(self->pending);
    Py_CLEAR(self->lock);
    Py_CLEAR(self->protocol);
    Py_CLEAR(self->open_state);
    Py_CLEAR(self->output);
    Py_CLEAR(self->backlog);
    Py_CLEAR(self->inflater);
    Py_CLEAR(self->deflater);
    Py_CLEAR(self->held);
    if (self->tls != NULL) {
        Tls *tls = self->tls;
        self->tls = NULL;
        tls_free(tls);
    }
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
    "them. After closing, messages that had been received are still returned first.\n\n"           \
    "Args:\n"                                                                                      \
    "    timeout: seconds to wait; 0 doesn't wait; ``None`` waits forever.\n"                      \
    "    decode: ``False`` returns text as bytes too, ``True`` binary as str too.\n\n"             \
    "Raises:\n"                                                                                    \
    "    TimeoutError: no message came in time; none is lost.\n"                                   \
    "    ConnectionClosed: there is no message, and none will come.\n"                             \
    "    UnicodeDecodeError: ``decode`` is true and the message isn't UTF-8; it stays first.\n"

#define SEND_DOC                                                                                   \
    "send($self, message, *, text=None, timeout=None, compress=None)\n--\n\n"                      \
    "Send a message: a ``str`` as text, bytes as binary, an iterable of these in fragments.\n\n"   \
    "Blocks until the kernel has taken it, so that a slow peer slows the program down.\n"          \
    "Several threads may call it: messages don't mix, not even fragmented ones. Each fragment\n"   \
    "goes out as soon as the iterable gives it; an empty iterable sends nothing.\n\n"              \
    "Args:\n"                                                                                      \
    "    message: the message.\n"                                                                  \
    "    text: ``True`` sends bytes, which must be UTF-8, as text; ``False`` sends a str as\n"     \
    "        binary, in UTF-8.\n"                                                                  \
    "    timeout: the most seconds that it may take, for each fragment; ``None`` means the\n"      \
    "        connection's ``send_timeout``.\n"                                                     \
    "    compress: whether to compress, if permessage-deflate was agreed on; ``None``\n"           \
    "        compresses unless the message is small.\n\n"                                          \
    "Raises:\n"                                                                                    \
    "    ConnectionClosed: the connection is closed or broken, with the cause.\n"                  \
    "    SendTimeout: the message was not sent in time. Nothing was written, and the\n"            \
    "        connection stays usable. If a part was written, the connection fails instead.\n"      \
    "    TypeError: the message can't be sent; nothing was.\n"                                     \
    "    UnicodeError: the text isn't UTF-8, or has surrogates; nothing was sent.\n"

static PyMethodDef channel_methods[] = {
    {"recv", (PyCFunction)(void (*)(void))channel_recv, METH_FASTCALL | METH_KEYWORDS, RECV_DOC},
    {"send", (PyCFunction)(void (*)(void))channel_send, METH_FASTCALL | METH_KEYWORDS, SEND_DOC},
    {"_go_direct", (PyCFunction)channel_go_direct, METH_VARARGS, NULL},
    {"_post_now", (PyCFunction)(void (*)(void))channel_post_now, METH_FASTCALL, NULL},
    {"_drop_held", (PyCFunction)channel_drop_held, METH_NOARGS, NULL},
    {"_push", (PyCFunction)channel_push_method, METH_NOARGS, NULL},
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
    {"_error_number", T_INT, offsetof(Channel, error_number), READONLY, NULL}, /* with the role */
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef channel_getset[] = {
    {"_batching", get_flag_at, set_flag_at, NULL, FIELD(Channel, batching)},
    {"_direct", get_flag_at, NULL, NULL, FIELD(Channel, direct)},
    {"_ended_reading", get_flag_at, NULL, NULL, FIELD(Channel, ended)},
    {"_has_output", get_flag_at, NULL, NULL, FIELD(Channel, has_output)},
    {"_direct_received", get_counter_at, NULL, NULL, FIELD(Channel, messages_received)},
    {"_direct_bytes_received", get_counter_at, NULL, NULL, FIELD(Channel, bytes_received)},
    {"_direct_sent", get_counter_at, NULL, NULL, FIELD(Channel, messages_sent)},
    {"_direct_bytes_sent", get_counter_at, NULL, NULL, FIELD(Channel, bytes_sent)},
    {"_queue", (getter)channel_get_queue, (setter)channel_set_queue, NULL, NULL},
    {"_has_leftover", (getter)channel_get_leftover, NULL, NULL, NULL},
    {"_lost_role", (getter)channel_get_lost_role, NULL, NULL, NULL},
    {"_role_is_free", (getter)channel_get_role_is_free, NULL, NULL, NULL},
    {"_tls_error", (getter)channel_get_tls_error, NULL, NULL, NULL},
    {"_is_holding", (getter)channel_get_is_holding, NULL, NULL, NULL},
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
