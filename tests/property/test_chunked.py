"""The chunked coding: what one side encodes, the other decodes, however it was cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from japronto.limits import Limits
from japronto.pure.chunked import FORBIDDEN_TRAILERS, LAST_CHUNK, ChunkedDecoder, encode_chunk

from . import strategies
from .driving import fields_of


def decode(pieces: list[bytes], limits: Limits, content_max: int) -> tuple[ChunkedDecoder, bytes, bytes]:
    """A decoder that was fed ``pieces``, the content it found, and the octets it did not take."""
    decoder, content, rest = ChunkedDecoder(limits, content_max), b"", b""
    for piece in pieces:
        buffer = rest + piece
        if decoder.done or decoder.violation:
            rest = buffer
            continue
        found, taken = decoder.feed(buffer, 0)
        content += found
        rest = buffer[taken:]
    return decoder, content, rest


@given(pieces=st.lists(st.binary(min_size=1, max_size=300), max_size=6), rest=st.binary(max_size=10),
       data=st.data())
def test_what_was_encoded_is_decoded(pieces: list[bytes], rest: bytes, data: st.DataObject) -> None:
    octets = b"".join(map(encode_chunk, pieces)) + LAST_CHUNK
    content = b"".join(pieces)
    for cut in ([octets + rest], data.draw(strategies.cuts(octets + rest))):
        decoder, got, left = decode(cut, Limits(), len(content))
        assert (got, left, decoder.trailers) == (content, rest, b"")
        assert decoder.done
        assert decoder.violation is None


@given(coded=strategies.chunked(), rest=st.binary(max_size=10), data=st.data())
def test_all_that_the_grammar_allows_is_decoded(coded: strategies.Coded, rest: bytes,
                                                data: st.DataObject) -> None:
    cut = data.draw(strategies.cuts(coded.octets + rest))
    decoder, content, left = decode(cut, Limits(), len(coded.content))
    assert (content, left) == (coded.content, rest)
    assert fields_of(decoder.trailers) == strategies.kept(coded.trailers)
    assert decoder.done


@given(coded=strategies.chunked(), data=st.data())
def test_an_end_is_needed(coded: strategies.Coded, data: st.DataObject) -> None:
    """Nothing shorter is complete, and what there is of it is handed over at once."""
    end = data.draw(st.integers(0, len(coded.octets) - 1))
    decoder, content, left = decode([coded.octets[:end]], Limits(), len(coded.content))
    assert not decoder.done
    assert decoder.violation is None
    assert coded.content.startswith(content)
    assert len(left) <= coded.line_bytes + 1 or content == coded.content


@given(coded=strategies.chunked(), data=st.data(), limits=strategies.limits())
def test_any_octets(coded: strategies.Coded, data: st.DataObject, limits: Limits) -> None:
    """The verdict is the same for every cut, and no content is made up."""
    octets = data.draw(strategies.mutated(coded.octets) | st.binary(max_size=40))
    pieces = data.draw(strategies.cuts(octets))
    whole, content, left = decode([octets], limits, limits.content_bytes)
    cut, content_of_cut, left_of_cut = decode(pieces, limits, limits.content_bytes)
    assert (cut.done, cut.violation, content_of_cut) == (whole.done, whole.violation, content)
    assert cut.trailers == whole.trailers
    assert left_of_cut == left or whole.violation
    assert len(content) <= limits.content_bytes
    assert not any(name.lower() in FORBIDDEN_TRAILERS for name, _ in fields_of(whole.trailers))


@given(content=st.binary(max_size=200), most=st.integers(0, 200), size=st.integers(1, 50))
def test_the_sum_of_chunks_is_bounded(content: bytes, most: int, size: int) -> None:
    """Nothing of the chunk that passes the bound is taken."""
    pieces = [content[at:at + size] for at in range(0, len(content), size)]
    decoder, got, _ = decode([b"".join(map(encode_chunk, pieces)) + LAST_CHUNK], Limits(), most)
    assert decoder.done is (len(content) <= most)
    assert (decoder.violation.status if decoder.violation else 0) == (0 if decoder.done else 413)
    assert got == content[:len(content) if decoder.done else most // size * size]
