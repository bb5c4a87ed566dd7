"""pykka's actor protocol, run by trio. The only package which imports pykka."""

from __future__ import annotations

from pykka import ActorDeadError, ActorRegistry, Timeout

from .actor import TrioActor
from .errors import GaveUp, KernelClosed, KernelError, MailboxFull, NoKernel, WouldDeadlock
from .future import TrioFuture
from .kernel import Kernel
from .messages import Control
from .ref import ActorRef
from .supervision import RestartPolicy
from .supervisor import supervise

__all__ = [
    "ActorDeadError",
    "ActorRef",
    "ActorRegistry",
    "Control",
    "GaveUp",
    "Kernel",
    "KernelClosed",
    "KernelError",
    "MailboxFull",
    "NoKernel",
    "RestartPolicy",
    "Timeout",
    "TrioActor",
    "TrioFuture",
    "WouldDeadlock",
    "supervise",
]
