//! Promise I9: when a rule is slow, senders are told 429 with Retry-After instead of memory growing, and what was
//! acknowledged is folded all the same.

use alertmill_e2e::{Http, PATIENCE, Server, Site, event, now_s, poisoned, until, view};
use serde_json::Value;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How much resident memory may grow under pressure: the queue of 1 MiB, and what SQLite, the allocator and the batches on their
/// way take beside it.
const GROWTH_MAX: u64 = 64 << 20;
/// Of each event; all of them together are several times [`GROWTH_MAX`], so that a queue without a bound would show.
const DESCRIPTION_BYTES: usize = 8_000;
const SENDERS: u64 = 8;
const REQUESTS: u64 = 60;
const EVENTS: u64 = 40;

#[test]
fn a_slow_rule_gives_429_and_loses_nothing() {
    let site = Site::new().set("LIMITS__QUEUE", "1MiB").rule("10-spins.wasm", "test/spins", "[limits]\ntime_ms = 3000");
    let mut server = site.start();
    // The rule does not come back from this one until its deadline.
    server.post_events(&[poisoned(event("poison", "Poison", "h0", now_s(), "ABNORMAL"))]);

    assert!(SENDERS * REQUESTS * EVENTS * DESCRIPTION_BYTES as u64 > 2 * GROWTH_MAX);
    let before = server.resident_peak_bytes();
    let (put_off, sent) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let (port, put_off, sent) = (server.port, &put_off, &sent);
            scope.spawn(move || send(port, sender, put_off, sent));
        }
        until("all senders are done", 2 * PATIENCE, || (sent.load(Ordering::Relaxed) == SENDERS * REQUESTS).then_some(()));
    });
    server.wait_folded();
    let (put_off, grown) = (put_off.into_inner(), server.resident_peak_bytes() - before);
    println!(
        "back_pressure: {} requests taken, {put_off} put off with 429, resident {} MiB and at most {} more",
        SENDERS * REQUESTS,
        before >> 20,
        grown >> 20
    );
    assert!(put_off > 0, "nobody was ever put off");
    assert!(grown < GROWTH_MAX, "grown by {} MiB, at most {} are allowed", grown >> 20, GROWTH_MAX >> 20);
    everything_is_there(&mut server, put_off);
}

fn send(port: u16, sender: u64, put_off: &AtomicU64, sent: &AtomicU64) {
    let mut http = Http::new(port);
    let start = now_s() - 60;
    for request in 0..REQUESTS {
        let batch: Vec<Value> = (0..EVENTS)
            .map(|i| {
                let mut event = event(&format!("s{sender}-{request}-{i}"), "Pressed", &format!("h{sender}-{}", i % 10), start + request / 10, "ABNORMAL");
                event["description"] = "x".repeat(DESCRIPTION_BYTES).into();
                event
            })
            .collect();
        let body = serde_json::to_vec(&batch).expect("json");
        until("a request is taken in the end", 2 * PATIENCE, || {
            let answer = http.post_json("/api/v1/events", &body).expect("an answer");
            match answer.status {
                200 => Some(()),
                429 => {
                    let seconds = answer.header("retry-after").and_then(|text| text.parse::<u64>().ok());
                    assert!(seconds.is_some_and(|s| (1..=60).contains(&s)), "Retry-After of {:?}", answer.headers);
                    assert_eq!(answer.json::<Value>()["retryable"], true, "{}", answer.text());
                    put_off.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(50));
                    None
                }
                other => panic!("{other}: {}", answer.text()),
            }
        });
        sent.fetch_add(1, Ordering::Relaxed);
    }
}

fn everything_is_there(server: &mut Server, put_off: u64) {
    let ledger = view::ledger(server);
    let all = SENDERS * REQUESTS * EVENTS + 1;
    assert_eq!((ledger["folded"], ledger.get("duplicates").copied().unwrap_or(0)), (all, 0), "{ledger:?}");
    let counted: u64 = view::alerts(server).iter().map(|alert| alert["event_count"].as_u64().expect("a count")).sum();
    assert_eq!(counted, all);
    let metrics = server.metrics();
    assert_eq!(metrics.sum("alertmill_door_requests_total", &[("source", "events"), ("status", "429")]), put_off as f64);
    assert!(metrics.sum("alertmill_rule_event_failed_total", &[("rule", "spins")]) >= 1.0, "the slow rule's failure is counted");
}
