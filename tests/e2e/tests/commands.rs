//! Commands of operators against the real binary: what they do, what they refuse, and that they survive a kill -9 right
//! after the answer.

use alertmill_e2e::{PATIENCE, Server, Site, binary, event, now_s, until, view};
use serde_json::{Value, json};
use std::fs;
use std::process::Command;

/// One open alert of that name; gives its id.
fn open(server: &mut Server, name: &str, host: &str) -> String {
    server.post_events(&[event(&format!("{name}-1"), name, host, now_s(), "ABNORMAL")]);
    let alert = until("the alert is there", PATIENCE, || view::alert_named(server, name));
    view::text(&alert, "id")
}

#[track_caller]
fn command(server: &mut Server, action: &str, headers: &[(&str, &str)], body: &Value) -> Value {
    let mut all = vec![("content-type", "application/json")];
    all.extend(headers);
    let path = format!("/api/v1/alerts:{action}");
    let answer = server.http.post(&path, &all, body.to_string().as_bytes()).unwrap_or_else(|e| panic!("POST {path}: {e}\n{}", server.log()));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn operations(server: &mut Server, id: &str) -> Vec<String> {
    let logs = server.json(&format!("/api/v1/alerts/{id}/logs"));
    logs["items"].as_array().expect("items").iter().rev().map(|log| view::text(log, "op_type")).collect()
}

#[test]
fn acknowledge_take_back_and_close() {
    let site = Site::new();
    let mut server = site.start();
    let id = open(&mut server, "Disk full", "a");
    let before = view::ledger(&mut server);

    let answer = command(&mut server, "ack", &[], &json!({"ids": [id, "17999999991"], "comment": "on it", "operator": "wang"}));
    assert_eq!((&answer["ok"], &answer["failed"]), (&1.into(), &1.into()), "{answer}");
    assert_eq!((&answer["items"][0]["status"], &answer["items"][0]["alert"]["ack_operator"]), (&"done".into(), &"wang".into()), "{answer}");
    assert_eq!(answer["items"][1]["status"], "not-found", "{answer}");
    // Whoever was answered sees it at once.
    let alert = server.json(&format!("/api/v1/alerts/{id}"));
    assert_eq!((&alert["is_ack"], &alert["ack_operator"], &alert["status"]), (&true.into(), &"wang".into(), &"ABNORMAL".into()));
    let row = &server.json("/api/v1/alerts")["items"][0];
    assert_eq!((&row["is_ack"], &row["ack_operator"]), (&true.into(), &"wang".into()), "{row}");
    let again = command(&mut server, "ack", &[], &json!({"ids": [id], "operator": "li"}));
    assert_eq!((&again["items"][0]["status"], &again["items"][0]["alert"]["ack_operator"]), (&"unchanged".into(), &"wang".into()));

    assert_eq!(command(&mut server, "unack", &[], &json!({"ids": [id]}))["items"][0]["alert"]["is_ack"], false);
    let closed = command(&mut server, "close", &[], &json!({"ids": [id], "comment": "host removed"}));
    assert_eq!((&closed["items"][0]["status"], &closed["items"][0]["alert"]["status"]), (&"done".into(), &"CLOSED".into()));
    for action in ["ack", "unack", "close"] {
        let ended = command(&mut server, action, &[], &json!({"ids": [id]}));
        assert_eq!((&ended["items"][0]["status"], &ended["items"][0]["alert"]["status"]), (&"ended".into(), &"CLOSED".into()), "{action}");
    }
    assert_eq!(operations(&mut server, &id), ["CREATE", "ACK", "UNACK", "CLOSE"]);
    assert_eq!(view::ledger(&mut server), before, "commands are no items");

    // The next event opens another one, which nobody has acknowledged.
    server.post_events(&[event("Disk full-2", "Disk full", "a", now_s(), "ABNORMAL")]);
    let new = until("another alert", PATIENCE, || view::alerts(&mut server).into_iter().find(|alert| alert["status"] == "ABNORMAL"));
    assert_eq!((&new["is_ack"], &new["ack_operator"]), (&false.into(), &Value::Null));
    let metrics = server.metrics();
    let counted = |action, outcome| metrics.sum("alertmill_commands_total", &[("action", action), ("outcome", outcome)]);
    assert_eq!((counted("ack", "done"), counted("ack", "unchanged"), counted("ack", "not-found"), counted("close", "ended")), (1.0, 1.0, 1.0, 1.0));
    assert_eq!(metrics.get("alertmill_ledger_imbalance{half=\"fold\"}"), 0.0);
}

/// What was answered before a kill is there, whole, and once.
fn all_there(server: &mut Server, acknowledged: &[(String, Value)]) {
    for (id, comment) in acknowledged {
        let alert = server.json(&format!("/api/v1/alerts/{id}"));
        assert_eq!((&alert["is_ack"], &alert["ack_operator"]), (&true.into(), &"wang".into()), "{id}");
        let logs = server.json(&format!("/api/v1/alerts/{id}/logs"));
        let acks: Vec<&Value> = logs["items"].as_array().expect("items").iter().filter(|log| log["op_type"] == "ACK").collect();
        assert_eq!((acks.len(), &acks[0]["description"], &acks[0]["operator"]), (1, comment, &"wang".into()), "{id}");
    }
}

#[test]
fn a_command_survives_a_kill_right_after_the_answer_and_its_repetition_changes_nothing() {
    let site = Site::new();
    let mut acknowledged = Vec::new();
    for round in 0..10 {
        let mut server = site.start();
        all_there(&mut server, &acknowledged);
        let id = open(&mut server, &format!("Alert {round}"), &format!("h{round}"));
        let comment = json!(format!("round {round}"));
        let body = json!({"ids": [id], "comment": comment, "operator": "wang"});
        let key = format!("key-{round}");
        assert_eq!(command(&mut server, "ack", &[("idempotency-key", &key)], &body)["items"][0]["status"], "done");
        server.kill();
        // The operator's program never saw the answer and repeats.
        let mut server = site.start();
        let repeated = command(&mut server, "ack", &[("idempotency-key", &key)], &body);
        assert_eq!((&repeated["items"][0]["status"], &repeated["items"][0]["alert"]["ack_operator"]), (&"done".into(), &"wang".into()));
        assert_eq!(server.metrics().sum("alertmill_commands_total", &[("outcome", "repeated")]), 1.0);
        assert_eq!(operations(&mut server, &id), ["CREATE", "ACK"]);
        acknowledged.push((id, comment));
        server.kill();
    }
    all_there(&mut site.start(), &acknowledged);
    alertmill_proof::record("commands-kill", alertmill_proof::Tier::Ci, &[("kills", &20), ("commands", &acknowledged.len()), ("lost", &0), ("doubled", &0)]);
}

#[test]
fn a_command_that_the_fold_does_not_come_to_is_pending_and_done_by_the_next_process() {
    let site = Site::new();
    let mut server = site.start();
    let id = open(&mut server, "Kept", "a");
    server.kill();
    // Without its files the store has to begin one for the next event, and cannot: nothing is folded any more, and what is
    // stored can be read.
    let (events, aside) = (site.data_dir().join("events"), site.path().join("aside"));
    fs::rename(&events, &aside).expect("the folder of event files");
    let mut server = site.start();
    fs::remove_dir_all(&events).expect("the folder that the start has made");
    fs::write(&events, "in the way").expect("a file in its place");
    server.post_events(&[event("more", "More", "b", now_s(), "ABNORMAL")]);
    until("the store is in trouble", PATIENCE, || (!server.is_ready()).then_some(()));
    let body = json!({"ids": [id], "operator": "wang"}).to_string();
    let headers = [("content-type", "application/json"), ("idempotency-key", "k")];
    let answer = server.http.post("/api/v1/alerts:ack", &headers, body.as_bytes()).expect("an answer");
    let said: Value = answer.json();
    assert_eq!((answer.status, &said["pending"], &said["items"][0]["status"]), (202, &1.into(), &"pending".into()), "{said}");
    assert_eq!(server.json(&format!("/api/v1/alerts/{id}"))["is_ack"], false, "it was not told that it is");
    server.kill();

    fs::remove_file(&events).expect("the file");
    fs::rename(&aside, &events).expect("the folder");
    let mut server = site.start();
    server.wait_folded();
    let repeated = command(&mut server, "ack", &[("idempotency-key", "k")], &json!({"ids": [id], "operator": "wang"}));
    assert_eq!((&repeated["items"][0]["status"], &repeated["items"][0]["alert"]["revision"]), (&"done".into(), &2.into()), "{repeated}");
    assert_eq!(operations(&mut server, &id), ["CREATE", "ACK"]);
}

#[test]
fn a_wrong_command_and_one_from_another_site_change_nothing() {
    let site = Site::new();
    let mut server = site.start();
    let id = open(&mut server, "Disk full", "a");
    let before = server.json(&format!("/api/v1/alerts/{id}"));
    let good = json!({"ids": [id]}).to_string();
    let foreign = ("origin", "http://other.example");
    let json_type = ("content-type", "application/json");
    for (headers, body, status) in [
        (&[json_type, foreign][..], good.as_str(), 403),
        (&[json_type, ("sec-fetch-site", "cross-site")], &good, 403),
        (&[("content-type", "text/plain")], &good, 415),
        (&[json_type], r#"{"ids":[]}"#, 400),
        (&[json_type], r#"{"ids":["1"],"force":true}"#, 400),
    ] {
        for action in ["ack", "unack", "close"] {
            let answer = server.http.post(&format!("/api/v1/alerts:{action}"), headers, body.as_bytes()).expect("an answer");
            assert_eq!((answer.status, answer.header("content-type")), (status, Some("application/problem+json")), "{action} {headers:?} {body}");
        }
    }
    assert_eq!(server.json(&format!("/api/v1/alerts/{id}")), before);
    assert_eq!(operations(&mut server, &id), ["CREATE"]);
}

#[test]
fn the_command_line_acknowledges_what_a_list_names() {
    let site = Site::new();
    let mut server = site.start();
    let ids: Vec<String> = (0..3).map(|n| open(&mut server, &format!("Alert {n}"), &format!("h{n}"))).collect();
    let cli = |line: &str| {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(line).env("ALERTMILL_SERVER", server.url()).env("ALERTMILL_OPERATOR", "wang").env("mill", binary());
        let done = shell.output().expect("sh runs");
        (done.status.code().unwrap_or(-1), String::from_utf8_lossy(&done.stdout).into_owned(), String::from_utf8_lossy(&done.stderr).into_owned())
    };
    let (code, out, err) = cli("$mill alert list -o name | $mill alert ack - -m 'known, INC-881' -o name");
    assert_eq!((code, out.lines().count(), err.as_str()), (0, 3, ""));
    let (code, out, _) = cli("$mill alert list");
    assert_eq!((code, out.matches("\twang\t").count()), (0, 3), "{out}");
    let (_, logs, _) = cli(&format!("$mill alert logs {}", ids[0]));
    assert!(logs.contains("\tACK\twang\tknown, INC-881\n"), "{logs}");
    let (code, out, err) = cli(&format!("$mill alert list -o name | head -1 | xargs $mill alert close {} 17999999991", ids[0]));
    assert_eq!((code, out.lines().count()), (123, 4), "xargs makes 123 of 6: {out} {err}");
    assert!(err.contains("17999999991: there is no alert"), "{err}");
    assert_eq!(cli(&format!("$mill alert unack {}", ids[1])).0, 0);
    assert_eq!(cli(&format!("$mill alert close {} 17999999991", ids[1])).0, 6);
    assert_eq!((cli(&format!("$mill alert ack {}", ids[0])).0, cli("$mill alert ack 17999999991").0, cli("$mill alert ack").0), (1, 3, 2));
}
