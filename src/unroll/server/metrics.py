"""The server's metrics for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

ROUTES = frozenset(("/", "/predict", "/stream", "/runs", "/health", "/metrics", "/openapi.json"))
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """Metrics of one server."""

    def __init__(self) -> None:
        self.registry: CollectorRegistry = CollectorRegistry()
        self._requests = Counter(
            "unroll_requests", "Requests answered, by path and status", ["path", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "unroll_request_seconds", "Seconds from a request's headers to its response", ["path"], buckets=SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self.working: Gauge = Gauge("unroll_working", "Requests being processed", registry=self.registry)
        self._batches = Histogram(
            "unroll_batch_sequences", "Sequences per batch of the model",
            buckets=[2**n for n in range(9)], registry=self.registry,
        )  # fmt: skip
        self._warnings = Counter(
            "unroll_warnings", "Requests answered though unlike the training data, by run", ["run"],
            registry=self.registry,
        )  # fmt: skip

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count a request; status 0 means that the connection closed before the response."""
        path = path if path in ROUTES else "other"
        self._requests.labels(path, status).inc()
        self._seconds.labels(path).observe(seconds)

    def batch(self, sequences: int) -> None:
        """Count a batch."""
        self._batches.observe(sequences)

    def warning(self, run: str) -> None:
        """Count a request that is unlike a run's training data."""
        self._warnings.labels(run).inc()

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)
