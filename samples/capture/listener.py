#!/usr/bin/env python3
"""Writes every POST it gets as one line of NDJSON: {at, path, user_agent, body}. Usage: listener.py ADDRESS PORT FILE"""
import http.server, json, sys, time

address, port, file = sys.argv[1], int(sys.argv[2]), open(sys.argv[3], "a", buffering=1)


class Capture(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        agent = self.headers.get("User-Agent")
        # The body is kept as text, so that not a byte of it changes.
        file.write(json.dumps({"at": int(time.time()), "path": self.path, "user_agent": agent, "body": body}) + "\n")
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer((address, port), Capture).serve_forever()
