#!/bin/bash
# One sample host: its own name, processes and mounts (namespaces), a node_exporter, a small web service, and the probe.
# Usage, as root: host.sh NAME ADDRESS NODE_EXPORTER EVENTS   (run.sh calls it)
set -eu
name=$1 address=$2 exporter=$3 events=$4 here=$(cd "$(dirname "$0")" && pwd)
if [ "${INSIDE:-}" != 1 ]; then INSIDE=1 exec unshare --mount --uts --pid --fork --mount-proc --kill-child "$0" "$@"; fi
hostname "$name"
mount -t tmpfs -o size=1m tmpfs /srv
for d in data log backup; do mkdir /srv/$d; mount -t tmpfs -o size=${SIZE:-32}m "$d" /srv/$d; done
cp "$here/shopd.py" /srv/shopd
shopd() { (exec -a shopd python3 /srv/shopd "$address" 2>/dev/null) & pid=$!; }
exporter() { "$exporter" --web.listen-address="$address:19100" --collector.disable-defaults --collector.filesystem --collector.loadavg --collector.uname 2>/dev/null & node=$!; }
fill() { head -c "$2" /dev/zero >> "$1"; }
shopd; exporter
python3 "$here/probe.py" "$address" 36 5 > "$events" & probe=$!
sleep 12
case $name in
  web-1) fill /srv/log/access.log 25M; sleep 20; fill /srv/log/access.log 4M; sleep 20; fill /srv/log/access.log 3M || true; sleep 40; rm /srv/log/access.log ;;
  web-2) sleep 10; kill $pid; sleep 33; shopd; sleep 30; kill $node; sleep 25; exporter ;;
  db-1) fill /srv/data/base 29M; fill /srv/backup/dump 28M; sleep 50; rm /srv/backup/dump; sleep 20; kill $node; sleep 20; exporter; sleep 10; rm /srv/data/base ;;
  queue-1) python3 "$here/crowd.py" "$address" 40 45; sleep 10; kill $pid; sleep 17; shopd; sleep 15; python3 "$here/crowd.py" "$address" 70 20 ;;
esac
wait $probe
