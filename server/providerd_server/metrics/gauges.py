"""What Prometheus is shown of the moment at which it asks, and of what has been counted until then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from providerd import __version__
from providerd_server.hub import State
from providerd_server.metrics.events import Events
from providerd_server.source import Condition
from providerd_server.source.listener import Health
from providerd_server.vitals import Moment, Vitals, WatcherState

# What a source may have counted, under the name that it is shown by.
_COUNTS = {
    "reads": ("providerd_source_reads", "How often the database was read."),
    "heard": (
        "providerd_upstream_changes",
        "How often an upstream told a sidecar of something new, or answered again; heartbeats are none.",
    ),
    "failures": ("providerd_source_failures", "How often the source could not be followed, and was tried anew."),
    "polled": ("providerd_poll_fallbacks", "Changes that a poll found, since no notification had told of them."),
    "lost": ("providerd_listen_losses", "LISTEN connections that worked and were lost or went deaf."),
    "undecryptable": ("providerd_decrypt_failures", "Stored keys that were read and could not be decrypted."),
}


class Gauges(Collector):
    """Asks for everything anew each time, in the event loop; see ``InLoop``."""

    def __init__(self, vitals: Vitals, events: Events) -> None:
        self._vitals = vitals
        self._events = events

    def describe(self) -> Iterator[Metric]:
        """Nothing: registering must not look at anything yet."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """All of it."""
        moment = self._vitals.now()
        yield InfoMetricFamily("providerd_build", "The version that runs.", {"version": __version__})
        yield from _of_source(moment)
        yield from _of_condition(moment.condition)
        if moment.state is not None:
            yield from _of_state(moment.state)
        yield from _of_watchers(moment)
        yield from _of_events(self._events)
        yield from _of_callers(moment)


def _of_source(moment: Moment) -> Iterator[Metric]:
    yield InfoMetricFamily("providerd_source", "What the truth is.", {"kind": moment.condition.kind})
    yield _gauge(
        "providerd_source_connected", "1 when the newest heard of the source was an answer.", moment.condition.connected
    )
    yield _gauge(
        "providerd_source_age_seconds", "Since the state was verified to be the newest; +Inf before that.", moment.age
    )
    yield _gauge("providerd_stale", "1 while answers say that they are stale.", moment.stale)


def _of_condition(condition: Condition) -> Iterator[Metric]:
    for name, count in condition.counts.items():
        yield CounterMetricFamily(*_COUNTS[name], value=count)
    yield _gauge("providerd_unreadable_keys", "Providers whose stored key cannot be read.", len(condition.unreadable))
    if condition.listening:
        yield _labelled(
            "providerd_listen_state",
            "1 for the state of the LISTEN connection: connecting, listening, or deaf where only polls find changes.",
            "state",
            {state: float(state == condition.listening) for state in (each.value for each in Health)},
        )
    if condition.version:
        yield InfoMetricFamily("providerd_postgresql", "The database server.", {"version": condition.version})
        yield _gauge(
            "providerd_postgresql_vulnerable",
            "1 when the server's version has a known hole in pgcrypto.",
            bool(condition.warning),
        )


def _of_state(state: State) -> Iterator[Metric]:
    active = state.snapshot.active
    yield InfoMetricFamily(
        "providerd_store", "The store that numbers the revisions.", {"store_id": state.revision.store_id}
    )
    yield _gauge("providerd_revision", "The newest revision that is known.", state.revision.number)
    yield _gauge("providerd_providers", "How many providers are known.", len(state.snapshot.providers))
    yield _gauge("providerd_active", "1 when a provider is active.", active is not None)
    if active is not None:
        yield InfoMetricFamily(
            "providerd_active_provider", "The one that is active.", {"provider_name": active.provider_name}
        )


def _of_watchers(moment: Moment) -> Iterator[Metric]:
    yield _labelled(
        "providerd_watchers",
        "Watchers that know the newest state, are behind it, are resyncing, or have not taken anything yet; who is"
        " resyncing knows of another store, or of one that went back, and has not taken this one yet.",
        "state",
        {state.value: moment.watchers[state] for state in WatcherState},
    )
    yield _gauge(
        "providerd_slowest_watcher_lag",
        "Revisions by which the slowest of those behind is; of resyncing ones there are none.",
        moment.slowest_lag,
    )


def _of_events(events: Events) -> Iterator[Metric]:
    deliveries = {cause.name.lower(): count for cause, count in events.deliveries.items()}
    yield _counted(
        "providerd_deliveries", "Messages that watchers took.", "cause", {**deliveries, "heartbeat": events.heartbeats}
    )
    yield CounterMetricFamily(
        "providerd_folded_revisions",
        "Revisions that watchers skipped, since a newer one had replaced them.",
        value=events.folded,
    )
    yield CounterMetricFamily(
        "providerd_resyncs",
        "How often the store was another, or had gone back, and watchers were sent everything anew.",
        value=events.resyncs,
    )
    yield _counted(
        "providerd_watches_ended",
        "Watches that ended: CANCELLED, when the caller left or may no longer watch, or what they were refused for.",
        "reason",
        events.ends,
    )
    yield _counted(
        "providerd_writes",
        "Writes by outcome: made, the status that they ended with, or cancelled, when the caller was gone before the"
        " end; one of those may have been made.",
        "outcome",
        events.writes,
    )


def _of_callers(moment: Moment) -> Iterator[Metric]:
    yield _gauge("providerd_calls_in_flight", "Unary calls in flight.", moment.calls)
    yield _counted(
        "providerd_auth_denials",
        "Calls and streams that were turned away for who made them, by reason.",
        "reason",
        dict(sorted(moment.denials.items())),
    )
    yield _counted(
        "providerd_limit_refusals",
        "Calls and streams that were turned away since there was no room for more, by reason.",
        "reason",
        moment.crowded_out,
    )
    if moment.certificate_ends is not None:
        yield _gauge(
            "providerd_certificate_end_time_seconds",
            "When the certificate that TLS is served with ends, by the clock.",
            moment.certificate_ends.timestamp(),
        )


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))


def _counted(name: str, text: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family


def _labelled(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family
