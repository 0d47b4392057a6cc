import importlib.util
import sys
import tracemalloc
import types
import zlib

import pytest

from syncws.sansio.extensions import permessage_deflate, zlib_backend
from syncws.sansio.extensions.zlib_backend import _choose


@pytest.fixture
def zlib_ng(monkeypatch):
    """What is imported as zlib-ng, whether it is installed or not."""
    package, module = types.ModuleType("zlib_ng"), types.ModuleType("zlib_ng.zlib_ng")
    monkeypatch.setitem(sys.modules, "zlib_ng", package)
    monkeypatch.setitem(sys.modules, "zlib_ng.zlib_ng", module)
    return module


@pytest.mark.parametrize("value", [None, "", "0"])
def test_zlib_ng_is_used_where_it_is_installed(monkeypatch, zlib_ng, value):
    monkeypatch.delenv("SYNCWS_PURE", raising=False)
    if value is not None:
        monkeypatch.setenv("SYNCWS_PURE", value)
    assert _choose() is zlib_ng


def test_zlib_is_used_where_the_environment_says_so(monkeypatch, zlib_ng):
    monkeypatch.setenv("SYNCWS_PURE", "1")
    assert _choose() is zlib


def test_zlib_is_used_without_zlib_ng(monkeypatch):
    monkeypatch.delenv("SYNCWS_PURE", raising=False)
    monkeypatch.setitem(sys.modules, "zlib_ng", None)
    monkeypatch.setitem(sys.modules, "zlib_ng.zlib_ng", None)
    assert _choose() is zlib


def test_the_extension_uses_what_was_chosen():
    assert permessage_deflate.zlib is zlib_backend.zlib


@pytest.mark.parametrize("name", ["zlib", "zlib_ng.zlib_ng"])
@pytest.mark.parametrize("bits", [9, 12, 15])
@pytest.mark.parametrize("memory_level", [1, 5, 8, 9])
def test_size_of_a_compressor_is_what_it_takes(name, bits, memory_level):
    implementation = pytest.importorskip(name)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        compressor = implementation.compressobj(1, zlib.DEFLATED, -bits, memory_level)
        compressor.compress(b"x" * 100)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    size = zlib_backend.compressor_size(bits, memory_level, implementation)
    assert size == pytest.approx(after - before, abs=4 << 10)


def test_compressors_of_zlib_ng_are_larger(zlib_ng):
    sizes = [zlib_backend.compressor_size(15, 8, module) for module in (zlib, zlib_ng)]
    assert [size >> 10 for size in sizes] == [262, 343]


def inflated(implementation, bits, pieces, limit):
    """Return what comes of compressed pieces, inflated a little at a time."""
    inflater = implementation.decompressobj(-bits)
    text = b""
    for piece in pieces:
        while piece:
            text += inflater.decompress(piece, limit)
            piece = inflater.unconsumed_tail
    return text


@pytest.mark.skipif(
    importlib.util.find_spec("zlib_ng") is None, reason="zlib-ng is an optional package"
)
@pytest.mark.parametrize("level", range(-1, 10))
@pytest.mark.parametrize("bits", [9, 10, 12, 15])
def test_zlib_and_zlib_ng_understand_each_other(bits, level):
    zlib_ng = importlib.import_module("zlib_ng.zlib_ng")
    messages = [b"%d, " % (i * i) * (i % 9) + bytes(i) for i in range(1, 300)]
    for one, other in (zlib, zlib_ng), (zlib_ng, zlib):
        deflater = one.compressobj(level, one.DEFLATED, -bits, 5)
        pieces = [deflater.compress(m) + deflater.flush(one.Z_SYNC_FLUSH) for m in messages]
        assert all(piece.endswith(b"\x00\x00\xff\xff") for piece in pieces)
        # What is compressed with 9 bits is sent where a peer's window has 8.
        window = 8 if bits == 9 and other is zlib else bits
        assert inflated(other, window, pieces, 7) == b"".join(messages)
