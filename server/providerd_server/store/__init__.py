"""The truth, as PostgreSQL holds it: connections to it, rows of it, keys in it, and changes of it."""

from providerd_server.store.database import Database
from providerd_server.store.keys import Keys
from providerd_server.store.providers import Store, Switched, Upserted

__all__ = ["Database", "Keys", "Store", "Switched", "Upserted"]
