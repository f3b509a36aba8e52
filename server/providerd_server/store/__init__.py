"""The truth, as PostgreSQL holds it: connections to it, rows of it, keys in it, changes of it, and its history."""

from providerd_server.store.database import Database
from providerd_server.store.history import History
from providerd_server.store.keys import Keys
from providerd_server.store.providers import Store
from providerd_server.store.retention import Retention
from providerd_server.store.transaction import Transactions

__all__ = ["Database", "History", "Keys", "Retention", "Store", "Transactions"]
