"""Where the command line finds an agent: `package.module:name`, in the working directory too."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, cast

from .agent import Agent
from .config import ConfigError

__all__ = ["load_agent", "load_callable"]

logger = logging.getLogger("turnkeeper")


def load_agent(reference: str) -> Agent:
    """The agent that `reference`, `package.module:name`, leads to.

    Raises:
        ConfigError: there is none, or it cannot be called; the text says what is missing.
    """
    return cast("Agent", load_callable(reference, "agent"))


def load_callable(reference: str, what: str) -> Callable[..., Any]:
    """What `reference`, `package.module:name`, leads to; `what` it is to be.

    Raises:
        ConfigError: as for :func:`load_agent`.
    """
    module_name, colon, name = reference.partition(":")
    if not colon or not module_name or not name:
        raise ConfigError(f"{what} {reference!r}: write it as module:name, e.g. my_{what}:answer")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    _require(reference, module_name, what)
    try:
        found: object = importlib.import_module(module_name)
    except Exception as error:  # whatever the agent's own code raises
        logger.info("%s %s could not be imported", what, reference, exc_info=error)
        raise ConfigError(
            f"{what} {reference!r}: importing {module_name} failed with "
            f"{type(error).__name__}: {error} (-v shows where)"
        ) from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise ConfigError(f"{what} {reference!r}: {module_name} has no {name!r}")
        found = getattr(found, part)
    if not callable(found):
        raise ConfigError(
            f"{what} {reference!r} is a {type(found).__name__}; it must be an async function"
        )
    return found


def _require(reference: str, module_name: str, what: str) -> None:
    try:
        spec = find_spec(module_name)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise ConfigError(
            f"{what} {reference!r}: there is no module {module_name!r} here "
            f"({os.getcwd()}) or installed"
        )
