"""One open connection, blocking: sockets, threads and locks.

Who does what
    Each connection has one reader thread (:mod:`~.reader`), which alone reads
    its socket, parses, fills the :mod:`~.inbox` and answers control frames.
    Callers take messages from the inbox, and write on their own threads. One
    thread for the whole process (:mod:`~.timekeeper`) looks after time.

Locks
    ``write lock``: held while the bytes of one frame are written, which may
    take as long as the peer likes. Only callers that write wait for it.
    ``state lock``: guards the protocol (all but its decoder) and the pings; held
    for calls that compute. Taken after the write lock, never before.
    The inbox, TLS and the timekeeper have locks of their own, taken last, under
    which nothing else is locked.

Why nothing gets stuck
    The reader and the timekeeper never wait for the write lock. What they have
    to say goes to the protocol's output; then they try the write lock once. Who
    has it looks at the output after releasing it, so nothing stays there. They
    write without blocking; what the kernel does not take waits in the
    transport's backlog, in front of the next frame, and the timekeeper comes
    back for it. So reading goes on whatever happens to writing, and two peers
    that only send still read.
    Each wait has a deadline, or ends when the socket is shut down or the
    connection closed, which any thread can do.

Signals
    A handler may raise between any two steps of the main thread. Locks are
    re-entrant and know their owner, so that they can be released after the
    fact; a message is removed from the inbox in a way that can be undone; and
    whatever can't be undone, such as half a frame, fails the connection.
"""
