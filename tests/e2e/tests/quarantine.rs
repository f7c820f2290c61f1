//! A rule that loops for ever is put out by a record: it is seen in the API and in the history, a restart keeps it, an operator
//! lets it out, and no event is lost meanwhile.

use alertmill_e2e::{PATIENCE, Server, Site, event, now_s, poisoned, until, view};
use serde_json::Value;

const OPTIONS: &str = "quarantine_retry_s = 3600\n[limits]\ntime_ms = 20\n";

#[test]
fn a_loop_is_put_out_by_a_record_that_a_restart_keeps_until_it_is_released() {
    let site = Site::new().rule("10-says.wasm", "test/says", "").rule("20-spins.wasm", "test/spins", OPTIONS);
    let mut server = site.start();
    let mut sent = 0;
    let mut send = |server: &mut Server| {
        sent += 1;
        let event = event(&format!("e{sent}"), &format!("Loop {sent}"), &format!("web-{sent}"), now_s(), "ABNORMAL");
        server.post_events(&[poisoned(event)]);
        server.wait_folded();
        sent
    };
    until("the loop is in quarantine", PATIENCE, || {
        send(&mut server);
        (row(&mut server, "spins")["state"] == "quarantined").then_some(())
    });
    let first = row(&mut server, "spins");
    assert_eq!((&first["quarantine"]["kind"], &first["quarantine"]["times"]), (&"deadline".into(), &1.into()), "{first}");
    assert!(first["quarantine"]["retry_at_ms"].as_i64() > first["quarantine"]["since_ms"].as_i64(), "{first}");
    assert_eq!(row(&mut server, "says")["state"], "active", "only it");
    // The list shows what is journaled, the history what is committed.
    let quarantined = until("the history has it", PATIENCE, || {
        let history = server.json("/api/v1/rules:history?rule=spins&limit=1");
        (history["items"][0]["action"] == "quarantine").then(|| history["items"][0].clone())
    });
    assert_eq!(quarantined["operator"], "", "{quarantined}");
    assert_eq!(server.metrics().sum("alertmill_rule_quarantined", &[("rule", "spins")]), 1.0);

    // What comes now goes by without a call, and the other rule sees it.
    let calls = |server: &mut Server| row(server, "spins")["stats"]["calls"].as_u64();
    let before = calls(&mut server);
    let n = send(&mut server);
    assert_eq!(calls(&mut server), before);
    let alert = until("the event becomes an alert", PATIENCE, || view::alert_named(&mut server, &format!("Loop {n}")));
    assert!(alert["event"]["tags"].as_array().is_some_and(|tags| tags.iter().any(|tag| tag["key"] == "version")), "{alert}");

    server.kill();
    let mut server = site.start();
    let again = row(&mut server, "spins");
    assert_eq!((&again["state"], &again["quarantine"], &again["generation"]), (&"quarantined".into(), &first["quarantine"], &first["generation"]), "{again}");

    // Let out, it loops again, and is put out again.
    let answer = server.http.post_json("/api/v1/rules/spins:release", b"{\"operator\":\"wang\"}").expect("an answer");
    let released: Value = answer.json();
    assert_eq!((answer.status, &released["state"], &released["changed"]), (200, &"active".into(), &true.into()), "{released}");
    until("it is in quarantine again", PATIENCE, || {
        send(&mut server);
        (row(&mut server, "spins")["state"] == "quarantined").then_some(())
    });
    // A version that does not loop ends it.
    std::fs::write(site.rules_dir().join("20-spins.toml"), format!("{OPTIONS}init_ms = 999\n")).expect("options");
    until("other options are another try", PATIENCE, || (row(&mut server, "spins")["state"] == "active").then_some(()));

    let n = send(&mut server);
    assert_eq!(view::alerts(&mut server).len(), n, "every event is an alert");
    view::ledger(&mut server);
}

fn row(server: &mut Server, name: &str) -> Value {
    view::rule(server, name).unwrap_or_else(|| panic!("{name} is not listed"))
}
