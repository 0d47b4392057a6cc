/* Channel, reading: from the socket to the queue. One thread at a time has the reading role: it
 * waits for the socket, reads and parses. That is the reader thread or a caller of recv(), whose
 * message then needs no other thread. What was read is queued, or pending, before any other code
 * of the connection can run. */

#include "channel.h"

#include "frame_parser.h"
#include "message_queue.h"
#include "stack.h"

/* Bytes read at once. The small buffers are on the stack, where a thread that waits has it all the
 * time: the first one while what comes is small. The large one is for connections that have much to
 * read. */
#define FIRST_READ 1024
#define SMALL_READ 4096
#define LARGE_READ 65536
/* Bytes of one large payload that are read at once, to their place. */
#define PAYLOAD_READ (1 << 20)

/* Seconds after which the main thread looks for signals while it waits, since one that comes just
 * before the system call doesn't interrupt it. */
#define SIGNAL_INTERVAL 0.25

static int
channel_emit(Channel *self, PyObject *event)
{
    int plain = !PyTuple_CheckExact(event);
    if (holds(self)) {
        return hold(self, event);
    }
    if (plain && !self->has_pending) {
        add_to_counter(&self->messages_received, 1);
        return queue_put(self->queue, event);
    }
    if (self->pending == NULL) {
        self->pending = PyList_New(0);
        if (self->pending == NULL) {
            Py_DECREF(event);
            return -1;
        }
    }
    int result = PyList_Append(self->pending, event);
    write_flag(&self->has_pending, 1);
    Py_DECREF(event);
    return result;
}

static int
take_role(Channel *self)
{
    int taken = 0;
#ifdef HAVE_DIRECT_IO
    if (tls_is_interrupted(self)) {
        tls_settle(self);
    }
#endif
    LOCK(self);
    if (self->role == FREE) {
        write_flag(&self->role, HELD);
        self->reader = PyThread_get_thread_ident();
        self->active = 1;
        taken = 1;
    }
    UNLOCK();
    return taken;
}

static void
give_up_role(Channel *self)
{
    LOCK(self);
    if (self->role == HELD) {
        write_flag(&self->role, FREE);
        self->active = 1;
    }
    UNLOCK();
    full_fence(); /* between the role and the look for callers that wait: see queue_set_waiting() */
}

static void
end_reading(Channel *self, int number)
{
    if (number) {
        self->error_number = number;
    }
    write_flag(&self->ended, 1);
}

static void
check_failure(Channel *self)
{
    if (PyErr_Occurred()) {
        PyErr_Clear();
        end_reading(self, ENOMEM);
    }
}

static void
channel_feed(Channel *self, const uint8_t *data, size_t size)
{
    Sink sink = {NULL, self};
    parser_feed(self->parser, data, size, &sink);
    check_failure(self);
}

static double
get_timeout(PyObject *timeout)
{
    if (timeout == Py_None) {
        return -1;
    }
    double seconds = PyFloat_AsDouble(timeout);
    return seconds > 0 || (seconds == -1 && PyErr_Occurred()) ? seconds : 0;
}

#ifdef HAVE_DIRECT_IO

static double
now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* Let signal handlers run, with the role given up, since they may want to receive. Return whether
 * it is ours again. If a handler raised, it isn't, and the exception is set. */
static int
run_signal_handlers(Channel *self, int is_main)
{
    if (!is_main) {
        return 1;
    }
    give_up_role(self);
    if (PyErr_CheckSignals() < 0) {
        return 0;
    }
    return take_role(self);
}

/* How long reading waits, and for whom. */
typedef struct {
    double timeout, end; /* -1 is no limit */
    int is_main, has_role;
} Wait;

