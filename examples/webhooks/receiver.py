"""Receives webhooks of sipxrest. It needs Python 3.8 or newer and nothing else.

    WEBHOOK_SECRET="whsec_…" PORT=8080 python3 receiver.py
"""
import base64
import hashlib
import hmac
import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# During a rotation both secrets are here, separated by a space.
SECRETS = [base64.b64decode(s[len("whsec_"):]) for s in os.environ["WEBHOOK_SECRET"].split()]
TOLERANCE = 5 * 60  # seconds
MAX_BODY = 64 * 1024


def verified(headers, body):
    """Report whether a request is from sipxrest, and fresh."""
    event_id = headers.get("webhook-id", "")
    stamp = headers.get("webhook-timestamp", "")
    if not stamp.isascii() or not stamp.isdigit() or abs(time.time() - int(stamp)) > TOLERANCE:
        return False
    content = event_id.encode() + b"." + stamp.encode() + b"." + body
    for signature in headers.get("webhook-signature", "").split():
        version, _, text = signature.partition(",")
        if version != "v1":
            continue
        for secret in SECRETS:
            expected = base64.b64encode(hmac.new(secret, content, hashlib.sha256).digest())
            if hmac.compare_digest(expected, text.encode()):
                return True
    return False


seen = set()  # ids of events; keep them in your database, with what they change
versions = {}  # of calls


def handle(event):
    """Do something with an event. The same one may come twice."""
    if event["id"] in seen:
        return
    seen.add(event["id"])
    call = event["data"].get("call")
    if call is None:  # an event of no call, or one that was too big
        print(event["type"], flush=True)
        return
    if call["version"] <= versions.get(call["id"], 0):
        return  # what came later overtook it
    versions[call["id"]] = call["version"]
    print(event["type"], call["id"], call["state"], flush=True)


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        length = int(self.headers.get("content-length", 0))
        if length > MAX_BODY:
            self.send_error(413)
            return
        body = self.rfile.read(length)
        if not verified(self.headers, body):
            self.send_error(401)
            return
        handle(json.loads(body))
        self.send_response(204)  # taken: it is not sent again
        self.end_headers()

    def log_message(self, *args):
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8080"))), Receiver)
    print("listening on", server.server_address[1], flush=True)
    server.serve_forever()
