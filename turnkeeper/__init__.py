"""turnkeeper: one human, one agent, one conversation, whichever app the human opens.

import turnkeeper as tk

async def agent(turn: tk.Turn) -> str:
return f"You said {turn.text!r}."

async with tk.open_runtime("state", agent=agent, channels=[...]) as runtime: ...   # trio
tk.run("state", agent=agent, channels=[...])                                       # blocking
with tk.start_in_thread("state", agent=agent, channels=[...]) as handle: ...       # threads
"""

from __future__ import annotations

from .actors.acts import (
    AccessEntry,
    ActiveChange,
    ActRefused,
    Change,
    Created,
    Deleted,
    Joined,
    Moved,
)
from .actors.bus import FeedLagged
from .actors.core.compaction import Compacted, Summariser, SummaryRequest
from .actors.core.memory import MemoryFull
from .actors.core.mission_definition import MissionRefused
from .actors.core.window import Message, Source
from .actors.deliveries import Outcome, Part, SendPlan
from .actors.door import Refusal
from .actors.errors import (
    AccessDenied,
    FileNotKept,
    FileTooLarge,
    InvalidTurn,
    MessageIdReused,
    NotAddressed,
    Overloaded,
    SessionDamaged,
    ShuttingDown,
    TurnRefused,
    Unidentified,
)
from .actors.happenings import FeedEvent
from .actors.messages import (
    Accepted,
    Address,
    Attachment,
    Cleared,
    InboundTurn,
    MessageChange,
    ToolCall,
)
from .actors.provenance import LateReceipt, Mirrored
from .actors.tokens import TokenCounter
from .actors.unknown import UnknownAttachment, UnknownInstance, UnknownMission, UnknownSession
from .agent import Agent, Quoted, Reply, Turn
from .channel_status import ChannelStatus, LaneStatus
from .channels.base import (
    Channel,
    ChannelPowers,
    Check,
    Deliver,
    Draft,
    LostAnswer,
    Outbound,
    OutboundFile,
    Receipt,
    Rejected,
    Unreachable,
    Watermark,
)
from .config import Config, ConfigError
from .context import (
    SessionContext,
    clear_session_context,
    get_session_context,
    set_session_context,
)
from .feeding import Feed
from .identity import IdentityResolver, IdentityUnavailable
from .identity_file import FileIdentityResolver
from .links import IdentityLink, InMemoryIdentityResolver
from .memory import SessionMemory
from .missions import MissionDelivery, MissionInfo, MissionRun, MissionRunInfo
from .opening import open_runtime
from .people import AccessInfo, ChangeInfo, PairInfo
from .reload import Reloaded
from .rendering import system_of, to_anthropic, to_openai
from .runtime import Runtime, RuntimeFailed
from .serve import run
from .sight import SessionDetails
from .storage.errors import StorageError
from .stories import DeliveryInfo, Story
from .threads import Handle, start_in_thread
from .views import Binding, FeedEntry, HistoryRecord, SessionInfo

__version__ = "0.1.0"

__all__ = [
    "Accepted",
    "AccessDenied",
    "AccessEntry",
    "AccessInfo",
    "ActRefused",
    "ActiveChange",
    "Address",
    "Agent",
    "Attachment",
    "Binding",
    "Change",
    "ChangeInfo",
    "Channel",
    "ChannelPowers",
    "ChannelStatus",
    "Check",
    "Cleared",
    "Compacted",
    "Config",
    "ConfigError",
    "Created",
    "Deleted",
    "Deliver",
    "DeliveryInfo",
    "Draft",
    "Feed",
    "FeedEntry",
    "FeedEvent",
    "FeedLagged",
    "FileIdentityResolver",
    "FileNotKept",
    "FileTooLarge",
    "Handle",
    "HistoryRecord",
    "IdentityLink",
    "IdentityResolver",
    "IdentityUnavailable",
    "InMemoryIdentityResolver",
    "InboundTurn",
    "InvalidTurn",
    "Joined",
    "LaneStatus",
    "LateReceipt",
    "LostAnswer",
    "MemoryFull",
    "Message",
    "MessageChange",
    "MessageIdReused",
    "Mirrored",
    "MissionDelivery",
    "MissionInfo",
    "MissionRefused",
    "MissionRun",
    "MissionRunInfo",
    "Moved",
    "NotAddressed",
    "Outbound",
    "OutboundFile",
    "Outcome",
    "Overloaded",
    "PairInfo",
    "Part",
    "Quoted",
    "Receipt",
    "Refusal",
    "Rejected",
    "Reloaded",
    "Reply",
    "Runtime",
    "RuntimeFailed",
    "SendPlan",
    "SessionContext",
    "SessionDamaged",
    "SessionDetails",
    "SessionInfo",
    "SessionMemory",
    "ShuttingDown",
    "Source",
    "StorageError",
    "Story",
    "Summariser",
    "SummaryRequest",
    "TokenCounter",
    "ToolCall",
    "Turn",
    "TurnRefused",
    "Unidentified",
    "UnknownAttachment",
    "UnknownInstance",
    "UnknownMission",
    "UnknownSession",
    "Unreachable",
    "Watermark",
    "clear_session_context",
    "get_session_context",
    "open_runtime",
    "run",
    "set_session_context",
    "start_in_thread",
    "system_of",
    "to_anthropic",
    "to_openai",
]
