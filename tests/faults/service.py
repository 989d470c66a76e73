"""An event service whose events happen by the clock, so that it can be killed and replays what happened meanwhile.

service.py ADDRESS PORT STARTED_MS EVERY_MS BYTES: event N happened at STARTED + N * EVERY; each has its number as id.
"""

import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

address, port = sys.argv[1], int(sys.argv[2])
started, every, size = (int(argument) for argument in sys.argv[3:6])


def newest():
    return int((time.time() * 1000 - started) / every)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        asked = self.headers.get("Last-Event-ID")
        last = int(asked) if asked else newest()
        try:
            while True:
                while last < newest():
                    last += 1
                    self.wfile.write(f"id: {last}\ndata: {last} {'x' * size}\n\n".encode())
                time.sleep(every / 1000)
        except OSError:
            pass

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 100


Server((address, port), Handler).serve_forever()
