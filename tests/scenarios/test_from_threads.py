"""The same stories, told by a program of plain threads."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from turnkeeper import Handle, UnknownInstance, start_in_thread
from turnkeeper.testing import LoopbackChannel

from .people import Listener, apps, home, noted, saying, texts

LOOK = "look at the inbox"
NEWS = "3 new mails"


def say(handle: Handle, channel: LoopbackChannel, text: str, user_id: str = "1") -> str:
    """Write in one's own direct conversation, and wait for the answer; the session."""
    receive = partial(channel.receive, text, conversation=f"dm {user_id}", user_id=user_id)
    accepted = handle.call(receive)
    while handle.call(channel.next_sent).text != f"re: {text}":
        pass
    return accepted.session_id


def test_what_a_mission_said_is_known_in_a_later_life(tmp_path: Path) -> None:
    """I asked `which mails?` after a restart, and the agent had no idea."""
    agent, (tg,) = Listener({LOOK: saying(NEWS)}), apps("tg")
    with start_in_thread(tmp_path / "state", agent=agent, channels=[tg]) as handle:
        assert say(handle, tg, "hi") == "s1"
        handle.add_mission("inbox", "0 0 1 1 *", LOOK, notify="tg")
        run = handle.run_mission("inbox")
        assert (run.status, [o.noted_in for o in run.outcomes]) == ("answered", ["s1"])
        binding = handle.binding("tg", "dm 1")
    agent, (tg,) = Listener(), apps("tg")
    with start_in_thread(tmp_path / "state", agent=agent, channels=[tg]) as handle:
        assert [info.name for info in handle.missions()] == ["inbox"]
        assert say(handle, tg, "which mails?") == "s1"
        assert noted(agent.shown["which mails?"]) == [NEWS]
        assert handle.binding("tg", "dm 1") == binding
        assert noted(handle.context("s1")) == [NEWS]


def test_a_mirror_and_a_clear_are_as_the_runtimes_own(tmp_path: Path) -> None:
    """I cleared the session, and the agent did not know what it had just reminded me of."""
    agent, (tg,) = Listener(), apps("tg")
    with start_in_thread(tmp_path / "state", agent=agent, channels=[tg]) as handle:
        say(handle, tg, "an old story")
        mirrored = handle.mirror_to_session(user="tg:1", text="standup", source="cron")
        assert (mirrored.status, mirrored.session_id) == ("recorded", "s1")
        handle.clear("s1")
        assert handle.mirror_to_session("s9", "standup", source="cron").status == "failed"
        say(handle, tg, "thanks")
        assert [m.kind for m in agent.shown["thanks"]] == ["note", "user"]


def test_a_session_is_sent_to_where_its_human_last_wrote(tmp_path: Path) -> None:
    """`Send it to my phone`, from a program that knows nothing of event loops."""
    tg, dc = apps("tg", "dc")
    with start_in_thread(tmp_path / "state", agent=Listener(), channels=[tg, dc]) as handle:
        for channel in (tg, dc):
            handle.link(channel.platform, "1", "alice")
            say(handle, channel, f"hello from {channel.name}")
        assert handle.set_active_channel_to_default("s1", "tg") == home("tg", "1")
        with pytest.raises(UnknownInstance):
            handle.set_active_channel_to_default("s1", "sms")
        assert handle.send_message("s1", "to the phone").status == "delivered"
        assert (texts(tg)[1:], texts(dc)[1:]) == (["to the phone"], [])
