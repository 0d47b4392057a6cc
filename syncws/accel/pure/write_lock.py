"""WriteLock: whoever has it may write to the socket."""

import threading

__all__ = ["WriteLock"]

#: A re-entrant lock that knows whether the calling thread has it.
WriteLock = threading.RLock
