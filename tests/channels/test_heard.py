from __future__ import annotations

import trio

from turnkeeper.actors.messages import Address, Attachment, InboundTurn, Instance
from turnkeeper.channels.heard import Heard, shown_name
from turnkeeper.channels.incoming_files import IncomingFile

TURN = InboundTurn(
    address=Address(Instance("here"), "1"), platform="p", message_id="1", user_id="u", text="look"
)
FILES = tuple(IncomingFile(kind="file", reference=name) for name in ("a", "b"))


async def keep(file: IncomingFile) -> Attachment | None:
    await trio.lowlevel.checkpoint()
    return Attachment(kind="file", reference=f"kept {file.reference}")


async def test_a_turn_is_whole_with_all_of_its_files_in_their_order() -> None:
    turn = await Heard(turn=TURN, files=FILES).whole(keep, until_s=trio.current_time() + 5)
    assert [file.reference for file in turn.attachments] == ["kept a", "kept b"]
    assert (turn.text, turn.message_id) == ("look", "1")


async def test_a_turn_without_files_is_whole_as_it_is() -> None:
    assert await Heard(turn=TURN).whole(keep, until_s=trio.current_time()) is TURN


def test_a_name_is_cut_and_an_empty_one_is_none() -> None:
    assert shown_name("x" * 1000) == "x" * 256
    assert (shown_name(""), shown_name(None)) == (None, None)
