"""Prometheus metrics of the service.

Several workers of one machine write theirs to files, and any of them reports the sums; of gauges,
which all workers have, it reports the worst.
"""

import os
from functools import partial

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

Gauge = partial(prometheus_client.Gauge, multiprocess_mode="livemax")

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
DAMAGED_ENCODINGS = Counter(
    "warmstart_damaged_encodings", "Encodings in the store that were damaged, and computed again"
)
CHANGES_SET_ASIDE = Counter(
    "warmstart_changes_set_aside", "Changes of items that could not be applied to the index"
)
FAILED_SWAPS = Counter("warmstart_failed_swaps", "Announced models that could not be served")
OLDEST_WAITING = Gauge(
    "warmstart_oldest_waiting_seconds", "Seconds for which the oldest item is waiting to be encoded"
)
BEHIND = Gauge("warmstart_behind_changes", "Changes in the store that are not yet in the index")
LEADS = Gauge("warmstart_leads", "1 if this process runs the encoder, else 0")
STALLED_SECONDS = Gauge(
    "warmstart_stalled_seconds", "Seconds since a part of the service last advanced", ["part"]
)
MODEL = Gauge("warmstart_model", "The served model", ["folder", "hash"])
LAST_CHANGE = prometheus_client.Gauge(
    "warmstart_last_change",
    "Number of the last change applied to the index",
    multiprocess_mode="livemin",
)
BATCH = Histogram(
    "warmstart_batch_requests", "Lists computed in one batch", buckets=(1, 2, 4, 8, 16, 32, 64, 128)
)

CONVERSATIONS = Counter(
    "warmstart_conversations", "Conversations: answered, busy, late or failed", ["outcome"]
)
CONVERSATION_SECONDS = Histogram(
    "warmstart_conversation_seconds",
    "Duration of a conversation in its thread, in seconds",
    buckets=(*_SECONDS, 10.0, 30.0, 60.0),
)
CONVERSATIONS_WAITING = Gauge(
    "warmstart_waiting_conversations", "Conversations waiting for the language model"
)


def report() -> bytes:
    """All metrics in the Prometheus text format."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest()
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # pyright: ignore[reportUnknownArgumentType]
    return generate_latest(registry)
