"""A server that speaks what is used of the hub's API, and serves plain files: a process of its own, on loopback.

    python hub_server.py FOLDER        prints its port

FOLDER/datasets/<owner>/<name>/ holds repositories, FOLDER/plain/ plain files, FOLDER/faults.json what goes wrong: for
a part of a path a list of faults, each used up by one request for the content. FOLDER/requests.log gets a line of JSON
per request. Repositories have one commit, COMMIT; files above LFS_BYTES are "large" (SHA-256), others git blobs.
"""

from __future__ import annotations

import hashlib
import json
import socket
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

ROOT = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
COMMIT = "0123456789abcdef0123456789abcdef01234567"
LFS_BYTES = 1000
PAGE = 3
LOCK = threading.Lock()
USED: dict[str, int] = {}


def next_fault(path: str) -> str:
    """The next fault that is planned for a path ('' when none is left); one that starts with * is never used up."""
    file = ROOT / "faults.json"
    with LOCK:
        for key, faults in json.loads(file.read_text()).items() if file.exists() else ():
            if key in path:
                number = USED.get(key, 0)
                USED[key] = number + 1
                if number < len(faults):
                    return str(faults[number]).lstrip("*")
                return str(faults[-1])[1:] if faults and str(faults[-1]).startswith("*") else ""
    return ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        path = unquote(address.path)
        line = {"method": self.command, "path": path, **{k: self.headers.get(k) for k in ("Range", "Authorization")}}
        with LOCK, (ROOT / "requests.log").open("a") as log:
            log.write(json.dumps(line) + "\n")
        if path.startswith("/api/datasets/"):
            self.api(path.removeprefix("/api/datasets/").split("/"), parse_qs(address.query))
        elif "/resolve/" in path:
            owner, name, _, commit, *file = path.removeprefix("/datasets/").split("/")
            target = ROOT / "datasets" / owner / name / "/".join(file)
            if commit != COMMIT or not target.is_file():
                return self.answer(404, b"", {})
            content = target.read_bytes()
            place = f"/content/datasets/{owner}/{name}/{'/'.join(file)}"
            headers = {"Location": place, "X-Repo-Commit": commit, "X-Linked-Size": str(len(content))}
            self.answer(302, b"", {**headers, "X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"'})
        else:
            self.content(ROOT / path.removeprefix("/content").lstrip("/"), path)

    def api(self, parts: list[str], query: dict[str, list[str]]) -> None:
        fault = next_fault("/api/")
        if fault:
            return self.answer(int(fault.partition(":")[0]), b"{}", {"Retry-After": fault.partition(":")[2] or "0"})
        folder = ROOT / "datasets" / parts[0] / parts[1]
        if not folder.is_dir():
            return self.answer(404, b'{"error":"none"}', {"X-Error-Code": "RepoNotFound"})
        if "tree" not in parts:
            info = {"id": f"{parts[0]}/{parts[1]}", "sha": COMMIT, "private": False, "downloads": 0, "tags": []}
            return self.json({**info, "siblings": [], "cardData": {"license": "cc-by-4.0"}}, {})
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        start = int(query.get("cursor", ["0"])[0])
        page = [self.described(path, path.relative_to(folder).as_posix()) for path in files[start : start + PAGE]]
        host = self.headers["Host"]
        link = f'<http://{host}{urlsplit(self.path).path}?recursive=True&cursor={start + PAGE}>; rel="next"'
        self.json(page, {"Link": link} if start + PAGE < len(files) else {})

    def described(self, path: Path, name: str) -> dict[str, object]:
        content = path.read_bytes()
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        item: dict[str, object] = {"type": "file", "path": name, "size": len(content), "oid": blob}
        if len(content) > LFS_BYTES:
            item["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
        return item

    def content(self, file: Path, path: str) -> None:
        """A file, whole or from a byte on, with the faults that are planned for it."""
        if not file.is_file():
            return self.answer(404, b"", {})
        content = file.read_bytes()
        etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        fault = next_fault(path) if self.command == "GET" else ""
        kind, _, amount = fault.partition(":")
        if kind.isdigit():
            return self.answer(int(kind), b"", {"Retry-After": amount} if amount else {})
        if kind == "flip":
            content = (
                content[: len(content) // 2]
                + bytes([content[len(content) // 2] ^ 1])
                + content[len(content) // 2 + 1 :]
            )
        if kind == "shorter":  # a whole answer, of the wrong length
            content = content[:-7]
        if kind == "longer":
            content += b"garbage"
        start = 0
        wanted = self.headers.get("Range")
        if wanted and kind != "norange" and self.headers.get("If-Range") in (None, etag):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                return self.answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            if kind == "wrongrange":
                start = max(0, start - 5)
        body = content[start:]
        self.send_response(206 if start or (wanted and kind == "wrongrange") else 200)
        self.send_header("ETag", etag)
        self.send_header("Accept-Ranges", "bytes")
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if kind == "close":  # no length, and the connection ends early
            self.send_header("Connection", "close")
            self.close_connection = True
            body = body[: int(amount)]
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if kind in ("truncate", "reset"):
            self.wfile.write(body[: int(amount)])
            self.wfile.flush()
            if kind == "reset":  # RST instead of FIN
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
            return
        pause = float(amount) if kind == "slow" else 0.0
        try:
            for at in range(0, len(body), 16384):
                self.wfile.write(body[at : at + 16384])
                time.sleep(pause)
        except OSError:
            self.close_connection = True

    def json(self, value: object, headers: dict[str, str]) -> None:
        self.answer(200, json.dumps(value).encode(), {"Content-Type": "application/json", **headers})

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # clients that are killed, and connections that are broken on purpose
    print(server.server_port, flush=True)
    server.serve_forever()
