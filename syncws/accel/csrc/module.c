/* The module: its functions, its types, and its state. */

#include "speedups.h"

#include "channel.h"
#include "deflating.h"
#include "frame_parser.h"
#include "http_head.h"
#include "inflating.h"
#include "masking.h"
#include "message_queue.h"
#include "serializing.h"
#include "turnstile.h"
#include "write_lock.h"

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

static PyMethodDef module_methods[] = {
    {"apply_mask", apply_mask, METH_VARARGS,
     "apply_mask($module, data, key, /)\n--\n\nReturn data masked, or unmasked."},
    {"serialize_frame", serialize_frame, METH_VARARGS,
     "serialize_frame($module, first, payload, masked, /)\n--\n\nReturn the bytes of a frame."},
    {"serialize_messages", serialize_messages, METH_VARARGS,
     "serialize_messages($module, messages, masked, /)\n--\n\nReturn messages as frames."},
    {"split_head", split_head, METH_VARARGS,
     "split_head($module, data, limit, max_fields, /)\n--\n\n"
     "Return start line, fields, values by name and size of a whole head, or None."},
    {"forget_masking_keys", forget_masking_keys, METH_NOARGS,
     "forget_masking_keys($module, /)\n--\n\nDrop the masking keys that were drawn."},
    {"renew_turnstile", renew_turnstile, METH_NOARGS,
     "renew_turnstile($module, /)\n--\n\nForget, in a forked child, threads of the parent's."},
    {"unattended", unattended, METH_VARARGS,
     "unattended($module, connections, thoroughly, /)\n--\n\n"
     "Return those of a list of connections that ``_look()`` is to be called for."},
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
        add_type(module, &inflater_spec, &state->inflater_type) < 0 ||
        add_type(module, &budget_spec, &state->budget_type) < 0 ||
        add_type(module, &deflater_spec, &state->deflater_type) < 0 ||
        add_type(module, &iterator_spec, &state->iterator_type) < 0) {
        return -1;
    }
    if (PyModule_AddType(module, state->parser_type) < 0 ||
        PyModule_AddType(module, state->queue_type) < 0 ||
        PyModule_AddType(module, state->lock_type) < 0 ||
        PyModule_AddType(module, state->inflater_type) < 0 ||
        PyModule_AddType(module, state->budget_type) < 0 ||
        PyModule_AddType(module, state->deflater_type) < 0 ||
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
        {&state->str_drain, "_drain"},
        {&state->str_abort, "abort"},
        {&state->str_fileno, "fileno"},
        {&state->str_decompress, "decompress"},
        {&state->str_eof, "eof"},
        {&state->str_unused_data, "unused_data"},
        {&state->str_compress, "compress"},
        {&state->str_flush, "flush"},
        {&state->str_read, "read"},
        {&state->str_write, "write"},
        {&state->str_pending, "pending"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        *names[i].place = PyUnicode_InternFromString(names[i].text);
        if (*names[i].place == NULL) {
            return -1;
        }
    }
    if (http_head_init(state) < 0) {
        return -1;
    }
#ifdef HAVE_DIRECT_IO
    state->turnstile = turnstile_new();
#endif
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
    Py_VISIT(state->inflater_type);
    Py_VISIT(state->budget_type);
    Py_VISIT(state->deflater_type);
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
        &state->str_release,   &state->str_drain,   &state->str_read,
        &state->str_abort,     &state->str_fileno,
        &state->str_decompress, &state->str_eof,    &state->str_unused_data,
        &state->str_compress,  &state->str_flush,
        &state->str_write,     &state->str_pending, &state->scratch,
    };
    Py_CLEAR(state->parser_type);
    Py_CLEAR(state->queue_type);
    Py_CLEAR(state->channel_type);
    Py_CLEAR(state->iterator_type);
    Py_CLEAR(state->lock_type);
    Py_CLEAR(state->inflater_type);
    Py_CLEAR(state->budget_type);
    Py_CLEAR(state->deflater_type);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        Py_CLEAR(*names[i]);
    }
    http_head_clear(state);
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
