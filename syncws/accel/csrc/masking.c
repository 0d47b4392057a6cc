/* Masking: words of eight bytes, four to a step, so that the compiler can vectorize. Keys are
 * drawn from the system's randomness in blocks: a system call for each one would cost more than a
 * small frame. */

#include "masking.h"

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
#ifdef Py_GIL_DISABLED
    /* A thread that only the parent has may have had it: it is held while keys are drawn. */
    memset(&state->keys_lock, 0, sizeof(state->keys_lock));
#endif
    Py_CLEAR(state->keys);
    Py_RETURN_NONE;
}
