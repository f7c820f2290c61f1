//! When a part is refused what it needs, `/readyz` says so in words, the process ends nevertheless when it is asked to, and
//! what was acknowledged is there after the next start.

use alertmill_e2e::{PATIENCE, Server, Site, event, now_s, poisoned, until, view};
use serde_json::Value;
use std::fs;
use std::time::Duration;

/// Although the grace is much longer: a part that is refused is not waited for.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

fn ends(server: Server) {
    let (status, took) = server.stop();
    println!("refused: SIGTERM: {status} after {:.2} s", took.as_secs_f64());
    assert_eq!(status.code(), Some(0));
    assert!(took < ENDS_WITHIN, "{took:?}");
}

#[test]
fn a_store_that_refuses_is_said_and_is_not_waited_for() {
    let site = Site::new().set("SERVER__STOP_GRACE_S", 120);
    let mut server = site.start();
    let events = site.data_dir().join("events");
    fs::remove_dir_all(&events).expect("the folder of event files");
    fs::write(&events, "in the way").expect("a file in its place");
    server.post_events(&[event("1", "Kept", "web-1", now_s(), "ABNORMAL")]);
    let words = server.not_well("state");
    assert!(words.contains("events"), "{words}");
    ends(server);

    fs::remove_file(&events).expect("the file");
    let mut server = site.start();
    server.wait_folded();
    assert!(view::alert_named(&mut server, "Kept").is_some(), "{}", server.log());
}

#[test]
fn a_store_that_recovers_is_well_again() {
    let site = Site::new();
    let mut server = site.start();
    let events = site.data_dir().join("events");
    fs::remove_dir_all(&events).expect("the folder of event files");
    fs::write(&events, "in the way").expect("a file in its place");
    server.post_events(&[event("1", "Kept", "web-1", now_s(), "ABNORMAL")]);
    server.not_well("state");
    fs::remove_file(&events).expect("the file");
    fs::create_dir(&events).expect("the folder");
    server.wait_ready();
    server.wait_folded();
    assert!(view::alert_named(&mut server, "Kept").is_some());
}

#[test]
fn rules_that_cannot_be_opened_are_said_and_are_not_waited_for() {
    let site = Site::new().rule("10-says.wasm", "test/says", "").set("SERVER__STOP_GRACE_S", 120);
    let mut server = site.start();
    server.post_events(&[event("1", "Kept", "web-1", now_s(), "ABNORMAL")]);
    server.wait_folded();
    server.kill();
    let (modules, aside) = (site.data_dir().join("modules"), site.path().join("aside"));
    fs::rename(&modules, &aside).expect("the modules are lost");
    fs::remove_file(site.rules_dir().join("10-says.wasm")).expect("and so is the rule");

    let mut server = site.spawn();
    until("it listens", PATIENCE, || server.http.get("/healthz").ok());
    let words = server.not_well("pipeline");
    assert!(words.contains("sha256:"), "{words}");
    ends(server);
}

#[test]
fn a_full_journal_is_said_and_is_well_again_by_itself() {
    let site = Site::new()
        .set("DATA__JOURNAL_SEGMENT", "1MiB")
        .set("DATA__JOURNAL_MAX", "2MiB")
        .set("LIMITS__BODY", "1MiB")
        .set("LIMITS__BODY_DECODED", "1MiB")
        .rule("10-spins.wasm", "test/spins", "strikes = 1\n[limits]\ntime_ms = 10000");
    let mut server = site.start();
    // The rule does not come back from this one until its deadline, so nothing is folded and no segment goes.
    server.post_events(&[poisoned(event("poison", "Poison", "h0", now_s(), "ABNORMAL"))]);
    let mut batch = 0;
    let refused = until("the journal is full", PATIENCE, || {
        batch += 1;
        let events: Vec<Value> = (0..40)
            .map(|i| {
                let mut event = event(&format!("{batch}-{i}"), "Many", "h1", now_s(), "ABNORMAL");
                event["description"] = "x".repeat(8_000).into();
                event
            })
            .collect();
        let answer = server.http.post_json("/api/v1/events", &serde_json::to_vec(&events).expect("json")).expect("an answer");
        assert!(matches!(answer.status, 200 | 429), "{}", answer.text());
        (answer.status == 429).then(|| answer.text())
    });
    assert!(refused.contains("is full"), "{refused}");
    let words = server.not_well("journal");
    assert!(words.contains("is full"), "{words}");
    // Nobody sends: the server itself finds out that there is room again.
    server.wait_ready();
    server.wait_folded();
}
