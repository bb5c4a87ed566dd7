"""What every benchmark shares: its options, the machine, the raw disk, the table, JSON, picture.

Run a benchmark as a module from the root of the checkout: ``python -m benchmarks.kernel --quick``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

__all__ = ["Figure", "Options", "Report", "fdatasync_p50_ms", "machine", "read_options"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """The command line of a benchmark."""

    quick: bool
    """A short run: less certain figures."""
    json_path: Path | None
    plot_path: Path | None
    seed: int
    directory: Path | None
    """Where to put files; a temporary directory when None."""


def read_options(question: str, arguments: Sequence[str] | None = None) -> Options:
    """Read the options which all benchmarks have; `question` is what this one answers."""
    parser = argparse.ArgumentParser(description=question)
    parser.add_argument("--quick", action="store_true", help="a short, less certain run")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures as JSON")
    parser.add_argument("--plot", type=Path, metavar="PATH", help="draw them (PNG or SVG)")
    parser.add_argument("--seed", type=int, default=1, help="seed of everything random")
    parser.add_argument("--dir", type=Path, help="directory on the disk to measure")
    given = parser.parse_args(arguments)
    return Options(
        quick=given.quick,
        json_path=given.json,
        plot_path=given.plot,
        seed=given.seed,
        directory=given.dir,
    )


def machine() -> str:
    """One line: processor, cores, memory, system, Python."""
    model = _line_after("/proc/cpuinfo", "model name") or platform.processor() or "unknown CPU"
    memory_kb = int((_line_after("/proc/meminfo", "MemTotal") or "0 kB").split()[0])
    return (
        f"{model}, {os.cpu_count()} cores, {memory_kb / 2**20:.0f} GiB, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    )


def _line_after(path: str, label: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                if line.startswith(label):
                    return line.partition(":")[2].strip()
    except OSError:
        return None
    return None


def fdatasync_p50_ms(directory: str | os.PathLike[str] | None = None, *, rounds: int = 50) -> float:
    """Median time of a 4 KiB append followed by fdatasync, in milliseconds."""
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        descriptor = os.open(Path(folder) / "probe", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        block = b"\0" * 4096
        times: list[float] = []
        try:
            for _ in range(rounds):
                os.write(descriptor, block)
                started = time.perf_counter()
                os.fdatasync(descriptor)
                times.append(time.perf_counter() - started)
        finally:
            os.close(descriptor)
    return median(times) * 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One measured figure, and what it is held against."""

    name: str
    value: float
    unit: str
    beside: str = ""
    """Name of what it is compared with."""
    beside_value: float | None = None
    """The comparison's own figure, in the same unit."""
    ratio: float | None = None
    """How the two compare; the figure itself when the target is absolute."""
    must: str = ""
    aim: str = ""


@dataclass(kw_only=True, slots=True)
class Report:
    """The figures of one benchmark run, printed as they will be quoted."""

    question: str
    options: Options
    figures: list[Figure] = field(default_factory=list[Figure])
    notes: list[str] = field(default_factory=list[str])
    """Lines printed under the table: what exactly was done."""

    def add(self, figure: Figure) -> None:
        """Take one figure, and say on stderr that it is there."""
        self.figures.append(figure)
        print(f"  {figure.name}: {_number(figure.value)} {figure.unit}", file=sys.stderr)

    def finish(self) -> None:
        """Print the table; write JSON and the picture where asked."""
        fdatasync_ms = fdatasync_p50_ms(self.options.directory)
        surroundings = {
            "machine": machine(),
            "fdatasync_p50_ms": round(fdatasync_ms, 4),
            "seed": self.options.seed,
            "quick": self.options.quick,
        }
        print(self.question)
        print(f"machine: {surroundings['machine']}")
        print(f"raw fdatasync p50: {fdatasync_ms:.3f} ms · seed: {self.options.seed}", end="")
        print(" · quick run" if self.options.quick else "")
        print()
        for line in self._table():
            print(line)
        for note in self.notes:
            print(note)
        if self.options.json_path is not None:
            content: dict[str, Any] = {
                "question": self.question,
                **surroundings,
                "figures": [asdict(figure) for figure in self.figures],
                "notes": self.notes,
            }
            self.options.json_path.write_text(
                json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
            )
        if self.options.plot_path is not None:
            self._draw(self.options.plot_path)

    def _table(self) -> list[str]:
        heads = ("what", "figure", "unit", "beside", "its figure", "ratio", "must", "aim")
        rows = [
            (
                figure.name,
                _number(figure.value),
                figure.unit,
                figure.beside,
                _number(figure.beside_value),
                _number(figure.ratio),
                figure.must,
                figure.aim,
            )
            for figure in self.figures
        ]
        widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
        numeric = {1, 4, 5}
        return [
            "  ".join(
                cell.rjust(width) if column in numeric else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in (heads, *rows)
        ]

    def _draw(self, path: Path) -> None:
        """One bar pair for each figure; each pair has its own scale, for units differ."""
        # Optional, and untyped to strict checkers: only a picture needs it.
        matplotlib: Any = import_module("matplotlib")
        matplotlib.use("agg")
        draw: Any = import_module("matplotlib.pyplot")
        picture, panels = draw.subplots(
            len(self.figures), 1, figsize=(9, 1.1 * len(self.figures) + 0.8), squeeze=False
        )
        for panel, figure in zip(panels[:, 0], self.figures, strict=True):
            bars = [("turnkeeper", figure.value)]
            if figure.beside_value is not None:
                bars.append((figure.beside, figure.beside_value))
            labels, values = zip(*reversed(bars), strict=True)
            drawn = panel.barh(labels, values, color=["#9aa5b1", "#2f6f9f"][-len(bars) :])
            panel.bar_label(drawn, labels=[_number(value) for value in values], padding=4)
            panel.set_title(f"{figure.name} ({figure.unit})", loc="left", fontsize=9)
            panel.margins(x=0.15)
            panel.tick_params(labelsize=8)
            for side in ("top", "right"):
                panel.spines[side].set_visible(False)
        picture.suptitle(self.question, fontsize=10)
        picture.tight_layout()
        picture.savefig(path)
        draw.close(picture)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
