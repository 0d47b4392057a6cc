"""One open connection, blocking: sockets, threads and locks.

Who does what
    Reading is a role that moves between threads (:mod:`~.reading`): callers of
    ``recv()`` read on their own threads; where nobody does, the connection's
    reader thread reads. Whichever thread reads also parses, fills the
    :mod:`~.inbox` and answers control frames. Callers write on their own threads. One thread for
    the whole process (:mod:`~.timekeeper`) looks after time, and after
    connections that nobody reads from (:mod:`~.watch`).

Locks
    ``write lock``: held while the bytes of one frame are written, which may
    take as long as the peer likes. Only callers that write wait for it.
    ``state lock``: guards the protocol (all but its decoder) and the pings; held
    for calls that compute. Taken after the write lock, never before.
    The reading role is a lock too, which is only tried, never waited for; the
    decoder belongs to the thread that has it, which may take all other locks.
    The inbox, TLS and the timekeeper have locks of their own, taken last, under
    which nothing else is locked but the queue of messages.
    Small frames are sent by one call of the accelerator, which takes the write
    lock, if it is free, without letting another thread run in between.

Why nothing gets stuck
    The thread that reads, and the timekeeper, never wait for the write lock.
    What they have to say goes to the protocol's output; then they try the write
    lock once. Its holder looks at the output after releasing it, so nothing
    stays there. They write without blocking; what the kernel doesn't take waits
    in the transport's backlog, in front of the next frame, until the
    :mod:`~.flusher` says that the kernel takes more. So reading goes on
    whatever happens to writing, and two peers that only send still read.
    Each wait has a deadline, or ends when the socket is shut down or the
    connection closed, which any thread can do.

Signals
    A handler may raise between any two steps of the main thread. Locks are
    re-entrant and know their owner, so that they can be released after the
    fact; the main thread reads by one call of the accelerator or not at all; a
    message is removed from the inbox in one such call as well, or in a way that
    can be undone; and whatever can't be undone, such as half a frame, fails the
    connection.
"""
