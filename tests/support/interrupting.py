"""Signal handlers that raise, at each point of the library where they could."""

import inspect
import os
import sys

import syncws

PACKAGE = os.path.dirname(syncws.__file__) + os.sep


class Interrupted(BaseException):
    """What the handler raises."""


class Bomb:
    """Raises at the Nth point, in the library, that the calling thread reaches in a with block.

    Attributes:
        exploded: whether there was such a point.
        where: its file and line.
    """

    def __init__(self, fuse):
        self.left = fuse
        self.exploded = False
        self.where = None

    def __enter__(self):
        sys.setprofile(self._profile)

    def __exit__(self, *_):
        sys.setprofile(None)

    def _profile(self, frame, event, arg):
        if event == "call" and frame.f_code.co_flags & inspect.CO_GENERATOR:
            return  # what is raised here ends a generator without its handlers
        if event in ("call", "c_return") and frame.f_code.co_filename.startswith(PACKAGE):
            self.left -= 1
            if self.left == 0:
                self.exploded = True
                self.where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                sys.setprofile(None)
                raise Interrupted
