"""What Prometheus is told."""

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

REQUESTS = Histogram(
    "warmstart_request_seconds", "Seconds a request took", ["route", "status"], buckets=_SECONDS
)
READ_SECONDS = Histogram(
    "warmstart_read_seconds", "Seconds the language model took for a batch", buckets=_SECONDS
)
READ_ITEMS = Counter("warmstart_read_items", "Items the language model has read")
WAITING = Gauge("warmstart_waiting_items", "Items that wait to be read")
ITEMS = Gauge("warmstart_items", "Items in the index", ["kind"])
LAST_CHANGE = Gauge("warmstart_last_change", "Number of the last change in the index")
BATCH = Histogram(
    "warmstart_batch_requests", "Lists made at once", buckets=(1, 2, 4, 8, 16, 32, 64, 128)
)
