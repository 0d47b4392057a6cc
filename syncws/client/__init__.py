"""The client's end: reaching a server, and the opening handshake."""
