"""The composition root of the daemon: what it is made of behind the API that it serves."""

from __future__ import annotations

from providerd.secret import Secret
from providerd_server import serving
from providerd_server.hub import Hub
from providerd_server.metrics import Metrics
from providerd_server.security import Security
from providerd_server.service import HistoryReads, Reads, Writes
from providerd_server.settings import Settings
from providerd_server.source.postgres import PostgresSource
from providerd_server.store import Database, History, Keys, Retention, Store, Transactions
from providerd_server.store.tls import Trust
from providerd_server.tracing import Tracing


async def serve(settings: Settings, database_url: Secret, security: Security) -> None:
    """Runs the daemon until SIGTERM or SIGINT; a second signal cuts the goodbyes short.

    Raises:
        ConfigurationError: An address cannot be taken, the connections to the database cannot be secured, or there is
            no tracing as the settings say.
        ExceptionGroup: A part failed in a way nobody foresaw; the process should end with an error.
    """
    database = Database(database_url, trust=Trust.of(settings), pool_size=settings.pool_size)
    pool = await database.create_pool()
    try:
        keys = Keys(security.keyring, require_seals=settings.require_seals, hosts=security.hosts)
        source = PostgresSource(
            database, keys, poll_interval=settings.poll_interval, probe_interval=settings.probe_interval
        )
        tracing, metrics = Tracing.of(settings, "providerd"), Metrics()
        hub = Hub(tracing.revisions, metrics.events)
        transactions = Transactions(database, pool)
        reads = Reads(hub, source, stale_after=settings.stale_after, write_timeout=settings.watch_write_timeout)
        writes = Writes(hub, transactions, Store(transactions, keys), source, security.hosts)
        background: dict[str, serving.Work] = {}
        if settings.history_retention is not None:
            background["retention"] = Retention(transactions, settings.history_retention).run
        others = (writes, HistoryReads(History(transactions)))
        await serving.serve(
            serving.Service(source, "the database", hub, metrics, reads, others, background, tracing),
            settings,
            security.entrance,
        )
    finally:
        pool.terminate()
