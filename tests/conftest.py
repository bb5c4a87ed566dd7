"""What all tests have in common."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

from .disorder import disordered

# How long an example takes is up to the machine. In CI hypothesis knows that; here it would give a
# test a fifth of a second for each.
settings.register_profile(
    "unhurried",
    settings.default,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("unhurried")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that has trio run tasks in unusual orders."""
    parser.addoption("--disorder", metavar="SEED", help="run tasks in any order, and late")


def pytest_report_header(config: pytest.Config) -> str | None:
    """Print the seed."""
    seed = config.getoption("--disorder")
    return None if seed is None else f"tasks are run in the order of seed {seed}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Run a test, with its fixtures, in the order that its name and the seed give."""
    seed = item.config.getoption("--disorder")
    if seed is None:
        return (yield)
    with disordered(f"{seed} {item.nodeid}"):
        return (yield)
