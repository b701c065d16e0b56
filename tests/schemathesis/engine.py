"""A Docker engine that creates nothing, on a Unix socket: hosts can be registered, and their clusters fail.

The server of schemathesis and of the generated clients uses it, so that random requests create no real networks.

    python engine.py SOCKET
"""

import http.server
import json
import os
import re
import socketserver
import sys
import threading
import time

NOTHING = {"message": "this engine creates nothing"}


def answer(path):
    """The response to GET of a path."""
    if path == "/version":
        return {"Version": "28.0.0", "ApiVersion": "1.48", "MinAPIVersion": "1.24", "Arch": "amd64", "Os": "linux"}
    if path == "/info":
        return {
            "ID": "makes-nothing",
            "Name": "makes-nothing",
            "Driver": "overlay2",
            "NCPU": 2,
            "MemTotal": 64 << 30,
            "SystemTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "Swarm": {"LocalNodeState": "inactive", "ControlAvailable": False},
        }
    if path == "/volumes":
        return {"Volumes": [], "Warnings": []}
    if path in ("/containers/json", "/networks", "/images/json"):
        return []
    return None


class Engine(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def reply(self, status, document):
        body = document.encode() if isinstance(document, str) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Api-Version", "1.48")
        self.send_header("Content-Type", "text/plain" if isinstance(document, str) else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        path = re.sub(r"^/v[0-9.]+", "", self.path.split("?")[0])
        if path == "/_ping":
            return self.reply(200, "OK")
        if path == "/events":
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.flush()
            self.connection.recv(1)  # open until the other side goes
            self.close_connection = True
            return None
        document = answer(path)
        return self.reply(404, NOTHING) if document is None else self.reply(200, document)

    do_HEAD = do_GET

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.reply(404 if "/images/" in self.path else 403, NOTHING)

    def do_DELETE(self):
        self.reply(404, NOTHING)

    def address_string(self):
        return "socket"

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Reports an error, unless the client closed its connection early."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


if __name__ == "__main__":
    # Stop with the script that started it, even if that was killed.
    parent = os.getppid()
    server = Server(sys.argv[1], Engine)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    while os.getppid() == parent:
        time.sleep(1)
