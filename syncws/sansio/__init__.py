"""The protocol without I/O: bytes in, events out, bytes to send.

:class:`~syncws.sansio.client_protocol.ClientProtocol` and
:class:`~syncws.sansio.server_protocol.ServerProtocol` each are one endpoint of
one connection. There is no socket, thread, clock or log here: whoever uses
them reads and writes::

    protocol.receive_data(data)          # or receive_eof()
    for event in protocol.events_received():
        ...                              # Request, Response, str, bytes or Frame
    for data in protocol.data_to_send():
        ...                              # b"" asks to close the sending side

A protocol is not thread-safe as a whole, but falls in halves that are
independent: ``protocol.decoder`` turns input into messages and belongs to
whoever reads; everything else belongs to whoever holds the connection's locks.
"""
