"""When the loop hands over, and when it waits: the writer's part is played by hand."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from turnkeeper.storage import turnstile as turnstile_module
from turnkeeper.storage.turnstile import Turnstile

pytestmark = pytest.mark.timeout(20)


class Stage:
    """A turnstile, what was handed over, and how often the loop waited."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # A wait that nobody ends should not have begun: the test's own time limit ends it.
        monkeypatch.setattr(turnstile_module, "_MAX_WAIT_S", 3600)
        self.turnstile = Turnstile(self.hand_over, self.look_at_last_txn)
        self.last_txn = 0
        self.while_looking: Callable[[], None] = lambda: None
        self.handed = 0
        self.order: list[str] = []

    def hand_over(self) -> None:
        self.handed += 1
        self.turnstile.has_work = False

    def look_at_last_txn(self) -> int:
        self.while_looking()
        return self.last_txn

    def end_pass(self, timeout: float, *, meanwhile: Callable[[], None] | None = None) -> None:
        """End a pass of the loop; `meanwhile` is what the writer does once the loop waits."""

        def write() -> None:
            while not self.turnstile._loop_waits:  # pyright: ignore[reportPrivateUsage]
                pass
            self.order.append("writer")
            assert meanwhile is not None
            meanwhile()

        thread = threading.Thread(target=write, daemon=True) if meanwhile else None
        if thread:
            thread.start()
        self.turnstile.before_io_wait(timeout)
        self.order.append("loop")
        if thread:
            thread.join()


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


def start_commit(stage: Stage) -> None:
    stage.turnstile.has_work = True
    stage.end_pass(0, meanwhile=lambda: stage.turnstile.writer_commits(7))


@pytest.mark.parametrize("timeout", [0, 1.5])
def test_the_loop_waits_while_a_transaction_is_prepared(stage: Stage, timeout: float) -> None:
    stage.turnstile.has_work = True
    stage.end_pass(timeout, meanwhile=lambda: stage.turnstile.writer_commits(7))
    assert stage.handed == 1
    assert stage.order == ["writer", "loop"]


def test_a_loop_without_work_waits_for_nothing(stage: Stage) -> None:
    stage.end_pass(0)
    stage.end_pass(1.5)
    assert stage.handed == 0


def test_the_loop_goes_on_while_the_disk_works(stage: Stage) -> None:
    start_commit(stage)
    stage.turnstile.has_work = True
    for _ in range(5):
        stage.end_pass(0)
    assert stage.handed == 1


def test_a_busy_loop_waits_for_the_report_once_the_disk_is_done(stage: Stage) -> None:
    start_commit(stage)
    stage.last_txn = 7
    stage.order.clear()

    def report() -> None:
        stage.turnstile.writer_returns()
        stage.turnstile.writer_sleeps()

    stage.end_pass(0, meanwhile=report)
    assert stage.order == ["writer", "loop"]


def test_a_writer_that_reports_while_the_loop_looks_is_not_waited_for(stage: Stage) -> None:
    start_commit(stage)
    stage.last_txn = 7

    def report() -> None:
        stage.turnstile.writer_returns()
        stage.turnstile.writer_sleeps()

    stage.while_looking = report
    stage.end_pass(0)


def test_a_writer_that_is_done_before_the_loop_waits_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turnstile_module, "_MAX_WAIT_S", 3600)
    turnstile = Turnstile(lambda: turnstile.writer_commits(7), lambda: 0)
    turnstile.has_work = True
    turnstile.before_io_wait(0)


def test_a_loop_about_to_sleep_need_not_wait_for_the_report(stage: Stage) -> None:
    start_commit(stage)
    stage.last_txn = 7
    stage.end_pass(1.5)


def test_those_who_were_just_told_may_join_the_next_transaction(stage: Stage) -> None:
    start_commit(stage)
    stage.turnstile.writer_returns()
    stage.turnstile.has_work = True
    stage.turnstile.settled()
    stage.end_pass(0)
    assert stage.handed == 1
    stage.end_pass(0, meanwhile=lambda: stage.turnstile.writer_commits(8))
    assert stage.handed == 2


def test_nobody_is_waited_for_when_no_task_is_ready(stage: Stage) -> None:
    start_commit(stage)
    stage.turnstile.writer_returns()
    stage.turnstile.has_work = True
    stage.turnstile.settled()
    stage.end_pass(1.5, meanwhile=lambda: stage.turnstile.writer_commits(8))
    assert stage.handed == 2
