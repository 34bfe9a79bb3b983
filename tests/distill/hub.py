"""A hub on this machine, with the part of the API that uploads and downloads use."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0" * 40


class Hub:
    """What was uploaded, by repository and path.

    Attributes:
        repositories: Content of the files of each repository.
        private: Whether each repository was created as a private one.
        requests: Method and path of each request, and its token.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.requests: list[tuple[str, str, str]] = []
        self.address = ""


class _Handler(BaseHTTPRequestHandler):
    """The answers to the requests of `huggingface_hub`."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def answer(self, content: bytes, code: int = 200, **headers: str) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def note(self) -> str:
        path = self.path.partition("?")[0]
        self.hub.requests.append((self.command, path, self.headers.get("Authorization", "")))
        return path

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.note()
        if path == "/api/repos/create":
            wanted = json.loads(body)
            name = f"{wanted['organization']}/{wanted['name']}" if wanted.get("organization") else wanted["name"]
            self.hub.private.setdefault(
                name, "private" in (wanted.get("visibility"), "private" * bool(wanted.get("private")))
            )
            self.hub.repositories.setdefault(name, {})
            self.answer(json.dumps({"url": f"{self.hub.address}/{name}", "name": name}).encode())
        elif path == "/api/validate-yaml":
            self.answer(b'{"errors": [], "warnings": []}')
        elif "/preupload/" in path:
            files = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in
                     json.loads(body)["files"]]  # fmt: skip
            self.answer(json.dumps({"files": files}).encode())
        elif "/commit/" in path:
            name = path.removeprefix("/api/models/").partition("/commit/")[0]
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.hub.repositories[name][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.answer(json.dumps({"commitUrl": f"{self.hub.address}/{name}/commit/{COMMIT}", "commitOid": COMMIT,
                                    "success": True}).encode())  # fmt: skip
        else:
            self.answer(b"{}", 404)

    def do_GET(self) -> None:
        path = self.note()
        name = path.removeprefix("/api/models/") if path.startswith("/api/models/") else path[1:]
        repository = next((known for known in self.hub.repositories if name.startswith(known)), "")
        if not repository:
            self.answer(b'{"error": "Repository not found"}', 404, X_Error_Code="RepoNotFound")
        elif "/resolve/" in path:
            content = self.hub.repositories[repository].get(path.partition(f"/resolve/{COMMIT}/")[2])
            if content is None:
                content = self.hub.repositories[repository].get(path.partition("/resolve/main/")[2])
            if content is None:
                self.answer(b"", 404, X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)
            else:
                etag = f'"{hashlib.sha1(content).hexdigest()}"'
                self.answer(content, X_Repo_Commit=COMMIT, ETag=etag)
        elif "/tree/" in path:
            files = [{"type": "file", "path": file, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                     for file, content in self.hub.repositories[repository].items()]  # fmt: skip
            self.answer(json.dumps(files).encode(), Content_Type="application/json")
        else:
            files = [{"rfilename": file} for file in self.hub.repositories[repository]]
            about = {"_id": "0", "id": repository, "modelId": repository, "sha": COMMIT, "siblings": files,
                     "private": True, "tags": []}  # fmt: skip
            self.answer(json.dumps(about).encode(), Content_Type="application/json")

    do_HEAD = do_GET


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Run a hub on a free port of this machine."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
