/* Deflater: calls the objects of zlib, or of a module like it, by their methods, which let other
 * threads run, but no signal handlers. CompressorBudget: which deflaters have such an object, in
 * the order in which they were used. It doesn't keep them alive. */

#include "deflating.h"

#include "atomics.h"

/* --- the budget --- */

/* With the budget's lock: take a deflater out of the list. */
static void
budget_unlink(Budget *self, Deflater *deflater)
{
    *(deflater->older ? &deflater->older->newer : &self->oldest) = deflater->newer;
    *(deflater->newer ? &deflater->newer->older : &self->newest) = deflater->older;
    deflater->older = deflater->newer = NULL;
    deflater->linked = 0;
    write_size(&self->used, self->used - deflater->cost);
    write_size(&self->count, self->count - 1);
}

/* With the budget's lock: put a deflater at the end of the list, as the one used last. */
static void
budget_link(Budget *self, Deflater *deflater)
{
    deflater->older = self->newest;
    *(self->newest ? &self->newest->newer : &self->oldest) = deflater;
    self->newest = deflater;
    deflater->linked = 1;
    write_size(&self->used, self->used + deflater->cost);
    write_size(&self->count, self->count + 1);
}

/* Give objects back until the others fit, but for one. */
static void
budget_trim(Budget *self, const Deflater *keep)
{
    PyObject *object;
    do {
        object = NULL;
        LOCK(self);
        Deflater *oldest = self->oldest;
        if (self->used > self->limit && oldest != NULL && oldest != keep) {
            object = oldest->object;
            oldest->object = NULL;
            budget_unlink(self, oldest);
            add_to_counter(&self->dropped, 1);
        }
        UNLOCK();
        Py_XDECREF(object);
    } while (object != NULL);
}

/* Return the object of a deflater, which is made if there is none; NULL with an exception. */
static PyObject *
budget_use(Budget *self, Deflater *deflater)
{
    PyObject *object = NULL, *made = NULL;
    LOCK(self);
    if (deflater->linked) {
        budget_unlink(self, deflater);
        budget_link(self, deflater);
        object = Py_NewRef(deflater->object);
    }
    UNLOCK();
    if (object != NULL) {
        return object;
    }
    made = PyObject_CallNoArgs(deflater->make);
    if (made == NULL) {
        return NULL;
    }
    LOCK(self);
    deflater->object = Py_NewRef(made);
    budget_link(self, deflater);
    UNLOCK();
    budget_trim(self, deflater);
    return made;
}

/* Give a deflater's object back. */
static void
budget_release(Budget *self, Deflater *deflater)
{
    PyObject *object = NULL;
    LOCK(self);
    if (deflater->linked) {
        object = deflater->object;
        deflater->object = NULL;
        budget_unlink(self, deflater);
    }
    UNLOCK();
    Py_XDECREF(object);
}

static PyObject *
budget_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"limit", NULL};
    Py_ssize_t limit;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "n:CompressorBudget", names, &limit)) {
        return NULL;
    }
    Budget *self = (Budget *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->limit = limit;
    }
    return (PyObject *)self;
}

