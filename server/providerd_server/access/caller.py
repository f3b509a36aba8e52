"""Who makes the call at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from providerd_server.access.principals import Principal
from providerd_server.access.scopes import Scope
from providerd_server.errors import Kind, Refusal


@dataclass(slots=True)
class Caller:
    """The other side of one RPC.

    Attributes:
        principal: Whom it was authenticated as; None where authentication is off.
        is_local: Whether it is on this machine.
        is_encrypted: Whether nobody between can read along.
        needed: The scopes that the RPC has taken so far; an open stream ends when one of them is lost.
        denied: Takes note of a refusal, and returns what to answer.
    """

    principal: Principal | None = None
    is_local: bool = False
    is_encrypted: bool = False
    needed: set[Scope] = field(default_factory=set)
    denied: Callable[[Refusal, str], Refusal] = lambda refusal, _: refusal

    def require(self, scope: Scope) -> None:
        """Makes sure that the caller may do what ``scope`` is for; all may everything where authentication is off.

        Raises:
            Refusal: PERMISSION_DENIED.
        """
        self.needed.add(scope)
        if self.principal is not None and not self.principal.may(scope):
            raise self.denied(missing(scope, self.principal), self.principal.name)

    def require_key_access(self) -> None:
        """Makes sure that the caller may be sent an API key.

        Raises:
            Refusal: PERMISSION_DENIED.
        """
        self.require(Scope.READ_CREDENTIAL)
        if self.is_local or (self.is_encrypted and self.principal is not None):
            return
        refusal = Refusal(
            Kind.PERMISSION_DENIED,
            "CREDENTIAL_NEEDS_LOCAL_PEER",
            "keys are only sent over loopback, over unix sockets, and over TLS to those who are authenticated;"
            " ask without include_credential",
        )
        raise self.denied(refusal, self.principal.name if self.principal else "")


def missing(scope: Scope, principal: Principal) -> Refusal:
    """The refusal of a principal that lacks a scope."""
    return Refusal(
        Kind.PERMISSION_DENIED,
        "SCOPE_MISSING",
        f"{principal.name} lacks the scope {scope.value!r}; an administrator grants it in the daemon's access file",
        metadata={"scope": scope.value, "principal": principal.name},
    )


_current: ContextVar[Caller] = ContextVar("caller")


def current() -> Caller:
    """The caller of the RPC at hand; one that nothing is known of, outside of any."""
    return _current.get(None) or Caller()


@contextmanager
def calling(caller: Caller) -> Iterator[None]:
    """Makes ``caller`` the current one."""
    token = _current.set(caller)
    try:
        yield
    finally:
        _current.reset(token)
