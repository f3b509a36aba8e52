"""What systemd is told of this process, where it was started by a unit with ``Type=notify``.

The protocol is one datagram for each message, to the socket that ``$NOTIFY_SOCKET`` names:
https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

from __future__ import annotations

import asyncio
import os
import socket

import structlog

log = structlog.get_logger(__name__)


def notify(*assignments: str) -> None:
    """Sends assignments such as ``READY=1``; does nothing where nobody asked for them. Never raises."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    # An abstract socket is written with @ in place of its leading NUL.
    address = "\0" + address[1:] if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto("\n".join(assignments).encode(), address)
    except OSError as error:
        log.warning("systemd cannot be told", assignments=assignments, error=error.strerror)


def watchdog_seconds() -> float | None:
    """How often ``WatchdogSec=`` of the unit wants a sign of life, at least; None for not at all."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    # Without it the variables are meant for this process; a child may have inherited those of its parent.
    meant = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(microseconds) / 1_000_000 if meant and microseconds.isdecimal() and int(microseconds) else None


async def signs_of_life(seconds: float) -> None:
    """Sends them twice as often as they are wanted, until cancelled: an event loop that hangs sends none."""
    while True:
        notify("WATCHDOG=1")
        await asyncio.sleep(seconds / 2)
