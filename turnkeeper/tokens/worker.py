"""The process that holds an encoding: reads texts, answers how many tokens each has.

It is run by its path and imports nothing of ours, so that it begins at once and stays small. It
has a process of its own because tiktoken holds the interpreter lock for 150 ms when it builds an
encoding and for 40 ms when it hands over the tokens of a large text, and because a panic in it
must not end a gateway.

Frames go both ways: the length of the rest in four bytes, then the rest. The first request is a
greeting; its answer, and that of any other, begins with READY or REFUSED. A refusal is the last
answer. The process ends when its input does.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import signal
import struct
import sys
from base64 import b64decode
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from tiktoken import Encoding

__all__ = [
    "FRAME_LENGTH",
    "RANK_FILE",
    "READY",
    "REFUSED",
    "SHIPPED",
    "load_ranks",
    "main",
    "pack_counts",
    "pack_greeting",
    "pack_texts",
    "shipped_encoding",
    "unpack_counts",
]

SHIPPED: Final = "o200k_base"
RANK_FILE: Final = Path(__file__).with_name("o200k_base.tiktoken.xz")
_RANKS_SHA256: Final = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
"""Of the unpacked file; tiktoken expects the same."""
_CONTRACTION: Final = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_BEFORE: Final = r"[^\r\n\p{L}\p{N}]?"
_UPPER: Final = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER: Final = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_PATTERN: Final = (
    f"{_BEFORE}{_UPPER}*{_LOWER}+{_CONTRACTION}"
    f"|{_BEFORE}{_UPPER}+{_LOWER}*{_CONTRACTION}"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How o200k_base cuts a text before it looks for tokens. Source: tiktoken_ext.openai_public."""

_NICENESS: Final = 10
"""Counting is never urgent: the processor belongs to the loop."""
_LONGEST_WORK_S: Final = 300
"""Whoever asked has given up long before. The alarm is for a hang that outlives them."""

# -- frames ----------------------------------------------------------------------------------------

READY: Final = b"+"
REFUSED: Final = b"!"
FRAME_LENGTH: Final = struct.Struct("<I")


def pack_greeting(encoding: str, rank_file: Path, import_path: Sequence[str]) -> bytes:
    """The first frame: what to load, and where modules are found."""
    greeting = {"encoding": encoding, "rank_file": str(rank_file), "path": list(import_path)}
    return _framed(json.dumps(greeting).encode("ascii"))


def pack_texts(texts: Sequence[bytes]) -> bytes:
    """A request to count texts, in UTF-8 (lone surrogates passed on)."""
    lengths = struct.pack(f"<{len(texts) + 1}I", len(texts), *map(len, texts))
    return _framed(lengths + b"".join(texts))


def pack_counts(counts: Sequence[int]) -> bytes:
    """The answer to a request."""
    return _framed(READY + struct.pack(f"<{len(counts)}I", *counts))


def unpack_counts(body: bytes) -> tuple[int, ...]:
    """The numbers of an answer that is READY, without its first byte.

    Raises:
        struct.error: it is no whole number of counts.
    """
    return struct.unpack(f"<{len(body) // 4}I", body)


def _unpack_texts(body: bytes) -> list[str]:
    (number,) = FRAME_LENGTH.unpack_from(body)
    texts: list[str] = []
    end = 4 * (number + 1)
    view = memoryview(body)
    for length in struct.unpack_from(f"<{number}I", body, 4):
        start, end = end, end + length
        texts.append(str(view[start:end], "utf-8", "surrogatepass"))
    return texts


def _framed(body: bytes) -> bytes:
    return FRAME_LENGTH.pack(len(body)) + body


def _read_frame(requests: BinaryIO) -> bytes | None:
    """The next frame, or None at the end of input, be it in the middle of a frame."""
    head = requests.read(FRAME_LENGTH.size)
    if len(head) < FRAME_LENGTH.size:
        return None
    (length,) = FRAME_LENGTH.unpack(head)
    body = requests.read(length)
    return body if len(body) == length else None


# -- the encoding ----------------------------------------------------------------------------------


def load_ranks(path: Path) -> dict[bytes, int]:
    """The tokens of o200k_base and their ranks.

    Raises:
        OSError: the file cannot be read.
        ValueError: its content is not what it must be; the text names both hashes.
    """
    packed = path.read_bytes()
    try:
        unpacked = lzma.decompress(packed)
    except lzma.LZMAError as error:
        raise ValueError(
            f"{path} cannot be unpacked ({error}) to what has sha256 {_RANKS_SHA256}"
        ) from error
    found = hashlib.sha256(unpacked).hexdigest()
    if found != _RANKS_SHA256:
        raise ValueError(f"{path} holds what has sha256 {found}, and not {_RANKS_SHA256}")
    ranks: dict[bytes, int] = {}
    for line in unpacked.splitlines():
        token, rank = line.split()
        ranks[b64decode(token)] = int(rank)
    return ranks


def shipped_encoding(path: Path) -> Encoding:
    """o200k_base, from the ranks at `path` and without the network.

    Raises: as :func:`load_ranks`, and ImportError.
    """
    from tiktoken import Encoding

    # Special tokens are of no use to `encode_ordinary`, which takes their names for text.
    return Encoding(SHIPPED, pat_str=_PATTERN, mergeable_ranks=load_ranks(path), special_tokens={})


def _encoding(greeting: bytes) -> Encoding:
    wanted = json.loads(greeting)
    sys.path[:] = wanted["path"]
    if wanted["encoding"] == SHIPPED:
        return shipped_encoding(Path(wanted["rank_file"]))
    from tiktoken import get_encoding

    return get_encoding(wanted["encoding"])


# -- the process -----------------------------------------------------------------------------------


def main() -> None:
    """Answer requests on standard input until it ends."""
    os.nice(_NICENESS)
    with (
        suppress(BrokenPipeError),  # whoever asked is gone
        open(0, "rb") as requests,
        open(os.dup(1), "wb") as answers,
    ):
        os.dup2(2, 1)  # what a library prints is no answer
        _serve(requests, answers)


def _serve(requests: BinaryIO, answers: BinaryIO) -> None:
    greeting = _read_frame(requests)
    if greeting is None:
        return
    signal.alarm(_LONGEST_WORK_S)
    try:
        encoding = _encoding(greeting)
    except Exception as error:  # noqa: BLE001  (anybody's: told to whoever asked)
        reason = f"{type(error).__name__}: {error}"
        _answer(answers, _framed(REFUSED + reason.encode("utf-8", "backslashreplace")))
        return
    _answer(answers, _framed(READY))
    signal.alarm(0)
    while (request := _read_frame(requests)) is not None:
        signal.alarm(_LONGEST_WORK_S)
        texts = _unpack_texts(request)
        _answer(answers, pack_counts([len(encoding.encode_ordinary(text)) for text in texts]))
        signal.alarm(0)


def _answer(answers: BinaryIO, frame: bytes) -> None:
    answers.write(frame)
    answers.flush()


if __name__ == "__main__":
    main()
