/* WriteLock: while nobody competes for it, taking it and releasing it is a few assignments.
 * Threads that have to wait do so on locks of the interpreter, one each, where signals can
 * interrupt them. */

#include "write_lock.h"

/* As lock_try(); if it is in vain, and the thread won't wait, note so for whoever has the lock. */
static int
lock_try_or_note(WriteLock *self, int reentrant, int is_final)
{
    unsigned long me = PyThread_get_thread_ident();
    int taken = 0;
    LOCK(self);
    if (self->count == 0) {
        self->owner = me;
        self->count = 1;
        taken = 1;
    }
    else if (reentrant && self->owner == me) {
        self->count++;
        taken = 1;
    }
    else if (is_final) {
        self->missed = 1;
    }
    UNLOCK();
    return taken;
}

static int
lock_try(WriteLock *self, int reentrant)
{
    return lock_try_or_note(self, reentrant, 0);
}

/* How many times the calling thread has it. With LOCK. */
static inline Py_ssize_t
count_own(const WriteLock *self)
{
    return self->count && self->owner == PyThread_get_thread_ident() ? self->count : 0;
}

static int
lock_release(WriteLock *self)
{
    PyObject *next = NULL;
    int result = NOT_OWNED;
    LOCK(self);
    if (count_own(self)) {
        result = RELEASED;
        if (--self->count == 0 && self->missed) {
            result = RELEASED_AND_MISSED;
            self->missed = 0;
        }
        if (self->count == 0 && self->waiters != NULL && PyList_GET_SIZE(self->waiters)) {
            next = Py_NewRef(PyList_GET_ITEM(self->waiters, 0));
            PyList_SetSlice(self->waiters, 0, 1, NULL);
            self->owner = PyLong_AsUnsignedLong(PyTuple_GET_ITEM(next, 1));
            self->count = 1;
        }
    }
    UNLOCK();
    if (next != NULL) {
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        Py_XDECREF(PyObject_CallMethodNoArgs(PyTuple_GET_ITEM(next, 0), self->state->str_release));
        Py_DECREF(next);
        PyErr_Restore(type, value, traceback);
    }
    return result;
}

/* Stop waiting. Return whether the lock has been handed to this thread already. */
static int
lock_leave(WriteLock *self, PyObject *entry)
{
    int handed = 1;
    LOCK(self);
    for (Py_ssize_t i = 0; self->waiters != NULL && i < PyList_GET_SIZE(self->waiters); i++) {
        if (PyList_GET_ITEM(self->waiters, i) == entry) {
            PyList_SetSlice(self->waiters, i, i + 1, NULL);
            handed = 0;
            break;
        }
    }
    UNLOCK();
    return handed;
}

/* Join the threads that wait; or take the lock if it has become free, and set *taken. */
static PyObject *
lock_enter(WriteLock *self, int *taken)
{
    PyObject *waiter = PyObject_CallNoArgs(self->state->allocate_lock);
    PyObject *held =
        waiter == NULL ? NULL : PyObject_CallMethodNoArgs(waiter, self->state->str_acquire);
    PyObject *entry = NULL;
    Py_XDECREF(held);
    if (held != NULL) {
        entry = Py_BuildValue("(Ok)", waiter, PyThread_get_thread_ident());
    }
    Py_XDECREF(waiter);
    if (entry == NULL) {
        return NULL;
    }
    int failed = 0;
    LOCK(self);
    if (self->waiters == NULL) {
        self->waiters = PyList_New(0);
    }
    if (self->count == 0) {
        self->owner = PyThread_get_thread_ident();
        self->count = 1;
        *taken = 1;
    }
    else {
        failed = self->waiters == NULL || PyList_Append(self->waiters, entry) < 0;
    }
    UNLOCK();
    if (failed) {
        Py_CLEAR(entry);
    }
    return entry;
}

static PyObject *
lock_acquire(WriteLock *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"blocking", "timeout", NULL};
    int blocking = 1, taken = 0;
    double timeout = -1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|pd:acquire", names, &blocking, &timeout)) {
        return NULL;
    }
    if (!blocking && timeout != -1) {
        PyErr_SetString(PyExc_ValueError, "can't specify a timeout for a non-blocking call");
        return NULL;
    }
    if (!(timeout >= 0 || timeout == -1)) {
        PyErr_SetString(PyExc_ValueError, "timeout value must be a non-negative number");
        return NULL;
    }
    if (timeout * 1e6 > (double)PY_TIMEOUT_MAX) {
        PyErr_SetString(PyExc_OverflowError, "timeout value is too large");
        return NULL;
    }
    int is_final = !blocking || timeout == 0;
    if (lock_try_or_note(self, 1, is_final)) {
        Py_RETURN_TRUE;
    }
    if (is_final) {
        Py_RETURN_FALSE;
    }
    PyObject *entry = lock_enter(self, &taken);
    if (entry == NULL) {
        return NULL;
    }
    if (!taken) {
        PyObject *result =
            PyObject_CallMethod(PyTuple_GET_ITEM(entry, 0), "acquire", "Od", Py_True, timeout);
        taken = result == Py_True || lock_leave(self, entry);
        if (result == NULL) {
            Py_DECREF(entry);
            if (taken) { /* it was handed to us, and a signal handler raised */
                lock_release(self);
            }
            return NULL;
        }
        Py_DECREF(result);
    }
    Py_DECREF(entry);
    return PyBool_FromLong(taken);
}

