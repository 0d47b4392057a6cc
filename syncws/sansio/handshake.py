"""The key of the opening handshake, and what answers it (RFC 6455 §4)."""

from __future__ import annotations

import binascii
import os

__all__ = ["accept_value", "generate_key", "is_key"]

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def generate_key() -> str:
    """Return a fresh Sec-WebSocket-Key (§4.1, item 7)."""
    return binascii.b2a_base64(os.urandom(16), newline=False).decode()


def accept_value(key: str) -> str:
    """Return the Sec-WebSocket-Accept that answers a key (§4.2.2, item 5.4)."""
    import hashlib  # loads OpenSSL, which takes longer than all of this module

    digest = hashlib.sha1(key.encode() + GUID).digest()
    return binascii.b2a_base64(digest, newline=False).decode()


def is_key(key: str) -> bool:
    """Tell whether this is 16 bytes in base64, as it must be (§4.2.1, item 5)."""
    try:
        return len(key) == 24 and len(binascii.a2b_base64(key)) == 16
    except ValueError:  # binascii.Error is one
        return False
