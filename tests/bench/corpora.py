"""Messages like those that programs send, the same in every run.

Each function returns messages of about ``size`` bytes, without end; no two are the same.
"""

import itertools
import json
import pathlib
import random
import zlib

_TEXT = """
the to and of a in is it you that for on have with this be are not but can we as at they so what
do there if all just like will get from out when up one about time know your think now see good
would work people go want how more then some need here going back make look right really thanks
message server order today tomorrow meeting ready problem question customer payment deploy release
shipping ticket address number morning evening coffee lunch office version update screen picture
download account password library window network error result review branch product price market
"""

#: Common words first: each is chosen half as often as one that stands at half its place, as words
#: of a language are.
WORDS = _TEXT.split()
_WEIGHTS = list(itertools.accumulate(1 / rank for rank in range(1, len(WORDS) + 1)))


def _sentence(rng, number):
    return " ".join(rng.choices(WORDS, cum_weights=_WEIGHTS, k=number)).capitalize() + "."


def order_books(size):
    """Snapshots of an order book in JSON.

    From one to the next a tenth of the quantities change, and now and then all prices move.
    """
    rng = random.Random(1)
    levels = max(1, (size - 80) // 46)
    middle = 43_210.50
    quantities = [[rng.uniform(0.001, 3) for _ in range(levels)] for _ in range(2)]
    sequence, clock = 160, 1_700_000_000_000
    while True:
        sequence += rng.randrange(1, 9)
        clock += rng.randrange(20, 200)
        if rng.random() < 0.3:
            middle += rng.choice((-0.5, 0.5))
        for side in quantities:
            for _ in range(max(1, levels // 10)):
                side[rng.randrange(levels)] = rng.uniform(0.001, 3)
        bids, asks = (
            [
                [f"{middle + sign * (level + 1) * 0.5:.2f}", f"{quantity:.5f}"]
                for level, quantity in enumerate(side)
            ]
            for sign, side in zip((-1, 1), quantities)
        )
        book = {"e": "depth", "s": "BTCUSDT", "E": clock, "u": sequence, "b": bids, "a": asks}
        yield json.dumps(book, separators=(",", ":"))


def some_order_books(size):
    """More of them than the largest window holds, so that they can come again and again."""
    return list(itertools.islice(order_books(size), 32))


def chat(size):
    """What people write, in JSON; a message of KiB is a room's history."""
    rng = random.Random(2)
    names = ["ana", "bartholomew", "chen", "dmitri", "eve", "fatima", "gus", "hiroshi"]
    number, clock = 81_220, 1_700_000_000

    def write(most_words):
        nonlocal number, clock
        number += 1
        clock += rng.randrange(1, 90)
        text = _sentence(rng, max(2, min(rng.randrange(4, 40), most_words)))
        return {"id": number, "from": rng.choice(names), "at": clock, "text": text}

    while True:
        if size < 1024:
            yield json.dumps(write((size - 60) // 5))
        else:
            history = [write(40) for _ in range(size // 155)]
            yield json.dumps({"room": "general", "history": history})


def log_lines(size):
    """Lines of a web server's access log."""
    rng = random.Random(3)
    paths = [f"/{rng.choice(WORDS)}/{rng.choice(WORDS)}" for _ in range(40)]
    agents = [
        "Mozilla/5.0 (X11; Linux x86_64; rv:124.0) Gecko/20100101 Firefox/124.0",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15",
        "curl/8.5.0",
    ]
    second = 0
    while True:
        lines, length = [], 0
        while length < size:
            second += rng.randrange(3)
            time = f"{second // 3600 % 24:02}:{second // 60 % 60:02}:{second % 60:02}"
            status = rng.choices((200, 304, 404, 500), (80, 12, 6, 2))[0]
            lines.append(
                f"10.{rng.randrange(8)}.{rng.randrange(256)}.{rng.randrange(256)} - - "
                f'[12/Mar/2026:{time} +0000] "GET {rng.choice(paths)}?id={rng.randrange(10**6)} '
                f'HTTP/1.1" {status} {rng.randrange(10**5)} "-" "{rng.choice(agents)}"'
            )
            length += len(lines[-1]) + 1
        yield "\n".join(lines)[:size]


def html(size):
    """Pages of a shop, or pieces of them."""
    rng = random.Random(4)
    while True:
        parts = [f'<section class="results" data-page="{rng.randrange(100)}">\n']
        while sum(map(len, parts)) < size:
            number = rng.randrange(10**6)
            parts.append(
                f'  <article class="card card--small" id="item-{number}">\n'
                f'    <a class="card__link" href="/items/{number}">{_sentence(rng, 4)}</a>\n'
                f'    <p class="card__text">{_sentence(rng, rng.randrange(8, 30))}</p>\n'
                f'    <span class="card__price">&euro;{rng.randrange(10**4) / 100:.2f}</span>\n'
                f"  </article>\n"
            )
        yield "".join(parts)[:size]


def source(size):
    """Pieces of this package's source."""
    import syncws  # here, as the driver of compare.py has nothing to do with it

    files = sorted(pathlib.Path(syncws.__file__).parent.rglob("*.py"))
    text = "".join(file.read_text(encoding="utf-8") for file in files)
    rng = random.Random(5)
    while True:
        start = rng.randrange(max(1, len(text) - size))
        yield text[start : start + size].encode()[:size]


def compressed(size):
    """What is compressed already."""
    rng = random.Random(6)
    while True:
        digits = b"%x" % rng.getrandbits(8 * size + 64)
        yield zlib.compress(digits)[2 : 2 + size]


#: What there is, and the sizes in bytes that messages of its kind have.
CORPORA = {
    "market": (order_books, (256, 4096, 1 << 16)),
    "chat": (chat, (64, 256, 4096)),
    "log": (log_lines, (256, 4096, 1 << 16)),
    "html": (html, (1024, 1 << 14, 1 << 20)),
    "source": (source, (1024, 1 << 14, 1 << 20)),
    "compressed": (compressed, (256, 4096, 1 << 20)),
}


def messages(name, size, number):
    """That many messages of a corpus, as bytes."""
    make, _ = CORPORA[name]
    return [
        message.encode() if isinstance(message, str) else message
        for message in itertools.islice(make(size), number)
    ]
