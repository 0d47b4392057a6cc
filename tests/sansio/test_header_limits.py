import sys

import pytest

from syncws.exceptions import HeaderLineTooLong, TooManyHeaders
from syncws.sansio.header_limits import check_headers, header_limits
from syncws.sansio.headers import Headers


def test_all_headers_may_have_four_times_as_much_as_one():
    assert header_limits(100) == (100, 400)
    assert header_limits(None) == (sys.maxsize, sys.maxsize)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_is_positive(limit):
    with pytest.raises(ValueError, match="max_header_size must be at least 1"):
        header_limits(limit)


def test_headers_that_were_parsed_elsewhere_have_the_same_limits():
    headers = Headers([("A", "b" * 97)] * 3)  # 100 bytes each, 102 with the line's end
    check_headers(headers, None)
    check_headers(headers, 100)
    check_headers(Headers(), 1)
    with pytest.raises(HeaderLineTooLong, match="more than 99 bytes"):
        check_headers(headers, 99)
    with pytest.raises(TooManyHeaders, match="more than 400 bytes"):
        check_headers(Headers([("A", "b" * 97)] * 4), 100)
