"""Files that go with messages, between channels and agents on one side and the blob folder."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Final

import trio

from .actors.blob_rows import named_in
from .actors.context_logs import Log, logs_of
from .actors.core.attached import FILE_KINDS, blob_digest, blob_reference
from .actors.core.intake import MAX_ID_CHARS, check_files
from .actors.core.turn_records import AssistantRecord, MissionRecord, UserRecord
from .actors.core.veil import Hidden, Veil
from .actors.deliveries import FileToSend
from .actors.errors import FileNotKept, FileTooLarge
from .actors.journal import load_head, load_record
from .actors.messages import Attachment
from .actors.unknown import UnknownAttachment
from .channels.base import Rejected, Unreachable
from .channels.inlet import KEPT_FOR_S
from .storage.base import Reads
from .storage.blobs import Blobs, Content
from .storage.errors import BlobDamaged, BlobMissing, BlobTooLarge, StorageError

__all__ = ["Keeping"]

_NO_FOLDER: Final = "this runtime keeps no files: it was opened without a state directory"
_READ_AT_ONCE: Final = 1024 * 1024


class Keeping:
    """What a runtime keeps of files.

    Args:
        blobs: the folder; None for a runtime without a state directory.
        limit_bytes: how long a file may be.
    """

    def __init__(self, blobs: Blobs | None, limit_bytes: int) -> None:
        self.blobs: Final = blobs
        self.limit_bytes: Final = limit_bytes
        self._granted: OrderedDict[tuple[int, bytes], float] = OrderedDict()
        """Session and digest of each file that was kept to be sent -> when, the last one last."""

    async def clear_leftovers(self) -> None:
        """Remove what a crash left half written; before anything is kept.

        Raises:
            StoreUnusable: the operating system refuses.
        """
        if self.blobs is not None:
            await self.blobs.clear_leftovers()

    async def keep(self, content: Content, /) -> tuple[str, int]:
        """Keep a file; its reference, and how many bytes it has.

        Raises:
            FileTooLarge: it is longer than the limit.
            FileNotKept: there is no folder, or the operating system refuses.
        """
        if self.blobs is None:
            raise FileNotKept(_NO_FOLDER)
        try:
            kept = await self.blobs.keep(content, self.limit_bytes)
        except BlobTooLarge as error:
            raise FileTooLarge(error.limit_bytes) from error
        except StorageError as error:
            raise FileNotKept(f"the file cannot be kept: {error}") from error
        return blob_reference(kept.digest), kept.size_bytes

    async def keep_for(
        self, stream: int, content: Content | Path, kind: str, mime: str | None, name: str | None
    ) -> Attachment:
        """Keep a file that session `stream` may send within twelve hours, and only that session.

        Args:
            stream: number of the session.
            content: the file, its pieces in their order, or where it is.
            kind: what it is; one of `FILE_KINDS`.
            mime: its media type.
            name: what it is called; by default the name at the end of the path.

        Raises:
            FileTooLarge, FileNotKept: as for :meth:`keep`.
            ValueError: there is no such kind, or mime or name is no text or too long.
            OSError: there is no file at the path, or it cannot be read.
        """
        if kind not in FILE_KINDS:
            raise ValueError(f"kind must be one of {', '.join(FILE_KINDS)}, not {kind!r:.80}")
        if isinstance(content, Path):
            name = content.name if name is None else name
            content = _pieces_at(content)
        for field, value in (("mime", mime), ("name", name)):
            if value is not None and (type(value) is not str or len(value) > MAX_ID_CHARS):
                raise ValueError(f"{field} must be a str of at most {MAX_ID_CHARS} characters")
        reference, size_bytes = await self.keep(content)
        digest = blob_digest(reference)
        assert digest is not None  # it was made of one
        self._granted[stream, digest] = now = trio.current_time()
        self._granted.move_to_end((stream, digest))
        while next(iter(self._granted.values())) <= now - KEPT_FOR_S:
            self._granted.popitem(last=False)
        return Attachment(
            kind=kind, reference=reference, mime=mime, size_bytes=size_bytes, name=name
        )

    async def ready(self, store: Reads, stream: int, attachments: object) -> tuple[Attachment, ...]:
        """Files that session `stream` is about to send, with the sizes they have.

        None of them is removed before a record can name it.

        Raises:
            UnknownAttachment: the session may not see one of them, or it is not there any more.
            ValueError: they are no files, or too many.
            StoreUnusable: the operating system refuses.
        """
        ready: list[Attachment] = []
        for attachment in check_files(attachments):
            blobs, digest = self._find(store, stream, attachment)
            try:
                size_bytes = await blobs.renew(digest)
            except BlobMissing as error:
                raise UnknownAttachment(str(error)) from error
            ready.append(replace(attachment, size_bytes=size_bytes))
        return tuple(ready)

    async def fetch(self, file: FileToSend, /) -> bytes:
        """All of a file that goes out; see `channels.file_desk.ReadFile`."""
        digest = blob_digest(file.reference)
        if self.blobs is None or digest is None:
            raise Rejected(f"{file.reference} is not kept here", reason="file_missing")
        try:
            return await self.blobs.read(digest, file.size_bytes)
        except (BlobMissing, BlobDamaged, BlobTooLarge) as error:
            raise Rejected(str(error), reason="file_missing") from error
        except StorageError as error:
            raise Unreachable(str(error), reason="file_unreadable") from error

    async def read(self, store: Reads, stream: int, attachment: Attachment) -> bytes:
        """All of a file that session `stream` may see.

        Raises:
            UnknownAttachment: there is none.
            BlobMissing, BlobDamaged: it is not what was kept any more.
            BlobTooLarge: it was kept when longer files were allowed.
            StoreUnusable: the operating system refuses.
        """
        blobs, digest = self._find(store, stream, attachment)
        return await blobs.read(digest, self.limit_bytes)

    def path(self, store: Reads, stream: int, attachment: Attachment) -> Path:
        """Where a file is that session `stream` may see.

        Raises:
            UnknownAttachment: there is none.
            BlobMissing: it is not there any more.
        """
        blobs, digest = self._find(store, stream, attachment)
        path = blobs.path(digest)
        if not path.is_file():
            raise BlobMissing(f"{path} is missing: restore it from a copy")
        return path

    def _find(self, store: Reads, stream: int, attachment: Attachment) -> tuple[Blobs, bytes]:
        digest = blob_digest(attachment.reference)
        if digest is None:
            raise UnknownAttachment(
                f"the channel has not kept {attachment.reference!r:.100}: only it can fetch that"
            )
        if self.blobs is None:
            raise UnknownAttachment(_NO_FOLDER)
        if self._granted.get((stream, digest), -KEPT_FOR_S) > trio.current_time() - KEPT_FOR_S:
            return self.blobs, digest
        head = load_head(store, stream)
        logs = logs_of(store, stream, head) if head is not None else []
        if not any(_is_shown_in(store, log, digest) for log in logs):
            raise UnknownAttachment(f"no message of this session came with {attachment.reference}")
        return self.blobs, digest


async def _pieces_at(path: Path) -> AsyncGenerator[bytes]:
    async with await trio.open_file(path, "rb") as file:
        while piece := await file.read(_READ_AT_ONCE):
            yield piece


def _is_shown_in(store: Reads, log: Log, digest: bytes) -> bool:
    """Whether a message goes with a file that no undone link has taken out of the log."""
    hidden = log.head.hidden
    # Only single records are read here: what is not known is taken to be hidden.
    veil = Veil([Hidden(*entry) for entry in hidden], whole=False) if hidden else None
    for seq in named_in(store, digest, log.stream):
        record = load_record(store, log.stream, seq)
        if isinstance(record, UserRecord | AssistantRecord) and (
            veil is None or not _is_covered(store, log, veil, seq, record)
        ):
            return True
    return False


def _is_covered(
    store: Reads, log: Log, veil: Veil, seq: int, record: UserRecord | AssistantRecord
) -> bool:
    """Whether an undone link takes a message out of the log."""
    if isinstance(record, UserRecord):
        return veil.covers_question(seq, record)
    if not record.turn_seq:
        return veil.covers_aside(seq, record)
    question = load_record(store, log.stream, record.turn_seq)
    if isinstance(question, UserRecord | MissionRecord):
        veil.covers_question(record.turn_seq, question)
    return veil.covers_answer(record.turn_seq)
