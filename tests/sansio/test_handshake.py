import base64

import pytest

from syncws.sansio.handshake import accept_value, generate_key, is_key


def test_keys_are_16_random_bytes():
    keys = {generate_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(is_key(key) and len(base64.b64decode(key)) == 16 for key in keys)


def test_accept_value_answers_the_key():
    # RFC 6455 §1.3
    assert accept_value("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize(
    "key",
    [
        "",
        "x",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZQ=",
        "dGhlIHNhbXBsZSBub25jZQ== ",
        "dGhlIHNhbXBsZSBub25jZS4u",  # 18 bytes
        "dGhlIHNhbXBsZSBub25jZS4=",  # 17 bytes
        "dGhlIHNhbXBsZSBub25j!!==",
        "dGhl=HNhbXBsZSBub25jZQ==",
        "é" * 24,
    ],
)
def test_what_is_not_16_bytes_in_base64_is_no_key(key):
    assert not is_key(key)
