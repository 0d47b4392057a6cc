"""Standing in for other libraries: programs that import them run on this one, unchanged.

::

    import syncws

    syncws.install_as("websocket", "websockets", "simple_websocket")

    import socketio  # imports websocket, and gets this library

For each library a table says which of our names stands where: in which of its modules, under which
name. :func:`install_as` makes the modules of the tables and puts them into :data:`sys.modules`; a
finder in :data:`sys.meta_path` gives them again to programs that reload them, and says why others
aren't there. Nothing of ours is loaded twice: the modules have no code, and a name in them is
looked up in our own module when it is first used.

Nothing here is loaded by ``import syncws``.
"""

from __future__ import annotations

from .installing import StandIn, install_as

__all__ = ["StandIn", "install_as"]