/* Wait until the socket can be read from, or written to. Return what poll() does. */
static int
wait_ready(Channel *self, short events, double seconds, int is_main)
{
    struct pollfd descriptor = {self->fd, events, 0};
    int result, milliseconds = -1;
    if (seconds >= 0) {
        milliseconds = seconds > 1e6 ? 1000000000 : (int)(seconds * 1000) + 1;
    }
    Turnstile *turnstile = self->state->turnstile;
    PyThreadState *thread = PyEval_SaveThread();
    result = poll(&descriptor, 1, milliseconds);
    turnstile_pass(turnstile, thread, is_main, 0);
    return result;
}

/* Receive into one place, or into two, one after the other. */
static ssize_t
receive_bytes(Channel *self, struct iovec *places, const Wait *wait)
{
    ssize_t count;
    int fd = self->fd, flags = wait->timeout < 0 ? 0 : MSG_DONTWAIT;
    Turnstile *turnstile = self->state->turnstile;
    PyThreadState *thread = PyEval_SaveThread();
    if (places[1].iov_len) {
        struct msghdr message = {.msg_iov = places, .msg_iovlen = 2};
        count = recvmsg(fd, &message, flags);
    }
    else {
        count = recv(fd, places[0].iov_base, places[0].iov_len, flags);
    }
    int leaves = count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR);
    turnstile_pass(turnstile, thread, wait->is_main, leaves);
    return count;
}

static void
channel_filled(Channel *self, size_t count)
{
    Sink sink = {NULL, self};
    if (read_object(&self->parser->error) == NULL) { /* it may have been stopped meanwhile */
        frame_filled(self->parser, count, &sink);
        check_failure(self);
    }
}

/* Another thread may have the role by now, as a signal handler ran. Return how reading ends. */
static int
lose_role(Wait *wait)
{
    wait->has_role = 0;
    return PyErr_Occurred() ? READ_FAILED : READ_SOME;
}

/* Prepare to wait in receive_bytes(). */
static Wait
begin_wait(Channel *self, double timeout)
{
    Wait wait = {timeout, timeout > 0 ? now() + timeout : 0,
                 PyThread_get_thread_ident() == self->main_thread, 1};
    if (self->deep && !wait.is_main && timeout != 0) {
        self->deep = 0;
        trim_stack();
    }
    if (wait.is_main && timeout < 0 && !self->has_signal_interval) {
        struct timeval interval = {0, (long)(SIGNAL_INTERVAL * 1e6)};
        setsockopt(self->fd, SOL_SOCKET, SO_RCVTIMEO, &interval, sizeof interval);
        self->has_signal_interval = 1;
    }
    return wait;
}

/* Wait until the socket is ready, in slices where signal handlers run. Return 0 if the time is over
 * already. */
static int
wait_for_socket(Channel *self, const Wait *wait)
{
    double timeout = wait->timeout;
    double left = timeout < 0 ? -1 : timeout > 0 ? wait->end - now() : 0;
    if (timeout >= 0 && left <= 0) {
        return 0;
    }
    if (wait->is_main && (left < 0 || left > SIGNAL_INTERVAL)) {
        left = SIGNAL_INTERVAL;
    }
    short events = self->tls != NULL && self->tls->writes_to_read ? POLLOUT : POLLIN;
    wait_ready(self, events, left, wait->is_main);
    return 1;
}

/* Whether nothing that was read waits for callers or for Python code. */
static int
has_nothing(const Channel *self)
{
    return read_size(&self->queue->count) == 0 && !has_leftover(self);
}

/* Nothing was received: note the end; or wait, and let signal handlers run. Return whether to try
 * again; if not, *result says how reading ends. */
