"""Who wants to know what happens on the way from a write to its watchers: the log, the metrics, the traces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from providerd_server.hub import Cause, Mailbox, State
    from providerd_server.snapshot import Revision

log = structlog.get_logger(__name__)


class Observer:
    """Is told by the hub, in its event loop; must be quick. Times are those of ``time.monotonic``.

    What a subclass does not ask for, it is told in vain.
    """

    def wrote(self, revision: Revision, began: float, ended: float) -> None:
        """A write of this daemon was committed and made ``revision``."""

    def failed(self, error: BaseException, began: float, ended: float) -> None:
        """A write of this daemon ended with an error; with CancelledError nobody waited for it, and it may be made."""

    def published(self, before: State | None, state: State, cause: Cause | None) -> None:
        """The hub has a new state. ``cause`` is what watchers are told; None when they are not."""

    def delivered(self, mailbox: Mailbox, state: State, cause: Cause | None) -> None:
        """A watcher has taken a message of ``state``, a heartbeat where ``cause`` is None; ``mailbox`` is as before."""

    def left(self, mailbox: Mailbox, error: BaseException) -> None:
        """A watch has ended: with a Refusal by this server, with CancelledError where its caller left or had to."""


class Observers(Observer):
    """Several: one that fails disturbs neither the others nor what they observe."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers

    def wrote(self, revision: Revision, began: float, ended: float) -> None:
        """Tells all of them."""
        self._tell("wrote", revision, began, ended)

    def failed(self, error: BaseException, began: float, ended: float) -> None:
        """Tells all of them."""
        self._tell("failed", error, began, ended)

    def published(self, before: State | None, state: State, cause: Cause | None) -> None:
        """Tells all of them."""
        self._tell("published", before, state, cause)

    def delivered(self, mailbox: Mailbox, state: State, cause: Cause | None) -> None:
        """Tells all of them."""
        self._tell("delivered", mailbox, state, cause)

    def left(self, mailbox: Mailbox, error: BaseException) -> None:
        """Tells all of them."""
        self._tell("left", mailbox, error)

    def _tell(self, what: str, *arguments: object) -> None:
        for observer in self._observers:
            try:
                getattr(observer, what)(*arguments)
            except Exception:
                log.exception("an observer failed", observer=type(observer).__name__, told=what)


class RevisionLog(Observer):
    """Logs each new revision: whoever made it, and by whatever way."""

    def published(self, before: State | None, state: State, cause: Cause | None) -> None:  # noqa: ARG002 - as above
        """Logs it."""
        active = state.snapshot.active
        log.info(
            "new revision",
            revision=state.revision.number,
            active=active.provider_name if active else None,
            change=cause.name.lower() if cause else "not of the active provider",
        )
