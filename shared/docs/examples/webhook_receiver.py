# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A receiver of webhooks with nothing but Python: it verifies each one, and prints each event once.

python3 webhook_receiver.py SECRETS PORT, where SECRETS is a file with a whsec_... a line, which may change meanwhile.
"""

import base64
import hmac
import json
import re
import sqlite3
import sys
import time
from collections.abc import Mapping
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

BODY_MAX_BYTES = 1024 * 1024
#: A signature of long ago may be a copy that somebody sends again.
TOLERANCE_SECONDS = 300


def is_signed(secrets: list[str], headers: Mapping[str, str] | Message, body: bytes, now: float) -> bool:
    """Return whether the body was signed with one of the secrets, as Standard Webhooks 1.0.0 has it."""
    sent_at = headers.get("webhook-timestamp", "")
    if not re.fullmatch("[0-9]{1,12}", sent_at) or abs(now - int(sent_at)) > TOLERANCE_SECONDS:
        return False
    signed = f"{headers.get('webhook-id', '')}.{sent_at}.".encode() + body
    theirs = headers.get("webhook-signature", "").encode().split()
    for secret in secrets:
        mac = hmac.digest(base64.b64decode(secret.removeprefix("whsec_")), signed, "sha256")
        if any(hmac.compare_digest(b"v1," + base64.b64encode(mac), each) for each in theirs):
            return True
    return False


class Receiver(BaseHTTPRequestHandler):
    """Answers 204 to what is handled, or was before, and 401, 413 or 422 to what will never be.

    What raises anything else gets no answer, so the event comes again.
    """

    timeout = 10
    secrets, seen = Path("secrets"), Path("seen.db")

    def handle_event(self, event: dict[str, Any]) -> None:
        """Do what the event is for; KeyError or ValueError if it cannot be used."""
        print(event["type"], event["source"], event["id"], flush=True)

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        if not re.fullmatch("[0-9]{1,12}", length) or int(length) > BODY_MAX_BYTES:
            return self.answer(413, "a Content-Length of at most 1 MiB is needed\n")
        body = self.rfile.read(int(length))
        if not is_signed(self.secrets.read_text(encoding="ascii").split(), self.headers, body, time.time()):
            return self.answer(401, "the signature or the time is wrong\n")
        db = sqlite3.connect(self.seen, timeout=10)
        try:
            # The id is stored with the work or not at all. What you change in a database belongs into this transaction.
            with db:
                db.execute("CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY) WITHOUT ROWID")
                if db.execute("INSERT OR IGNORE INTO seen VALUES (?)", [self.headers["webhook-id"]]).rowcount:
                    self.handle_event(json.loads(body))
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            return self.answer(422, f"this event cannot be used: {error!r}\n")
        finally:
            db.close()
        return self.answer(204)

    def answer(self, status: int, reason: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(reason.encode())))
        self.end_headers()
        self.wfile.write(reason.encode())


def serve(receiver: type[Receiver]) -> None:
    """Serve on loopback until the process is ended; the web server before it has the certificate."""
    receiver.secrets, port = Path(sys.argv[1]), int(sys.argv[2])
    receiver.seen = receiver.secrets.with_name("seen.db")
    ThreadingHTTPServer(("127.0.0.1", port), receiver).serve_forever()


if __name__ == "__main__":
    serve(Receiver)
