//! What `samples/README.md` says of the samples is so: all good events and posts of a real Prometheus are taken and become
//! alerts with owners from the table, retries count once, and each bad line is refused with the code that is named.

use alertmill_e2e::{Http, PATIENCE, Site, now_s, until, view};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Second that the samples' times are based on, and how long they last at most.
const BASE: i64 = 1_700_000_000;
const LASTS: i64 = 200;

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../samples").join(name)
}

fn lines(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(sample(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{name}: {e}: {line}"))).collect()
}

fn site() -> Site {
    let table = format!("[tables.hosts]\nfile = \"{}\"\nkey = \"host\"", sample("hosts.csv").display());
    Site::new().config(&table).rule("10-owner-from-table.wasm", "owner-from-table", "grants = [\"tables\"]")
}

fn tag<'a>(alert: &'a Value, key: &str) -> Option<&'a str> {
    alert["event"]["tags"].as_array()?.iter().find(|tag| tag["key"] == key)?["value"].as_str()
}

#[test]
fn events_are_taken_once_and_get_their_owners() {
    let site = site();
    let mut server = site.start();
    let shift = now_s() as i64 - BASE - LASTS;
    let events: Vec<Value> = lines("events.ndjson")
        .into_iter()
        .map(|mut event| {
            event["time"] = (event["time"].as_i64().expect("a time") + shift).into();
            event
        })
        .collect();
    assert_eq!(events.len(), 289);
    // In pieces, so that retries come in the same request and in later ones.
    let (mut accepted, mut duplicates) = (0, 0);
    for piece in events.chunks(50) {
        let body: String = piece.iter().map(|event| format!("{event}\n")).collect();
        let answer = server.http.post("/api/v1/events", &[("content-type", "application/x-ndjson")], body.as_bytes()).expect("answer");
        let told: Value = answer.json();
        assert_eq!((answer.status, told["rejected"].as_array().map(Vec::len)), (200, Some(0)), "{told}");
        accepted += told["accepted"].as_u64().expect("a count");
        duplicates += told["duplicates"].as_u64().expect("a count");
    }
    assert_eq!(accepted + duplicates, 289);
    server.wait_folded();
    let ledger = view::ledger(&mut server);
    let known = ledger.get("duplicates").copied().unwrap_or(0);
    println!("samples: {duplicates} duplicates within requests, {known} later; {ledger:?}");
    assert_eq!(known + duplicates, 24, "{ledger:?}");
    let alerts = view::alerts(&mut server);
    let of_host = |host: &str| alerts.iter().filter(|alert| tag(alert, "host") == Some(host)).collect::<Vec<_>>();
    for (host, owner) in [("web-1", "alice"), ("web-2", "alice"), ("db-1", "bob"), ("queue-1", "carol"), ("node-a", "dave"), ("node-b", "dave")] {
        assert!(!of_host(host).is_empty(), "no alert is about {host}");
        assert!(of_host(host).iter().all(|alert| tag(alert, "owner") == Some(owner)), "{:?}", of_host(host));
    }
    let statuses = |status: &str| alerts.iter().filter(|alert| alert["status"] == status).count();
    println!("samples: {} alerts, {} recovered, {} still open", alerts.len(), statuses("RECOVERED"), statuses("ABNORMAL"));
    assert!(statuses("RECOVERED") > 0 && alerts.iter().any(|alert| alert["event_count"].as_u64() > Some(5)));
}

#[test]
fn every_bad_line_has_its_code() {
    let site = site();
    let mut server = site.start();
    let body = std::fs::read(sample("events-bad.ndjson")).expect("sample");
    let answer = server.http.post("/api/v1/events", &[("content-type", "application/x-ndjson")], &body).expect("answer");
    let told: Value = answer.json();
    let codes: Vec<&str> = told["rejected"].as_array().expect("rejected").iter().map(|row| row["code"].as_str().expect("a code")).collect();
    let readme = std::fs::read_to_string(sample("README.md")).expect("README");
    let named: Vec<&str> = (1..=11)
        .map(|line| {
            let row = readme.lines().find_map(|text| text.strip_prefix(&format!("| {line} | `"))).unwrap_or_else(|| panic!("README names no line {line}"));
            row.split('`').next().expect("a code")
        })
        .collect();
    assert_eq!((answer.status, codes, &told["accepted"]), (200, named, &0.into()), "{told}");
}

#[test]
fn posts_of_prometheus_and_amtool_are_taken() {
    let site = site();
    let mut server = site.start();
    let shift = now_s() as i64 - BASE - LASTS;
    for mut post in lines("prometheus.ndjson") {
        let at = post["at"].as_i64().expect("a time");
        for alert in post["body"].as_array_mut().expect("an array") {
            alert["startsAt"] = moved(&alert["startsAt"], shift).into();
            // What was firing when it was posted is firing now.
            let ahead = stamp(&alert["endsAt"]).as_second() - at;
            alert["endsAt"] = moved(&alert["endsAt"], if ahead > 0 { now_s() as i64 - at } else { shift }).into();
        }
        take(&mut server.http, &post["body"]);
    }
    let amtool: Value = serde_json::from_slice(&std::fs::read(sample("amtool.json")).expect("sample")).expect("json");
    take(&mut server.http, &amtool);
    server.wait_folded();
    let backup = until("amtool's alert is there", PATIENCE, || view::alert_named(&mut server, "BackupFailed"));
    assert_eq!((&backup["severity"], tag(&backup, "owner")), (&2.into(), Some("bob")), "{backup}");
    let alerts = view::alerts(&mut server);
    let disks: Vec<_> = alerts.iter().filter(|alert| alert["alert_name"] == "DiskAlmostFull").collect();
    println!("samples: {} alerts of Prometheus, {} of them full disks; {:?}", alerts.len(), disks.len(), view::ledger(&mut server));
    assert!(disks.len() >= 3 && disks.iter().all(|alert| tag(alert, "owner").is_some() && tag(alert, "mountpoint").is_some()), "{disks:?}");
}

fn take(http: &mut Http, body: &Value) {
    let answer = http.post_json("/am/api/v2/alerts", body.to_string().as_bytes()).expect("answer");
    assert_eq!(answer.status, 200, "{}: {body}", answer.text());
}

fn stamp(text: &Value) -> jiff::Timestamp {
    text.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{text} is not RFC 3339"))
}

fn moved(text: &Value, seconds: i64) -> String {
    (stamp(text) + jiff::SignedDuration::from_secs(seconds)).to_string()
}
