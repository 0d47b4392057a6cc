/* Channel, TLS: records are received and sent here, and pass through OpenSSL by way of the methods
 * of Python's ssl object and of the two buffers in memory that it reads and writes. Calling them
 * from C saves the bytecode between them; the rest of the time is OpenSSL's. Where somebody else
 * began TLS on the socket, OpenSSL itself reads and writes it, which doesn't block.
 *
 * These methods let signal handlers run, in the main thread, after OpenSSL has done its work. Then
 * an exception stands where the result should be, and a handler may want to receive or send. So
 * whatever a call takes is known without its result:
 *
 * - The main thread reads one byte, which makes OpenSSL decrypt a record, asks how much is left of
 *   it, and reads just that. Whether a call was successful shows in how much is left then. Of the
 *   first byte, if it is a record's only one, it shows in whether it was written: see NO_BYTE.
 * - The channel notes which step it is at. A handler that needs the reading role completes that
 *   step, and has the role (tls_settle); the call that it interrupted finds that it lost it. If the
 *   handler raises, the step is completed in the same way.
 * - What is written is in the buffer whatever the result says, and is sent before an exception
 *   goes on its way. Without that buffer nobody knows how much was: the connection is cut.
 *
 * The lock of the TLS object is held meanwhile: a handler should not wait there for another thread
 * to receive or to send on the same connection. */

#include "channel.h"

#include "frame_parser.h"
#include "write_lock.h"

#ifdef HAVE_DIRECT_IO

/* Bytes in a record, at most (RFC 8446 5.1). */
#define MAX_RECORD 16384
/* The same when they are encrypted (RFC 5246 6.2.3). */
#define MAX_ENCRYPTED (MAX_RECORD + 2048)
#define RECORD_HEADER 5

/* Stands where the first byte of a record goes. No frame begins with it: its reserved bits are set.
 * Only a record that has just this byte, in the middle of a payload, and a signal in the same
 * microsecond, would be misread. */
#define NO_BYTE 0x7F

/* PY_SSL_ERROR_INVALID_ERROR_CODE of Python's ssl module. */
#define INVALID_CODE 10

/* Whether threads may share a place to decrypt to, one at a time. */
#ifdef Py_GIL_DISABLED
#define KEEPS_SCRATCH 0
#else
#define KEEPS_SCRATCH 1
#endif

/* Take over a number and return it; 0 if there is none for lack of memory. */
static Py_ssize_t
as_size(PyObject *number)
{
    Py_ssize_t size = number == NULL ? -1 : PyLong_AsSsize_t(number);
    Py_XDECREF(number);
    if (size < 0) {
        PyErr_Clear();
        return 0;
    }
    return size;
}

static Py_ssize_t
buffered(Channel *self, PyObject *buffer)
{
    if (buffer == NULL) {
        return 0;
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    Py_ssize_t size = as_size(PyObject_GetAttr(buffer, self->state->str_pending));
    PyErr_Restore(type, value, traceback);
    return size;
}

/* Bytes of a record that were decrypted and not read. An exception on its way stays. */
static Py_ssize_t
decrypted(Channel *self)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    Py_ssize_t size = as_size(PyObject_CallNoArgs(self->tls->pending));
    PyErr_Restore(type, value, traceback);
    return size;
}

/* Whether nobody has closed the socket that OpenSSL uses: its number may be another file's now. */
static int
tls_is_open(Channel *self)
{
    if (self->tls->socket == NULL) {
        return 1;
    }
    PyObject *number = PyObject_CallMethodNoArgs(self->tls->socket, self->state->str_fileno);
    long fd = number == NULL ? -1 : PyLong_AsLong(number);
    Py_XDECREF(number);
    PyErr_Clear();
    return fd == self->fd;
}

/* Seconds after which the main thread, while it waits, looks for signals that came just before it
 * began to: those interrupt nothing. */
#define SIGNAL_INTERVAL 0.25

/* Take the TLS object's lock, and wait for it if need be. An exception is a signal handler's, or
 * says that there is no memory. */
