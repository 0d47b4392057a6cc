/* Serializing: header, key and masked payload are written in one go to where they are sent from.
 * That is the only copy of a payload, where the message gives access to its memory. */

#include "serializing.h"

#include "masking.h"

static inline size_t
header_size(uint64_t size, int masked)
{
    return (size < 126 ? 2 : size < 65536 ? 4 : 10) + (masked ? 4 : 0);
}

/* Write a frame's header, without the key. Return the place after it. */
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
    if (result != NULL) {
        uint8_t *to = (uint8_t *)PyBytes_AS_STRING(result);
        if (write_frame(PyModule_GetState(module), to, first, payload.buf, size, masked) == 0) {
            Py_CLEAR(result);
        }
    }
    PyBuffer_Release(&payload);
    return result;
}

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
