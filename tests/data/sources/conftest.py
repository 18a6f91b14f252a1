"""A local HTTP server that the real download code talks to."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class Home:
    """What the server serves and what it was asked.

    Attributes:
        address: ``http://127.0.0.1:port``.
        files: content by path.
        break_after: bytes after which the connection is cut, once for each entry.
        ranges: the Range header of each request, "" where there was none.
    """

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    break_after: list[int] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)


def _handler(home: Home) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            home.ranges.append(asked)
            content = home.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            tag = f'"{hashlib.sha256(content).hexdigest()}"'
            start = 0
            if asked and self.headers.get("If-Range") == tag:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
                if start >= len(content):
                    self.send_error(416)
                    return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.send_header("ETag", tag)
            self.end_headers()
            body = content[start:]
            self.wfile.write(body[: home.break_after.pop(0)] if home.break_after else body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


@pytest.fixture
def home() -> Iterator[Home]:
    home = Home()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(home))
    home.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield home
    server.shutdown()
    thread.join()
    server.server_close()
