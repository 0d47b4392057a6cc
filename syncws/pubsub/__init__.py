"""Rooms: connections that get the same messages, in one process or in many.

A :class:`Hub` has rooms. Without a URL they are this process's; with the URL of a Redis or Valkey
server or cluster (``pip install "syncws[redis]"``) they are those of all processes that use the
same one.

=====================  =============================================================
``hub``                the rooms of a process
``room``               one room: its members here, publishing, catching up
``listener``           a member that is a program, rather than a connection
``local_rooms``        the members of all rooms here, and passing messages on to them
``presence``           who is in a room, over all processes
``backend``            what carries messages, as an interface
``reading``            the thread that reads for all rooms
``health``             whether the backend answers
``memory_backend``     the one of a single process
``redis_backend``      the one of Redis and Valkey
``redis_publisher``    publishing with it: in order, and once, whatever happens meanwhile
``redis_clients``      redis-py's clients for a server, and for part of a cluster
``cluster_map``        which node of a cluster has what
``cluster_backend``    the one of a cluster: rooms in 16 parts, each like a server of its own
``cluster_reader``     reading from one of these parts
=====================  =============================================================
"""

from ..exceptions import HubError, HubUnavailable
from .backend import Backend, Batch, Entry, Kind, Member, Position, Post
from .hub import Hub, HubStats
from .listener import Listener
from .memory_backend import MemoryBackend
from .room import Room

__all__ = [
    "Backend",
    "Batch",
    "Entry",
    "Hub",
    "HubError",
    "HubStats",
    "HubUnavailable",
    "Kind",
    "Listener",
    "Member",
    "MemoryBackend",
    "Position",
    "Post",
    "Room",
]
