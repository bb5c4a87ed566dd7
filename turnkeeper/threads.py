"""turnkeeper for programs that do not run on trio: plain threads, asyncio, a REPL.

The runtime gets a thread of its own; the handle offers the runtime's calls, synchronously, and the
actors themselves as pykka refs. Every call may come from any thread but the runtime's own.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar, Unpack

import trio

from . import views
from .actors.acts import AccessEntry, Change, Created, Deleted
from .actors.bus import Subscription
from .actors.core.compaction import Compacted
from .actors.core.window import Message
from .actors.deliveries import Outcome, SendPlan
from .actors.happenings import FeedEvent
from .actors.messages import Address, Attachment, Cleared
from .actors.provenance import Mirrored
from .actors.services import Ref
from .channel_status import ChannelStatus
from .config import Config
from .feeding import MAX_BEHIND, Feed
from .links import IdentityLink
from .missions import Missed, MissionInfo, MissionRun, Overlap
from .opening import RuntimeOptions, open_runtime
from .people import AccessInfo, ChangeInfo, PairInfo
from .reload import Reloaded
from .runtime import Runtime
from .stories import DeliveryInfo, Story

__all__ = ["Handle", "start_in_thread"]

T = TypeVar("T")


class Handle:
    """A runtime that runs in another thread. Made by :func:`start_in_thread`."""

    def __init__(self, runtime: Runtime, token: trio.lowlevel.TrioToken) -> None:
        self._runtime = runtime
        self._token = token

    def __repr__(self) -> str:
        return f"<Handle of {self._runtime!r}>"

    def call(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Run `await function(*args)` in the runtime's loop and return what it returns.

        Raises:
            trio.RunFinishedError: the runtime has stopped.
            Exception: whatever `function` raises.
        """
        try:
            return trio.from_thread.run(function, *args, trio_token=self._token)
        except trio.Cancelled:  # of the runtime's loop: it means nothing in this thread
            raise trio.RunFinishedError("the runtime stopped during the call") from None

    def sessions(self, *, limit: int | None = None, offset: int = 0) -> list[views.SessionInfo]:
        """Like `Runtime.sessions`."""
        return self.call(partial(self._runtime.sessions, limit=limit, offset=offset))

    def session(self, session_id: str) -> views.SessionInfo:
        """Like `Runtime.session`."""
        return self.call(self._runtime.session, session_id)

    def history(
        self,
        session_id: str,
        *,
        before: int | None = None,
        after: int | None = None,
        limit: int | None = None,
    ) -> list[views.HistoryRecord]:
        """Like `Runtime.history`."""
        page = partial(self._runtime.history, before=before, after=after, limit=limit)
        return self.call(page, session_id)

    def context(self, session_id: str, *, at: int | datetime | None = None) -> tuple[Message, ...]:
        """Like `Runtime.context`."""
        return self.call(partial(self._runtime.context, at=at), session_id)

    def memory(self, session_id: str) -> dict[str, str]:
        """Like `Runtime.memory`."""
        return self.call(self._runtime.memory, session_id)

    def channel_statuses(self) -> list[ChannelStatus]:
        """Like `Runtime.channel_statuses`."""
        return self.call(self._runtime.channel_statuses)

    def feed(self) -> list[views.FeedEntry]:
        """The newest entries of the console feed, oldest first."""
        return self.call(_newest, self._runtime.feed())

    @contextmanager
    def events(self, *, max_behind: int = MAX_BEHIND) -> Generator[Iterator[FeedEvent]]:
        """What happens for as long as the block lasts: an iterator that waits for each event.

        It ends when the runtime stops, and with FeedLagged where more than `max_behind` events
        would have to wait for it.

        Raises:
            trio.RunFinishedError: the runtime has stopped.
            ValueError: `max_behind` is less than 1.
        """
        feed = self._runtime.feed(max_behind=max_behind)
        subscription = self.call(feed.__aenter__)
        try:
            yield self._followed(subscription)
        finally:
            with suppress(trio.RunFinishedError):
                self.call(feed.__aexit__, None, None, None)

    def _followed(self, subscription: Subscription) -> Iterator[FeedEvent]:
        with suppress(trio.RunFinishedError):
            while (event := self.call(subscription.receive)) is not None:
                yield event

    def binding(
        self, instance: str, conversation: str, thread: str | None = None
    ) -> views.Binding | None:
        """Like `Runtime.binding`."""
        return self.call(self._runtime.binding, instance, conversation, thread)

    def bindings(self) -> list[views.Binding]:
        """Like `Runtime.bindings`."""
        return self.call(self._runtime.bindings)

    def deliveries(self) -> list[DeliveryInfo]:
        """Like `Runtime.deliveries`."""
        return self.call(self._runtime.deliveries)

    def explain(self, record_id: str) -> Story | None:
        """Like `Runtime.explain`."""
        return self.call(self._runtime.explain, record_id)

    def binding_history(
        self, instance: str, conversation: str, thread: str | None = None
    ) -> list[views.Binding]:
        """Like `Runtime.binding_history`."""
        return self.call(self._runtime.binding_history, instance, conversation, thread)

    def links(self, user: str | None = None) -> list[IdentityLink]:
        """Like `Runtime.links`."""
        return self.call(self._runtime.links, user)

    def pairs(self) -> list[PairInfo]:
        """Like `Runtime.pairs`."""
        return self.call(self._runtime.pairs)

    def changes(self) -> list[ChangeInfo]:
        """Like `Runtime.changes`."""
        return self.call(self._runtime.changes)

    def access(self) -> list[AccessInfo]:
        """Like `Runtime.access`."""
        return self.call(self._runtime.access)

    def link(self, platform: str, user_id: str, user: str, *, dry_run: bool = False) -> Change:
        """Like `Runtime.link`."""
        return self.call(partial(self._runtime.link, dry_run=dry_run), platform, user_id, user)

    def unlink(self, platform: str, user_id: str, *, dry_run: bool = False) -> Change:
        """Like `Runtime.unlink`."""
        return self.call(partial(self._runtime.unlink, dry_run=dry_run), platform, user_id)

    def pair(
        self, platform: str, user_id: str, session_id: str, *, dry_run: bool = False
    ) -> Change:
        """Like `Runtime.pair`."""
        pair = partial(self._runtime.pair, dry_run=dry_run)
        return self.call(pair, platform, user_id, session_id)

    def unpair(self, platform: str, user_id: str, *, dry_run: bool = False) -> Change:
        """Like `Runtime.unpair`."""
        return self.call(partial(self._runtime.unpair, dry_run=dry_run), platform, user_id)

    def move_binding(
        self,
        instance: str,
        conversation: str,
        thread: str | None = None,
        session_id: str | None = None,
        *,
        dry_run: bool = False,
    ) -> Change:
        """Like `Runtime.move_binding`."""
        move = partial(self._runtime.move_binding, dry_run=dry_run)
        return self.call(move, instance, conversation, thread, session_id)

    def undo(self, number: int | None = None, *, dry_run: bool = False) -> Change:
        """Like `Runtime.undo`."""
        return self.call(partial(self._runtime.undo, dry_run=dry_run), number)

    def reload(self, config: Config | Mapping[str, Any] | str | PathLike[str]) -> Reloaded:
        """Like `Runtime.reload`."""
        return self.call(self._runtime.reload, config)

    def approve(self, code: str) -> AccessEntry:
        """Like `Runtime.approve`."""
        return self.call(self._runtime.approve, code)

    def allow(self, instance: str, user_id: str) -> AccessEntry:
        """Like `Runtime.allow`."""
        return self.call(self._runtime.allow, instance, user_id)

    def revoke(self, instance: str, user_id: str) -> AccessEntry:
        """Like `Runtime.revoke`."""
        return self.call(self._runtime.revoke, instance, user_id)

    def send_message(
        self,
        session_id: str,
        text: str,
        to: Address | None = None,
        *,
        user: str | None = None,
        attachments: tuple[Attachment, ...] = (),
    ) -> Outcome:
        """Like `Runtime.send_message`."""
        send = partial(self._runtime.send_message, user=user, attachments=attachments)
        return self.call(send, session_id, text, to)

    def keep_file(
        self,
        session_id: str,
        content: bytes | Path,
        *,
        kind: str = "file",
        mime: str | None = None,
        name: str | None = None,
    ) -> Attachment:
        """Like `Runtime.keep_file`."""
        keep = partial(self._runtime.keep_file, kind=kind, mime=mime, name=name)
        return self.call(keep, session_id, content)

    def plan_send(
        self, session_id: str, to: Address | None = None, *, user: str | None = None
    ) -> SendPlan:
        """Like `Runtime.plan_send`."""
        return self.call(partial(self._runtime.plan_send, user=user), session_id, to)

    def set_active_channel_to_default(self, session_id: str, instance: str) -> Address | None:
        """Like `Runtime.set_active_channel_to_default`."""
        return self.call(self._runtime.set_active_channel_to_default, session_id, instance)

    def mirror_to_session(
        self,
        session_id: str | None = None,
        text: str = "",
        *,
        source: str,
        user: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Mirrored:
        """Like `Runtime.mirror_to_session`."""
        mirror = partial(
            self._runtime.mirror_to_session, source=source, user=user, metadata=metadata
        )
        return self.call(mirror, session_id, text)

    def clear(self, session_id: str) -> Cleared:
        """Like `Runtime.clear`."""
        return self.call(self._runtime.clear, session_id)

    def compact(self, session_id: str) -> Compacted:
        """Like `Runtime.compact`."""
        return self.call(self._runtime.compact, session_id)

    def clear_memory(self, session_id: str) -> int:
        """Like `Runtime.clear_memory`."""
        return self.call(self._runtime.clear_memory, session_id)

    def create_session(self, name: str, agent: str | None = None) -> Created:
        """Like `Runtime.create_session`."""
        return self.call(self._runtime.create_session, name, agent)

    def delete(self, session_id: str, *, dry_run: bool = False) -> Deleted:
        """Like `Runtime.delete`."""
        return self.call(partial(self._runtime.delete, dry_run=dry_run), session_id)

    def missions(self) -> list[MissionInfo]:
        """Like `Runtime.missions`."""
        return self.call(self._runtime.missions)

    def mission(self, name: str) -> MissionInfo:
        """Like `Runtime.mission`."""
        return self.call(self._runtime.mission, name)

    def add_mission(  # noqa: PLR0913  (as for the runtime)
        self,
        name: str,
        schedule: str,
        prompt: str,
        notify: str | None = None,
        agent: str | None = None,
        *,
        zone: str = "UTC",
        session: str | None = None,
        missed: Missed = "skip",
        overlap: Overlap = "skip",
        jitter_s: float = 0.0,
        on_failure: str | None = None,
        replace: bool = False,
    ) -> MissionInfo:
        """Like `Runtime.add_mission`."""
        add = partial(
            self._runtime.add_mission,
            zone=zone,
            session=session,
            missed=missed,
            overlap=overlap,
            jitter_s=jitter_s,
            on_failure=on_failure,
            replace=replace,
        )
        return self.call(add, name, schedule, prompt, notify, agent)

    def run_mission(self, name: str) -> MissionRun:
        """Like `Runtime.run_mission`."""
        return self.call(self._runtime.run_mission, name)

    def pause_mission(self, name: str) -> MissionInfo:
        """Like `Runtime.pause_mission`."""
        return self.call(self._runtime.pause_mission, name)

    def resume_mission(self, name: str) -> MissionInfo:
        """Like `Runtime.resume_mission`."""
        return self.call(self._runtime.resume_mission, name)

    def remove_mission(self, name: str) -> MissionInfo:
        """Like `Runtime.remove_mission`."""
        return self.call(self._runtime.remove_mission, name)

    def retry_delivery(self, delivery_id: str, *, mark_duplicate: bool = False) -> Outcome:
        """Like `Runtime.retry_delivery`."""
        retry = partial(self._runtime.retry_delivery, mark_duplicate=mark_duplicate)
        return self.call(retry, delivery_id)

    def channel_ref(self, instance: str) -> Ref:
        """Like `Runtime.channel_ref`."""
        return self._runtime.channel_ref(instance)

    def session_ref(self, session_id: str) -> Ref:
        """Like `Runtime.session_ref`."""
        return self.call(self._runtime.session_ref, session_id)


async def _newest(feed: Feed) -> list[views.FeedEntry]:
    return await feed


@contextmanager
def start_in_thread(
    state_dir: str | PathLike[str] | None, **options: Unpack[RuntimeOptions]
) -> Generator[Handle]:
    """Run turnkeeper in a thread of its own for as long as the block lasts.

    Agents and channels run in that thread, on trio. Arguments and errors are those of
    :func:`~turnkeeper.opening.open_runtime`.
    """
    started = threading.Event()
    stop = trio.Event()
    handles: list[tuple[Handle, trio.lowlevel.TrioToken]] = []
    failures: list[BaseException] = []

    async def main() -> None:
        async with open_runtime(state_dir, **options) as runtime:
            token = trio.lowlevel.current_trio_token()
            handles.append((Handle(runtime, token), token))
            started.set()
            await stop.wait()

    def run() -> None:
        try:
            trio.run(main)
        except BaseException as error:  # noqa: BLE001  (handed to the caller's thread, below)
            failures.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=run, name="turnkeeper")
    thread.start()
    started.wait()
    if not handles:
        thread.join()
        raise failures[0]
    handle, token = handles[0]
    raised: Exception | None = None
    try:
        yield handle
    except Exception as error:  # noqa: BLE001  (the body's own: raised below, or as a cause)
        raised = error
    finally:
        with suppress(trio.RunFinishedError):  # it has stopped by itself: its failure follows
            trio.from_thread.run_sync(stop.set, trio_token=token)
        thread.join()
    if failures:
        raise failures[0] from raised
    if raised is not None:
        raise raised