static int
tls_acquire(Channel *self)
{
    WriteLock *lock = self->tls->lock;
    double slice = PyThread_get_thread_ident() == self->main_thread ? SIGNAL_INTERVAL : -1;
    int taken = lock_try(lock, 1);
    while (!taken) {
        PyObject *done = PyObject_CallMethod((PyObject *)lock, "acquire", "Od", Py_True, slice);
        if (done == NULL || (done != Py_True && PyErr_CheckSignals() < 0)) {
            Py_XDECREF(done);
            return -1;
        }
        taken = done == Py_True;
        Py_DECREF(done);
    }
    return 0;
}

/* --- reading --- */

/* Parse bytes at the place where they were read to. */
static void
tls_parse(Channel *self, uint8_t *data, size_t size, int in_place)
{
    if (in_place) {
        channel_filled(self, size);
    }
    else {
        channel_feed(self, data, size);
    }
}

/* Whether a step of the main thread has read what it was to read, whatever it came back with. */
static int
step_was_done(Channel *self)
{
    Tls *tls = self->tls;
    if (tls->step == STEP_FIRST) {
        return decrypted(self) || *(uint8_t *)PyByteArray_AS_STRING(tls->first) != NO_BYTE;
    }
    return tls->step == STEP_REST && decrypted(self) == tls->left;
}

static int
tls_is_interrupted(Channel *self)
{
    return self->tls != NULL && PyThread_get_thread_ident() == self->main_thread &&
           self->tls->step != NO_STEP;
}

static void
tls_settle(Channel *self)
{
    Tls *tls = self->tls;
    char step = tls->step;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    int done = step_was_done(self);
    tls->step = NO_STEP;
    tls->more = 1;
    if (step == STEP_FIRST && done) {
        channel_feed(self, (uint8_t *)PyByteArray_AS_STRING(tls->first), 1);
    }
    else if (step == STEP_REST) {
        size_t size = (size_t)(tls->taken + (done ? tls->rest : 0));
        if (size) {
            tls_parse(self, tls->to, size, tls->in_place);
        }
    }
    check_failure(self);
    give_up_role(self);
    PyErr_Restore(type, value, traceback);
}

/* What reading from the TLS object comes back with; else the number of bytes. */
enum { TLS_WANTS_MORE = 0, TLS_INTERRUPTED = -1 };

/* Whether an exception is about the socket that OpenSSL uses, rather than a signal handler's. */
static int
is_of_socket(const Tls *tls)
{
    if (tls->socket == NULL || !PyErr_ExceptionMatches(PyExc_OSError)) {
        return 0;
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    PyObject *number = PyObject_GetAttrString(value, "errno");
    int result = number != NULL && number != Py_None;
    Py_XDECREF(number);
    PyErr_Restore(type, value, traceback);
    return result;
}

/* Whether an exception only says that a signal handler has used the object meanwhile: Python asks
 * the object, rather than the call, how the call went. */
static int
is_confused(const Tls *tls)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    PyObject *number = NULL;
    if ((PyObject *)Py_TYPE(value) == tls->failure) {
        number = PyObject_GetAttrString(value, "errno");
        PyErr_Clear();
    }
    int result = number != NULL && PyLong_Check(number) && PyLong_AsLong(number) == INVALID_CODE;
    PyErr_Clear();
    Py_XDECREF(number);
    PyErr_Restore(type, value, traceback);
    return result;
}

/* Call read(size, buffer); return what it returns. */
static PyObject *
call_read(Channel *self, PyObject *buffer, Py_ssize_t size)
{
    PyObject *number = PyLong_FromSsize_t(size), *result = NULL;
    if (number != NULL) {
        result = PyObject_CallFunctionObjArgs(self->tls->read, number, buffer, NULL);
        Py_DECREF(number);
    }
    return result;
}

