"""What a monitoring system may know of the server: counts and times, no text."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from perdure.dialects.item import Usage

WAIT_BUCKETS_S = (0.001, 0.01, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)


class Metrics:
    """One registry per server, so that several can live in one process."""

    content_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        self.requests = Counter(
            "perdure_requests", "Requests answered.", ["route", "status"], registry=registry
        )
        self.replays = Counter(
            "perdure_replays", "Requests answered again under an idempotency key.", registry=registry
        )
        self.tokens = Counter(
            "perdure_tokens",
            "Tokens served; cached is a part of prompt.",
            ["model", "kind"],
            registry=registry,
        )
        self.queue_wait = Histogram(
            "perdure_queue_wait_seconds",
            "Seconds that calls waited for a slot.",
            ["model"],
            buckets=WAIT_BUCKETS_S,
            registry=registry,
        )
        self.in_flight = Gauge(
            "perdure_in_flight_calls", "Calls that an engine runs now.", ["model"], registry=registry
        )
        self.engine_restarts = Gauge(
            "perdure_engine_restarts", "How often an engine was restarted.", ["model"], registry=registry
        )

    def served(self, model: str, usage: Usage) -> None:
        """Count the tokens of one finished call."""
        self.tokens.labels(model, "prompt").inc(usage.prompt_tokens)
        self.tokens.labels(model, "cached").inc(usage.cached_tokens)
        self.tokens.labels(model, "output").inc(usage.output_tokens)

    def page(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self._registry)
