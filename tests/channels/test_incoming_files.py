from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from turnkeeper.actors.errors import FileNotKept, FileTooLarge, ShuttingDown
from turnkeeper.actors.messages import Attachment
from turnkeeper.channels.base import Rejected, Unreachable
from turnkeeper.channels.fetching import FetchFailed, FetchRefused
from turnkeeper.channels.incoming_files import IncomingFile, attachments_of, kind_of, mime_in
from turnkeeper.channels.json_fields import Malformed

FILE = IncomingFile(kind="image", reference="r", mime="image/png", name="../a.png", size_bytes=3)
KEPT = Attachment(kind="image", reference="kept")


class Source:
    """Fails as often as it has errors, and then keeps files."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.asked_at: list[float] = []

    async def keep(self, _file: IncomingFile) -> Attachment | None:
        await trio.lowlevel.checkpoint()
        self.asked_at.append(trio.current_time())
        if self.errors:
            raise self.errors.pop(0)
        return KEPT


async def found(source: Source) -> Attachment:
    until_s = trio.current_time() + 60
    (one,) = await attachments_of([FILE], source.keep, name="here", until_s=until_s)
    return one


async def test_a_file_that_cannot_be_had_now_is_asked_for_three_times(
    autojump_clock: MockClock,
) -> None:
    source = Source(Unreachable("not now"), FetchFailed("nor now"))
    began = trio.current_time()
    assert await found(source) == KEPT
    assert [at - began for at in source.asked_at] == pytest.approx([0, 1, 3])
    source = Source(*(FetchFailed("never") for _ in range(3)))
    assert await found(source) == FILE.unkept
    assert len(source.asked_at) == 3


async def test_a_host_that_wants_to_be_left_alone_is(autojump_clock: MockClock) -> None:
    source = Source(FetchFailed("too much", retry_after_s=20))
    began = trio.current_time()
    assert await found(source) == KEPT
    assert trio.current_time() - began == pytest.approx(20)


@pytest.mark.parametrize(
    "make",
    [
        lambda: FileTooLarge(1),
        lambda: FileNotKept("no room"),
        lambda: FetchRefused("gone", reason="not_found"),
        lambda: Rejected("gone"),
        lambda: Malformed("no url"),
    ],
)
async def test_a_file_that_is_refused_is_known_by_its_reference(
    make: Callable[[], Exception], caplog: pytest.LogCaptureFixture
) -> None:
    source = Source(make())
    assert await found(source) == Attachment(
        kind="image", reference="r", mime="image/png", size_bytes=3, name="a.png"
    )
    assert len(source.asked_at) == 1
    assert caplog.messages[0].startswith("here: a file is not kept: ")


async def test_when_time_is_up_the_files_that_have_come_are_kept(
    autojump_clock: MockClock,
) -> None:
    async def keep(file: IncomingFile) -> Attachment | None:
        if file is FILE:
            await trio.sleep_forever()
        return KEPT

    quick = IncomingFile(kind="file", reference="q")
    until_s = trio.current_time() + 5
    kept = await attachments_of([quick, FILE, quick], keep, name="here", until_s=until_s)
    assert kept == (KEPT, FILE.unkept, quick.unkept)
    assert trio.current_time() == pytest.approx(until_s)


async def test_that_nobody_keeps_files_is_no_error() -> None:
    async def keep(_file: IncomingFile) -> Attachment | None:
        await trio.lowlevel.checkpoint()
        return None

    until_s = trio.current_time() + 5
    assert await attachments_of([FILE], keep, name="here", until_s=until_s) == (FILE.unkept,)


@pytest.mark.parametrize(
    ("mime", "kind"),
    [
        ("image/png", "image"),
        ("audio/ogg; codecs=opus", "audio"),
        ("video/mp4", "video"),
        ("text/plain", "file"),
        ("", "file"),
        (None, "file"),
    ],
)
def test_a_file_is_of_the_kind_that_its_type_says(mime: str | None, kind: str) -> None:
    assert kind_of(mime) == kind


def test_a_media_type_is_cut_and_may_be_missing() -> None:
    assert mime_in({"a": "x" * 1000}, "a") == "x" * 255
    assert mime_in({"a": ""}, "a") is None
    assert mime_in({}, "a") is None
    with pytest.raises(Malformed, match="a is no text"):
        mime_in({"a": 7}, "a")


async def test_a_runtime_that_stops_is_told_to_whoever_asked() -> None:
    with pytest.raises(ShuttingDown):
        await found(Source(ShuttingDown("it stops")))