/* Read decrypted bytes, at most size. An exception is set only if it isn't about TLS. */
static Py_ssize_t
tls_read(Channel *self, PyObject *buffer, Py_ssize_t size, int is_main)
{
    Tls *tls = self->tls;
    PyObject *result = call_read(self, buffer, size);
    while (result == NULL && is_main && tls->step != NO_STEP && !step_was_done(self) &&
           is_confused(tls)) {
        PyErr_Clear();
        result = call_read(self, buffer, size);
    }
    if (is_main && tls->step == NO_STEP) { /* a handler has completed the step, and more */
        if (result == NULL && (is_confused(tls) || PyErr_ExceptionMatches(tls->want_read))) {
            PyErr_Clear();
        }
        Py_XDECREF(result);
        return TLS_INTERRUPTED;
    }
    if (result != NULL) {
        Py_ssize_t count = as_size(result);
        if (count == 0) { /* the peer has closed TLS */
            end_reading(self, 0);
        }
        return count;
    }
    if (is_main && step_was_done(self)) { /* so that it is a handler's */
        return TLS_INTERRUPTED;
    }
    tls->writes_to_read = (char)PyErr_ExceptionMatches(tls->want_write);
    if (tls->writes_to_read || PyErr_ExceptionMatches(tls->want_read)) {
        PyErr_Clear();
        return TLS_WANTS_MORE;
    }
    /* The latter: TCP has ended without TLS. WebSocket has a closing handshake of its own. */
    if (PyErr_ExceptionMatches(tls->zero_return) || PyErr_ExceptionMatches(tls->eof)) {
        PyErr_Clear();
        end_reading(self, 0);
        return TLS_WANTS_MORE;
    }
    if (PyErr_ExceptionMatches(tls->failure) || is_of_socket(tls)) {
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        PyErr_NormalizeException(&type, &value, &traceback);
        Py_XSETREF(tls->error, value);
        Py_XDECREF(type);
        Py_XDECREF(traceback);
        end_reading(self, 0);
        return TLS_WANTS_MORE;
    }
    return TLS_INTERRUPTED;
}

/* Read on the main thread, as said above, to a place with that much room. Return as tls_read does;
 * after TLS_INTERRUPTED, the role may be lost. */
static Py_ssize_t
tls_read_in_steps(Channel *self, uint8_t *to, size_t room, int in_place)
{
    Tls *tls = self->tls;
    Py_ssize_t count, left = decrypted(self);
    tls->taken = 0;
    tls->left = left;
    if (left == 0) {
        uint8_t *first = (uint8_t *)PyByteArray_AS_STRING(tls->first);
        *first = NO_BYTE;
        tls->step = STEP_FIRST;
        count = tls_read(self, tls->first, 1, 1);
        if (count <= 0) {
            return count;
        }
        tls->step = STEP_LOCK;
        *to = *first;
        tls->taken = 1;
        tls->left = left = decrypted(self);
        if (left == 0 || room == 1) {
            return 1;
        }
    }
    Py_ssize_t size = (Py_ssize_t)room - tls->taken;
    size = left < size ? left : size;
    PyObject *view = PyMemoryView_FromMemory((char *)to + tls->taken, size, PyBUF_WRITE);
    if (view == NULL) {
        PyErr_Clear(); /* there is a byte to go on with, and later there may be memory */
        return tls->taken ? tls->taken : (PyErr_NoMemory(), TLS_INTERRUPTED);
    }
    tls->to = to;
    tls->in_place = (char)in_place;
    tls->rest = size;
    tls->left = left - size;
    tls->step = STEP_REST;
    count = tls_read(self, view, size, 1);
    Py_DECREF(view);
    if (count < 0) {
        return TLS_INTERRUPTED;
    }
    tls->step = STEP_LOCK;
    return tls->taken + count;
}

/* Decrypt a record, or a part of one, and parse it. Return 1 if something came; 0 if not; -1 after
 * an interruption. */
