"""The old tool's server, re-created from a description of what it does, for the bench only: never protect a login
with this. Flask, one table of SQLite, and a `keybase chat api` of its own for each call, as pykeybase does it.

Not as the old one: the sqlite3 module instead of SQLAlchemy (cheaper), no nginx and no TLS in front (cheaper), and the
page's cursor is in the double's own form. KB_TEAM, KB_CHANNEL, AUTH_TOKEN and PORT come from the environment.
"""

import base64
import json
import os
import sqlite3
import subprocess
from datetime import datetime

from flask import Flask, request

CHANNEL = {"name": os.environ["KB_TEAM"], "members_type": "team", "topic_name": os.environ["KB_CHANNEL"]}
DATABASE = "data.db"
DECISIONS = {"Approve": "approved", "Deny": "denied"}

app = Flask(__name__)


def chat(method, **options):
    """One call, one process; the request stands in its arguments."""
    call = {"method": method, "params": {"options": {"channel": CHANNEL, **options}}}
    reply = subprocess.check_output(["keybase", "chat", "api", "-m", json.dumps(call)])
    return json.loads(reply)["result"]


def whoami():
    status = json.loads(subprocess.check_output(["keybase", "status", "-j"]))
    return status["Username"]


def database():
    return sqlite3.connect(DATABASE)


def close(number, decision, decider, words):
    """Writes down how it ended, takes the message away and says it anew."""
    db = database()
    with db:
        db.execute(
            "UPDATE requests SET decision = ?, decider = ?, decision_ts = ? WHERE msg_id = ?",
            (decision, decider, datetime.now().isoformat(), number),
        )
    row = "SELECT user, host, remote FROM requests WHERE msg_id = ?"
    user, host, remote = db.execute(row, (number,)).fetchone()
    db.close()
    chat("delete", message_id=number)
    chat("send", message={"body": f"`{user}`'s request to connect to `{host}` from `{remote}` {words}"})


@app.before_request
def check_token():
    if request.values.get("token") != os.environ["AUTH_TOKEN"]:
        return "Unauthorized", 401
    return None


@app.post("/request")
def ask():
    user, host, remote = (request.form[field] for field in ("user", "server", "remote"))
    body = f"`{user}` is requesting access to `{host}` from `{remote}`."
    number = chat("send", message={"body": body})["id"]
    for reaction in DECISIONS:
        chat("reaction", message_id=number, message={"body": reaction})
    db = database()
    with db:
        db.execute(
            "INSERT INTO requests (msg_id, user, host, remote, request_ts) VALUES (?, ?, ?, ?, ?)",
            (number, user, host, remote, datetime.now().isoformat()),
        )
    db.close()
    return str(number)


@app.get("/check/<int:number>")
def check(number):
    before = base64.b64encode(str(number - 1).encode()).decode()
    page = chat("read", pagination={"previous": before, "num": 1})
    reactions = page["messages"][0]["msg"].get("reactions", {}).get("reactions", {})
    for reaction, decision in DECISIONS.items():
        people = [name for name in reactions.get(reaction, {}).get("users", {}) if name != BOT]
        if people:
            close(number, decision, people[0], f"was `{decision}` by `{people[0]}`.")
            return decision
    return "pending"


@app.post("/timeout")
def time_out():
    number = int(request.form["msg_id"])
    close(number, "timed_out", "automatic - time_out", "timed out and was not approved.")
    return "OK"


with database() as made:
    made.execute(
        "CREATE TABLE requests (req_id INTEGER PRIMARY KEY, msg_id INTEGER, user TEXT, host TEXT, remote TEXT,"
        " decision TEXT, decider TEXT, request_ts DATETIME, decision_ts DATETIME)"
    )
BOT = whoami()
app.run(host="127.0.0.1", port=int(os.environ["PORT"]), threaded=True)
