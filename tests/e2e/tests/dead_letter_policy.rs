//! A rule with the policy `dead-letter`: the one event that it cannot judge becomes a letter, with its bytes; nothing else is touched, over a kill.

use alertmill_e2e::{PATIENCE, Server, Site, event, now_s, poisoned, until, view};
use serde_json::Value;

fn poison(id: &str, at_s: u64) -> Value {
    poisoned(event(id, "Poisoned", "bad-1", at_s, "ABNORMAL"))
}

#[test]
fn a_poison_event_is_exactly_one_letter_and_counts_when_a_rule_can_judge_it() {
    let site = Site::new().rule("10-traps.wasm", "test/traps", "on_failure = \"dead-letter\"\n");
    let mut server = site.start();
    let now = now_s();
    let mut events: Vec<Value> = (0..63).map(|n| event(&n.to_string(), "Flows", &format!("web-{n}"), now, "ABNORMAL")).collect();
    events.insert(40, poison("bad", now));
    server.post_events(&events);
    server.kill();
    let mut server = site.start();
    server.wait_folded();
    let found = view::whole_dead_letters(&mut server);
    assert_eq!(found.len(), 1, "{found:?}");
    let letter = &found[0];
    assert_eq!((&letter["code"], &letter["item"]["event_id"]), (&"rule-failed".into(), &"bad".into()), "{letter}");
    let detail = view::text(letter, "detail");
    assert!(detail.starts_with("rule traps 0.1.0@sha256:") && detail.contains(" (enrich-event): trap: "), "{detail}");
    let ledger = view::ledger(&mut server);
    assert_eq!((ledger["journaled"], ledger["dead_letters"], ledger["folded"]), (64, 1, 63), "{ledger:?}");
    assert!(view::alert_named(&mut server, "Poisoned").is_none());
    let seen = |alert: &Value| alert["event"]["tags"].as_array().is_some_and(|tags| tags.iter().any(|tag| tag["key"] == "note"));
    assert!(view::alerts(&mut server).iter().all(seen), "its neighbours are judged");

    // Retries: what was counted is a duplicate, what was not is tried again.
    server.post_events(&events);
    server.wait_folded();
    let ledger = view::ledger(&mut server);
    assert_eq!((ledger["duplicates"], ledger["dead_letters"], ledger["folded"]), (63, 2, 63), "{ledger:?}");
    // Another policy is another generation.
    let generation = |server: &mut Server| server.json("/api/v1/rules")["items"][0]["generation"].as_u64().expect("a generation");
    let before = generation(&mut server);
    std::fs::write(site.rules_dir().join("10-traps.toml"), "on_failure = \"pass-through\"\n").expect("options");
    until("the next generation", PATIENCE, || (generation(&mut server) > before).then_some(()));
    server.post_events(&[poison("bad", now)]);
    let alert = until("the event becomes an alert", PATIENCE, || view::alert_named(&mut server, "Poisoned"));
    let events = view::events(&mut server, alert["id"].as_str().expect("an id"));
    let failure = &events[0].1["extra_info"]["alertmill"]["rule_failures"][0];
    assert_eq!((&failure["policy"], &failure["kind"]), (&"pass-through".into(), &"trap".into()), "{}", events[0].1);
    assert_eq!(view::ledger(&mut server)["dead_letters"], 2);
}