static int
wait_for_bytes(Channel *self, ssize_t count, Wait *wait, int *result)
{
    if (count == 0) {
        end_reading(self, 0);
        return 0;
    }
    if (errno != EINTR && errno != EAGAIN && errno != EWOULDBLOCK) {
        end_reading(self, errno);
        return 0;
    }
    /* The main thread has waited already: see begin_wait(). OpenSSL hasn't. */
    int has_waited = wait->is_main && wait->timeout < 0 &&
                     (self->tls == NULL || self->tls->socket == NULL);
    if (errno != EINTR && !has_waited && !wait_for_socket(self, wait)) {
        *result = READ_TIMED_OUT;
        return 0;
    }
    if (!run_signal_handlers(self, wait->is_main)) {
        *result = lose_role(wait);
        return 0;
    }
    /* Otherwise a signal handler, or another thread, has read more than it took. */
    return has_nothing(self) && !holds(self) && (self->tls == NULL || !self->tls->more);
}

/* Note that bytes were received, and how many there is room for next time. */
static void
note_received(Channel *self, ssize_t count, size_t filled)
{
    add_to_counter(&self->bytes_received, (uint64_t)count);
    self->roomy = count > FIRST_READ / 2;
    self->hungry = (size_t)count - filled == SMALL_READ || count > LARGE_READ / 4;
}

/* Read what OpenSSL has received from the socket, and parse it. Return as channel_read does. */
static int
channel_read_tls_itself(Channel *self, Wait *wait)
{
    int result = READ_SOME;
    int is_open = tls_is_open(self);
    if (is_open && wait->timeout != 0) {
        /* First wait until something is there: to ask OpenSSL in vain takes longer. */
        (void)wait_for_socket(self, wait);
        is_open = tls_is_open(self);
    }
    while (is_open) {
        int came = tls_decrypt(self, NULL, 0);
        if (came < 0) {
            return lose_role(wait);
        }
        errno = EAGAIN;
        if (came || read_flag(&self->ended) || !wait_for_bytes(self, -1, wait, &result)) {
            return result;
        }
        is_open = tls_is_open(self);
    }
    end_reading(self, EBADF);
    return READ_SOME;
}

/* Receive records once, and parse what is in them. Return as channel_read does. */
static int
channel_read_tls(Channel *self, Wait *wait)
{
    uint8_t small[self->roomy ? SMALL_READ : FIRST_READ];
    uint8_t *large = NULL;
    int result = READ_SOME;
    if (self->tls->more && tls_is_open(self)) {
        int came = tls_decrypt(self, NULL, 0);
        if (came < 0) {
            return lose_role(wait);
        }
        if (came || read_flag(&self->ended)) {
            return READ_SOME;
        }
    }
    if (self->tls->socket != NULL) {
        return channel_read_tls_itself(self, wait);
    }
    ssize_t count;
    do {
        struct iovec places[2] = {{small, sizeof small}, {NULL, 0}};
        if (self->hungry && (large != NULL || (large = PyMem_RawMalloc(LARGE_READ)))) {
            places[0] = (struct iovec){large, LARGE_READ};
        }
        count = receive_bytes(self, places, wait);
        if (count > 0) {
            note_received(self, count, 0);
            if (tls_decrypt(self, places[0].iov_base, (size_t)count) < 0) {
                result = lose_role(wait);
            }
            break;
        }
    } while (wait_for_bytes(self, count, wait, &result));
    PyMem_RawFree(large);
    return result;
}

