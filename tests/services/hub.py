"""A model hub on loopback: as much of its protocol as a download needs, with one model in it."""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from hashlib import sha256
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(NamedTuple):
    """Where the hub is, and what it was asked for."""

    endpoint: str
    requests: list[str]


@contextmanager
def hub(model: str, folder: Path) -> Generator[Hub]:
    """Serve the folder's files as the hub's model `model`."""
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 -- the base class's name
            """Nobody reads it."""

        def _answer(self, *, with_body: bool) -> None:
            path = self.path.partition("?")[0]
            requests.append(path)
            if path == f"/api/models/{model}/revision/main":
                self._send(json.dumps({"id": model, "sha": COMMIT, "siblings": []}).encode(), with_body=with_body)
            elif path == f"/api/models/{model}/tree/{COMMIT}":
                tree = [
                    {"type": "file", "path": name, "size": len(content), "oid": sha256(content).hexdigest()[:40]}
                    for name, content in files.items()
                ]
                self._send(json.dumps(tree).encode(), with_body=with_body)
            elif path.startswith(f"/{model}/resolve/{COMMIT}/") and path.rpartition("/")[2] in files:
                self._send(files[path.rpartition("/")[2]], with_body=with_body)
            else:
                self.send_response(HTTPStatus.NOT_FOUND)
                self.send_header("X-Error-Code", "RepoNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()

        def _send(self, content: bytes, *, with_body: bool) -> None:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if with_body:
                self.wfile.write(content)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Hub(f"http://127.0.0.1:{server.server_port}", requests)
        finally:
            server.shutdown()
            thread.join()
