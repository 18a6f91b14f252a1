"""A Ray cluster of two nodes in separate processes, with a port, folder and token of its own."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

_SOURCE = Path(__file__).parents[2]
SECONDS = 120  # until a node is there, on a busy machine
ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "0123456789abcdef" * 4,
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@dataclass
class Nodes:
    """The address of a cluster, and the processes of its nodes, the head first."""

    address: str
    folder: str
    memory: int
    processes: list[subprocess.Popen] = field(default_factory=list)

    def start(self, *options: str) -> None:
        """Start a node with some options of ``ray start``."""
        command = [str(Path(sys.executable).parent / "ray"), "start", *options, "--block"]
        command += ["--num-cpus=1", f"--object-store-memory={self.memory}", "--disable-usage-stats"]
        command += ["--node-ip-address=127.0.0.1"]
        with open(f"{self.folder}/node-{len(self.processes)}.log", "w") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, env=os.environ, start_new_session=True,
                preexec_fn=_end_with_parent,
            )  # fmt: skip
        self.processes.append(process)

    def join(self) -> None:
        """Start one more node."""
        self.start(f"--address={self.address}")

    def workers(self, name: str) -> list[int]:
        """Pids of the actors of a class."""
        found = []
        for pid in {pid for process in self.processes for pid in tree(process.pid)}:
            with suppress(OSError):
                title = Path(f"/proc/{pid}/cmdline").read_bytes()
                if title.startswith(b"ray::" + name.encode()):
                    found.append(pid)
        return sorted(found)

    def end(self, process: subprocess.Popen, how: signal.Signals = signal.SIGTERM) -> None:
        """End a node; by SIGKILL with all that it started, as if the machine lost its power."""
        if how == signal.SIGKILL:
            for pid in tree(process.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, how)
        process.send_signal(how)
        process.wait(SECONDS)


def _end_with_parent() -> None:
    """Let Linux end this process if the one that started it ends, however it does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def tree(pid: int) -> list[int]:
    """The pids of a process and all that it started."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


@contextmanager
def two_nodes(memory: int = 200_000_000) -> Iterator[Nodes]:
    """Start two nodes of one core, with an object store of some bytes each, and end them."""
    before = {name: os.environ.get(name) for name in (*ENVIRONMENT, "PYTHONPATH")}
    os.environ.update(ENVIRONMENT, PYTHONPATH=str(_SOURCE))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # The names of sockets in it are limited to 107 bytes.
    nodes = Nodes(f"127.0.0.1:{port}", tempfile.mkdtemp(prefix="ray-", dir="/tmp"), memory)
    try:
        nodes.start(
            "--head", f"--port={port}", f"--temp-dir={nodes.folder}", "--include-dashboard=false"
        )
        ends = time.monotonic() + SECONDS
        while time.monotonic() < ends:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.2)
        nodes.join()
        yield nodes
    finally:
        for process in reversed(nodes.processes):
            if process.poll() is None:
                nodes.end(process)
        shutil.rmtree(nodes.folder, ignore_errors=True)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
