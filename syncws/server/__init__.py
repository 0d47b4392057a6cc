"""The server's end: accepting connections, and answering opening handshakes."""
