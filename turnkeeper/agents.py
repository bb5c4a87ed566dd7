"""Where the command line finds an agent: `package.module:name`, in the working directory too."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from importlib.util import find_spec
from typing import cast

from .agent import Agent
from .config import ConfigError

__all__ = ["load_agent"]

logger = logging.getLogger("turnkeeper")


def load_agent(reference: str) -> Agent:
    """The agent that `reference`, `package.module:name`, leads to.

    Raises:
        ConfigError: there is none, or it cannot be called; the text says what is missing.
    """
    module_name, colon, name = reference.partition(":")
    if not colon or not module_name or not name:
        raise ConfigError(f"agent {reference!r}: write it as module:name, e.g. my_agent:answer")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    _require(reference, module_name)
    try:
        found: object = importlib.import_module(module_name)
    except Exception as error:  # whatever the agent's own code raises
        logger.info("agent %s could not be imported", reference, exc_info=error)
        raise ConfigError(
            f"agent {reference!r}: importing {module_name} failed with "
            f"{type(error).__name__}: {error} (-v shows where)"
        ) from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise ConfigError(f"agent {reference!r}: {module_name} has no {name!r}")
        found = getattr(found, part)
    if not callable(found):
        raise ConfigError(
            f"agent {reference!r} is a {type(found).__name__}; it must be an async function"
        )
    return cast("Agent", found)


def _require(reference: str, module_name: str) -> None:
    try:
        spec = find_spec(module_name)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise ConfigError(
            f"agent {reference!r}: there is no module {module_name!r} here "
            f"({os.getcwd()}) or installed"
        )