static int
tls_next(Channel *self, int is_main)
{
    State *state = self->state;
    Parser *parser = self->parser;
    PyObject *buffer;
    uint8_t *to;
    size_t room = MAX_RECORD;
    int in_place = parser->payload != NULL && read_object(&parser->error) == NULL &&
                   parser->size - parser->filled >= MAX_RECORD / 4;
    if (in_place) {
        if (frame_room(parser, &to, &room) < 0) {
            check_failure(self);
            return 0;
        }
        room = room < MAX_RECORD ? room : MAX_RECORD;
        buffer = is_main ? Py_NewRef(Py_None)
                         : PyMemoryView_FromMemory((char *)to, (Py_ssize_t)room, PyBUF_WRITE);
    }
    else {
        buffer = KEEPS_SCRATCH ? state->scratch : NULL;
        if (buffer != NULL) {
            state->scratch = NULL;
        }
        else {
            buffer = PyByteArray_FromStringAndSize(NULL, MAX_RECORD);
        }
    }
    if (buffer == NULL) {
        check_failure(self);
        return 0;
    }
    if (!in_place) {
        to = (uint8_t *)PyByteArray_AS_STRING(buffer);
    }
    Py_ssize_t count = is_main ? tls_read_in_steps(self, to, room, in_place)
                               : tls_read(self, buffer, (Py_ssize_t)room, 0);
    if (count > 0) {
        if (!is_main) { /* a call reads from one record */
            self->tls->left = (size_t)count < room ? 0 : decrypted(self);
        }
        tls_parse(self, to, (size_t)count, in_place);
        if (self->tls->socket != NULL) { /* otherwise the records were counted */
            add_to_counter(&self->bytes_received, (uint64_t)count);
        }
    }
    else if (count < 0 && is_main && self->tls->step != NO_STEP) {
        tls_settle(self);
    }
    else if (count < 0 && !is_main) { /* for lack of memory */
        check_failure(self);
        count = 0;
    }
    if (!in_place && KEEPS_SCRATCH && state->scratch == NULL) {
        state->scratch = buffer;
    }
    else {
        Py_DECREF(buffer);
    }
    return count > 0 ? 1 : (int)count;
}

/* Keep bytes for OpenSSL, behind those that are kept already. */
static void
keep_received(Channel *self, const uint8_t *data, size_t size)
{
    Tls *tls = self->tls;
    PyObject *bytes = PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)size);
    if (tls->received == NULL || bytes == NULL) {
        Py_XSETREF(tls->received, bytes);
    }
    else {
        PyBytes_ConcatAndDel(&tls->received, bytes);
    }
    check_failure(self);
}

/* Whether what begins with these bytes, where a record does, is less than a whole one. */
static int
is_cut_off(const uint8_t *data, size_t size)
{
    /* RFC 8446 5.1: a type, a version that is always 3.x, and a length. */
    if (size < RECORD_HEADER) {
        return 1;
    }
    size_t length = (size_t)(data[3] << 8 | data[4]);
    return data[1] == 3 && length <= MAX_ENCRYPTED && size - RECORD_HEADER < length;
}

/* Whether OpenSSL has no whole record any more, after it has read one. To ask it then would raise,
 * which takes longer than all the rest. */
static int
tls_is_through(Channel *self, const uint8_t *data, size_t size)
{
    if (self->tls->left) {
        return 0;
    }
    size_t rest = (size_t)buffered(self, self->tls->incoming);
    /* It takes records one by one: so a record begins there, if it came with these bytes. */
    return rest == 0 || (rest <= size && is_cut_off(data + size - rest, rest));
}

/* Wait for the lock, on the main thread. Return whether it and the role are ours; if not, the
 * exception is set if a signal handler raised. */
static int
tls_await_in_step(Channel *self)
{
    Tls *tls = self->tls;
    tls->step = STEP_LOCK;
    if (tls_acquire(self) < 0) {
        if (tls->step != NO_STEP) {
            tls_settle(self);
        }
        return 0;
    }
    if (tls->step == NO_STEP) {
        lock_release(tls->lock);
        return 0;
    }
    return 1;
}

/* Wait for the lock, on another thread. Return whether it and the role are ours. The main thread may
 * have the lock for as long as a signal handler runs, which may be waiting for a message. */
static int
tls_await_without_role(Channel *self)
{
    give_up_role(self);
    if (read_size(&self->queue->waiting) && tell(self, self->state->str_pass_on) < 0) {
        PyErr_Clear();
    }
    int has_lock = tls_acquire(self) == 0;
    PyErr_Clear();
    if (has_lock && take_role(self)) {
        return 1;
    }
    if (has_lock) {
        lock_release(self->tls->lock);
    }
    return 0;
}

/* Give records to OpenSSL, and parse what becomes of them. Return 1 if something did; 0 if not; -1
 * if the role is lost: a signal handler ran, and the exception is set if it raised. */
