/* Inflater: calls the objects of zlib, or of a module like it, by their methods. These let other
 * threads run, but no signal handlers. */

#include "inflating.h"

#include "frame_parser.h"

/* Streams that may begin within one frame; more are an attack: each costs a new object. */
#define MAX_STREAMS 16

/* What ends the compressed data of a message, and does not travel (RFC 7692 7.2.1). */
static const char empty_block[] = {0, 0, (char)0xff, (char)0xff};

/* Whether data means nothing, and is not worth an object. */
static int
means_nothing(PyObject *data)
{
    Py_ssize_t size = PyBytes_GET_SIZE(data);
    const char *bytes = PyBytes_AS_STRING(data);
    return (size == 4 && memcmp(bytes, empty_block, 4) == 0) ||
           (size == 5 && bytes[0] == 0 && memcmp(bytes + 1, empty_block, 4) == 0);
}

/* Return the bytes behind the object that is under way; NULL with an exception. */
static PyObject *
decompress(Inflater *self, PyObject *data, int64_t max_size, Py_ssize_t size)
{
    Py_ssize_t room = 0; /* no limit */
    if (max_size >= 0) {
        /* One byte over the limit tells "at the limit" from "above it". */
        room = max_size - size < PY_SSIZE_T_MAX ? (Py_ssize_t)max_size - size + 1 : PY_SSIZE_T_MAX;
    }
    PyObject *number = PyLong_FromSsize_t(room);
    if (number == NULL) {
        return NULL;
    }
    PyObject *arguments[] = {self->object, data, number};
    PyObject *piece = PyObject_VectorcallMethod(self->state->str_decompress, arguments,
                                                3 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(number);
    if (piece != NULL && !PyBytes_Check(piece)) {
        PyErr_SetString(PyExc_TypeError, "decompress() returns bytes");
        Py_CLEAR(piece);
    }
    return piece;
}

/* What to return after an exception: why data can't be inflated, if it says that. */
static PyObject *
why_not(Inflater *self)
{
    PyObject *type, *value, *traceback;
    if (!PyErr_ExceptionMatches(self->error)) {
        return NULL;
    }
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    PyObject *text = PyUnicode_FromFormat("compressed data is broken: %S", value);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    if (text == NULL) {
        Py_XDECREF(value);
        return NULL;
    }
    return Py_BuildValue("(iNN)", 1002, text, value);
}

/* Take over two bytes objects; return them joined. The first may be NULL. */
static PyObject *
join(PyObject *first, PyObject *second)
{
    if (first == NULL) {
        return second;
    }
    PyBytes_ConcatAndDel(&first, second);
    return first;
}

static PyObject *
inflate(Inflater *self, PyObject *payload, int fin, int64_t max_size)
{
    PyObject *result = NULL, *failure = NULL;
    Py_ssize_t size = PyBytes_GET_SIZE(payload);
    PyObject *data = Py_NewRef(payload);
    int streams = 0;
    if (fin) {
        Py_SETREF(data, PyBytes_FromStringAndSize(NULL, size + 4));
        if (data == NULL) {
            return NULL;
        }
        memcpy(PyBytes_AS_STRING(data), PyBytes_AS_STRING(payload), (size_t)size);
        memcpy(PyBytes_AS_STRING(data) + size, empty_block, 4);
    }
    size = 0;
    while (PyBytes_GET_SIZE(data)) {
        if (self->object == NULL) {
            if (means_nothing(data)) {
                break;
            }
            if (++streams > MAX_STREAMS) {
                failure = Py_BuildValue("(is)", 1002, "compressed data has too many final blocks");
                goto failed;
            }
            self->object = PyObject_CallNoArgs(self->make);
            if (self->object == NULL) {
                goto failed;
            }
        }
        PyObject *piece = decompress(self, data, max_size, size);
        if (piece == NULL) {
            failure = why_not(self);
            goto failed;
        }
        size += PyBytes_GET_SIZE(piece);
        if (max_size >= 0 && size > max_size) {
            Py_DECREF(piece);
            failure = Py_BuildValue("(iOLO)", 1009, Py_None, (long long)max_size, Py_None);
            goto failed;
        }
        result = join(result, piece);
        PyObject *eof = PyObject_GetAttr(self->object, self->state->str_eof);
        Py_XDECREF(eof);
        if (result == NULL || eof == NULL) {
            goto failed;
        }
        if (eof != Py_True) {
            break;
        }
        /* A block with BFINAL ends the stream; what follows starts a new one (7.2.3.4). */
        Py_SETREF(data, PyObject_GetAttr(self->object, self->state->str_unused_data));
        Py_CLEAR(self->object);
        if (data == NULL || !PyBytes_Check(data)) {
            if (data != NULL) {
                PyErr_SetString(PyExc_TypeError, "unused_data is bytes");
            }
            goto failed;
        }
    }
    Py_DECREF(data);
    if (fin && self->forgets) {
        Py_CLEAR(self->object);
    }
    return result == NULL ? PyBytes_FromStringAndSize(NULL, 0) : result;

failed:
    Py_XDECREF(data);
    Py_XDECREF(result);
    return failure;
}

/* --- the type --- */

static PyObject *
inflater_inflate(Inflater *self, PyObject *args)
{
    PyObject *payload, *limit;
    int fin;
    int64_t max_size;
    if (!PyArg_ParseTuple(args, "O!pO:inflate", &PyBytes_Type, &payload, &fin, &limit) ||
        get_limit(limit, "max_size", &max_size) < 0) {
        return NULL;
    }
    return inflate(self, payload, fin, max_size);
}

static PyObject *
inflater_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"make", "error", "forgets", NULL};
    PyObject *make, *error;
    int forgets;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOp:Inflater", names, &make, &error,
                                     &forgets)) {
        return NULL;
    }
    State *state = find_state(type);
    Inflater *self = state == NULL ? NULL : (Inflater *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->state = state;
        self->make = Py_NewRef(make);
        self->error = Py_NewRef(error);
        self->forgets = (char)forgets;
    }
    return (PyObject *)self;
}

static void
inflater_dealloc(Inflater *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_CLEAR(self->make);
    Py_CLEAR(self->error);
    Py_CLEAR(self->object);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef inflater_methods[] = {
    {"inflate", (PyCFunction)inflater_inflate, METH_VARARGS,
     "inflate($self, data, fin, max_size, /)\n--\n\nReturn what a frame's payload inflates to."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot inflater_slots[] = {
    {Py_tp_doc, "Inflates the messages that a connection receives, one after the other."},
    {Py_tp_new, inflater_new},
    {Py_tp_dealloc, inflater_dealloc},
    {Py_tp_methods, inflater_methods},
    {0, NULL},
};

static PyType_Spec inflater_spec = {
    .name = "syncws.accel._speedups.Inflater",
    .basicsize = sizeof(Inflater),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = inflater_slots,
};
