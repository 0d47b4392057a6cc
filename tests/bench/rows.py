"""What is measured, one row each."""

import dataclasses

MIB = 1 << 20

# Units of which less is better; of all others, more is.
LESS_IS_BETTER = {"us", "KiB"}


@dataclasses.dataclass(frozen=True)
class Row:
    """One figure of an implementation.

    Attributes:
        name: role and what is measured, as given to --only.
        meaning: the same in words.
        work: what the implementation does, see implementations.py.
        scenario: what the driver does meanwhile, see driver.py.
        unit: "us" per message, "msg/s", "MiB/s", "conn/s" or "KiB" per connection.
        count: messages in all, or connections for the rows about connections.
        size: bytes of a message's payload.
        connections: how many share the messages.
        window: messages on their way at any time, on each connection.
        tls: whether connections are encrypted.
        deflate: whether permessage-deflate is agreed on, and messages are texts of JSON.
    """

    name: str
    meaning: str
    work: str
    scenario: str
    unit: str
    count: int
    size: int = 64
    connections: int = 1
    window: int = 1
    tls: bool = False
    deflate: bool = False

    @property
    def group(self):
        """ "server", "client", "tls" or "deflate": where it is shown."""
        return self.name.split("_")[0]

    @property
    def role(self):
        """ "server" or "client": what the implementation is."""
        return "server" if "server" in self.name.split("_") else "client"

    @property
    def less_is_better(self):
        return self.unit in LESS_IS_BETTER

    def scaled_down(self):
        """The same with so little to do that the figure means nothing."""
        if self.size == MIB:
            return dataclasses.replace(self, count=3)
        connections = min(self.connections, 8)
        count = 20 if self.scenario == "hold" else max(200, 2 * connections)
        return dataclasses.replace(self, count=count, connections=connections)


def _over_tls(row):
    """The same over TLS."""
    meaning = f"{row.meaning}, over TLS"
    return dataclasses.replace(row, name=f"tls_{row.name}", meaning=meaning, tls=True)


def _plain_rows():
    yield Row("server_roundtrip", "a server echoes 64 bytes", "echo", "echo", "us", 10_000)
    small = "messages of 64 bytes"
    yield Row("server_receive", f"a server receives {small}", "sink", "flood", "msg/s", 150_000)
    yield Row("server_send", f"a server sends {small}", "source", "drain", "msg/s", 50_000)
    yield Row("server_send_many", "... by send_many()", "source_many", "drain", "msg/s", 200_000)
    yield Row("server_send_batch", "... within batch()", "source_batch", "drain", "msg/s", 100_000)
    large = "messages of 1 MiB"
    yield Row(
        "server_receive_1mib", f"a server receives {large}", "sink", "flood", "MiB/s", 200, MIB
    )
    yield Row("server_send_1mib", f"a server sends {large}", "source", "drain", "MiB/s", 200, MIB)
    yield Row(
        "server_pipelined",
        "a server echoes, 64 at a time",
        "echo",
        "echo",
        "msg/s",
        50_000,
        window=64,
    )
    for number in (100, 1000):
        yield Row(
            f"server_echo_{number}",
            f"a server echoes on {number} connections",
            "echo",
            "echo_many",
            "msg/s",
            30_000,
            connections=number,
        )
    yield Row(
        "server_fanout_100",
        "a server sends what a client says to 100",
        "fanout",
        "fanout",
        "msg/s",
        48_000,
        connections=100,
        window=16,
    )
    yield Row("server_open", "a server accepts connections", "echo", "hold", "conn/s", 1000)
    yield Row("server_idle", "memory of an idle connection", "echo", "hold", "KiB", 1000)

    yield Row("client_roundtrip", "a client's echo of 64 bytes", "roundtrip", "echo", "us", 10_000)
    yield Row("client_receive", f"a client receives {small}", "receive", "flood", "msg/s", 150_000)
    yield Row("client_send", f"a client sends {small}", "send", "sink", "msg/s", 50_000)
    yield Row("client_send_many", "... by send_many()", "send_many", "sink", "msg/s", 200_000)
    yield Row("client_send_batch", "... within batch()", "send_batch", "sink", "msg/s", 100_000)
    yield Row(
        "client_receive_1mib", f"a client receives {large}", "receive", "flood", "MiB/s", 200, MIB
    )
    yield Row("client_send_1mib", f"a client sends {large}", "send", "sink", "MiB/s", 200, MIB)


def _compressed_rows():
    book, books = "an order book of 4 KiB, compressed", "order books of 4 KiB, compressed"
    how = {"size": 4096, "deflate": True}
    yield Row("deflate_server_echo", f"a server echoes {book}", "echo", "echo", "us", 5000, **how)
    yield Row(
        "deflate_server_receive",
        f"a server receives {books}",
        "sink",
        "flood",
        "msg/s",
        30_000,
        **how,
    )
    yield Row(
        "deflate_client_roundtrip",
        f"a client's echo of {book}",
        "roundtrip_json",
        "echo",
        "us",
        5000,
        **how,
    )
    receive = Row(
        "deflate_client_receive",
        f"a client receives {books}",
        "receive",
        "flood",
        "msg/s",
        30_000,
        **how,
    )
    yield receive
    yield _over_tls(receive)


#: Those that are measured over TLS, too.
TLS_ROWS = (
    "server_roundtrip",
    "server_receive",
    "server_send",
    "server_receive_1mib",
    "server_send_1mib",
    "server_fanout_100",
    "server_open",
    "client_roundtrip",
    "client_receive",
    "client_send",
    "client_receive_1mib",
    "client_send_1mib",
)


def _rows():
    plain = {row.name: row for row in _plain_rows()}
    yield from plain.values()
    for name in TLS_ROWS:
        yield _over_tls(plain[name])
    yield from _compressed_rows()


ROWS = {row.name: row for row in _rows()}
