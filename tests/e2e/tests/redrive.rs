//! Dead letters that are tried again: what no rule was for becomes an alert once there is one, and counts once, however often it
//! is asked for and whenever the process is killed.

use alertmill_e2e::{Done, Http, PATIENCE, Server, Site, binary, until, view};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::Command;

const CONFIG: &str = "[sources.hook]\ncontent_types = [\"text/csv\"]\n";
const RULE: &str = "10-normalizes.wasm";
const REDRIVE: &str = "/api/v1/dead-letters:redrive";

fn post(server: &mut Server, body: &str, key: Option<&str>) {
    let mut headers = vec![("content-type", "text/csv")];
    headers.extend(key.map(|key| ("idempotency-key", key)));
    let answer = server.http.post("/api/v1/sources/hook", &headers, body.as_bytes()).expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn ids(server: &mut Server) -> Vec<String> {
    view::dead_letters(server).iter().map(|letter| view::text(letter, "id")).collect()
}

fn redrive(server: &mut Server, body: &Value) -> Value {
    let answer = server.http.post_json(REDRIVE, body.to_string().as_bytes()).expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn counters(server: &mut Server) -> Value {
    view::source_counters(server, "hook")
}

fn wait_for_rule(server: &mut Server) {
    until("the rule is in force", PATIENCE, || view::rule(server, "normalizes").filter(|rule| rule["state"] == "active"));
}

/// Runs the command line; gives its exit code and its answer.
fn cli(server: &Server, args: &[&str]) -> (i32, Value, String) {
    let Done { code, out, err } = Done::of(Command::new(binary()).args(args).args(["--server", &server.url(), "-o", "json"]));
    (code, serde_json::from_str(&out).unwrap_or(Value::Null), err)
}

#[test]
fn a_letter_becomes_an_alert_and_counts_once() {
    let site = Site::new().config(CONFIG);
    let mut server = site.start();
    for body in ["disk full", "three", "bad"] {
        post(&mut server, body, Some(body));
    }
    server.wait_folded();
    let before = ids(&mut server);
    assert_eq!((before.len(), view::alerts(&mut server).len()), (3, 0));
    site.put_rule(RULE, "test/normalizes");
    wait_for_rule(&mut server);

    let (code, dry, _) = cli(&server, &["dlq", "redrive", "--source", "hook", "--code", "no-normalize-rule", "--dry-run"]);
    assert_eq!((code, &dry["ok"], ids(&mut server) == before), (0, &3.into(), true), "{dry}");
    // "bad" is a good event and two that no sender could send.
    let (code, answer, said) = cli(&server, &["dlq", "redrive", "--source", "hook", "-m", "there is a rule now", "--operator", "wang"]);
    let items = answer["items"].as_array().expect("items").clone();
    let of = |body: usize| items.iter().find(|item| item["id"] == before[body].as_str()).expect("an item").clone();
    assert_eq!((of(0)["status"].as_str(), of(1)["events"]["folded"].as_u64()), (Some("folded"), Some(3)), "{answer}");
    assert_eq!((code, of(2)["status"].as_str(), of(2)["problem"]["code"].as_str()), (6, Some("dead-again"), Some("normalize-invalid")), "{answer} {said}");
    let alert = view::alert_named(&mut server, "disk full").expect("an alert");
    assert_eq!(alert["event_count"], 1, "{alert}");

    // Again, by its old id, and by its sender under the same key.
    let again = redrive(&mut server, &json!({ "ids": before }));
    assert_eq!((&again["ok"], &again["failed"], &again["items"][0]["status"]), (&0.into(), &3.into(), &"not-found".into()), "{again}");
    post(&mut server, "three", Some("three"));
    server.wait_folded();
    let alert = view::alert_named(&mut server, "three 2").expect("an alert");
    assert_eq!(alert["event_count"], 1, "{alert}");
    // What died again has a new id, says so, and dies again.
    let left = view::dead_letters(&mut server);
    assert_eq!((left.len(), &left[0]["redriven"], &left[0]["redrivable"]), (2, &1.into(), &true.into()), "{left:?}");
    assert_eq!(of(2)["letters"], json!([left[0]["id"], left[1]["id"]]));
    let again = redrive(&mut server, &json!({"ids": [left[0]["id"]]}));
    assert_eq!(again["items"][0]["status"], "dead-again", "{again}");
    assert_eq!(view::dead_letters(&mut server)[1]["redriven"], 2, "it is the newest");
    let counted = counters(&mut server);
    let of = |name: &str| counted[name].as_u64().unwrap_or(0);
    assert_eq!((of("journaled"), of("redriven"), of("duplicates")), (4, 4, 3), "{counted}");
    // A restart changes nothing of it.
    server.kill();
    let mut server = site.start();
    server.wait_folded();
    assert_eq!((counters(&mut server), view::dead_letters(&mut server).len()), (counted, 2));
}

#[test]
fn a_kill_between_record_and_answer_counts_no_letter_twice_and_loses_none() {
    const LETTERS: usize = 60;
    const ROUNDS: usize = 5;
    let site = Site::new().config(CONFIG);
    let mut server = site.start();
    for n in 0..LETTERS {
        post(&mut server, &format!("disk {n} full"), None);
    }
    server.wait_folded();
    assert_eq!(ids(&mut server).len(), LETTERS);
    site.put_rule(RULE, "test/normalizes");
    wait_for_rule(&mut server);
    let (mut killed_inside, mut asked) = (0, 0);
    for round in 0..ROUNDS {
        let wanted: Vec<String> = ids(&mut server).into_iter().take(LETTERS / ROUNDS).collect();
        let done = |server: &mut Server| server.metrics().sum("alertmill_events_redriven_total", &[("source", "hook")]);
        let before = done(&mut server);
        let port = site.port;
        let body = json!({ "ids": wanted }).to_string();
        asked += wanted.len();
        let answered = std::thread::scope(|threads| {
            let redriving = threads.spawn(move || Http::new(port).post_json(REDRIVE, body.as_bytes()).is_ok());
            // Each is a record of its own, and the answer comes behind the last.
            until("some are tried again", PATIENCE, || (done(&mut server) > before + round as f64).then_some(()));
            server.kill();
            redriving.join().expect("a request")
        });
        killed_inside += usize::from(!answered);
        server = site.start();
        server.wait_folded();
    }
    let left = ids(&mut server);
    let (kept, tried) = (left.len(), LETTERS - left.len());
    if kept > 0 {
        let answer = redrive(&mut server, &json!({ "ids": left }));
        assert_eq!(answer["ok"], kept, "{answer}");
    }
    let alerts = view::alerts(&mut server);
    let names: BTreeSet<String> = alerts.iter().map(|alert| view::text(alert, "alert_name")).collect();
    assert_eq!((names.len(), alerts.len()), (LETTERS, LETTERS), "each is there, once");
    assert!(alerts.iter().all(|alert| alert["event_count"] == 1), "{alerts:?}");
    let counted = counters(&mut server);
    let of = |name: &str| counted[name].as_u64().unwrap_or(0);
    assert_eq!((of("folded"), of("redriven") - of("duplicates"), view::dead_letters(&mut server).len()), (LETTERS as u64, LETTERS as u64, 0), "{counted}");
    println!("redrive: {LETTERS} letters, {ROUNDS} kills, {killed_inside} before the answer; {tried} of {asked} asked for were tried by then, {counted}");
}
