/* Channel: what its four files share. */

#ifndef SYNCWS_CHANNEL_H
#define SYNCWS_CHANNEL_H

#include "atomics.h"
#include "speedups.h"

/* Whether there is something that may not be inflated yet. */
static inline int
holds(const Channel *self)
{
    return read_flag(&self->holds);
}

/* Whether Python code has to look at something that was read. What is held comes before the end. */
static inline int
has_leftover(const Channel *self)
{
    int at_the_end = read_flag(&self->ended) ||
                     (self->parser != NULL && read_object(&self->parser->error) != NULL);
    return read_flag(&self->has_pending) || (at_the_end && !holds(self));
}

/* Called by the parser: queue a message, or keep what Python code has to look at, in order. */
static int channel_emit(Channel *self, PyObject *event);

static PyType_Spec channel_spec, iterator_spec;

/* A function of the module. */
static PyObject *unattended(PyObject *module, PyObject *args);

/* --- reading --- */

static int take_role(Channel *self);
static void give_up_role(Channel *self);

/* Parse bytes that were read. */
static void channel_feed(Channel *self, const uint8_t *data, size_t size);

/* Seconds to wait, never negative: -1 is without a limit, or an error with an exception set. */
static double get_timeout(PyObject *timeout);

/* Note the end of what can be read, and why: an errno, or 0. Of several, the last one counts. */
static void end_reading(Channel *self, int number);

/* End the connection if memory was lacking on our side, since bytes are lost. */
static void check_failure(Channel *self);

#ifdef HAVE_DIRECT_IO
static double now(void);

/* Parse bytes that were read to their place in the frame under way. */
static void channel_filled(Channel *self, size_t count);

/* What reading comes back with. */
enum { READ_FAILED = -1, READ_NOTHING = 0, READ_SOME = 1, READ_TIMED_OUT = 2, LOST_ROLE = 3 };

/* Read on the caller's thread, if that is possible. */
static int read_as_caller(Channel *self, double timeout);

/* Call a method that wakes others, whether or not an exception is on its way. */
static int tell(Channel *self, PyObject *name);

static PyObject *channel_read_method(Channel *self, PyObject *timeout);
static PyObject *channel_read_direct(Channel *self, PyObject *timeout);
#endif

/* --- receiving --- */

static PyObject *channel_recv(Channel *self, PyObject *const *args, Py_ssize_t count,
                              PyObject *names);
static PyObject *channel_iter(Channel *self);

/* --- sending --- */

enum {
    SEND_CUT = -4, /* a signal handler raised, and nobody knows what was sent */
    SEND_INTERRUPTED_IN_PART,
    SEND_INTERRUPTED,
    SEND_FAILED,
    NOT_SENT,
    SENT,
    SENT_AND_LOOK,
    SENT_IN_PART,
};

/* Whether an attribute of the protocol is this object; -1 on error. */
static int protocol_has(Channel *self, PyObject *name, PyObject *wanted);

#ifdef HAVE_DIRECT_IO
/* Write what the kernel takes of a frame without waiting; the rest becomes the backlog. If that is
 * all of it, nothing is done, unless it must be kept. The caller has the write lock, and there is
 * no backlog yet. */
static int write_now(Channel *self, const uint8_t *frame, size_t size, int flags, int keep);

/* Make what the kernel did not take the backlog. */
static int keep_rest(Channel *self, const uint8_t *rest, Py_ssize_t size);
#endif

static PyObject *channel_send(Channel *self, PyObject *const *args, Py_ssize_t count,
                              PyObject *names);
static PyObject *channel_post_now(Channel *self, PyObject *const *args, Py_ssize_t count);
static PyObject *channel_push_method(Channel *self, PyObject *ignored);

/* --- compression --- */

/* Called by the parser: take over a frame of a compressed message. */
static int channel_emit_compressed(Channel *self, int first, PyObject *payload);

/* Deal with what is held, as far as there is room; return whether that was something. */
static int channel_release_held(Channel *self);

/* Hold an event, which is taken over. */
static int hold(Channel *self, PyObject *event);

static int compression_set(Channel *self, PyObject *parts);
static PyObject *channel_drop_held(Channel *self, PyObject *ignored);
static PyObject *channel_get_is_holding(Channel *self, void *closure);

/* --- TLS --- */

#ifdef HAVE_DIRECT_IO
/* Whether this is a signal handler that runs during a call on the TLS object, made by the thread
 * that has the reading role. */
static int tls_is_interrupted(Channel *self);

/* Complete the interrupted step, and give up the role. An exception on its way stays. */
static void tls_settle(Channel *self);

/* Bytes that a buffer in memory has. An exception on its way stays. */
static Py_ssize_t buffered(Channel *self, PyObject *buffer);

static int tls_is_open(Channel *self);
static int tls_decrypt(Channel *self, const uint8_t *data, size_t size);
static int tls_send(Channel *self, PyObject *frame, int flags);
static Tls *tls_new(State *state, PyObject *parts);
#endif
static int tls_traverse(Tls *tls, visitproc visit, void *arg);
static void tls_free(Tls *tls);

#endif
