"""All metrics of one server."""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, disable_created_metrics

from providerd_server.metrics.calls import Calls
from providerd_server.metrics.events import Events
from providerd_server.metrics.gauges import Gauges
from providerd_server.metrics.in_loop import InLoop
from providerd_server.vitals import Vitals

# Otherwise each counter would have a second series that says when the first began.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """What is counted from the start on; the rest is there once ``show`` has been told where to look.

    Attributes:
        registry: What Prometheus is shown.
        events: Counts what the hub tells of.
        calls: Counts calls.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.events = Events(self.registry)
        self.calls = Calls(self.registry)

    def show(self, vitals: Vitals) -> None:
        """Shows how the server, which is of the running event loop, and its process are, too."""
        self.registry.register(InLoop(Gauges(vitals, self.events), asyncio.get_running_loop()))
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
