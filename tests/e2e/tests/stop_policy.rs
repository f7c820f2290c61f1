//! A rule with the policy `stop`: the pipeline waits at the event that it cannot judge, everyone can see it, and an operator says
//! what is done. What he says holds over kills, and nothing is lost or counted twice meanwhile.

use alertmill_e2e::{PATIENCE, Server, Site, event, now_s, poisoned, until, view};
use serde_json::{Value, json};

fn poison(id: &str, at_s: u64) -> Value {
    poisoned(event(id, "Poisoned", "bad-1", at_s, "ABNORMAL"))
}

fn resume(server: &mut Server, rule: &str, body: &Value) -> (u16, Value) {
    let path = format!("/api/v1/rules/{rule}:resume");
    let answer = server.http.post_json(&path, body.to_string().as_bytes()).expect("an answer");
    (answer.status, answer.json())
}

fn halted(server: &mut Server) -> Vec<Value> {
    server.json("/api/v1/pipeline/halted")["items"].as_array().expect("items").clone()
}

/// Whether the pipeline and the rule are halted, and the verdicts so far, as a scraper sees them.
fn metrics(server: &mut Server) -> (f64, f64, f64) {
    let metrics = server.metrics();
    let of_rule = metrics.sum("alertmill_rule_halted", &[("rule", "traps")]);
    (metrics.get("alertmill_pipeline_halted"), of_rule, metrics.sum("alertmill_verdict_records_total", &[("kind", "trap")]))
}

#[test]
fn the_pipeline_waits_for_an_operator_and_goes_on_over_kills() {
    let site = Site::new().rule("10-traps.wasm", "test/traps", "on_failure = \"stop\"\n");
    let mut server = site.start();
    assert_eq!(metrics(&mut server), (0.0, 0.0, 0.0));
    let now = now_s();
    let mut events: Vec<Value> = (0..30).map(|n| event(&n.to_string(), "Flows", &format!("web-{n}"), now, "ABNORMAL")).collect();
    events.insert(20, poison("bad", now));
    server.post_events(&events);
    let words = server.not_well("pipeline");
    assert!(words.contains("rule traps 0.1.0@sha256:") && words.contains("alertmill rule resume traps --as"), "{words}");
    let waits = halted(&mut server);
    assert_eq!((waits.len(), &waits[0]["rule"], &waits[0]["index"], &waits[0]["kind"]), (1, &"traps".into(), &20.into(), &"trap".into()), "{waits:?}");

    // Senders are answered, and nothing of what they send goes past it.
    server.post_events(&[event("later", "Later", "web-1", now, "ABNORMAL")]);
    assert_eq!(view::alerts(&mut server).len(), 0);
    assert_eq!(resume(&mut server, "another", &json!({"as": "retry"})).0, 409);
    assert_eq!(resume(&mut server, "traps", &json!({"as": "stop"})).0, 400);

    // A kill forgets nothing of it.
    server.kill();
    let mut server = site.spawn();
    let again = server.not_well("pipeline");
    assert_eq!(again, words);
    // Asked again it says the same.
    let since = halted(&mut server)[0]["halted_at"].clone();
    assert_eq!(resume(&mut server, "traps", &json!({"as": "retry"})).0, 200);
    until("it halts again", PATIENCE, || halted(&mut server).first().map(|row| assert_eq!(row["halted_at"], since)));
    assert_eq!(metrics(&mut server), (1.0, 1.0, 0.0), "to try again is no verdict");
    let (status, answer) = resume(&mut server, "traps", &json!({"as": "dead-letter"}));
    assert_eq!((status, &answer["items"][0]["index"]), (200, &20.into()), "{answer}");
    server.wait_ready();
    server.wait_folded();
    let (found, ledger) = (view::dead_letters(&mut server), view::ledger(&mut server));
    assert_eq!((found.len(), &found[0]["code"]), (1, &"rule-failed".into()), "{found:?}");
    assert_eq!(metrics(&mut server), (0.0, 0.0, 1.0));
    assert_eq!((ledger["journaled"], ledger["dead_letters"], ledger["folded"]), (32, 1, 31), "{ledger:?}");

    // It was said of that event alone.
    server.post_events(&[poison("next", now), event("behind", "Behind", "web-1", now, "ABNORMAL")]);
    server.not_well("pipeline");
    let (status, _) = resume(&mut server, "traps", &json!({"as": "pass-through", "to_the_end": true}));
    assert_eq!(status, 200);
    server.wait_ready();
    server.post_events(&[poison("last", now)]);
    server.wait_folded();
    let before = (view::documents(&mut server), view::ledger(&mut server));
    assert_eq!((before.1["journaled"], before.1["dead_letters"], before.1["folded"]), (35, 1, 34));

    // What was said to the end of the generation holds in the next process.
    server.kill();
    let mut server = site.start();
    assert_eq!((view::documents(&mut server), view::ledger(&mut server)), before);
    server.post_events(&[poison("restarted", now)]);
    server.wait_folded();
    assert_eq!((view::ledger(&mut server)["folded"], halted(&mut server).len()), (35, 0));

    // A process that halts can be stopped, and the next one goes on there.
    std::fs::write(site.rules_dir().join("10-traps.toml"), "on_failure = \"stop\"\n[limits]\ntime_ms = 200\n").expect("options");
    until("the next generation asks the rule again", PATIENCE, || {
        server.post_events(&[poison("halts", now)]);
        (!halted(&mut server).is_empty()).then_some(())
    });
    let (status, _) = server.stop();
    assert_eq!(status.code(), Some(0));
    let mut server = site.spawn();
    server.not_well("pipeline");
    assert_eq!(resume(&mut server, "traps", &json!({"as": "dead-letter", "to_the_end": true})).0, 200);
    server.wait_ready();
    server.wait_folded();
    view::ledger(&mut server);
}
