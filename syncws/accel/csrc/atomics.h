/* Fields that threads read without the lock, or the role, that they are written with.
 *
 * With an interpreter lock these are plain accesses: that lock orders them all. Free-threaded
 * builds have none; there they are C11's atomics, by CPython's own header, which every compiler of
 * such a build understands. The orders:
 *
 * - read and write are relaxed: what is read may be a moment old, but it is never torn, and whoever
 *   acts on it takes a lock or the role first, and looks again.
 * - publish and is_published are sequentially consistent: whoever sees the flag sees what was
 *   written before it.
 * - full_fence stands between the two halves of a hand-over: "I say that I wait, then look whether
 *   anybody reads" against "I stop reading, then look whether anybody waits". With a fence between
 *   the halves on both sides, one of the two sees the other. No weaker order does that: a processor
 *   may look before others see what it said.
 *
 * Which field is whose is said in speedups.h, above Queue and Channel. */

#ifndef SYNCWS_ATOMICS_H
#define SYNCWS_ATOMICS_H

#include "speedups.h"

#ifdef Py_GIL_DISABLED
#define ORDERED(atomic, plain) atomic
#else
#define ORDERED(atomic, plain) plain
#endif

static inline uint8_t
read_flag(const uint8_t *flag)
{
    return ORDERED(_Py_atomic_load_uint8_relaxed(flag), *flag);
}

static inline void
write_flag(uint8_t *flag, int value)
{
    ORDERED(_Py_atomic_store_uint8_relaxed(flag, (uint8_t)value), *flag = (uint8_t)value);
}

static inline uint8_t
is_published(const uint8_t *flag)
{
    return ORDERED(_Py_atomic_load_uint8(flag), *flag);
}

static inline void
publish(uint8_t *flag, int value)
{
    ORDERED(_Py_atomic_store_uint8(flag, (uint8_t)value), *flag = (uint8_t)value);
}

static inline Py_ssize_t
read_size(const Py_ssize_t *size)
{
    return ORDERED(_Py_atomic_load_ssize_relaxed(size), *size);
}

static inline void
write_size(Py_ssize_t *size, Py_ssize_t value)
{
    ORDERED(_Py_atomic_store_ssize_relaxed(size, value), *size = value);
}

/* Counters: one thread at a time may add, with a lock or the role. */
static inline uint64_t
read_counter(const uint64_t *counter)
{
    return ORDERED(_Py_atomic_load_uint64_relaxed(counter), *counter);
}

static inline void
add_to_counter(uint64_t *counter, uint64_t number)
{
    ORDERED(_Py_atomic_store_uint64_relaxed(counter, *counter + number), *counter += number);
}

/* Objects that live as long as what they are in: they are read without a reference. */
static inline PyObject *
read_object(PyObject *const *place)
{
    return ORDERED(_Py_atomic_load_ptr_acquire(place), *place);
}

/* Put an object there; return the one that was there before. */
static inline PyObject *
swap_object(PyObject **place, PyObject *object)
{
#ifdef Py_GIL_DISABLED
    return _Py_atomic_exchange_ptr(place, object);
#else
    PyObject *former = *place;
    *place = object;
    return former;
#endif
}

/* Put an object there if there is none. Return whether that was so. */
static inline int
fill_object(PyObject **place, PyObject *object)
{
#ifdef Py_GIL_DISABLED
    PyObject *none = NULL;
    return _Py_atomic_compare_exchange_ptr(place, &none, object);
#else
    return *place == NULL ? (*place = object, 1) : 0;
#endif
}

static inline void
full_fence(void)
{
    ORDERED(_Py_atomic_fence_seq_cst(), (void)0);
}

/* --- attributes of objects that are such fields; each is told where its field is --- */

#define FIELD(type, name) ((void *)offsetof(type, name))
#define AT(type, object, offset) ((type *)((char *)(object) + (size_t)(offset)))

/* In order: Python code may look at something else after it. */
static PyObject *
get_flag_at(PyObject *self, void *offset)
{
    return PyBool_FromLong(is_published(AT(uint8_t, self, offset)));
}

static int
set_flag_at(PyObject *self, PyObject *value, void *offset)
{
    if (value == NULL || !PyBool_Check(value)) {
        PyErr_SetString(PyExc_TypeError, "attribute value type must be bool");
        return -1;
    }
    write_flag(AT(uint8_t, self, offset), value == Py_True);
    return 0;
}

static PyObject *
get_size_at(PyObject *self, void *offset)
{
    return PyLong_FromSsize_t(read_size(AT(Py_ssize_t, self, offset)));
}

static int
set_size_at(PyObject *self, PyObject *value, void *offset)
{
    if (value == NULL) {
        PyErr_SetString(PyExc_TypeError, "a number can't be deleted");
        return -1;
    }
    Py_ssize_t size = PyLong_AsSsize_t(value);
    if (size == -1 && PyErr_Occurred()) {
        return -1;
    }
    write_size(AT(Py_ssize_t, self, offset), size);
    return 0;
}

static PyObject *
get_counter_at(PyObject *self, void *offset)
{
    return PyLong_FromUnsignedLongLong(read_counter(AT(uint64_t, self, offset)));
}

#endif
