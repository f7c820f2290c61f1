#!/bin/bash
# Runs the sample hosts, a Prometheus and an Alertmanager for about four minutes and leaves what they sent in OUT.
# Usage, as root (namespaces): run.sh OUT PROMETHEUS ALERTMANAGER AMTOOL NODE_EXPORTER
set -eu
out=$1 prometheus=$2 alertmanager=$3 amtool=$4 exporter=$5 here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$out"; work=$(mktemp -d); trap 'kill -9 $(jobs -p) 2>/dev/null; wait; rm -rf "$work"' EXIT
date +%s > "$out/t0"
python3 "$here/listener.py" 127.0.0.1 19093 "$out/prometheus.ndjson" &
python3 "$here/listener.py" 127.0.0.1 19095 "$out/webhook.ndjson" &
python3 "$here/listener.py" 127.0.0.1 19096 "$out/amtool.ndjson" &
# Debian's Alertmanager wants its template under /usr/share: a mount namespace gives it that of the unpacked package.
share=$(dirname "$alertmanager")/../share
unshare --mount sh -c 'mount --bind "$0" /usr/share; exec "$@"' "$share" "$alertmanager" --config.file="$here/alertmanager.yml" --storage.path="$work/am" --web.listen-address=127.0.0.1:19094 --cluster.listen-address= \
  --web.external-url=http://alertmanager-1.example:9093 2>/dev/null &
"$prometheus" --config.file="$here/prometheus.yml" --storage.tsdb.path="$work/tsdb" --web.listen-address=127.0.0.1:19090 \
  --web.external-url=http://prometheus-1.example:9090 --rules.alert.resend-delay=10s 2>/dev/null &
n=11; for host in web-1 web-2 db-1 queue-1; do "$here/host.sh" $host 127.0.0.$n "$exporter" "$out/$host.ndjson" & hosts+=($!); n=$((n+1)); done
until "$amtool" --alertmanager.url=http://127.0.0.1:19096 alert add BackupFailed severity=error instance=db-1 job=backup \
  --annotation=summary="The nightly dump of db-1 ended with code 1" --annotation=runbook=https://runbooks.example/backup --generator-url=http://backup-1.example/jobs/4711 2>/dev/null; do sleep 0.2; done
wait "${hosts[@]}"
