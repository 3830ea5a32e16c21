"""Places a call, tells how it goes, and how it ended. It needs Python 3.8 or newer and nothing else.

    SIPXREST=https://pbx.example:6666 KEY=sxk_… python3 place_call.py 201 202

INSECURE=1 takes any certificate, as that of a trial.
"""
import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
import uuid

if len(sys.argv) != 3 or not {"SIPXREST", "KEY"} <= set(os.environ):
    sys.exit(__doc__)
BASE, KEY = os.environ["SIPXREST"], os.environ["KEY"]
TLS = ssl.create_default_context()
if os.environ.get("INSECURE"):  # for the self-signed certificate of a trial
    TLS.check_hostname, TLS.verify_mode = False, ssl.CERT_NONE


def ask(method, path, body=None, timeout=30, **headers):
    """Send a request; its answer is a stream of lines."""
    headers = {"Authorization": "Bearer " + KEY, "Content-Type": "application/json", **headers}
    data = None if body is None else json.dumps(body).encode()
    return urllib.request.urlopen(urllib.request.Request(BASE + path, data, headers, method=method), timeout=timeout, context=TLS)


def place(calling, called):
    """Place a call. However often it is asked for, it is one call: the id makes sure."""
    path = "/v1/calls/" + str(uuid.uuid4())
    for pause in (1, 2, 4, 0):
        try:
            with ask("PUT", path, {"calling": calling, "called": called}) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:  # sipxrest has answered
            problem = json.load(error)
            if problem["retry_after_ms"] is None or not pause:
                sys.exit(problem["detail"])
            pause = problem["retry_after_ms"] / 1000
        except OSError as error:  # the answer did not come: perhaps a phone rings
            if not pause:
                sys.exit(f"no answer: {error}")
        time.sleep(pause)


def follow(call):
    """Yield the call's events, each once, through lost connections, to the last."""
    last = ""
    while True:
        try:
            resume = {"Last-Event-ID": last} if last else {}
            with ask("GET", call["links"]["events"], Accept="text/event-stream", **resume) as stream:
                for line in stream:
                    name, _, value = line.decode().rstrip("\n").partition(": ")
                    if name == "id":
                        last = value
                    elif name == "data":
                        event = json.loads(value)
                        if not event["type"].startswith("stream."):
                            yield event
                            if event["final"]:
                                return
        except OSError:
            pass
        time.sleep(1)


call = place(*sys.argv[1:])
for event in follow(call):
    call = event["data"]["call"]
    print(event["type"], event["data"].get("leg", ""), call["state"], flush=True)
print(call["end"]["outcome"] + ":", call["end"]["message"])
