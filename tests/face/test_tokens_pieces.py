"""Where a long text is cut."""

from __future__ import annotations

import random
import string
from typing import Final

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.tokens.pieces import MAX_PIECE_CHARS, pieces_of

from .encodings import bare_encoding

ENCODINGS: Final = ("r50k_base", "cl100k_base", "o200k_base")


@pytest.fixture(scope="module", params=ENCODINGS)
def encoding(request: pytest.FixtureRequest) -> tiktoken.Encoding:
    return bare_encoding(request.param)


@given(
    text=st.text(max_size=40), times=st.integers(0, 3000), rest=st.text("a1 \n.\u4e2d", max_size=40)
)
def test_the_pieces_are_the_text_and_none_is_empty_or_too_long(
    text: str, times: int, rest: str
) -> None:
    whole = text * times + rest
    pieces = list(pieces_of(whole))
    assert "".join(pieces) == whole
    assert all(0 < len(piece) <= MAX_PIECE_CHARS for piece in pieces)


ODD: Final = (
    "ab Zé1²٣_'’.,-/+=\n\r\t \u00a0\u3000\u0301中のไทΩ\U0001f600\u200dstTlLdrevmſ\x1c\x85。,Ⅻ½"
)


def test_a_cut_at_a_boundary_changes_no_token(encoding: tiktoken.Encoding) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    cuts = 0
    for _ in range(300):
        # Odd characters up to where the text must be cut, and nothing between that would do.
        before = "".join(rng.choices(ODD, k=60))
        after = "".join(rng.choices(ODD, k=60))
        text = "a" * (MAX_PIECE_CHARS - rng.randrange(2, 58)) + before + after
        pieces = list(pieces_of(text))
        if len(pieces[0]) < MAX_PIECE_CHARS:
            cuts += 1
            apart = [token for piece in pieces for token in encoding.encode_ordinary(piece)]
            assert apart == encoding.encode_ordinary(text)
    assert cuts > 200


@pytest.mark.parametrize(
    "text",
    [
        "some words of a usual length, " * 2000,
        "\n".join(f"{number}: the line\t{number}" for number in range(8000)),
        "".join(random.Random(7).choices(string.ascii_letters + string.digits + "+/", k=60_000)),
        "我们同意明天下午三点见面,请带上合同。" * 2000,
        "    if value:\n        return {'key': [1, 2, 3]}\n\n" * 1000,
    ],
    ids=["words", "lines", "base64", "ideographs", "code"],
)
def test_ordinary_texts_have_the_tokens_of_their_pieces(
    text: str, encoding: tiktoken.Encoding
) -> None:
    pieces = list(pieces_of(text))
    assert len(pieces) > 2
    apart = [token for piece in pieces for token in encoding.encode_ordinary(piece)]
    assert apart == encoding.encode_ordinary(text)


@pytest.mark.parametrize("alphabet", ["abcdefgh", "0123456789", " \n", "\U0001f600\u200d", "ab."])
def test_where_there_is_no_boundary_a_cut_makes_three_tokens_more_at_most(
    alphabet: str, encoding: tiktoken.Encoding
) -> None:
    rng = random.Random(11)
    text = "".join(rng.choices(alphabet, k=4 * MAX_PIECE_CHARS))
    pieces = list(pieces_of(text))
    apart = sum(len(encoding.encode_ordinary(piece)) for piece in pieces)
    assert abs(apart - len(encoding.encode_ordinary(text))) <= 3 * (len(pieces) - 1)
