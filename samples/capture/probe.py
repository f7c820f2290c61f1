#!/usr/bin/env python3
"""Looks at one host with ps, ss, df, curl and /proc/loadavg and prints what is wrong as events of POST /api/v1/events.
A thing that is wrong is told in every round; that it is right again is told once. Usage: probe.py ADDRESS ROUNDS SECONDS"""
import json, re, socket, subprocess, sys, time

address, rounds, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
host, wrong, number = socket.gethostname(), {}, 0


def out(*command):
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def tell(check, name, severity, text, metric, tags, keys):
    """`severity` 0 means that all is well. `keys` are the tags that tell one thing from another."""
    global number
    thing = (check, *(str(tags[k]) for k in keys))
    if not severity and thing not in wrong:
        return
    status = "ABNORMAL" if severity else "RECOVERED"
    severity = severity or wrong.pop(thing)
    if status == "ABNORMAL":
        wrong[thing] = severity
    number += 1
    print(json.dumps({
        "event_id": f"{check}-{host}-{number:04}", "plugin_id": f"{check}-probe", "alert_name": name, "description": text,
        "severity": severity, "status": status, "time": int(time.time()), "target_type": "HOST", "target": host, "category": "os",
        "bk_biz_id": 2, "metric": metric, "tags": [{"key": k, "value": v} for k, v in {"host": host, **tags}.items()],
        "dedupe_keys": ["tags.host", *(f"tags.{k}" for k in keys)]}), flush=True)


def grade(value, fatal, warning, remind):
    return 1 if value >= fatal else 2 if value >= warning else 3 if value >= remind else 0


for round in range(rounds):
    for line in out("df", "-P", "/srv/data", "/srv/log", "/srv/backup").splitlines()[1:]:
        device, blocks, used, free, percent, mount = line.split()
        percent = int(percent.rstrip("%"))
        text = f"{mount} is {percent} % full: {used} of {blocks} KiB used, {free} left"
        tell("df", "Disk almost full", grade(percent, 97, 85, 75), text, "system.disk.in_use", {"device": device, "mountpoint": mount, "used_percent": percent}, ["mountpoint"])
    load = float(open("/proc/loadavg").read().split()[0])
    tell("load", "Load high", grade(load, 12, 6, 3), f"load average of the last minute is {load}", "system.load.load1", {"load1": load}, [])
    lines = out("ps", "-eo", "comm=,rss=").splitlines()
    is_up = any(line.startswith("shopd") for line in lines)
    tell("ps", "Process not running", 0 if is_up else 1, f"shopd is not among the {len(lines)} processes", "system.proc.count", {"process": "shopd"}, ["process"])
    is_open = out("ss", "-Htln", "src", address, "sport", "=", ":8080") != ""
    tell("ss", "Port closed", 0 if is_open else 1, f"nobody listens on {host}:8080", "system.net.port", {"port": 8080, "protocol": "tcp"}, ["port"])
    clients = len(out("ss", "-Htn", "state", "established", "src", address, "sport", "=", ":8080").splitlines())
    tell("conn", "Many connections", grade(clients, 60, 30, 15), f"{clients} established connections to port 8080", "system.net.tcp_established", {"port": 8080, "connections": clients}, ["port"])
    code, seconds = out("curl", "-s", "-m", "1", "-o", "/dev/null", "-w", "%{http_code} %{time_total}", f"http://{address}:8080/").split()
    text = f"GET / answered {code} after {seconds} s" if code != "000" else f"GET / had no answer within {seconds} s"
    severity = 2 if code == "000" else 3 if re.match("[45]", code) else 0
    tell("http", "HTTP check failed", severity, text, "uptimecheck.http.available", {"instance": f"{host}:8080", "code": code}, ["instance"])
    time.sleep(pause)
