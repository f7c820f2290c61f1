#!/usr/bin/env python3
"""Turns what run.sh left into the files of samples/: shifts times, adds pods and retries. Usage: make.py OUT SAMPLES"""
import datetime, json, pathlib, re, sys

out, samples = map(pathlib.Path, sys.argv[1:])
BASE = 1_700_000_000
SHIFT = BASE - int((out / "t0").read_text())
STAMP = re.compile(r'"(startsAt|endsAt)":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)((?:\.\d+)?Z)"')


def lines(name):
    return [json.loads(line) for line in (out / name).read_text().splitlines()]


def write(name, rows):
    (samples / name).write_text("".join(row + "\n" for row in rows))


def shifted(body):
    """The same text, every stamp moved by whole seconds; Go's zero time stays."""
    def move(found):
        name, seconds, rest = found.groups()
        if not seconds.startswith("0001-"):
            seconds = (datetime.datetime.fromisoformat(seconds) + datetime.timedelta(seconds=SHIFT)).isoformat()
        return f'"{name}":"{seconds}{rest}"'
    return STAMP.sub(move, body).rstrip("\n")


def posts(name, keep=lambda body: True):
    for post in lines(name):
        if keep(json.loads(post["body"])):
            head = json.dumps({"at": post["at"] + SHIFT, "path": post["path"], "user_agent": post["user_agent"]}, separators=(",", ":"))
            yield f'{head[:-1]},"body":{shifted(post["body"])}}}'


write("prometheus.ndjson", posts("prometheus.ndjson"))
write("amtool.json", [shifted(post["body"]) for post in lines("amtool.ndjson")])
write("alertmanager-webhook.ndjson", list(posts("webhook.ndjson", lambda body: len(body["alerts"]) > 1))[:6] + [p for p in posts("webhook.ndjson") if '"status":"resolved","alerts"' in p][:3])

captured = [{**event, "time": event["time"] + SHIFT} for host in ("web-1", "web-2", "db-1", "queue-1") for event in lines(f"{host}.ndjson")]

# Pods: what the probe saw on a host, told again of a pod. There is no cluster behind them.
NAMES = {"Process not running": "Container not running", "Port closed": "Readiness probe failed", "Disk almost full": "Volume almost full"}
PODS = [
    ("web-2", "shop", "shop-7c9d8b6f54-x2x9q", "node-a", 3),
    ("web-2", "shop", "shop-7c9d8b6f54-k8lmz", "node-b", 11),
    ("queue-1", "cart", "cart-5b6d94c7f9-q7wtn", "node-b", 7),
    ("web-1", "images", "images-0", "node-a", 5),
]


def of_pod(event, namespace, pod, node, later):
    tags = {tag["key"]: tag["value"] for tag in event["tags"] if tag["key"] not in ("host", "device", "instance")}
    tags = {"host": node, "cluster": "demo-1", "namespace": namespace, "pod": pod, "container": "app", **tags}
    keys = ["tags.cluster", "tags.namespace", "tags.pod"] + [key for key in event["dedupe_keys"] if key[5:] in ("port", "mountpoint", "process")]
    check, _, number = event["event_id"].rpartition(event["target"])
    return {**event, "event_id": f"k8s-{check}{pod}{number}", "plugin_id": "k8s-probe", "alert_name": NAMES.get(event["alert_name"], event["alert_name"]),
            "description": event["description"].replace(event["target"], pod), "time": event["time"] + later, "target_type": "K8S-POD",
            "target": f"{namespace}/{pod}", "category": "k8s", "tags": [{"key": k, "value": v} for k, v in tags.items()], "dedupe_keys": keys}


replayed = [of_pod(event, *pod) for host, *pod in PODS for event in captured if event["target"] == host and event["plugin_id"] != "load-probe"]
events = [json.dumps(event, separators=(",", ":")) for event in sorted(captured + replayed, key=lambda event: (event["time"], event["event_id"]))]

# Senders that got no answer send the same event again, a little later.
stream = []
for place, event in enumerate(events):
    stream.append((place, event))
    if place % 11 == 5:
        stream.append((place + 4 + 9 * (place % 3), event))
write("events.ndjson", [event for _, event in sorted(stream, key=lambda pair: pair[0])])
print(len(captured), "captured,", len(replayed), "of pods,", len(stream) - len(events), "retries, last time +", max(e["time"] for e in captured + replayed) - BASE, "s")
