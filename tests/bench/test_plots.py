"""The benchmark page says what was measured, and is the one that the recorded figures make."""

import copy
import re
import sys
import xml.etree.ElementTree as ET

import pytest

CONTENT = {
    "date": "2026-01-02",
    "command": "python tests/bench/compare.py --rounds 4",
    "cores": 8,
    "processor": "Some Processor",
    "python": "3.11.7",
    "rounds": 4,
    "versions": {"syncws": "1.2 (c)", "websockets": "15.0", "picows": "2.0", "aiohttp": "3.9"},
    "figures": {
        "server_roundtrip": {"syncws": 20.0, "picows": 25.0, "websockets": 100.0, "aiohttp": 50.0},
        "server_send": {"syncws": 4000.0, "websockets": 1000.0, "picows": 8000.0},
        "server_send_many": {"syncws": 9000.0},
        "client_send": {"syncws": 3000.0},
        "client_receive": {},
        "tls_client_roundtrip": {"syncws": 15.0, "websocket-rs": 18.0},
    },
}


@pytest.fixture(scope="module")
def plots(import_program):
    return import_program("plots")


@pytest.fixture(scope="module")
def recorded(plots):
    return plots.json.loads(plots.FIGURES.read_text(encoding="utf-8"))


def test_the_best_comes_first_whether_less_or_more_is_better(plots):
    roundtrip, send = plots.panels(CONTENT, "server")
    assert [label for label, _, _ in roundtrip.bars] == [
        "syncws",
        "picows",
        "aiohttp",
        "websockets",
    ]
    assert [figure for _, _, figure in send.bars] == [9000.0, 8000.0, 4000.0, 1000.0]


def test_another_way_to_do_a_thing_is_in_the_same_diagram(plots):
    send = plots.panels(CONTENT, "server")[1]
    assert send.bars[0] == ("syncws by send_many()", "syncws", 9000.0)
    assert "syncws by send_many()" not in send.figures


def test_another_way_alone_has_a_diagram(plots):
    content = {"figures": {"server_send_many": {"syncws": 9000.0}}}
    (panel,) = plots.panels(content, "server")
    assert panel.bars == [("syncws by send_many()", "syncws", 9000.0)]


def test_each_group_has_its_own(plots):
    assert [panel.row.name for panel in plots.panels(CONTENT, "client")] == ["client_send"]
    assert [panel.row.name for panel in plots.panels(CONTENT, "tls")] == ["tls_client_roundtrip"]


def test_a_group_of_which_nothing_was_measured_is_left_out(plots):
    assert plots.groups(CONTENT) == ["server", "client", "tls"]
    assert "(benchmarks/tls.svg)" in plots.page(CONTENT)
    assert "(benchmarks/deflate.svg)" not in plots.page(CONTENT)


def test_a_table_compares_with_threads_and_with_event_loops(plots):
    lines = list(plots.table(CONTENT, "server"))
    assert lines[2] == (
        "| A server echoes 64 bytes (microseconds, less is better) | **20.0** "
        "| `websockets`: 100.0 (5.00) | `picows`: 25.0 (1.25) |"
    )
    assert "| **4,000** | `websockets`: 1,000 (4.00) | `picows`: 8,000 (0.50) |" in lines[3]
    assert list(plots.table(CONTENT, "client"))[2].endswith("| **3,000** | - | - |")


def test_a_row_without_syncws_is_in_no_table(plots):
    content = copy.deepcopy(CONTENT)
    del content["figures"]["server_send"]["syncws"]
    assert (
        len(list(plots.table(content, "server"))) == len(list(plots.table(CONTENT, "server"))) - 1
    )


def test_the_page_says_when_where_and_how(plots):
    text = plots.page(CONTENT)
    for part in (
        "2026-01-02; the best of 4 rounds.",
        "Some Processor, 8 cores",
        "**Python**: 3.11.7.",
        "websockets 15.0",
        "`python tests/bench/compare.py --rounds 4`",
        "(benchmarks/server.svg)",
        "(benchmarks/client.svg)",
    ):
        assert part in text
    assert "; one round." in plots.page({**CONTENT, "rounds": 1})


def test_the_page_is_that_of_the_recorded_figures(plots, recorded):
    assert plots.PAGE.read_text(encoding="utf-8") == plots.page(recorded), (
        "run: python tests/bench/plots.py"
    )


def test_recorded_figures_are_real_and_complete(plots, recorded):
    assert not recorded["quick"]
    assert set(recorded["figures"]) == set(plots.ROWS)
    assert set(recorded["versions"]) > plots.BLOCKING - {"websocket-rs"}  # needs Python 3.12


@pytest.mark.parametrize("group", ["server", "client", "tls", "deflate"])
def test_the_plots_show_every_recorded_row(plots, recorded, group):
    root = ET.parse(plots.FOLDER / f"{group}.svg").getroot()
    texts = {
        "".join(text.itertext()).strip() for text in root.iter("{http://www.w3.org/2000/svg}text")
    }
    for panel in plots.panels(recorded, group):
        assert f"{plots.sentence(panel.row)} ({plots.unit(panel.row)})" in texts
        for label, _, figure in panel.bars:
            assert {label, plots.format_figure(figure)} <= texts


def test_a_plot_is_drawn_the_same_each_time(plots, tmp_path):
    pytest.importorskip("matplotlib", reason="drawing takes the extra 'bench'")
    for name in ("one", "two"):
        plots.draw(CONTENT, "server", tmp_path / f"{name}.svg")
    drawn = (tmp_path / "one.svg").read_text(encoding="utf-8")
    assert drawn == (tmp_path / "two.svg").read_text(encoding="utf-8")
    assert plots.OUR_COLOR in drawn
    assert not re.search(r"\d{4}-\d\d-\d\dT", drawn)


def test_the_file_for_figures_is_no_part_of_the_command(plots):
    shown = sys.modules["compare"].shown_arguments
    assert shown(["--json", "a.json", "--rounds", "2", "--json=b.json"]) == ["--rounds", "2"]
