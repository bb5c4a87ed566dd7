"""Actors: the kernel that runs them, the messages between them, and the turnkeeper's own ones."""

from __future__ import annotations

from .kernel import (
    ActorDeadError,
    ActorRef,
    ActorRegistry,
    Control,
    GaveUp,
    Kernel,
    KernelClosed,
    KernelError,
    MailboxFull,
    NoKernel,
    RestartPolicy,
    Timeout,
    TrioActor,
    TrioFuture,
    WouldDeadlock,
    supervise,
)

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
