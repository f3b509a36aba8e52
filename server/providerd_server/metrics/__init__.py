"""What Prometheus is told: events and calls as they are counted, and how everything is at the moment it asks."""

from providerd_server.metrics.listener import serving_metrics
from providerd_server.metrics.registry import Metrics

__all__ = ["Metrics", "serving_metrics"]
