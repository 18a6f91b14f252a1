"""Metrics for Prometheus."""

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

REQUESTS = Histogram(
    "warmstart_request_seconds", "Seconds a request took", ["route", "status"], buckets=_SECONDS
)
ENCODE_SECONDS = Histogram(
    "warmstart_encode_seconds", "Seconds the language model took for a batch", buckets=_SECONDS
)
ENCODED_ITEMS = Counter("warmstart_encoded_items", "Items the language model has encoded")
WAITING = Gauge("warmstart_waiting_items", "Items that wait to be encoded")
ITEMS = Gauge("warmstart_items", "Items in the index", ["kind"])
LAST_CHANGE = Gauge("warmstart_last_change", "Number of the last change that is in the index")
BATCH = Histogram(
    "warmstart_batch_requests", "Lists made in one batch", buckets=(1, 2, 4, 8, 16, 32, 64, 128)
)
