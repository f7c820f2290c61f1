//! Promises I1, I2 and I9 for requests of several records: they are taken whole or put off before anything of them is
//! journaled, and the largest one that is allowed fits the default bound.

use alertmill_e2e::{Http, Server, Site, event, now_s, until, view};
use serde_json::Value;
use std::time::Duration;

/// The default of `limits.items`.
const ITEMS: usize = 100_000;
/// The events are many, and the build machine may be busy.
const FOLDED_WITHIN: Duration = Duration::from_secs(180);

/// Events without time, event id or key: whatever is journaled of a request that is sent again counts twice.
fn request(name: &str) -> Vec<u8> {
    let items: Vec<Value> = (0..ITEMS).map(|i| serde_json::json!({"alert_name": name, "description": format!("number {i}")})).collect();
    serde_json::to_vec(&items).expect("json")
}

fn wait_folded(server: &mut Server) {
    until("everything acknowledged is folded", FOLDED_WITHIN, || (server.metrics().get("alertmill_events_in_flight") == 0.0).then_some(()));
}

#[test]
fn the_largest_request_is_taken_by_an_idle_server() {
    let site = Site::new();
    let mut server = site.start();
    let answer = server.http.post_json("/api/v1/events", &request("Alone")).expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json::<Value>()["accepted"], ITEMS);
    wait_folded(&mut server);
    let ledger = view::ledger(&mut server);
    assert_eq!((ledger["journaled"], ledger["folded"]), (ITEMS as u64, ITEMS as u64), "{ledger:?}");
}

#[test]
fn of_two_at_once_one_is_put_off_before_anything_is_journaled() {
    let site = Site::new().rule("10-spins.wasm", "test/spins", "[limits]\ntime_ms = 10000");
    let mut server = site.start();
    // The rule does not come back from this one until its deadline, so that neither request is folded meanwhile.
    let mut poison = event("poison", "Poison", "h0", now_s(), "ABNORMAL");
    poison["tags"].as_array_mut().expect("tags").push(serde_json::json!({"key": "poison", "value": "yes"}));
    server.post_events(&[poison]);

    let bodies = [request("First"), request("Second")];
    let port = server.port;
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let posting: Vec<_> =
            bodies.iter().map(|body| scope.spawn(move || Http::new(port).post_json("/api/v1/events", body).expect("an answer").status)).collect();
        posting.into_iter().map(|thread| thread.join().expect("posted")).collect()
    });
    let put_off = statuses.iter().position(|status| *status == 429).unwrap_or_else(|| panic!("{statuses:?}"));
    assert_eq!(statuses[1 - put_off], 200);

    until("the other is taken in the end", FOLDED_WITHIN, || {
        let answer = server.http.post_json("/api/v1/events", &bodies[put_off]).expect("an answer");
        assert!(matches!(answer.status, 200 | 429), "{}", answer.text());
        (answer.status == 200).then_some(())
    });
    wait_folded(&mut server);
    let ledger = view::ledger(&mut server);
    let all = 2 * ITEMS as u64 + 1;
    assert_eq!((ledger["received"], ledger["journaled"], ledger["folded"]), (all, all, all), "{ledger:?}");
    let counted: u64 = view::alerts(&mut server).iter().map(|alert| alert["event_count"].as_u64().expect("a count")).sum();
    assert_eq!(counted, all);
}
