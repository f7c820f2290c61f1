//! A restart is not seen in alerts: open ones go on under their id, and time-outs fire although the process was not there,
//! after a clean stop (exit code 0 within the grace) and after kill -9.

use alertmill_e2e::{PATIENCE, Server, Site, event, now_s, poisoned, until, view};
use serde_json::Value;
use std::time::Duration;

/// Less than the rule of [`busy`] takes.
const STOP_MAX: Duration = Duration::from_secs(9);

fn cleanly(server: Server) {
    let (status, took) = server.stop();
    println!("restart: SIGTERM: {status} after {:.2} s", took.as_secs_f64());
    assert_eq!(status.code(), Some(0));
    assert!(took < STOP_MAX, "stopping took {took:?}");
}

#[test]
fn open_alerts_go_on_after_a_clean_stop() {
    goes_on(cleanly);
}

#[test]
fn open_alerts_go_on_after_a_kill() {
    goes_on(Server::kill);
}

#[test]
fn time_outs_fire_after_a_clean_stop() {
    times_out(cleanly);
}

#[test]
fn time_outs_fire_after_a_kill() {
    times_out(Server::kill);
}

/// A rule that does not come back from a poisoned event for ten seconds, and is out then: nobody waits for it again.
fn slow_rule() -> Site {
    Site::new().rule("10-spins.wasm", "test/spins", "strikes = 1\n[limits]\ntime_ms = 10000")
}

/// A server with such an event, and one behind it.
fn busy(site: &Site) -> Server {
    let mut server = site.start();
    server.post_events(&[poisoned(event("poison", "Lasting", "web-0", now_s(), "ABNORMAL"))]);
    server.post_events(&[event("1", "Lasting", "web-1", now_s(), "ABNORMAL")]);
    server
}

fn left_for_the_next_start(site: &Site) {
    let mut server = site.start();
    server.wait_folded();
    assert_eq!(view::ledger(&mut server)["folded"], 2);
}

#[test]
fn what_is_not_folded_within_the_grace_is_left_for_the_next_start() {
    let site = slow_rule().set("SERVER__STOP_GRACE_S", 1);
    cleanly(busy(&site));
    left_for_the_next_start(&site);
}

#[test]
fn asked_twice_it_ends_at_once() {
    let site = slow_rule().set("SERVER__STOP_GRACE_S", 600);
    let mut server = busy(&site);
    server.ask_to_stop();
    until("it listens no more", PATIENCE, || server.http.get("/healthz").is_err().then_some(()));
    // A second signal at the same moment would be the first one twice.
    until("it was asked again", PATIENCE, || {
        server.ask_to_stop();
        server.log().contains("asked to stop again").then_some(())
    });
    cleanly(server);
    left_for_the_next_start(&site);
}

fn goes_on(end: fn(Server)) {
    let site = Site::new();
    let mut server = site.start();
    let start = now_s() - 100;
    server.post_events(&[event("1", "Lasting", "web-1", start, "ABNORMAL"), event("2", "Lasting", "web-1", start + 1, "ABNORMAL")]);
    let first = wait_for(&mut server, "Lasting", |alert| alert["event_count"] == 2);
    end(server);

    let mut server = site.start();
    // The same document, before anything new happens, and a retry of an event is known.
    let again = view::alert_named(&mut server, "Lasting").expect("the alert is still there");
    assert_eq!(again, first);
    server.post_events(&[event("2", "Lasting", "web-1", start + 1, "ABNORMAL"), event("3", "Lasting", "web-1", start + 2, "ABNORMAL")]);
    let later = wait_for(&mut server, "Lasting", |alert| alert["event_count"] == 3);
    assert_eq!((&later["id"], &later["status"], &later["latest_time"]), (&first["id"], &"ABNORMAL".into(), &(start + 2).into()), "{later}");
    server.post_events(&[event("4", "Lasting", "web-1", start + 3, "RECOVERED")]);
    let ended = wait_for(&mut server, "Lasting", |alert| alert["status"] == "RECOVERED");
    assert_eq!((&ended["id"], &ended["event_count"]), (&first["id"], &4.into()), "{ended}");
    assert_eq!(view::ledger(&mut server)["duplicates"], 1);
    assert!(server.log().lines().all(|line| !line.contains("panicked")), "{}", server.log());
}

fn times_out(end: fn(Server)) {
    let site = Site::new().set("ALERTS__THIRD_PARTY_CLOSE_AFTER_S", 2);
    let mut server = site.start();
    server.post_events(&[event("1", "Forgotten", "web-1", now_s(), "ABNORMAL")]);
    let open = wait_for(&mut server, "Forgotten", |_| true);
    end(server);

    let mut server = site.start();
    let closed = wait_for(&mut server, "Forgotten", |alert| alert["status"] == "CLOSED");
    assert_eq!((&closed["id"], &closed["event_count"]), (&open["id"], &1.into()), "{closed}");
    let waited = closed["end_time"].as_i64().expect("an end") - open["create_time"].as_i64().expect("a beginning");
    assert!((2..=60).contains(&waited), "closed {waited} s after its last event: {closed}");
    let logs = server.json(&format!("/api/v1/alerts/{}/logs", view::text(&open, "id")));
    assert!(logs["items"].as_array().is_some_and(|logs| logs.iter().any(|log| log["op_type"] == "SYSTEM_CLOSE")), "{logs}");

    // While nobody sends anything, a running server closes too.
    server.post_events(&[event("2", "Alone", "web-2", now_s(), "ABNORMAL")]);
    wait_for(&mut server, "Alone", |alert| alert["status"] == "CLOSED");
}

fn wait_for(server: &mut Server, name: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
    until(&format!("{name} comes to be as wanted"), PATIENCE, || view::alert_named(server, name).filter(|alert| is_wanted(alert)))
}
