"""A folder behind HTTP on this machine, with ranges: what it was asked for is counted, and it can be slow or fail."""

import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest.mock import patch


@dataclass
class Served:
    """What a test asks of the server.

    Attributes:
        asked: (method, name, range) of every request.
        failing: how many of the next requests get `status`.
        short: how many of the next parts end before they should.
        wait: seconds before each answer.
        ranges: whether it gives parts of a file.
        most: requests that were under way at a time.
    """

    folder: Path
    root: str = ""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    failing: int = 0
    short: int = 0
    status: int = 503
    wait: float = 0.0
    ranges: bool = True
    closed: bool = False
    under_way: int = 0
    most: int = 0

    def gets(self) -> list[tuple[str, str]]:
        """The requests for content since the last call."""
        found = [(name, part) for method, name, part in self.asked if method == "GET"]
        self.asked.clear()
        return found


@contextmanager
def served(folder: Path) -> Iterator[Served]:
    told = Served(folder)
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_GET(self) -> None:
            name, part = self.path.strip("/"), self.headers.get("Range", "")
            with lock:
                told.asked.append((self.command, name, part))
                fails, told.failing = told.failing > 0, max(0, told.failing - 1)
                told.under_way += 1
                told.most = max(told.most, told.under_way)
            time.sleep(told.wait)
            with lock:
                told.under_way -= 1
            if told.closed:
                self.close_connection = True
                return None
            path = folder / name
            if fails or not (path.is_file() or path == folder):
                return self.give(told.status if fails else 404, b"")
            if path.is_dir():
                links = "".join(f'<a href="{one.name}">{one.name}</a>' for one in sorted(path.iterdir()))
                return self.give(200, links.encode(), {"Content-Type": "text/html"})
            size = path.stat().st_size
            if not (told.ranges and (found := re.fullmatch(r"bytes=(\d+)-(\d+)", part))):
                return self.give(200, path.read_bytes())
            first, last = int(found[1]), min(int(found[2]), size - 1)
            if first >= size:
                return self.give(416, b"")
            with open(path, "rb") as file:
                file.seek(first)
                data = file.read(last + 1 - first)
            data, told.short = data[: -100 if told.short else None], max(0, told.short - 1)
            return self.give(206, data, {"Content-Range": f"bytes {first}-{last}/{size}"})

        do_HEAD = do_GET

        def give(self, status: int, data: bytes, more: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **(more or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        def log_message(self, *told: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    told.root = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        with patch.dict(os.environ, {"no_proxy": "*"}):
            yield told
    finally:
        told.closed = True
        server.shutdown()
        server.server_close()
