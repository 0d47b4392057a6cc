#!/usr/bin/env python3
"""Make the benchmark page, docs/benchmarks.md, and its plots.

    pip install ".[bench]"
    python tests/bench/plots.py --measure      # measures everything first; takes some minutes
    python tests/bench/plots.py                # from the figures that are recorded

What is measured is recorded in docs/benchmarks/figures.json. Arguments after ``--measure`` are
compare.py's: ``--rounds 5``, ``--only client_send,server_send``.
"""

import argparse
import dataclasses
import json
import pathlib
import subprocess
import sys

from compare import OURS, best_peer, format_figure, format_ratio, ratio
from rows import ROWS, Row

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"
FOLDER = ROOT / "docs" / "benchmarks"
FIGURES = FOLDER / "figures.json"

#: Each has a plot and a table.
GROUPS = {"server": "Servers", "client": "Clients", "tls": "TLS", "deflate": "Compression"}

UNITS = {"us": "microseconds", "msg/s": "messages a second", "conn/s": "connections a second"}

#: The libraries that use threads and blocking calls, as syncws does.
BLOCKING = {"curl_cffi", "simple-websocket", "websocket-client", "websocket-rs", "websockets"}

OUR_COLOR, OTHER_COLOR = "#2a6fdb", "#b8c0cc"


@dataclasses.dataclass
class Panel:
    """What one diagram shows.

    Attributes:
        row: what was measured.
        figures: of each implementation, by its one call.
        bars: all that is to be shown, the best first: labels, and whose figures these are.
    """

    row: Row
    figures: dict
    bars: list


def panels(content, group):
    """The panels of a group; a row that begins with dots is another way to do the one before."""
    found = []
    for name, figures in content["figures"].items():
        row = ROWS[name]
        if row.group != group or not figures:
            continue
        way = row.meaning[3:] if row.meaning.startswith("...") else ""
        if not way or not found:
            found.append(Panel(row, figures, []))
        found[-1].bars += [(impl + way, impl, figure) for impl, figure in figures.items()]
    for panel in found:
        panel.bars.sort(key=lambda bar: bar[2], reverse=not panel.row.less_is_better)
    return found


def groups(content):
    """The groups of which something was measured."""
    return [group for group in GROUPS if panels(content, group)]


def sentence(row):
    """What a row means, as the beginning of a sentence."""
    return row.meaning[0].upper() + row.meaning[1:]


def unit(row):
    """The unit of a row, and which way is better if that isn't more."""
    name = UNITS.get(row.unit, row.unit)
    return f"{name}, less is better" if row.less_is_better else name


# --- the page ----------------------------------------------------------------------

PAGE_TEXT = """\
# Benchmarks

How syncws compares with other libraries, on one machine. Yours differs: measure there what matters
to your program. [The benchmark's page](../tests/bench/README.md) says what each row means.

- **When**: {date}; {rounds}.
- **Machine**: {processor}, {cores} cores, of which both ends share one.
- **Python**: {python}.
- **Libraries**: {versions}.
- **Command**: `{command}`

Each library is used as its documentation shows, with its defaults; compression is off unless
a row says otherwise. The other end is the same small program for all of them, and its own work is
part of every figure. Libraries with an event loop save the switches between threads; where there
are many connections, or many small messages each way, that counts. The number in brackets says how
many times as good syncws is: above 1 is better.

{groups}
All figures are in [figures.json](benchmarks/figures.json). `python tests/bench/plots.py` makes this
page and its plots from them; with `--measure` it measures first.
"""

GROUP_TEXT = """\
## {title}

![{title}: a diagram for each row of the table below](benchmarks/{group}.svg)

{table}

"""


def table(content, group):
    """Lines of Markdown: syncws beside the best of the others, of each kind."""
    yield "| what | syncws | best with threads | best with an event loop |"
    yield "|---|---:|---|---|"
    for panel in panels(content, group):
        row, ours = panel.row, panel.figures.get(OURS)
        if ours is None:
            continue
        threads = {name: it for name, it in panel.figures.items() if name in BLOCKING}
        loops = {name: it for name, it in panel.figures.items() if name not in BLOCKING}
        cells = [f"{sentence(row)} ({unit(row)})", f"**{format_figure(ours)}**"]
        cells += [peer(row, ours, threads), peer(row, ours, loops)]
        yield f"| {' | '.join(cells)} |"


def peer(row, ours, figures):
    """The best of these, and how many times as good syncws is."""
    best = best_peer(row, figures)
    if best is None:
        return "-"
    times = format_ratio(ratio(row, ours, figures[best]))
    return f"`{best}`: {format_figure(figures[best])} ({times})"


def page(content):
    """The text of the page."""
    rounds = content["rounds"]
    texts = [
        GROUP_TEXT.format(title=GROUPS[group], group=group, table="\n".join(table(content, group)))
        for group in groups(content)
    ]
    return PAGE_TEXT.format(
        **{key: content[key] for key in ("date", "processor", "cores", "python", "command")},
        rounds=f"the best of {rounds} rounds" if rounds > 1 else "one round",
        versions=", ".join(f"{name} {it}" for name, it in content["versions"].items()),
        groups="".join(texts).rstrip("\n") + "\n",
    )


# --- the plots ---------------------------------------------------------------------


def draw(content, group, path):
    """Write a plot: one diagram for each panel of a group."""
    import matplotlib as mpl

    mpl.use("svg")
    # The same figures make the same file.
    mpl.rcParams.update({"svg.hashsalt": group, "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot

    shown = panels(content, group)
    heights = [len(panel.bars) + 2 for panel in shown]
    figure, axes = pyplot.subplots(
        len(shown), figsize=(8, sum(heights) * 0.21), height_ratios=heights, squeeze=False
    )
    for panel, ax in zip(shown, axes[:, 0]):
        _draw_panel(panel, ax)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)


def _draw_panel(panel, ax):
    colors = [OUR_COLOR if impl == OURS else OTHER_COLOR for _, impl, _ in panel.bars]
    figures = [figure for _, _, figure in panel.bars]
    bars = ax.barh([label for label, _, _ in panel.bars], figures, color=colors, height=0.75)
    ax.bar_label(bars, [format_figure(figure) for figure in figures], padding=3, fontsize=8)
    ax.set_title(f"{sentence(panel.row)} ({unit(panel.row)})", loc="left", fontsize=9)
    ax.set_xlim(0, max(figures) * 1.12)
    ax.set_xticks([])
    ax.tick_params(axis="y", length=0)
    ax.invert_yaxis()  # the best on top
    for side in ("top", "right", "bottom"):
        ax.spines[side].set_visible(False)


# --- the command -------------------------------------------------------------------


def measure(arguments):
    """Record new figures; return whether all could be measured."""
    FOLDER.mkdir(exist_ok=True)
    command = [sys.executable, pathlib.Path(__file__).with_name("compare.py")]
    return not subprocess.run([*command, "--json", FIGURES, *arguments], check=False).returncode


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", nargs=argparse.REMAINDER, metavar="ARGUMENT")
    options = parser.parse_args()
    complete = options.measure is None or measure(options.measure)
    content = json.loads(FIGURES.read_text(encoding="utf-8"))
    PAGE.write_text(page(content), encoding="utf-8")
    for group in groups(content):
        draw(content, group, FOLDER / f"{group}.svg")
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
