"""The measurement of compression runs, on messages that are the same in every run."""

import json
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent


@pytest.fixture(scope="module")
def corpora(import_program):
    return import_program("corpora")


def measure(*args):
    return subprocess.run(
        [sys.executable, HERE / "compression.py", *args],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )


def test_every_setting_gets_a_line(tmp_path):
    out = tmp_path / "figures.json"
    done = measure("--quick", "--only", "chat", "--backend", "zlib", "--json", str(out))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    lines = json.loads(out.read_text())
    sizes, modes, levels, windows, memory_levels = 3, 2, 4, 2, 3
    assert len(lines) == sizes * modes * levels * windows * memory_levels
    assert len(done.stdout.splitlines()) == len(lines) + 1
    for line in lines:
        assert line["deflate"] > 0 < line["inflate"]
        assert 0 < line["percent"] < 150
        assert line["memory"] > 20


def test_an_unknown_corpus_is_an_error():
    done = measure("--only", "chat,poems")
    assert done.returncode == 2
    assert "no corpus is called 'poems'; there are market, chat, " in done.stderr


def test_messages_differ_and_come_again_in_the_next_run(corpora):
    for name, (_, sizes) in corpora.CORPORA.items():
        for size in sizes:
            some = corpora.messages(name, size, 3)
            assert len(set(some)) == 3
            assert all(size / 4 < len(message) < size * 1.5 for message in some), name
            assert corpora.messages(name, size, 3) == some


def test_more_order_books_than_a_window_holds(corpora):
    assert sum(map(len, corpora.some_order_books(4096))) > 2 * 32768
