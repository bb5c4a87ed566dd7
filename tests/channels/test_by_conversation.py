from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from turnkeeper.channels.by_conversation import ByConversation


async def test_pieces_of_a_conversation_are_settled_in_order_and_others_do_not_wait(
    autojump_clock: MockClock,
) -> None:
    order = ByConversation()
    done: list[str] = []

    async def settle(piece: str) -> bool:
        await trio.sleep(10 if piece.startswith("slow") else 1)
        done.append(piece)
        return True

    async def call(*pieces: tuple[str, str]) -> None:
        assert await order.hear(pieces, settle)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call, ("a", "slow a1"), ("b", "b1"), ("a", "a2"))
        await wait_all_tasks_blocked()
        nursery.start_soon(call, ("a", "a3"), ("b", "b2"))
    assert done == ["b1", "b2", "slow a1", "a2", "a3"]
    assert repr(order) == "<ByConversation: 0 under way>"


async def test_what_follows_a_piece_that_was_not_settled_is_left_out() -> None:
    heard: list[int] = []

    async def settle(piece: int) -> bool:
        heard.append(piece)
        return piece != 2

    pieces = [("a", 1), ("a", 2), ("a", 3), ("b", 4)]
    assert not await ByConversation().hear(pieces, settle)
    assert sorted(heard) == [1, 2, 4]


async def test_a_call_that_is_cancelled_holds_nobody_up(autojump_clock: MockClock) -> None:
    order = ByConversation()

    async def never(_piece: int) -> bool:
        await trio.sleep_forever()
        raise AssertionError

    async def at_once(_piece: int) -> bool:
        return True

    # More conversations than are heard at once: some are cancelled before they begin.
    pieces = [(str(number), number) for number in range(20)]
    with trio.move_on_after(1):
        await order.hear(pieces, never)
    with trio.fail_after(1):
        assert await order.hear(pieces, at_once)
    assert repr(order) == "<ByConversation: 0 under way>"


async def test_an_error_is_raised_and_holds_nobody_up() -> None:
    order = ByConversation()

    async def broken(_piece: int) -> bool:
        raise ZeroDivisionError

    with pytest.RaisesGroup(ZeroDivisionError):
        await order.hear([("a", 1)], broken)
    assert repr(order) == "<ByConversation: 0 under way>"
