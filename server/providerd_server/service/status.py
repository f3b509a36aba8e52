"""The RPC that tells how this server is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from providerd import __version__
from providerd.v1 import provider_pb2 as pb
from providerd_server import convert
from providerd_server.hub import State
from providerd_server.metrics.events import MADE, Events
from providerd_server.rpc import Context, Handler, unary
from providerd_server.source import Condition
from providerd_server.vitals import Moment, Vitals, WatcherState


class Status:
    """GetStatus."""

    def __init__(self, vitals: Vitals, events: Events) -> None:
        self._vitals = vitals
        self._events = events

    def handlers(self) -> list[tuple[str, Handler]]:
        """The names and gRPC handlers of these RPCs."""
        return [unary(pb.GetStatusRequest, self.get_status)]

    async def get_status(self, _: pb.GetStatusRequest, __: Context) -> Message:
        """Answers from what is in memory."""
        moment, events = self._vitals.now(), self._events
        response = pb.GetStatusResponse(
            version=__version__,
            start_time=_timestamp(datetime.fromtimestamp(self._vitals.started_at, UTC)),
            origin=_origin(moment.condition),
            watchers=_watchers(moment),
            deliveries=events.deliveries.total(),
            folded_revisions=events.folded,
            writes=events.writes[MADE],
            refused_writes=events.writes.total() - events.writes[MADE],
            calls=moment.calls,
            denials={reason: count for reason, count in moment.denials.items() if count},
        )
        if moment.state is not None:
            _add_state(response, moment.state)
            response.source.CopyFrom(convert.source_status(moment.age, stale=moment.stale))
        if events.writes[MADE]:
            response.mean_write_time.CopyFrom(_duration(events.seconds_writing / events.writes[MADE]))
        if moment.certificate_ends is not None:
            response.certificate_expire_time.CopyFrom(_timestamp(moment.certificate_ends))
        return response


def _add_state(response: pb.GetStatusResponse, state: State) -> None:
    active = state.snapshot.active
    response.revision.CopyFrom(convert.revision_message(state.revision))
    response.active_provider_name = active.provider_name if active else ""
    response.provider_count = len(state.snapshot.providers)


def _origin(condition: Condition) -> pb.Origin:
    counts = condition.counts
    return pb.Origin(
        kind=condition.kind,
        connected=condition.connected,
        listening=condition.listening,
        server_version=condition.version,
        version_warning=condition.warning,
        failures=counts.get("failures", 0),
        polled_changes=counts.get("polled", 0),
        lost_listeners=counts.get("lost", 0),
        unreadable_keys=condition.unreadable,
    )


def _watchers(moment: Moment) -> pb.Watchers:
    return pb.Watchers(
        current=moment.watchers[WatcherState.CURRENT],
        behind=moment.watchers[WatcherState.BEHIND],
        resyncing=moment.watchers[WatcherState.RESYNCING],
        starting=moment.watchers[WatcherState.STARTING],
        slowest_lag=moment.slowest_lag,
    )


def _timestamp(when: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(when)
    return timestamp


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromTimedelta(timedelta(seconds=seconds))
    return duration
