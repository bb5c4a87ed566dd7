"""Packages that bring channels, written into a folder as an installer would leave them."""

from __future__ import annotations

import importlib
from pathlib import Path

__all__ = ["SOURCE", "install"]

SOURCE = """
import turnkeeper as tk

class Pigeon(tk.Channel):
    platform = "pigeon"
    powers = tk.ChannelPowers(text_limit=200, files=True, file_limit_bytes=2_000_000)

    def __init__(self, name: str, *, loft: str, birds: int = 1, token: str = "") -> None:
        super().__init__(name)
        if birds < 1:
            raise ValueError(f"{birds} birds carry nothing, not even {token}")
        self.loft = loft

    async def run(self, deliver):
        self.line.up()

    async def send(self, outbound):
        raise tk.Unreachable("it has flown away")
"""
"""A module with a channel."""


def install(folder: Path, package: str, entries: dict[str, str], source: str = SOURCE) -> Path:
    """Leave a package in `folder`: its module, its name and version, its entry points."""
    module = package.replace("-", "_")
    (folder / f"{module}.py").write_text(source, encoding="utf-8")
    info = folder / f"{module}-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.5\n")
    lines = "".join(f"{kind} = {value}\n" for kind, value in entries.items())
    (info / "entry_points.txt").write_text(f"[turnkeeper.channels]\n{lines}")
    importlib.invalidate_caches()
    return folder
