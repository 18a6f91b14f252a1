"""The log of the service: JSON lines, of which a client cannot provoke too many."""

import json
import logging
import subprocess
import sys

from warmstart.serve import logs

_PROGRAM = """
import logging, time, structlog
from warmstart.serve import logs

logs.set_up("INFO")
ours, other = structlog.get_logger("a"), logging.getLogger("asyncio")
for number in range(100):
    ours.error("it failed", number=number)
    other.error("socket.accept() out of system resource\\n%s", number)
    ours.info("request", number=number)
    ours.warning("another kind")
time.sleep(1.1)
ours.error("it failed", number=1000)
other.error("socket.accept() out of system resource\\n%s", 1000)
"""


def test_errors_of_one_kind_are_logged_once_a_second():
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True)
    found = [json.loads(line) for line in done.stderr.splitlines()]
    assert sum(line["event"] == "request" for line in found) == 100
    failed = [line for line in found if line["event"] == "it failed"]
    assert [(line["number"], line.get("left_out")) for line in failed] == [(0, None), (1000, 99)]
    assert len(found) == 105
    assert "(99 lines left out)" in found[-1]["event"]


def test_many_kinds_are_not_all_remembered():
    kept = logs.OncePerSecond()
    for number in range(5000):
        record = logging.LogRecord("a", logging.ERROR, "", 0, f"kind {number}", None, None)
        assert kept.filter(record)
    assert len(kept._passed) <= 1000
