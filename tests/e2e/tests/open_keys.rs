//! A rule that makes a dedupe key for every event opens as many alerts as `limits.open_keys` allows, and no more; what is beyond is
//! counted to the event, also across kills, and nothing is lost.

use alertmill_e2e::{PATIENCE, Server, Site, now_s, until, view};
use serde_json::{Value, json};

const OPEN_KEYS: u64 = 1_000;
const EVENTS: u64 = 60_000;
const REQUEST: u64 = 5_000;
/// Far above what it takes with the budget, far below what 60,000 open alerts take beside it.
const RESIDENT_MAX: u64 = 400 << 20;

/// The rule makes the key of the tag; without it the name alone decides.
fn event(n: u64, status: &str, time_s: u64) -> Value {
    json!({ "event_id": format!("{status}-{n}"), "alert_name": "Each", "severity": 2, "status": status, "time": time_s, "tags": { "host": format!("h{n}") } })
}

fn overflow(server: &mut Server) -> u64 {
    server.metrics().get(r#"alertmill_dedupe_overflow_total{rule="all-hooks"}"#) as u64
}

fn open_alerts(server: &mut Server) -> u64 {
    server.metrics().get("alertmill_open_alerts") as u64
}

#[test]
fn m29_a_key_for_every_event_opens_a_bounded_number_of_alerts() {
    let site = Site::new().rule("10-all-hooks.wasm", "test/all-hooks", &format!("[limits]\nopen_keys = {OPEN_KEYS}\n"));
    let mut server = site.start();
    let now = now_s();
    for from in (0..EVENTS).step_by(REQUEST as usize) {
        server.post_events(&(from..from + REQUEST).map(|n| event(n, "ABNORMAL", now)).collect::<Vec<_>>());
    }
    server.wait_folded();
    // One more alert has all that the rule's keys had no room for.
    assert_eq!((open_alerts(&mut server), overflow(&mut server)), (OPEN_KEYS + 1, EVENTS - OPEN_KEYS));
    let resident = server.resident_peak_bytes();
    assert!(resident <= RESIDENT_MAX, "{resident} bytes");
    let rest = view::alerts(&mut server).into_iter().find(|alert| alert["event_count"] == EVENTS - OPEN_KEYS).expect("an alert of the rest");
    let event_of_it = &rest["event"]["extra_info"]["alertmill"]["rule_failures"][0];
    assert_eq!((&event_of_it["rule"], &event_of_it["kind"]), (&json!("all-hooks"), &json!("key-budget")), "{rest}");
    until("the alarm is on", PATIENCE, || server.json("/api/v1/rules")["items"][0]["alarms"].as_array()?.contains(&json!("key-budget")).then_some(()));
    assert_eq!(server.log().matches("key-budget").count(), 1, "one line, not one for each event");

    server.kill();
    let mut server = site.start();
    assert_eq!((open_alerts(&mut server), overflow(&mut server)), (OPEN_KEYS + 1, EVENTS - OPEN_KEYS), "a kill frees nothing");
    server.post_events(&(EVENTS..EVENTS + 10).map(|n| event(n, "ABNORMAL", now)).collect::<Vec<_>>());
    server.wait_folded();
    assert_eq!((open_alerts(&mut server), overflow(&mut server)), (OPEN_KEYS + 1, EVENTS - OPEN_KEYS + 10));

    // Five end, five of the next ten open.
    server.post_events(&(0..5).map(|n| event(n, "RECOVERED", now)).collect::<Vec<_>>());
    server.post_events(&(EVENTS + 10..EVENTS + 20).map(|n| event(n, "ABNORMAL", now)).collect::<Vec<_>>());
    server.wait_folded();
    assert_eq!((open_alerts(&mut server), overflow(&mut server)), (OPEN_KEYS + 1, EVENTS - OPEN_KEYS + 15));
    let folded = view::ledger(&mut server)["folded"];
    assert_eq!(folded, EVENTS + 25, "each event is counted by an alert");
    println!("open keys: {EVENTS} events with as many keys, {OPEN_KEYS} allowed: {} alerts open, {resident} bytes resident at most", OPEN_KEYS + 1);
}
