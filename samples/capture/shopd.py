"""A web service that answers every GET; it is there to be looked at, and to be gone."""
import ctypes, http.server, sys

ctypes.CDLL(None).prctl(15, b"shopd", 0, 0, 0)  # the name that ps shows


class Shop(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"ok\n")


http.server.ThreadingHTTPServer((sys.argv[1], 8080), Shop).serve_forever()
