"""A PostgreSQL server of one's own, on a private port and data folder."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PLACES = ("/usr/lib/postgresql/*/bin",)


def binaries() -> Path | None:
    """Where initdb and pg_ctl are; None if PostgreSQL is not installed."""
    for pattern in _PLACES:
        for folder in sorted(Path("/").glob(pattern[1:]), reverse=True):
            if (folder / "initdb").exists():
                return folder
    found = shutil.which("initdb")
    return Path(found).parent if found else None


class Server:
    """A server that can be stopped and started.

    Args:
        folder: for its data; must not exist yet.

    Raises:
        RuntimeError: PostgreSQL is not installed.
    """

    def __init__(self, folder: Path) -> None:
        place = binaries()
        if place is None:
            raise RuntimeError("PostgreSQL is not installed: no initdb found")
        self._place, self._data = place, folder / "data"
        folder.mkdir(parents=True)
        if os.getuid() == 0:  # it refuses to run as root
            entry = pwd.getpwnam("postgres")
            os.chown(folder, entry.pw_uid, entry.pw_gid)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._run("initdb", "-D", str(self._data), "-U", "postgres", "-A", "trust", "-N")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-p {self.port} -k {self._data} -c listen_addresses=127.0.0.1"
        log = str(self._data / "log")
        self._run("pg_ctl", "-D", str(self._data), "-w", "-l", log, "-o", options, "start")

    def stop(self) -> None:
        """Stop it at once, as a crash would."""
        self._run("pg_ctl", "-D", str(self._data), "-w", "-m", "immediate", "stop")

    def url(self, database: str = "postgres") -> str:
        """SQLAlchemy URL of a database, which is made if there is none."""
        if database != "postgres":
            where = ("-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres")
            self._run("createdb", *where, database)
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._place / program), *arguments]
        user = "postgres" if os.getuid() == 0 else None
        # A file and not a pipe: the server that pg_ctl leaves behind would keep a pipe open.
        with tempfile.TemporaryFile("w+") as said:
            done = subprocess.run(command, stdout=said, stderr=said, user=user, cwd="/")
            said.seek(0)
            if done.returncode:
                raise RuntimeError(f"{program} failed: {said.read().strip()}")


@contextmanager
def server(folder: Path) -> Iterator[Server]:
    """A running server; stopped at the end."""
    found = Server(folder)
    found.start()
    try:
        yield found
    finally:
        found.stop()
