"""Run many seeds: `python -m tests.faults.seeds FIRST STOP`; prints each that breaks a promise."""

from __future__ import annotations

import sys

from .world import run_seed

__all__ = ["broken", "explain"]


def explain(seed: int, problems: list[str]) -> str:
    """What a seed has broken, and how to see it happen."""
    lines = "\n".join(f"    {problem}" for problem in problems[:5])
    again = f"FAULT_SEED={seed} python -m pytest tests/faults -k replay -s"
    return f"seed {seed} breaks what was promised:\n{lines}\n  to see it happen: {again}"


def broken(first: int, stop: int) -> list[str]:
    """Explanations of the seeds from `first` up to `stop` that break a promise."""
    runs = (run_seed(seed) for seed in range(first, stop))
    return [explain(run.seed, run.problems) for run in runs if run.problems]


def main() -> int:
    """Run the seeds that the command line names."""
    found = broken(int(sys.argv[1]), int(sys.argv[2]))
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
