"""Prometheus metrics of the service."""

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

REQUESTS = Histogram(
    "warmstart_request_seconds",
    "Duration of a request in seconds",
    ["route", "status"],
    buckets=_SECONDS,
)
ENCODE_SECONDS = Histogram(
    "warmstart_encode_seconds", "Duration of encoding a batch in seconds", buckets=_SECONDS
)
ENCODED_ITEMS = Counter("warmstart_encoded_items", "Items encoded by the language model")
WAITING = Gauge("warmstart_waiting_items", "Items waiting to be encoded")
ITEMS = Gauge("warmstart_items", "Items in the index, by kind: warm, cold, warming", ["kind"])
LAST_CHANGE = Gauge("warmstart_last_change", "Number of the last change applied to the index")
BATCH = Histogram(
    "warmstart_batch_requests", "Lists computed in one batch", buckets=(1, 2, 4, 8, 16, 32, 64, 128)
)
