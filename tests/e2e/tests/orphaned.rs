//! A dry run says how many open alerts a change of rules would leave without events, and changes and counts nothing itself.

use alertmill_e2e::{Done, PATIENCE, Server, Site, binary, event, now_s, rule_file, until, view};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

fn run(server: &Server, dir: &Path, args: &[&str]) -> Done {
    Done::of(Command::new(binary()).args(args).current_dir(dir).env("ALERTMILL_SERVER", server.url()))
}

fn would(server: &Server, dir: &Path, args: &[&str]) -> Value {
    run(server, dir, &[args, &["--dry-run", "-o", "json"]].concat()).json()["orphaned"].clone()
}

#[test]
fn open_alerts_that_a_change_of_keys_would_orphan_are_counted() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::copy(rule_file("dedupe-by-tags"), dir.path().join("dedupe.wasm")).expect("a module");
    for (file, by) in [("host.toml", r#"["host"]"#), ("name.toml", r#"["alert_name", "host"]"#)] {
        std::fs::write(dir.path().join(file), format!("config = {{ by = {by} }}\n")).expect("options");
    }
    let site = Site::new();
    let mut server = site.start();
    let dir = dir.path();
    run(&server, dir, &["rule", "push", "dedupe.wasm"]).ok();
    let none = json!({"count": 0, "unknown": 0, "looked_at": 0, "open": 0});
    assert_eq!(would(&server, dir, &["rule", "activate", "dedupe-by-tags"]), none);

    // Alerts by the keys that their senders gave; one sender named none of the tags.
    let mut events: Vec<Value> = (0..5).map(|n| event(&format!("a{n}"), "Down", &format!("web-{n}"), now_s(), "ABNORMAL")).collect();
    events.push(json!({"event_id": "a9", "alert_name": "Up", "severity": 2, "time": now_s(), "dedupe_keys": ["alert_name"]}));
    let open = |server: &mut Server, n: usize| until("they are open", PATIENCE, || (view::alerts(server).len() == n).then_some(()));
    server.post_events(&events);
    open(&mut server, 6);
    let by_host = ["rule", "activate", "dedupe-by-tags", "--options", "host.toml"];
    assert_eq!(would(&server, dir, &by_host), json!({"count": 5, "unknown": 0, "looked_at": 6, "open": 6}));
    run(&server, dir, &by_host).ok();

    // Alerts by the rule's key. Those of before have no event any more that would say how others key them.
    let events: Vec<Value> = (0..3).map(|n| event(&format!("b{n}"), "Slow", &format!("db-{n}"), now_s(), "ABNORMAL")).collect();
    server.post_events(&events);
    open(&mut server, 9);
    let calls = |server: &mut Server| server.json("/api/v1/rules")["items"][0]["stats"]["calls"].clone();
    let before = calls(&mut server);
    let by_name = ["rule", "configure", "dedupe-by-tags", "--options", "name.toml"];
    assert_eq!(would(&server, dir, &by_name), json!({"count": 3, "unknown": 5, "looked_at": 9, "open": 9}));
    assert_eq!(would(&server, dir, &["rule", "configure", "dedupe-by-tags", "--order", "7"]), json!({"count": 0, "unknown": 5, "looked_at": 9, "open": 9}));
    assert_eq!(would(&server, dir, &["rule", "remove", "dedupe-by-tags"]), json!({"count": 3, "unknown": 5, "looked_at": 9, "open": 9}));
    assert_eq!(calls(&mut server), before, "a trial is no call of the rule");
    // And they are: the next events open others beside them.
    run(&server, dir, &by_name).ok();
    server.post_events(&[event("c0", "Slow", "db-0", now_s(), "ABNORMAL")]);
    open(&mut server, 10);
}
