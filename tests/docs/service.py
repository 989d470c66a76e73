"""The service behind ssecar in the documents: events that happen by the clock, so that any of them can be asked for again.

service.py PORT EVERY_MS [PAGES]: prints `ready` once it listens.

GET .../events      an event stream; event N has the id N, unless `plain` is part of the path: those can't be asked for again.
                    401 under /v1/private/ without `Authorization: Bearer secret`.
GET /NAME.html      a page from the folder PAGES; GET /modules/... what it imports.
POST .../tokens     an event stream that ends with [DONE].
anything else       JSON: the method, the path, the number of bytes that came.
"""

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

port, every = int(sys.argv[1]), int(sys.argv[2])
pages = sys.argv[3] if len(sys.argv) > 3 else None
started = time.time() * 1000
TYPES = {".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript"}


def newest():
    return int((time.time() * 1000 - started) / every)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = self.path.partition("?")[0]
        kind = TYPES.get(os.path.splitext(path)[1])
        if path.startswith("/v1/private/") and self.headers.get("Authorization") != "Bearer secret":
            self.answer(401, "text/plain", b"who are you?\n")
        elif path.endswith("/events"):
            self.stream()
        elif pages and kind and ".." not in path:
            with open(pages + path, "rb") as page:
                self.answer(200, kind, page.read())
        else:
            self.echo()

    def do_POST(self):
        if not self.path.endswith("/tokens"):
            return self.echo()
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.begin()
        for word in ("Hello", "world", "[DONE]"):
            self.wfile.write(f"data: {word}\n\n".encode())

    do_PUT = do_DELETE = do_POST

    def echo(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        told = {"method": self.command, "path": self.path, "bytes": len(body)}
        self.answer(200, "application/json", json.dumps(told).encode() + b"\n")

    def answer(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def begin(self):
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()

    def stream(self):
        has_ids = "/plain/" not in self.path
        asked = has_ids and self.headers.get("Last-Event-ID")
        last = int(asked) if asked else newest()
        self.begin()
        try:
            while True:
                while last < newest():
                    last += 1
                    named = f"id: {last}\n" if has_ids else ""
                    self.wfile.write(f"{named}data: {last}\n\n".encode())
                time.sleep(every / 1000)
        except OSError:
            pass

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 100


server = Server(("127.0.0.1", port), Handler)
print("ready", flush=True)
server.serve_forever()
