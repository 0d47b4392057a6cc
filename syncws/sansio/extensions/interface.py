"""What an extension implements (RFC 6455 §9).

An endpoint is given factories; the opening handshake makes extensions of
those that both sides agree on. Frames that are received pass through the
extensions in reverse order of the agreement, frames that are sent in order.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Optional

from ..frames import Frame

__all__ = ["ClientExtensionFactory", "Extension", "ServerExtensionFactory"]

ExtensionParameters = Sequence[tuple[str, Optional[str]]]


class Extension:
    """One agreed extension of one connection.

    Attributes:
        name: its registered token.
        rsv: the reserved bits that it uses, as in a frame's first byte.
        sees_plain_frames: whether data frames without its reserved bits, outside of
            its messages, are shown to it too.
    """

    name: str
    rsv: int = 0x70
    sees_plain_frames: bool = True

    #: What the result of :meth:`encode_apart` depends on besides the frame; ``None`` where there
    #: is no such method.
    share_key: Hashable = None

    #: What the accelerator needs to do the same by itself; ``None`` where it can't.
    compression: tuple[Any, ...] | None = None

    def encode_apart(self, frame: Frame) -> Frame:
        """Return what is sent for the frame of a whole message by all with the same share_key.

        It depends on nothing that was sent before, and changes nothing here: whoever sends it calls
        :meth:`forget`.
        """
        raise NotImplementedError  # pragma: no cover

    def forget(self) -> None:
        """Depend on nothing that was sent so far from now on."""
        raise NotImplementedError  # pragma: no cover

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        """Return what a received data frame means.

        Args:
            frame: the frame, as received.
            max_size: limit of the decoded payload in bytes.

        Raises:
            PayloadTooBig: the decoded payload is over the limit.
            ProtocolError: the frame breaks a rule of the extension.
        """
        raise NotImplementedError  # pragma: no cover

    def encode(self, frame: Frame, *, compress: bool | None = None) -> Frame:
        """Return what is sent for a data frame.

        Args:
            frame: the frame, as the program sends it.
            compress: what the program asks for this message; ``None`` leaves it open.
        """
        raise NotImplementedError  # pragma: no cover


class ClientExtensionFactory:
    """Offers an extension, and makes it of what the server answers.

    Attributes:
        name: its registered token.
    """

    name: str

    def get_request_params(self) -> Sequence[tuple[str, str | None]]:
        """Return the parameters of the offer."""
        raise NotImplementedError  # pragma: no cover

    def process_response_params(
        self, params: ExtensionParameters, accepted_extensions: Sequence[Extension]
    ) -> Extension:
        """Return the extension that the server accepted with these parameters.

        Raises:
            NegotiationError: the parameters don't answer the offer.
        """
        raise NotImplementedError  # pragma: no cover


class ServerExtensionFactory:
    """Accepts or declines offers of an extension.

    Attributes:
        name: its registered token.
    """

    name: str

    def process_request_params(
        self, params: ExtensionParameters, accepted_extensions: Sequence[Extension]
    ) -> tuple[list[tuple[str, str | None]], Extension]:
        """Return the parameters of the answer, and the extension.

        Raises:
            NegotiationError: the offer is declined.
        """
        raise NotImplementedError  # pragma: no cover