static int
tls_decrypt(Channel *self, const uint8_t *data, size_t size)
{
    Tls *tls = self->tls;
    int is_main = PyThread_get_thread_ident() == self->main_thread;
    int result = 0, next = 1;
    if (!lock_try(tls->lock, 1)) {
        if (size) {
            keep_received(self, data, size);
            size = 0;
        }
        tls->more = 1;
        if (!(is_main ? tls_await_in_step(self) : tls_await_without_role(self))) {
            return -1;
        }
        result = !is_main; /* while we waited, others may have queued more than they took */
    }
    if (is_main) {
        tls->step = STEP_LOCK;
    }
    if (size && tls->received != NULL) {
        keep_received(self, data, size);
        size = 0;
    }
    PyObject *records = tls->received;
    tls->received = NULL;
    if (size) {
        records = PyMemoryView_FromMemory((char *)data, (Py_ssize_t)size, PyBUF_READ);
    }
    if (records != NULL) {
        Py_XDECREF(PyObject_CallOneArg(tls->feed, records));
        Py_DECREF(records);
    }
    check_failure(self);
    while (next > 0 && !read_flag(&self->ended)) {
        next = tls_next(self, is_main);
        result |= next > 0;
        if (next > 0 && tls_is_through(self, data, size)) {
            break;
        }
    }
    int has_output = 1;
    if (next >= 0) {
        if (is_main) {
            tls->step = NO_STEP;
        }
        tls->more = 0;
        has_output = buffered(self, tls->outgoing) > 0;
    }
    write_flag(&self->has_output, has_output);
    lock_release(tls->lock);
    return next < 0 ? -1 : result;
}

/* --- sending --- */

/* Have OpenSSL write a frame to the socket. What it doesn't take must come again as it is. */
static int
tls_send_itself(Channel *self, PyObject *frame)
{
    Tls *tls = self->tls;
    Py_ssize_t size = PyBytes_GET_SIZE(frame), sent = 0;
    if (tls_acquire(self) < 0) {
        return SEND_INTERRUPTED;
    }
    PyObject *written = NULL;
    if (tls_is_open(self)) {
        written = PyObject_CallOneArg(tls->write, frame);
    }
    else {
        errno = EBADF;
        PyErr_SetFromErrno(PyExc_OSError);
    }
    lock_release(tls->lock);
    if (written != NULL) {
        sent = as_size(written);
    }
    else if (PyErr_ExceptionMatches(tls->want_write) || PyErr_ExceptionMatches(tls->want_read) ||
             is_confused(tls)) {
        PyErr_Clear();
    }
    else if (PyErr_ExceptionMatches(tls->failure) || is_of_socket(tls)) {
        return SEND_FAILED;
    }
    else {
        return SEND_CUT;
    }
    add_to_counter(&self->messages_sent, 1);
    add_to_counter(&self->bytes_sent, (uint64_t)sent);
    return sent == size ? SENT : keep_rest(self, (uint8_t *)PyBytes_AS_STRING(frame) + sent,
                                           size - sent);
}

/* Encrypt a frame, and write what the kernel takes of it; the rest becomes the backlog. The caller
 * has the write lock, and there is no backlog yet. */
static int
tls_send(Channel *self, PyObject *frame, int flags)
{
    Tls *tls = self->tls;
    if (tls->socket != NULL) {
        return tls_send_itself(self, frame);
    }
    if (tls_acquire(self) < 0) {
        return SEND_INTERRUPTED;
    }
    PyObject *type = NULL, *value = NULL, *traceback = NULL;
    /* Something is there if reading has left it, as answers to key updates. */
    Py_ssize_t before = read_flag(&self->has_output) ? buffered(self, tls->outgoing) : 0;
    PyObject *written = PyObject_CallOneArg(tls->write, frame);
    if (written == NULL) {
        int is_out = buffered(self, tls->outgoing) > before; /* and the exception a handler's */
        if (!is_out && PyErr_ExceptionMatches(tls->failure)) {
            lock_release(tls->lock);
            return SEND_FAILED;
        }
        PyErr_Fetch(&type, &value, &traceback);
    }
    Py_XDECREF(written);
    PyObject *records = PyObject_CallNoArgs(tls->take);
    write_flag(&self->has_output, 0);
    lock_release(tls->lock);
    int result = SEND_FAILED;
    if (records != NULL && !PyBytes_Check(records)) {
        PyErr_SetString(PyExc_TypeError, "a buffer of TLS gives bytes");
    }
    else if (records != NULL) {
        result = write_now(self, (const uint8_t *)PyBytes_AS_STRING(records),
                           (size_t)PyBytes_GET_SIZE(records), flags, 1);
    }
    Py_XDECREF(records);
    if (type != NULL) {
        PyErr_Restore(type, value, traceback); /* a broken connection shows again */
        return result == SENT_IN_PART ? SEND_INTERRUPTED_IN_PART : SEND_INTERRUPTED;
    }
    return result;
}

