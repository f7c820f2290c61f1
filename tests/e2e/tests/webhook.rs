//! `POST /api/v1/sources/{source}`: bodies in a form of their own. They are safe before the sender is answered, and every one
//! of them is accounted for, whatever rules make of it and however often the process is killed.

use alertmill_e2e::{Http, PATIENCE, Server, Site, now_s, until, view};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const CONFIG: &str = r#"
[sources.hook]
content_types = ["application/json", "text/csv"]
headers = ["X-Event"]

[sources.feed]
decoder = "events"
content_types = ["application/json", "application/x-ndjson"]
"#;

type Headers<'h> = &'h [(&'h str, &'h str)];

const CSV: (&str, &str) = ("content-type", "text/csv");

fn post(server: &mut Server, path: &str, headers: Headers<'_>, body: &[u8]) -> (u16, Value) {
    let answer = server.http.post(path, headers, body).unwrap_or_else(|e| panic!("POST {path}: {e}\n{}", server.log()));
    (answer.status, answer.json())
}

#[test]
fn a_body_that_no_rule_is_for_is_kept_and_counted() {
    let site = Site::new().config(CONFIG);
    let mut server = site.start();
    let taken = json!({"accepted": 1, "duplicates": 0, "rejected": []});
    assert_eq!(post(&mut server, "/api/v1/sources/hook", &[CSV, ("x-event", "push")], b"host,level\nweb-1,2\n"), (200, taken.clone()));
    assert_eq!(post(&mut server, "/api/v1/sources/hook", &[("content-type", "application/json")], b"{\"any\": [1, 2]}"), (200, taken));
    assert_eq!(post(&mut server, "/api/v1/sources/hook", &[CSV], b"").0, 400);
    assert_eq!(post(&mut server, "/api/v1/sources/hook", &[CSV], b"last").0, 200);
    server.wait_folded();
    let mut seen = Vec::new();
    for letter in view::whole_dead_letters(&mut server) {
        assert_eq!((&letter["code"], &letter["source"], &letter["bk_tenant_id"]), (&"no-normalize-rule".into(), &"hook".into(), &"system".into()));
        assert!(letter["detail"].as_str().is_some_and(|detail| detail.contains("source hook and content type")), "{letter}");
        seen.push(if letter["item"].is_null() { view::text(&letter, "item_text") } else { letter["item"].to_string() });
    }
    seen.sort();
    assert_eq!(seen, ["host,level\nweb-1,2\n", "last", r#"{"any":[1,2]}"#]);
    let counted = view::source_counters(&mut server, "hook");
    assert_eq!(counted, json!({"received": 4, "refused": 1, "journaled": 3, "dead_letters": 3}));
    let metrics = server.metrics();
    let of = |family: &str| metrics.sum(family, &[("source", "hook")]);
    assert_eq!((of("alertmill_door_items_received_total"), of("alertmill_door_items_journaled_total")), (4.0, 3.0));
    assert_eq!((of("alertmill_events_dead_letters_total"), of("alertmill_events_journaled_total")), (3.0, 3.0));

    // What was asked for is still there after a restart, and counted as before.
    let before = view::whole_dead_letters(&mut server);
    let (status, _) = server.stop();
    assert_eq!(status.code(), Some(0));
    let mut server = site.start();
    assert_eq!((view::whole_dead_letters(&mut server), view::source_counters(&mut server, "hook")), (before, counted));
}

#[test]
fn what_the_door_does_not_take_is_told_why() {
    let site = Site::new().config(CONFIG);
    let mut server = site.start();
    let cases: [(&str, Headers<'_>, usize, u16, &str); 6] = [
        ("/api/v1/sources/nobody", &[CSV], 1, 404, "add a section [sources.nobody] to the configuration"),
        ("/api/v1/sources/hook", &[("content-type", "application/xml")], 1, 415, "source hook takes application/json, text/csv"),
        ("/api/v1/sources/hook", &[], 1, 415, "add the type to sources.hook.content_types"),
        ("/api/v1/sources/hook?x=1", &[CSV], 1, 400, "no query parameters"),
        ("/api/v1/sources/hook", &[CSV], 0, 400, "the body is empty"),
        ("/api/v1/sources/hook", &[CSV], (8 << 20) + 1, 413, "8388608"),
    ];
    for (path, headers, bytes, status, said) in cases {
        let (answered, problem) = post(&mut server, path, headers, &vec![b'x'; bytes]);
        assert_eq!(answered, status, "{path}: {problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(said)), "{problem}");
        println!("webhook: {status} {}", problem["detail"]);
    }
    assert_eq!(server.get("/api/v1/sources/hook").status, 405);
    assert_eq!(post(&mut server, "/api/v1/sources/hook", &[CSV], &vec![b'x'; 8 << 20]).0, 200, "the largest body is taken");
    server.wait_folded();
    assert_eq!(view::source_counters(&mut server, "hook")["journaled"], 1);
}

#[test]
fn a_configuration_with_secrets_among_the_headers_is_refused() {
    let site = Site::new().config("[sources.hook]\nheaders = [\"X-Event\", \"Authorization\"]");
    let server = site.spawn();
    let log = until("it says why", PATIENCE, || Some(server.log()).filter(|log| log.contains("sources.hook.headers")));
    assert!(log.contains("Authorization holds a secret"), "{log}");
    let (status, _) = server.wait_end();
    assert!(!status.success());
}

#[test]
fn a_source_of_events_makes_alerts_under_its_own_name() {
    let site = Site::new().config(CONFIG);
    let mut server = site.start();
    let line = |name: &str| json!({"alert_name": name, "severity": 1, "time": now_s()}).to_string();
    let body = format!("{}\n{}\n7\n", line("First"), line("Second"));
    let (status, answer) = post(&mut server, "/api/v1/sources/feed", &[("content-type", "application/x-ndjson")], body.as_bytes());
    assert_eq!((status, &answer["accepted"], &answer["rejected"][0]["code"]), (200, &2.into(), &"shape".into()));
    let alert = until("the alert", PATIENCE, || view::alert_named(&mut server, "Second"));
    assert_eq!(alert["event"]["plugin_id"], "feed", "{alert}");
    server.wait_folded();
    assert_eq!(view::source_counters(&mut server, "feed"), json!({"received": 3, "refused": 1, "journaled": 2, "folded": 2}));
}

#[test]
fn bodies_that_were_acknowledged_outlive_kills() {
    const KILLS: usize = 5;
    let site = Site::new().config(CONFIG);
    let (mut acknowledged, mut unanswered) = (BTreeSet::new(), BTreeSet::new());
    for round in 0..KILLS {
        let (server, port) = (site.start(), site.port);
        let answered = AtomicUsize::new(0);
        std::thread::scope(|threads| {
            let answered = &answered;
            let senders: Vec<_> = (0..2).map(|sender| threads.spawn(move || send_until_killed(port, round, sender, answered))).collect();
            until("bodies are taken", PATIENCE, || (answered.load(Relaxed) >= 100 + 60 * round).then_some(()));
            server.kill();
            for sender in senders {
                let (safe, last) = sender.join().expect("a sender");
                acknowledged.extend(safe);
                unanswered.insert(last);
            }
        });
    }
    let mut server = site.start();
    server.wait_folded();
    let letters: Vec<String> = view::whole_dead_letters(&mut server).iter().map(|letter| view::text(letter, "item_text")).collect();
    let kept: BTreeSet<String> = letters.iter().cloned().collect();
    assert_eq!(kept.len(), letters.len(), "none is doubled");
    assert!(kept.is_superset(&acknowledged), "lost: {:?}", acknowledged.difference(&kept));
    assert!(kept.difference(&acknowledged).all(|body| unanswered.contains(body)), "nobody sent that");
    let counted = view::source_counters(&mut server, "hook");
    assert_eq!((&counted["journaled"], &counted["dead_letters"]), (&letters.len().into(), &letters.len().into()));
    println!("webhook: {} bodies acknowledged, {} kept, {KILLS} kills", acknowledged.len(), kept.len());
}

/// Posts bodies one after the other until the server is gone; gives those that were acknowledged, and the one that was not.
fn send_until_killed(port: u16, round: usize, sender: usize, answered: &AtomicUsize) -> (Vec<String>, String) {
    let (mut http, mut safe) = (Http::new(port), Vec::new());
    loop {
        let body = format!("body {round} {sender} {}", safe.len());
        match http.post("/api/v1/sources/hook", &[CSV], body.as_bytes()) {
            Ok(answer) => assert_eq!(answer.status, 200, "{}", answer.text()),
            Err(_) => return (safe, body),
        }
        answered.fetch_add(1, Relaxed);
        safe.push(body);
    }
}

#[test]
fn rules_make_events_of_bodies_and_judge_the_alerts_that_they_open() {
    let config = "[sources.hook]\ncontent_types = [\"text/csv\", \"text/plain\"]\nheaders = [\"X-Team\"]";
    let site = Site::new().config(config).rule("10-normalizes.wasm", "test/normalizes", "").rule("20-alerts.wasm", "test/alerts", "");
    let mut server = site.start();
    let headers = [CSV, ("x-team", "shop")];
    for body in ["none", "three", "bad", "error", "trap", "disk full"] {
        assert_eq!(post(&mut server, "/api/v1/sources/hook", &headers, body.as_bytes()).0, 200, "{body}");
    }
    assert_eq!(post(&mut server, "/api/v1/sources/hook", &[("content-type", "text/plain")], b"not for it").0, 200);
    server.wait_folded();

    let alert = view::alert_named(&mut server, "disk full").expect("an alert");
    let tags = alert["event"]["tags"].as_array().expect("tags");
    let tag = |key: &str| tags.iter().find(|tag| tag["key"] == key).map(|tag| tag["value"].clone());
    assert_eq!((tag("source"), tag("type"), tag("team")), (Some("hook".into()), Some("text/csv".into()), Some("shop".into())), "{alert}");
    assert_eq!((&alert["severity"], &alert["event"]["plugin_id"]), (&2.into(), &"hook".into()), "{alert}");
    // What the rule over new alerts wrote.
    assert_eq!((&alert["labels"], &alert["extra_info"]["runbook"]), (&json!(["by-rule"]), &"disk full after 1: ".into()), "{alert}");
    let dimensions = alert["dimensions"].as_array().expect("dimensions");
    assert!(dimensions.iter().any(|dimension| dimension["key"] == "tags.note" && dimension["value"] == "seen"), "{alert}");
    for name in ["three 1", "three 2", "three 3", "good"] {
        assert!(view::alert_named(&mut server, name).is_some(), "{name}");
    }

    let mut codes: Vec<String> = view::whole_dead_letters(&mut server).iter().map(|letter| view::text(letter, "code")).collect();
    codes.sort();
    assert_eq!(codes, ["no-normalize-rule", "normalize-failed", "normalize-failed", "normalize-invalid", "normalize-invalid"]);
    let counted = view::source_counters(&mut server, "hook");
    let expected = json!({"received": 7, "journaled": 7, "normalized_extra": 4, "no_events": 1, "dead_letters": 5, "folded": 5});
    assert_eq!(counted, expected);

    // A restart makes nothing twice.
    server.kill();
    let mut server = site.start();
    server.wait_folded();
    assert_eq!((view::source_counters(&mut server, "hook"), view::alerts(&mut server).len()), (counted, 5));
}
