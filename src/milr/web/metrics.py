"""What a server did, as Prometheus reads it."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from milr.types import Cost

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """Counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.requests = Counter("milr_requests", "Answered requests.", ["path", "status"], registry=registry)
        self.searches = Counter("milr_searches", "Searches that ended.", ["how"], registry=registry)
        self.seconds = Histogram("milr_search_seconds", "From the request to its last picture.", registry=registry,
                                 buckets=SECONDS)  # fmt: skip
        self.active = Gauge("milr_active", "Requests at work.", registry=registry)
        self.waiting = Gauge("milr_waiting", "Requests that wait for their turn.", registry=registry)
        self.answers = Counter("milr_answers", "Answered questions about pictures.", registry=registry)
        self._spent = {
            name: Counter(f"milr_{name}", help, registry=registry)
            for name, help in (("pictures", "Pictures drawn."), ("token_steps", "Positions decoded."),
                               ("reward_calls", "Judgements."), ("model_seconds", "Seconds of the model."),
                               ("reward_seconds", "Seconds of judges."))
        }  # fmt: skip

    def add(self, cost: Cost) -> None:
        """Count what a step has cost."""
        for name, counter in self._spent.items():
            counter.inc(getattr(cost, name))

    def text(self) -> bytes:
        """Everything, in Prometheus's text format."""
        return generate_latest(self._registry)