static void
budget_dealloc(Budget *self)
{
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyGetSetDef budget_getset[] = {
    {"limit", get_size_at, NULL, "Bytes that they may take.", FIELD(Budget, limit)},
    {"used", get_size_at, NULL, "Bytes that they take.", FIELD(Budget, used)},
    {"count", get_size_at, NULL, "How many there are.", FIELD(Budget, count)},
    {"dropped", get_counter_at, NULL, "How many were given back.", FIELD(Budget, dropped)},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot budget_slots[] = {
    {Py_tp_doc, "Memory for the compressors of many connections."},
    {Py_tp_new, budget_new},
    {Py_tp_dealloc, budget_dealloc},
    {Py_tp_getset, budget_getset},
    {0, NULL},
};

static PyType_Spec budget_spec = {
    .name = "syncws.accel._speedups.CompressorBudget",
    .basicsize = sizeof(Budget),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = budget_slots,
};

/* --- the deflater --- */

/* Return data compressed, up to a sync flush; NULL with an exception. */
static PyObject *
compress(Deflater *self, PyObject *data)
{
    PyObject *object = budget_use(self->budget, self);
    if (object == NULL) {
        return NULL;
    }
    PyObject *first_call[] = {object, data};
    PyObject *compressed = PyObject_VectorcallMethod(self->state->str_compress, first_call,
                                                     2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    PyObject *second_call[] = {object, self->sync_flush};
    PyObject *rest = compressed == NULL
                         ? NULL
                         : PyObject_VectorcallMethod(self->state->str_flush, second_call,
                                                     2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(object);
    if (rest != NULL && PyBytes_Check(compressed) && PyBytes_GET_SIZE(compressed) == 0) {
        Py_SETREF(compressed, rest); /* as is usual */
        return compressed;
    }
    if (rest == NULL) {
        Py_CLEAR(compressed);
        return NULL;
    }
    PyBytes_ConcatAndDel(&compressed, rest);
    return compressed;
}

/* Compress a frame's payload. Return bytes, or NULL with an exception. */
static PyObject *
deflate(Deflater *self, PyObject *data, Py_ssize_t size, int fin)
{
    PyObject *compressed;
    if (size == 0) {
        /* An empty block, as nothing is what zlib makes of nothing (7.2.3.6). */
        compressed = PyBytes_FromStringAndSize("", fin ? 1 : 0);
    }
    else {
        compressed = compress(self, data);
        if (compressed != NULL && fin) {
            if (!PyBytes_Check(compressed) || PyBytes_GET_SIZE(compressed) < 4) {
                PyErr_SetString(PyExc_TypeError, "a compressor gives bytes that end in a block");
                Py_CLEAR(compressed);
            }
            else {
                _PyBytes_Resize(&compressed, PyBytes_GET_SIZE(compressed) - 4);
            }
        }
    }
    if (compressed == NULL || (fin && self->forgets)) {
        budget_release(self->budget, self);
    }
    budget_trim(self->budget, NULL);
    return compressed;
}

static PyObject *
deflate_message(Deflater *self, PyObject *data, Py_ssize_t size)
{
    PyObject *compressed = deflate(self, data, size, 1);
    if (compressed != NULL && PyBytes_GET_SIZE(compressed) >= size) {
        budget_release(self->budget, self); /* the peer has not seen what it refers to */
        Py_SETREF(compressed, Py_NewRef(Py_None));
    }
    return compressed;
}

static void
forget(Deflater *self)
{
    budget_release(self->budget, self);
}

static PyObject *
deflater_deflate(Deflater *self, PyObject *args)
{
    Py_buffer view;
    PyObject *data;
    int fin;
    if (!PyArg_ParseTuple(args, "Op:deflate", &data, &fin) ||
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    PyObject *compressed = deflate(self, data, view.len, fin);
    PyBuffer_Release(&view);
    return compressed;
}

static PyObject *
deflater_deflate_message(Deflater *self, PyObject *data)
{
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    PyObject *compressed = deflate_message(self, data, view.len);
    PyBuffer_Release(&view);
    return compressed;
}

static PyObject *
deflater_forget(Deflater *self, PyObject *ignored)
{
    (void)ignored;
    forget(self);
    Py_RETURN_NONE;
}

static PyObject *
deflater_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"make", "sync_flush", "budget", "cost", "forgets", NULL};
    PyObject *make, *sync_flush, *budget;
    Py_ssize_t cost;
    int forgets;
    State *state = find_state(type);
    if (state == NULL ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "OOO!np:Deflater", names, &make, &sync_flush,
                                     state->budget_type, &budget, &cost, &forgets)) {
        return NULL;
    }
    Deflater *self = (Deflater *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->state = state;
        self->make = Py_NewRef(make);
        self->sync_flush = Py_NewRef(sync_flush);
        self->budget = (Budget *)Py_NewRef(budget);
        self->cost = cost;
        self->forgets = (char)forgets;
    }
    return (PyObject *)self;
}

static void
deflater_dealloc(Deflater *self)
{
    PyTypeObject *type = Py_TYPE(self);
    if (self->budget != NULL) {
        budget_release(self->budget, self);
    }
    Py_CLEAR(self->make);
    Py_CLEAR(self->sync_flush);
    Py_CLEAR(self->budget);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef deflater_methods[] = {
    {"deflate", (PyCFunction)deflater_deflate, METH_VARARGS,
     "deflate($self, data, fin, /)\n--\n\nReturn a frame's payload compressed."},
    {"deflate_message", (PyCFunction)deflater_deflate_message, METH_O,
     "deflate_message($self, data, /)\n--\n\n"
     "Return a whole message compressed; None if it does not become smaller."},
    {"forget", (PyCFunction)deflater_forget, METH_NOARGS,
     "forget($self, /)\n--\n\nRefer to no message before the next one."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef deflater_members[] = {
    {"cost", T_PYSSIZET, offsetof(Deflater, cost), READONLY, "Bytes that an object takes."},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot deflater_slots[] = {
    {Py_tp_doc, "Compresses the messages that a connection sends, one after the other."},
    {Py_tp_new, deflater_new},
    {Py_tp_dealloc, deflater_dealloc},
    {Py_tp_methods, deflater_methods},
    {Py_tp_members, deflater_members},
    {0, NULL},
};

static PyType_Spec deflater_spec = {
    .name = "syncws.accel._speedups.Deflater",
    .basicsize = sizeof(Deflater),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = deflater_slots,
};