static PyObject *
lock_release_method(WriteLock *self, PyObject *ignored)
{
    (void)ignored;
    if (lock_release(self) == NOT_OWNED) {
        PyErr_SetString(PyExc_RuntimeError, "cannot release un-acquired lock");
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
lock_exit(WriteLock *self, PyObject *args)
{
    (void)args;
    return lock_release_method(self, NULL);
}

/* In a forked child: free the lock, whose owner may be a thread that only the parent has; or hand
 * it to the calling thread, if that was waiting when a signal handler forked. */
static PyObject *
lock_at_fork_reinit(WriteLock *self, PyObject *ignored)
{
    (void)ignored;
    PyObject *waiters = self->waiters;
    self->waiters = NULL;
    self->count = 0;
    self->missed = 0;
    for (Py_ssize_t i = 0; waiters != NULL && i < PyList_GET_SIZE(waiters); i++) {
        PyObject *entry = PyList_GET_ITEM(waiters, i);
        unsigned long thread = PyLong_AsUnsignedLong(PyTuple_GET_ITEM(entry, 1));
        if (self->count == 0 && thread == PyThread_get_thread_ident()) {
            self->owner = thread;
            self->count = 1;
            Py_XDECREF(PyObject_CallMethodNoArgs(PyTuple_GET_ITEM(entry, 0),
                                                 self->state->str_release));
        }
    }
    Py_XDECREF(waiters);
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

static PyObject *
lock_is_owned_method(WriteLock *self, PyObject *ignored)
{
    int owned;
    (void)ignored;
    LOCK(self);
    owned = count_own(self) > 0;
    if (owned) { /* this is a signal handler, which may leave something to what it interrupts */
        self->missed = 1;
    }
    UNLOCK();
    return PyBool_FromLong(owned);
}

static PyObject *
lock_recursion_count(WriteLock *self, PyObject *ignored)
{
    Py_ssize_t count;
    (void)ignored;
    LOCK(self);
    count = count_own(self);
    UNLOCK();
    return PyLong_FromSsize_t(count);
}

static PyObject *
lock_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    if (PyTuple_GET_SIZE(args) || (kwargs != NULL && PyDict_GET_SIZE(kwargs))) {
        PyErr_SetString(PyExc_TypeError, "WriteLock() takes no arguments");
        return NULL;
    }
    State *state = find_state(type);
    if (state == NULL) {
        return NULL;
    }
    WriteLock *self = (WriteLock *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->state = state;
    }
    return (PyObject *)self;
}

static void
lock_dealloc(WriteLock *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_CLEAR(self->waiters);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef lock_methods[] = {
    {"acquire", (PyCFunction)(void (*)(void))lock_acquire, METH_VARARGS | METH_KEYWORDS,
     "acquire($self, blocking=True, timeout=-1)\n--\n\nTake it; return whether it was available."},
    {"release", (PyCFunction)lock_release_method, METH_NOARGS,
     "release($self, /)\n--\n\nGive it back."},
    {"__enter__", (PyCFunction)(void (*)(void))lock_acquire, METH_VARARGS | METH_KEYWORDS, NULL},
    {"__exit__", (PyCFunction)lock_exit, METH_VARARGS, NULL},
    {"_is_owned", (PyCFunction)lock_is_owned_method, METH_NOARGS,
     "_is_owned($self, /)\n--\n\nReturn whether the calling thread has it."},
    {"_recursion_count", (PyCFunction)lock_recursion_count, METH_NOARGS,
     "_recursion_count($self, /)\n--\n\nReturn how many times the calling thread has it."},
    {"_at_fork_reinit", (PyCFunction)lock_at_fork_reinit, METH_NOARGS,
     "_at_fork_reinit($self, /)\n--\n\nForget other threads, in a forked child."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot lock_slots[] = {
    {Py_tp_doc, "A re-entrant lock that C code can take without a call."},
    {Py_tp_new, lock_new},
    {Py_tp_dealloc, lock_dealloc},
    {Py_tp_methods, lock_methods},
    {0, NULL},
};

static PyType_Spec lock_spec = {
    .name = "syncws.accel._speedups.WriteLock",
    .basicsize = sizeof(WriteLock),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = lock_slots,
};
