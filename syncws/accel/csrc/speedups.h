/* What all files of the accelerator share: how it works, who may touch what, the module's state
 * and the structs of its objects.
 *
 * These are the hot loops in C. They do what syncws/accel/pure does in Python, with the same
 * results and the same errors. The Python says what each thing means; these files say how.
 *
 *   atomics              fields that threads read without a lock; only here are C11's orders
 *   masking, utf8        word-wise, so that the compiler can vectorize; no Python objects
 *   serializing          messages in, frames out
 *   frame_header         the rules that a frame's header must keep
 *   frame_parser         FrameParser: bytes in, finished str, bytes and tuples out
 *   message_queue        MessageQueue: the messages that nobody has taken yet
 *   write_lock           WriteLock: a re-entrant lock that C code takes without a call
 *   turnstile            how threads come back to the interpreter after a call that blocks
 *   stack                the stack of a thread that waits
 *   http_head            the head of an HTTP message, taken apart
 *   inflating            Inflater: compressed payloads in, what they mean out
 *   deflating            Deflater: payloads in, compressed ones out; CompressorBudget
 *   channel              Channel, the base of a connection; its parts are
 *     channel_reading      from the socket to the queue
 *     channel_receiving    from the queue to callers
 *     channel_sending      small frames, sent at once
 *     channel_tls          the same bytes by way of TLS
 *     channel_compressed   compressed messages, received and sent
 *   module               the module itself
 *   speedups.c           what is compiled: all of these
 *
 * Why a Channel: signal handlers run in the main thread, between two steps of Python code or where
 * C code asks for it (PyErr_CheckSignals). Here, taking a message and returning it is one call,
 * and so is reading bytes and queuing their messages. Neither asks between its first effect and
 * its last, so an exception finds either all of it done or nothing.
 *
 * Locking:
 *
 * - The interpreter lock guards all objects. Free-threaded builds have none: there LOCK and UNLOCK
 *   take the object's own lock. Nothing waits, and nothing returns, between the two. What is read
 *   without it is atomic, by the functions of atomics.h.
 * - Reading and polling let go of the interpreter lock, and hold no object's lock. They come back
 *   through the turnstile, so that a crowd of threads doesn't storm that lock. Small frames are
 *   sent without letting go: that would take longer than sending them.
 * - One thread at a time has a connection's reading role. To it belongs what the parser holds, and
 *   what the channel has for reading. LOCK guards the role itself.
 * - What the channel has for sending belongs to the thread that has taken the WriteLock. A thread
 *   that reads does not wait for that lock.
 * - A connection's TLS object is called with its lock, the innermost of all: OpenSSL lets go of the
 *   interpreter lock, and two threads must never be inside one object. See channel_tls.
 *
 * There is no global state. What objects share is in the module's state, of which each interpreter
 * has its own.
 */

#ifndef SYNCWS_SPEEDUPS_H
#define SYNCWS_SPEEDUPS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#ifndef _WIN32
#define HAVE_DIRECT_IO 1
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif
/* Linux: the kernel can hold back what it has, to send it with what follows, until told not to. */
#if defined(MSG_MORE) && defined(TCP_CORK) && !defined(Py_GIL_DISABLED)
#define HAVE_HOLDING 1
#define HOLD_FLAG MSG_MORE
#else
#define HOLD_FLAG 0
#endif
#endif

#ifdef HAVE_DIRECT_IO
typedef struct {
    PyThread_type_lock next;    /* had by the thread that waits for the interpreter lock */
    PyThread_type_lock leaving; /* had by the one, of those that leave, that may be next */
    PyThread_type_lock given;   /* free if that one was given the first of these locks */
    int turns;                  /* of others since then; with the first lock */
    int wants;                  /* whether one waits to be given it; atomic */
} Turnstile;
#endif

#ifdef Py_GIL_DISABLED
#define LOCK(object) Py_BEGIN_CRITICAL_SECTION(object)
#define UNLOCK() Py_END_CRITICAL_SECTION()
#else
#define LOCK(object) {
#define UNLOCK() }
#endif

#if PY_VERSION_HEX < 0x030A0000
static inline PyObject *
Py_NewRef(PyObject *object)
{
    Py_INCREF(object);
    return object;
}
#endif

#define FIN 0x80
#define RSV 0x70
#define RSV1 0x40 /* of compressed messages */
#define OPCODE 0x0F
#define MASKED 0x80

enum { CONTINUATION = 0, TEXT = 1, BINARY = 2, CLOSE = 8 };

/* --- the module's state --------------------------------------------------------------------- */

/* Masking keys drawn from the system's randomness in one block (RFC 6455 5.3, 10.3). */
#define KEYS_PER_BLOCK 1024

/* Header names that aren't made anew for each head: see http_head.c. */
#define COMMON_NAME_COUNT 25

