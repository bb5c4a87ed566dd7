"""Encodings as tiktoken itself defines them, but for where the ranks come from."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import tiktoken

from turnkeeper.tokens.worker import RANK_FILE, load_ranks


def bare_encoding(name: str) -> tiktoken.Encoding:
    """The encoding `name`, which cuts words in its own way, with the tokens of o200k_base."""

    def ranks(*_: object, **__: object) -> dict[bytes, int]:
        return load_ranks(RANK_FILE)

    definitions: Any = import_module("tiktoken_ext.openai_public")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(definitions, "load_tiktoken_bpe", ranks)
        patch.setattr(definitions, "data_gym_to_mergeable_bpe_ranks", ranks)
        definition: dict[str, Any] = getattr(definitions, name)()
    definition.pop("explicit_n_vocab", None)
    return tiktoken.Encoding(**definition)
