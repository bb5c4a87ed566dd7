"""What an agent gives back, checked and made into a reply that can be stored and sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final, cast

from .actors.core.intake import check_files
from .actors.messages import AgentReply, Attachment, ToolCall
from .actors.runner import AgentFault

__all__ = ["MAX_REPLY_CHARS", "Reply", "join_parts", "make_reply"]

MAX_REPLY_CHARS: Final = 4_194_304
"""Most characters of one reply, its tool calls included: the bound of an inbound text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """A reply with the tool calls that led to it; they are recorded together."""

    text: str | None
    tools: tuple[ToolCall, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    """Files that go with it, at most ten: of `Turn.keep_file`, or of a message of this session.
    With any, it is no silence, even without a text."""


def make_reply(agent: str, result: object) -> AgentReply:
    """The reply that `agent` means by `result`.

    Raises:
        AgentFault: it means none, or one that is too large.
    """
    if result is None:
        return AgentReply(text=None)
    if isinstance(result, str):
        reply = AgentReply(text=_exact(result))
    elif isinstance(result, Reply):
        reply = _checked(agent, result)
    else:
        raise AgentFault(
            f"agent {agent!r} returned {_shown(result)}; it must return str, Reply or None"
        )
    chars = len(reply.text or "")
    for call in reply.tools:
        chars += len(call.name) + len(call.arguments) + len(call.result)
    if chars > MAX_REPLY_CHARS:
        raise AgentFault(
            f"agent {agent!r} returned a reply of {chars} characters; {MAX_REPLY_CHARS} are allowed"
        )
    return reply


async def join_parts(
    agent: str, parts: AsyncIterator[str], hear: Callable[[str], None] | None = None
) -> AgentReply:
    """The reply that `agent` yields in `parts`; `hear` is told of each as it comes.

    Raises:
        AgentFault: a part is no str, or there are too many.
    """
    texts: list[str] = []
    chars = 0
    async with AsyncExitStack() as stack:
        if (aclose := getattr(parts, "aclose", None)) is not None:
            stack.push_async_callback(aclose)
        async for part in parts:
            if not isinstance(part, str):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise AgentFault(f"agent {agent!r} yielded {_shown(part)}; it must yield str")
            texts.append(_exact(part))
            chars += len(part)
            if chars > MAX_REPLY_CHARS:
                raise AgentFault(f"agent {agent!r} yielded more than {MAX_REPLY_CHARS} characters")
            if hear is not None:
                hear(texts[-1])
    return AgentReply(text="".join(texts))


def _checked(agent: str, reply: Reply) -> AgentReply:
    def refuse(what: str) -> AgentFault:
        return AgentFault(f"agent {agent!r} returned {what}")

    text, tools = cast("object", reply.text), cast("object", reply.tools)
    if text is not None and not isinstance(text, str):
        raise refuse(f"a Reply whose text is {_shown(text)}")
    if not isinstance(tools, tuple | list):
        raise refuse("a Reply whose tools are no tuple of ToolCall")
    calls: list[ToolCall] = []
    for call in cast("Sequence[Any]", tools):
        if not isinstance(call, ToolCall):
            raise refuse("a Reply whose tools are no tuple of ToolCall")
        for name in ("name", "arguments", "result"):
            value: object = getattr(call, name)
            if not isinstance(value, str):
                raise refuse(f"a ToolCall whose {name} is {_shown(value)}")
        calls.append(
            ToolCall(
                name=_exact(call.name),
                arguments=_exact(call.arguments),
                result=_exact(call.result),
            )
        )
    try:
        files = check_files(reply.attachments)
    except ValueError as error:
        raise refuse(f"a Reply that cannot be sent: {error}") from error
    return AgentReply(
        text=None if text is None else _exact(text), tools=tuple(calls), attachments=files
    )


def _exact(text: str) -> str:
    """The characters of `text`, whatever a subclass makes of them: records hold plain str."""
    return text if type(text) is str else str.__str__(text)


def _shown(value: object) -> str:
    return f"a {type(value).__name__}"