typedef struct {
    PyTypeObject *parser_type;
    PyTypeObject *queue_type;
    PyTypeObject *channel_type;
    PyTypeObject *iterator_type;
    PyTypeObject *lock_type;
    PyTypeObject *inflater_type;
    PyTypeObject *budget_type;
    PyTypeObject *deflater_type;
    PyObject *allocate_lock;
    PyObject *urandom;
    PyObject *keys; /* bytes */
    Py_ssize_t keys_used;
#ifdef Py_GIL_DISABLED
    PyMutex keys_lock; /* guards the two above */
#endif
    PyObject *str_await_message, *str_pass_on, *str_leftover, *str_message, *str_state;
    PyObject *str_fragmenting, *str_ended, *str_send, *str_complete_send, *str_send_failed;
    PyObject *str_flush_batch, *str_acquire, *str_release, *str_drain, *str_abort, *str_fileno;
    PyObject *str_read, *str_write, *str_pending; /* of TLS objects and of their buffers */
    PyObject *str_decompress, *str_eof, *str_unused_data, *str_compress, *str_flush; /* of zlib */
    PyObject *header_names[COMMON_NAME_COUNT];
    PyObject *header_keys[COMMON_NAME_COUNT]; /* the same in lower case */
    PyObject *scratch; /* a bytearray to decrypt to, while nobody does; or NULL */
#ifdef HAVE_DIRECT_IO
    Turnstile *turnstile; /* never freed; or NULL */
#endif
} State;

static struct PyModuleDef module_def;

/* Find the state, from a type of this module or a class derived from one. It walks the bases: call
 * it only where objects are made. */
static State *find_state(PyTypeObject *type);

/* --- objects -------------------------------------------------------------------------------- */

/* Bytes of the longest header, with its masking key. */
#define MAX_HEADER 14

/* A text that is checked as it comes. */
typedef struct {
    uint8_t pending[4]; /* the beginning of a character */
    int count;
    uint64_t size; /* bytes taken so far */
} Utf8;

/* A FrameParser. */
typedef struct {
    PyObject_HEAD
    PyObject *error, *overruled; /* tuples, or NULL: see set_error() */
    int64_t max_message, max_fragment; /* -1: unlimited */
    uint8_t mask_bit, rsv, raw;
    uint8_t under_way; /* a frame has begun and isn't complete */
    /* The message under way, if fragmented. */
    uint8_t in_message, unchecked, validating;
    uint64_t message_size;
    Utf8 text; /* of the message; or of the frame, for text in one frame */
    /* The frame under way. */
    uint8_t header[MAX_HEADER];
    uint8_t header_count; /* bytes of a header that isn't complete */
    uint8_t first, whole_text;
    uint8_t key[4];
    uint64_t size, filled;
    /* A bytes object with as much room as there is so far; or a str, for text that has been ASCII
     * up to here. NULL between frames. */
    PyObject *payload;
} Parser;

typedef struct {
    PyObject *message;
    Py_ssize_t size; /* -1: not complete */
} Item;

/* A MessageQueue. Where there is no interpreter lock:
 *
 *   field                  written                           read
 *   ring, capacity, head,  with LOCK                         with LOCK
 *   length, dropping, room
 *   count, size, used      with LOCK, relaxed                by any thread
 *   streamed, bounded      with the inbox's lock, relaxed    by any thread
 *   waiting                with the inbox's lock, relaxed,   by whoever has put something in or
 *                          and a full fence after that       given up the role, after a full fence
 *   high, low, limit       never again                       by any thread
 *
 * What any thread reads may be old by then. Hand-overs that count on it:
 *
 * - Callers say that they wait, and look for messages and at the role after that; the thread that
 *   reads puts messages in, gives up the role, and looks for callers that wait after that. The
 *   fences are in queue_set_waiting(), queue_get_waiting() and give_up_role(). So are those of the
 *   inbox's bells, which count as callers that wait.
 * - The reader thread sets room, and looks whether the queue is full after that; callers take
 *   messages, and look at room after that. Both do so with LOCK, which orders them. */
typedef struct {
    PyObject_HEAD
    Item *ring;
    size_t capacity, head, length; /* the capacity is a power of two, or 0 */
    Py_ssize_t count, size, streamed, waiting, high, low, limit;
    uint8_t bounded, dropping, used;
    PyObject *room; /* a lock that is held until there is room; or None */
} Queue;

/* A re-entrant lock, like threading.RLock, that C code takes and releases without a call. While
 * threads wait it is never free: the thread that releases it hands it to the first of them. */
typedef struct {
    PyObject_HEAD
    State *state;
    unsigned long owner;
    Py_ssize_t count;
    PyObject *waiters; /* a list of (held lock, thread); or NULL */
    char missed;       /* somebody came in vain, and counts on the owner to look for output */
} WriteLock;

