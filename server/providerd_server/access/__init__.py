"""Who may do what: principals and their scopes, and the guard that stands before every RPC."""

from providerd_server.access.caller import Caller, calling, current
from providerd_server.access.principals import Principal, Registry
from providerd_server.access.scopes import Scope

__all__ = ["Caller", "Principal", "Registry", "Scope", "calling", "current"]
