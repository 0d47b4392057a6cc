"""Servers for the style of websocket-client, and its connections to them."""

from support.pairs import SOON
from support.scripted import build_response, mute_after, says, scripted_server
from support.wire import build_frames

from syncws import styles as websocket


def connecting(server, **options):
    """A connection of the style, with a timeout."""
    return websocket.create_connection(server.uri, **{"timeout": SOON, **options})


def sends(*frames):
    """A server that sends frames, after the handshake, and then nothing."""
    return scripted_server(mute_after(build_response, build_frames(frames)))


def sends_and_ends(*frames):
    """A server that sends frames, after the handshake, and ends the connection."""
    return scripted_server(says(build_response, build_frames(frames)))


def forever(function, *args):
    """Call a function again and again, until it raises."""
    while True:
        function(*args)