/* An Inflater. */
typedef struct {
    PyObject_HEAD
    State *state;
    PyObject *make, *error;
    PyObject *object; /* NULL: none was needed yet */
    char forgets;
} Inflater;

struct Budget;

/* A Deflater. */
typedef struct Deflater {
    PyObject_HEAD
    State *state;
    PyObject *make, *sync_flush;
    struct Budget *budget;
    Py_ssize_t cost;
    char forgets;
    /* With the budget's lock: */
    PyObject *object;                 /* NULL: none, then it isn't in the list either */
    struct Deflater *older, *newer;   /* not owned */
    char linked;
} Deflater;

/* A CompressorBudget. */
typedef struct Budget {
    PyObject_HEAD
    Deflater *oldest, *newest; /* not owned */
    Py_ssize_t limit, used, count;
    uint64_t dropped;
} Budget;

/* A call on a TLS object during which signal handlers may run. */
enum { NO_STEP, STEP_LOCK, STEP_FIRST, STEP_REST };

/* What a channel has where its bytes pass through TLS. */
typedef struct {
    PyObject *read, *write, *pending; /* of an ssl object: its methods, */
    PyObject *incoming, *outgoing;    /* the buffers in memory that it reads and writes, */
    PyObject *feed, *take;            /* write() of the one and read() of the other; */
    PyObject *socket;                 /* or a socket that others may close, and not those four */
    WriteLock *lock;                  /* guards all of it */
    PyObject *want_read, *want_write, *zero_return, *eof, *failure; /* classes of exceptions */
    /* With the reading role: */
    PyObject *received; /* bytes that OpenSSL doesn't have yet; or NULL */
    PyObject *first;    /* a bytearray of one byte */
    PyObject *error;    /* what broke TLS; or NULL */
    uint8_t *to;        /* where STEP_REST reads to */
    Py_ssize_t taken, rest, left; /* bytes there before; bytes that it reads; bytes after it */
    char step, in_place, more; /* more: there may be something to decrypt */
    char writes_to_read; /* OpenSSL has to write to the socket before it can read */
} Tls;

/* The reading role. */
enum { FREE, HELD, ENDED };

/* A Channel. Where there is no interpreter lock:
 *
 *   field                  written                           read
 *   role                   with LOCK, relaxed                by any thread, which takes it with
 *                                                            LOCK before it does anything
 *   active, reader         with LOCK                         with LOCK
 *   direct                 published with all that was set   by any thread, before it uses what was
 *                          before; withdrawn with LOCK, by   published; once more with the write
 *                          whoever ends the connection       lock, before it uses the descriptor
 *   ended, has_pending,    with the role, relaxed            by any thread, which takes the role
 *   holds                                                    before it does anything about it
 *   messages_received,     with the role, relaxed            by any thread
 *   bytes_received
 *   messages_sent,         with the write lock, relaxed      by any thread
 *   bytes_sent
 *   has_output             with the lock of TLS, relaxed     by any thread, which tries the write
 *                                                            lock, or has just released it
 *   batching               with the connection's state       by any thread: one that batches has
 *                          lock, relaxed                     written it
 *   pending, held, deep,   with the role                     with the role
 *   error_number, hungry,
 *   roomy, has_signal_interval
 *   tls->step, tls->to     by the main thread                by the main thread
 *   queue                  before others know the            by any thread
 *                          connection, and after a fork
 *   all others             before direct is published        after that
 *
 * The parser belongs to the role, but for its error, which any thread may set (parser_stop) and
 * read, and under_way, which any thread may read. The role is handed over with LOCK, and so what
 * was written with it is seen by the next thread that has it. The same is true of the write lock:
 * who finds it taken notes so with LOCK, after it has queued its output; who releases it, also with
 * LOCK, sees that note, and so the output. */
typedef struct Channel {
    PyObject_HEAD
    State *state;
    Queue *queue;
    Parser *parser;    /* NULL until the channel reads directly */
    PyObject *pending; /* a list: whatever was read from the first thing on that Python must see */
    WriteLock *lock;
    Tls *tls; /* NULL without TLS */
    Inflater *inflater; /* NULL without compression; the next two as well */
    Deflater *deflater;
    Py_ssize_t min_size; /* smaller messages aren't compressed */
    PyObject *held;      /* a list: what came after a compressed message that there is no room for */
    PyObject *protocol, *open_state, *output, *backlog; /* for sending */
    unsigned long main_thread, reader; /* reader: the thread that took the role last */
    uint64_t messages_received, bytes_received, messages_sent, bytes_sent;
    int fd, error_number;
    uint8_t role, active, direct, ended, has_pending, batching;
    uint8_t holds;      /* there is something in held */
    uint8_t has_output; /* reading has left something to be written, by TLS */
    char masked, has_signal_interval, hungry;
    char roomy; /* what was read last was not small */
    char deep;  /* Python code of ours has run since its thread waited: see stack.c */
} Channel;

#endif
