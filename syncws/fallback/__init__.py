"""Frames carried by plain HTTP, where the upgrade to WebSocket doesn't get through.

Both ends speak the protocol of docs/fallback-protocol.md. What is here knows nothing of servers and
clients: names, limits, the two streams of a session.
"""
