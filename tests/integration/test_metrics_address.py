"""The address that Prometheus asks: what it answers, to how many, and what that costs the event loop."""

import asyncio
import threading
import time
import urllib.error
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Gauge, ProcessCollector, exposition
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from serving import Serving, free_port, serving

from providerd_server.errors import ConfigurationError
from providerd_server.metrics import in_loop, serving_metrics
from providerd_server.metrics import listener as metrics_listener
from providerd_server.metrics.in_loop import InLoop
from tests.metrics import fetch, scrape


class Looks(Collector):
    """Counts how often it is looked at, and remembers in which tasks."""

    def __init__(self) -> None:
        self.tasks: list[object] = []

    def collect(self) -> Iterator[Metric]:
        self.tasks.append(asyncio.current_task())
        yield GaugeMetricFamily("looks", "How often.", value=len(self.tasks))


@pytest.fixture
def looks() -> Looks:
    return Looks()


@pytest.fixture
async def registry(looks: Looks) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(InLoop(looks, asyncio.get_running_loop()))
    return registry


@pytest.fixture
def address() -> str:
    return f"127.0.0.1:{free_port()}"


@pytest.fixture
async def daemon(database: str, address: str) -> AsyncIterator[Serving]:
    async with serving(database, metrics_listen=address) as daemon:
        yield daemon


async def test_only_metrics_are_there(daemon: Serving, address: str) -> None:
    assert daemon.address
    with pytest.raises(urllib.error.HTTPError, match="404"):
        await fetch(f"http://{address}/etc/passwd")


async def test_an_address_that_is_taken_is_refused_with_what_to_do(daemon: Serving, address: str) -> None:
    assert daemon.address
    with pytest.raises(
        ConfigurationError, match=rf"cannot serve metrics on {address}: .*; set PROVIDERD_METRICS_LISTEN"
    ):
        async with serving_metrics(address, CollectorRegistry()):
            pass


async def test_an_event_loop_that_hangs_is_answered_for(
    address: str, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_loop, "PATIENCE", 0.2)
    async with serving_metrics(address, registry) as taken:
        asking = asyncio.create_task(fetch(f"http://{taken}/metrics"))
        await asyncio.sleep(0)  # for its thread to begin
        time.sleep(2)  # noqa: ASYNC251 - that is what it is about
        with pytest.raises(urllib.error.HTTPError, match="503"):
            await asking


async def test_what_cannot_be_collected_is_an_error_without_details(
    address: str, capfd: pytest.CaptureFixture[str]
) -> None:
    registry = CollectorRegistry()
    Gauge("broken", "Fails.", registry=registry).set_function(lambda: 1 / 0)
    async with serving_metrics(address, registry) as taken:
        with pytest.raises(urllib.error.HTTPError) as refused:
            await fetch(f"http://{taken}/metrics")
    assert refused.value.code == 500
    assert b"division" not in refused.value.read()
    written = capfd.readouterr()
    assert "metrics could not be collected" in written.err + written.out


async def test_who_asks_slowly_takes_few_places_and_none_for_long(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_listener, "_PATIENCE", 0.5)
    host, _, port = address.rpartition(":")
    async with serving_metrics(address, CollectorRegistry()):
        slow = [await asyncio.open_connection(host, int(port)) for _ in range(20)]
        for _, writer in slow:
            writer.write(b"GET /")
        ended = await asyncio.gather(
            *(asyncio.wait_for(reader.read(), 20) for reader, _ in slow), return_exceptions=True
        )
        assert not any(isinstance(each, TimeoutError) for each in ended)
        for _, writer in slow:
            writer.close()
        assert await fetch(f"http://{address}/metrics") == ""


async def test_what_is_collected_is_so_in_the_event_loop_and_serves_all_who_ask_within_a_second(
    address: str, registry: CollectorRegistry, looks: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_loop, "_SHARED", 300.0)
    async with serving_metrics(address, registry) as taken:
        together = await asyncio.gather(*(scrape(taken) for _ in range(4)))
    assert [shown("looks") for shown in together] == [1, 1, 1, 1]
    assert None not in looks.tasks


async def test_who_asks_later_is_told_anew(
    address: str, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_loop, "_SHARED", 0.0)
    async with serving_metrics(address, registry) as taken:
        assert [(await scrape(taken))("looks") for _ in range(3)] == [1, 2, 3]


async def test_nothing_is_written_out_or_read_of_the_process_in_the_event_loop(
    daemon: Serving, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[str] = set()

    def noting(collect: Any) -> Any:
        def noted(*arguments: Any) -> Any:
            threads.add(threading.current_thread().name)
            return collect(*arguments)

        return noted

    monkeypatch.setattr(ProcessCollector, "collect", noting(ProcessCollector.collect))
    monkeypatch.setattr(exposition, "generate_latest", noting(exposition.generate_latest))
    assert (await scrape(address))("process_open_fds") > 0
    assert daemon.address
    assert threads
    assert threading.main_thread().name not in threads
