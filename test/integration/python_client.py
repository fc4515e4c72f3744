"""A client of python-socketio that does what python.test.mjs asks for; prints one JSON object a line.

python_client.py URL TRANSPORT
"""
import json
import sys
import threading

import socketio

url, transport = sys.argv[1:3]
client = socketio.Client(reconnection_delay=0.05, reconnection_delay_max=0.2, randomization_factor=0)
got = []
changed = threading.Condition()


def say(what, **more):
    print(json.dumps({"what": what, **more}), flush=True)


def note(event, args):
    with changed:
        # With recovery on, an event ends with a position: for clients that know of it.
        got.append((event, list(args[:-1])))
        changed.notify_all()


def wait(event, count):
    """The arguments of the first `count` events of this name."""
    with changed:
        if not changed.wait_for(lambda: sum(e == event for e, _ in got) >= count, 10):
            raise TimeoutError(f"{event}: {got}")
        return [args for e, args in got if e == event][:count]


for name in ("auth", "message-back", "said", "first", "second", "right", "wrong", "no-answer"):
    for namespace in ("/", "/custom"):
        client.on(name, lambda *args, n=namespace + ":" + name: note(n, args), namespace=namespace)


@client.on("question")
def question(value):
    return 42 if value == "good" else {"no": 1}


@client.on("connect")
def connect():
    say("connect")


@client.on("disconnect")
def disconnect():
    say("disconnect")


client.connect(url, transports=[transport], auth={"token": "python"}, namespaces=["/", "/custom"], wait_timeout=10)
say("transport", transport=client.transport(), auth=wait("/:auth", 1)[0], ids=client.get_sid() != client.get_sid("/custom"))

client.emit("message", (1, "é漢😀", {"deep": [None, True, 1.5]}, b"\x00\x01\xff"))
back = wait("/:message-back", 1)[0]
say("back", args=[a.hex() if isinstance(a, bytes) else a for a in back])

say("ack", value=client.call("message-with-ack", {"n": 1}), two=client.call("message-with-ack", (1, 2)))
constants = client.call("constants")
say("constants", value=[a.hex() if isinstance(a, bytes) else a for a in constants])

client.call("join", "python")
client.call("say", ("python", "to the room"))
say("said", args=wait("/:said", 1)[0])
client.call("say-all", "custom", namespace="/custom")
say("custom", args=wait("/custom:said", 1)[0])

client.emit("ask-me", "good")
client.emit("ask-me", "bad")
say("asked", right=wait("/:right", 1)[0], wrong=wait("/:wrong", 1)[0])

# More than the 16 packets that a polling client of this library takes at once.
for i in range(100):
    client.emit("twice", i)
say("burst", ordered=[a[0] for a in wait("/:second", 100)] == list(range(100)))

# The broker is restarted now: the client comes back by itself.
say("ready")
for line in sys.stdin:
    if line.strip() == "call":
        say("again", value=client.call("message-with-ack", "again"))
    elif line.strip() == "end":
        break
client.disconnect()
say("end")
