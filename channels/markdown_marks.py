"""The markup of apps in which `*` is bold, `_` italic, `~` struck out, and backticks are code.

Such a mark works on one line, and only at the edge of a word. Nothing can escape one: text that
looks like a mark may be shown as one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from .markdown_layout import Mark, Script, nested
from .markdown_tree import Code, Run, Style

__all__ = ["MarkScript"]

_MARKS: Final[dict[Style, Mark]] = {
    "bold": ("*", "*"),
    "italic": ("_", "_"),
    "struck": ("~", "~"),
    "code": ("`", "`"),
}
_FENCE: Final = "```"


class MarkScript(Script):
    """Writes these marks. Those that could not work are left out, and the text stays.

    Code that holds a backtick gets no mark inside a text; in a block, fences in it are set apart by
    spaces of no width. Of quotations in each other, the outermost is one; the others show a `>`.
    """

    def escape(self, text: str) -> str:
        """`text` so that the platform reads it as text."""
        return text

    def link(self, run: Run) -> Sequence[Run]:
        """A link as runs that this platform can show."""
        return (run,)

    def marks(self, run: Run) -> Sequence[Mark]:
        """What stands around `run`, the outermost first."""
        return [_MARKS[style] for style in run.styles]

    def runs(self, runs: Sequence[Run]) -> str:
        shown = [piece for run in _lines_of(runs) for piece in self._pieces(run)]
        return nested(_effective(shown), self.marks, self.escape)

    def code(self, code: Code) -> str:
        text = code.text.replace(_FENCE, "`\u200b`\u200b`")
        return f"{_FENCE}\n{self.escape(text)}\n{_FENCE}"

    def quote(self, inner: str, depth: int) -> str:
        mark = "> " if depth == 0 else self.escape("> ")
        return "\n".join(mark + line for line in inner.split("\n"))

    def _pieces(self, run: Run) -> Sequence[Run]:
        return (run,) if run.url is None else self.link(run)


def _lines_of(runs: Iterable[Run]) -> Iterator[Run]:
    """`runs` with each line break in a run of its own, without a style."""
    for run in runs:
        for number, line in enumerate(run.text.split("\n")):
            if number > 0:
                yield Run(text="\n")
            if line:
                yield Run(text=line, styles=run.styles, url=run.url)


def _effective(runs: Sequence[Run]) -> tuple[Run, ...]:
    """`runs` without the styles that no mark can give them."""
    styles: list[list[Style]] = [
        [style for style in run.styles if _has_mark(style, run)] for run in runs
    ]
    for style in ("bold", "italic", "struck"):
        start = 0
        while start < len(runs):
            end = start
            while end < len(runs) and style in styles[end]:
                end += 1
            before = runs[start - 1].text[-1:] if start > 0 else ""
            after = runs[end].text[:1] if end < len(runs) else ""
            if end > start and not (
                _is_edge(before, runs[start].text[0]) and _is_edge(after, runs[end - 1].text[-1])
            ):
                for left in styles[start:end]:
                    left.remove(style)
            start = end + 1
    return tuple(
        Run(text=run.text, styles=tuple(left), url=run.url)
        for run, left in zip(runs, styles, strict=True)
    )


def _has_mark(style: Style, run: Run) -> bool:
    return style != "code" or (run.url is None and "`" not in run.text)


def _is_edge(outside: str, inside: str) -> bool:
    """Whether a mark between these two characters is seen as one."""
    return not outside.isalnum() and outside != "_" and not inside.isspace()
