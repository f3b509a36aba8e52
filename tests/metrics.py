"""What a server shows Prometheus, as Prometheus reads it."""

import asyncio
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True)
class Scrape:
    """All samples of one answer."""

    samples: dict[tuple[str, frozenset[tuple[str, str]]], float]

    @classmethod
    def of(cls, text: str) -> "Scrape":
        return cls(
            {
                (sample.name, frozenset(sample.labels.items())): sample.value
                for family in text_string_to_metric_families(text)
                for sample in family.samples
            }
        )

    def __call__(self, name: str, **labels: str) -> float:
        """The value of one series; KeyError when there is none."""
        return self.samples[name, frozenset(labels.items())]

    def labels(self, name: str) -> Iterator[dict[str, str]]:
        """The labels of each series of that name."""
        return (dict(labels) for found, labels in self.samples if found == name)

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self.samples}


async def scrape(address: str) -> Scrape:
    """Asks a server that may run in this very event loop."""
    return Scrape.of(await fetch(f"http://{address}/metrics"))


async def fetch(url: str) -> str:
    def read() -> str:
        with urllib.request.urlopen(url, timeout=20) as answer:
            text: str = answer.read().decode()
            return text

    return await asyncio.to_thread(read)