/* --- the struct --- */

static Tls *
tls_new(State *state, PyObject *parts)
{
    PyObject *object, *incoming, *outgoing, *socket, *lock;
    PyObject *want_read, *want_write, *zero_return, *eof, *failure;
    if (!PyArg_ParseTuple(parts, "OOOOO!OOOOO:_go_direct", &object, &incoming, &outgoing,
                          &socket, state->lock_type, &lock, &want_read, &want_write, &zero_return, &eof,
                          &failure)) {
        return NULL;
    }
    Tls *tls = PyMem_Calloc(1, sizeof(Tls));
    if (tls == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    tls->first = PyByteArray_FromStringAndSize("", 1);
    tls->read = PyObject_GetAttr(object, state->str_read);
    tls->write = PyObject_GetAttr(object, state->str_write);
    tls->pending = PyObject_GetAttr(object, state->str_pending);
    if (socket != Py_None) {
        tls->socket = Py_NewRef(socket);
    }
    else {
        tls->incoming = Py_NewRef(incoming);
        tls->outgoing = Py_NewRef(outgoing);
        tls->feed = PyObject_GetAttr(incoming, state->str_write);
        tls->take = PyObject_GetAttr(outgoing, state->str_read);
    }
    if (PyErr_Occurred()) {
        tls_free(tls);
        return NULL;
    }
    tls->lock = (WriteLock *)Py_NewRef(lock);
    tls->want_read = Py_NewRef(want_read);
    tls->want_write = Py_NewRef(want_write);
    tls->zero_return = Py_NewRef(zero_return);
    tls->eof = Py_NewRef(eof);
    tls->failure = Py_NewRef(failure);
    tls->more = 1; /* it may have come with the opening handshake */
    return tls;
}

#endif /* HAVE_DIRECT_IO */

static int
tls_traverse(Tls *tls, visitproc visit, void *arg)
{
    Py_VISIT(tls->read);
    Py_VISIT(tls->write);
    Py_VISIT(tls->pending);
    Py_VISIT(tls->incoming);
    Py_VISIT(tls->outgoing);
    Py_VISIT(tls->feed);
    Py_VISIT(tls->take);
    Py_VISIT(tls->socket);
    Py_VISIT(tls->want_read);
    Py_VISIT(tls->want_write);
    Py_VISIT(tls->zero_return);
    Py_VISIT(tls->eof);
    Py_VISIT(tls->failure);
    Py_VISIT(tls->error);
    return 0;
}

static void
tls_free(Tls *tls)
{
    Py_XDECREF(tls->read);
    Py_XDECREF(tls->write);
    Py_XDECREF(tls->pending);
    Py_XDECREF(tls->incoming);
    Py_XDECREF(tls->outgoing);
    Py_XDECREF(tls->feed);
    Py_XDECREF(tls->take);
    Py_XDECREF(tls->socket);
    Py_XDECREF(tls->lock);
    Py_XDECREF(tls->want_read);
    Py_XDECREF(tls->want_write);
    Py_XDECREF(tls->zero_return);
    Py_XDECREF(tls->eof);
    Py_XDECREF(tls->failure);
    Py_XDECREF(tls->received);
    Py_XDECREF(tls->first);
    Py_XDECREF(tls->error);
    PyMem_Free(tls);
}
