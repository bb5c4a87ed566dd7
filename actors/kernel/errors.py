"""What the kernel may raise, beside pykka's own ActorDeadError and Timeout.

KernelError
├── NoKernel       nothing runs actors here: open a kernel
├── KernelClosed   the kernel that was asked is closing or closed
├── WouldDeadlock  a blocking call on the thread which would have to answer it
├── MailboxFull    a bound is reached: wait with `await ref.send(...)`, or drop
└── GaveUp         something failed more often than its policy allows
"""

from __future__ import annotations

__all__ = ["GaveUp", "KernelClosed", "KernelError", "MailboxFull", "NoKernel", "WouldDeadlock"]


class KernelError(Exception):
    """Root of the kernel's own errors."""


class NoKernel(KernelError):
    """No kernel runs on this loop, and the process has none, or more than one, to fall back on."""


class KernelClosed(KernelError):
    """The kernel starts no more actors."""


class WouldDeadlock(KernelError):
    """A blocking call was made on a loop that has to keep turning for the call to end."""


class MailboxFull(KernelError):
    """The actor's mailbox holds `mailbox_limit` messages; this one was not taken."""


class GaveUp(KernelError):
    """It failed too often within its window; the last failure is the cause."""