/* Receive once, and parse. Return as channel_read does. */
static int
channel_read_plain(Channel *self, Wait *wait)
{
    uint8_t small[self->roomy ? SMALL_READ : FIRST_READ];
    uint8_t *large = NULL;
    int result = READ_SOME;
    ssize_t count;
    do {
        Parser *parser = self->parser;
        struct iovec places[2] = {{small, sizeof small}, {NULL, 0}};
        size_t in_place = 0;
        if (parser->payload != NULL && read_object(&parser->error) == NULL &&
            parser->size - parser->filled >= sizeof small) {
            uint8_t *to;
            if (frame_room(parser, &to, &in_place) < 0) {
                check_failure(self);
                break;
            }
            if (in_place <= PAYLOAD_READ) {
                places[1] = places[0]; /* for what follows */
            }
            else {
                in_place = PAYLOAD_READ;
            }
            places[0] = (struct iovec){to, in_place};
        }
        struct iovec *following = in_place ? &places[1] : &places[0];
        if (self->hungry && following->iov_len &&
            (large != NULL || (large = PyMem_RawMalloc(LARGE_READ)))) {
            *following = (struct iovec){large, LARGE_READ};
        }
        count = receive_bytes(self, places, wait);
        if (count > 0) {
            size_t filled = (size_t)count < in_place ? (size_t)count : in_place;
            note_received(self, count, filled);
            if (filled) {
                channel_filled(self, filled);
            }
            if ((size_t)count > filled && !read_flag(&self->ended)) {
                channel_feed(self, following->iov_base, (size_t)count - filled);
            }
            break;
        }
    } while (wait_for_bytes(self, count, wait, &result));
    PyMem_RawFree(large);
    return result;
}

/* Read once, and parse. When this returns, what was read is in the queue, or pending. The caller
 * has the role, and still has it afterwards unless wait->has_role is 0. */
static int
channel_read(Channel *self, Wait *wait)
{
    if (holds(self)) {
        channel_release_held(self);
        return READ_SOME;
    }
    return self->tls != NULL ? channel_read_tls(self, wait) : channel_read_plain(self, wait);
}

static int
tell(Channel *self, PyObject *name)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *result = PyObject_CallMethodObjArgs((PyObject *)self, name, NULL);
    if (type != NULL) {
        Py_XDECREF(result);
        PyErr_Restore(type, value, traceback);
        return -1;
    }
    if (result == NULL) {
        return -1;
    }
    Py_DECREF(result);
    return 0;
}

static int
read_as_caller(Channel *self, double timeout)
{
    if (!is_published(&self->direct) || has_leftover(self) || !take_role(self)) {
        return READ_NOTHING;
    }
    Wait wait = begin_wait(self, timeout);
    /* Without an interpreter lock another thread may have read something since the caller looked,
     * and given up the role just now: who waits for more then may wait for ever. */
    int result = has_nothing(self) ? channel_read(self, &wait) : READ_SOME;
    /* Before anything is taken: if these raise, or signal handlers in them, nothing is lost. */
    if (read_flag(&self->has_output) && wait.has_role) {
        /* With the role: else another thread may end the connection before the peer is told why. */
        if (wait.is_main) {
            self->tls->step = STEP_LOCK;
        }
        if (tell(self, self->state->str_drain) < 0) {
            result = READ_FAILED;
        }
        if (wait.is_main) {
            wait.has_role = self->tls->step != NO_STEP;
            self->tls->step = NO_STEP;
        }
    }
    if (wait.has_role) {
        give_up_role(self);
    }
    if (has_leftover(self) && tell(self, self->state->str_leftover) < 0) {
        result = READ_FAILED;
    }
    if (read_size(&self->queue->waiting) && tell(self, self->state->str_pass_on) < 0) {
        result = READ_FAILED;
    }
    return result;
}

static PyObject *
channel_read_method(Channel *self, PyObject *timeout)
{
    double seconds = get_timeout(timeout);
    if (seconds == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (!is_published(&self->direct)) {
        PyErr_SetString(PyExc_RuntimeError, "the connection isn't read from directly");
        return NULL;
    }
    Wait wait = begin_wait(self, seconds);
    int result = channel_read(self, &wait);
    return result == READ_FAILED ? NULL : PyLong_FromLong(wait.has_role ? result : LOST_ROLE);
}

static PyObject *
channel_read_direct(Channel *self, PyObject *timeout)
{
    double seconds = get_timeout(timeout);
    if (seconds == -1 && PyErr_Occurred()) {
        return NULL;
    }
    int result = read_as_caller(self, seconds);
    return result == READ_FAILED ? NULL : PyLong_FromLong(result);
}

#endif /* HAVE_DIRECT_IO */
