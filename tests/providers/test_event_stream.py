import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.domain.errors import ModelError
from perdure.providers.event_stream import EventParser

STREAM = (
    b'data: {"a":1}\n\n: a comment\n\nevent: x\ndata:two\n\n'
    b"data: three\ndata: lines\ndata\n\nid: 7\n\ndata: \xf0\x9f\x98\x80\n\n"
)
PAYLOADS = [b'{"a":1}', b"two", b"three\nlines\n", b"\xf0\x9f\x98\x80"]


def parsed(*pieces: bytes) -> list[bytes]:
    parser = EventParser()
    return [*itertools.chain.from_iterable(parser.feed(piece) for piece in pieces), *parser.finish()]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_every_line_end_and_every_cut_gives_the_same_payloads(line_end: bytes) -> None:
    stream = STREAM.replace(b"\n", line_end)
    assert parsed(stream) == PAYLOADS
    assert parsed(*(stream[at : at + 1] for at in range(len(stream)))) == PAYLOADS
    for at in range(len(stream)):
        assert parsed(stream[:at], stream[at:]) == PAYLOADS


@given(
    st.lists(st.sampled_from([b"a", b"data: x", b'{"k": "v"}'.rjust(40)]), min_size=1, max_size=8),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.lists(st.integers(0, 400), max_size=12),
)
def test_any_cuts_at_all(texts: list[bytes], line_end: bytes, cuts: list[int]) -> None:
    stream = b"".join(b"data: " + text + line_end * 2 for text in texts)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    assert parsed(*(stream[a:b] for a, b in itertools.pairwise(edges))) == texts


def test_mixed_line_ends_byte_order_mark_and_extra_blank_lines() -> None:
    assert parsed(b"\xef\xbb\xbfdata: a\r\n\n\n\n\ndata: b\r\r\ndata: c\n\r\n") == [b"a", b"b", b"c"]


def test_a_return_is_a_line_end_at_once() -> None:
    parser = EventParser()
    assert parser.feed(b"data: a\r\r") == [b"a"]
    assert parser.feed(b"\ndata: b\n") == []
    assert parser.feed(b"\n") == [b"b"]


def test_events_without_data_are_dropped() -> None:
    assert parsed(b"data:\n\n\n\nevent: ping\n\ndata: \n\ndatax: 1\n\n") == []


def test_the_last_event_counts_without_its_blank_line_but_not_if_it_was_cut() -> None:
    assert parsed(b"data: a\n\ndata: [DONE]\n") == [b"a", b"[DONE]"]
    assert parsed(b'data: a\n\ndata: {"cut') == [b"a"]


def test_an_event_over_the_limit_is_refused_however_it_comes() -> None:
    parser = EventParser(limit=100)
    assert parser.feed(b"data: " + b"x" * 80 + b"\n\n") == [b"x" * 80]
    parser.feed(b"data: x\n" * 12)
    with pytest.raises(ModelError, match="LLM") as raised:
        parser.feed(b"data: x\n")
    assert "more than 100 bytes" in raised.value.detail
