//! Promise I10 at the door of `rules.d`: a file that is no rule is refused with a reason in the API and in the log; the other
//! rules run and events flow.

use alertmill_e2e::{PATIENCE, Site, event, now_s, rule_file, until, view};
use serde_json::Value;

/// File, module, and a word that its refusal must have.
const BAD: [(&str, &str, &str); 5] = [
    ("20-core-module.wasm", "test/core-module", "component"),
    ("30-no-lifecycle.wasm", "test/no-lifecycle", "lifecycle"),
    ("40-traps-init.wasm", "test/traps-init", "init"),
    ("60-spins-init.wasm", "test/spins-init", "init"),
    ("70-other-name.wasm", "test/says", "says"),
];

/// Made by the test; the file, and a word that its refusal must have.
const ASKS: [&str; 2] = ["50-undeclared-import.wasm", "`wasi:sockets/ip-name-lookup@0.2.0`"];
const UNFIT: [&str; 2] = ["75-owner-from-table.wasm", "`config.lowercase` is \"yes\"; allowed: true or false"];

/// The module with another name of the same length wherever it has this one.
fn renamed(mut module: Vec<u8>, old: &[u8], new: &[u8]) -> Vec<u8> {
    assert_eq!(old.len(), new.len());
    let places: Vec<usize> = (0..module.len() - old.len()).filter(|at| module[*at..].starts_with(old)).collect();
    assert!(!places.is_empty(), "the name is there");
    places.into_iter().for_each(|at| module[at..at + new.len()].copy_from_slice(new));
    module
}

#[test]
fn each_is_refused_by_name_and_the_others_run() {
    let mut site = Site::new().rule("80-says.wasm", "test/says", "grants = [\"log\"]").rule("90-severity-by-labels.wasm", "severity-by-labels", "");
    std::fs::write(site.rules_dir().join("10-text.wasm"), "this is no module\n").expect("text");
    // A module that asks for the network: the name has the length of the one that it takes the place of.
    let module = std::fs::read(rule_file("test/undeclared-import")).expect("a module");
    let module = renamed(module, b"wasi:clocks/monotonic-clock@0.2.0", b"wasi:sockets/ip-name-lookup@0.2.0");
    std::fs::write(site.rules_dir().join(ASKS[0]), module).expect("a module");
    site = site.rule(UNFIT[0], "owner-from-table", "grants = [\"tables\"]\n[config]\nlowercase = \"yes\"\n");
    // A good one, built with all of its language's runtime.
    std::fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/../../host/engine/tests/fixtures/wasip2.wasm"), site.rules_dir().join("95-wasip2.wasm"))
        .expect("a module");
    for (file, module, _) in BAD {
        site = site.rule(file, module, "");
    }
    let site = site.rule("85-dedupe-by-tags.wasm", "dedupe-by-tags", "enabled = false");
    let mut server = site.start();
    let rules = server.json("/api/v1/rules");
    let rows = rules["items"].as_array().expect("items");
    let row = |name: &str| rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name} is not listed: {rules}"));
    let log = server.log();
    let made_here = [("10-text.wasm", ""), (ASKS[0], ASKS[1]), (UNFIT[0], UNFIT[1])];
    for (file, word) in made_here.into_iter().chain(BAD.map(|(file, _, word)| (file, word))) {
        let name = file[3..].trim_end_matches(".wasm");
        let refused = row(name);
        assert_eq!(refused["state"], "refused", "{refused}");
        let detail = refused["detail"].as_str().expect("a detail");
        assert!(!detail.is_empty() && detail.contains(word), "{name}: {detail}");
        assert!(log.contains(file), "{file} is not in the log:\n{log}");
        println!("bad_rules: {file}: {detail}");
    }
    for name in ["says", "severity-by-labels", "wasip2"] {
        assert_eq!(row(name)["state"], "active", "{rules}");
    }
    let detail = row("says")["detail"].as_str().expect("a warning");
    assert!(row("says")["unneeded_grants"] == serde_json::json!(["log"]) && detail.contains("does not need what it is granted: \"log\""), "{rules}");
    assert!(row("wasip2")["stand_ins"].as_array().is_some_and(|all| all.len() == 17), "{rules}");
    assert!(row("wasip2")["detail"].is_null() && row("severity-by-labels")["stand_ins"] == serde_json::json!([]), "{rules}");
    assert_eq!(row("dedupe-by-tags")["state"], "disabled", "{rules}");

    server.post_events(&[event("1", "Flows", "web-1", now_s(), "ABNORMAL")]);
    let alert = until("the event becomes an alert", PATIENCE, || view::alert_named(&mut server, "Flows"));
    assert!(has_version(&alert, "a"), "the good rule saw it: {alert}");
}

#[test]
fn a_good_rule_that_is_overwritten_with_rubbish_stays_in_force() {
    let site = Site::new().rule("10-says.wasm", "test/says", "");
    let mut server = site.start();
    std::fs::write(site.rules_dir().join("10-says.wasm"), b"\0asm rubbish").expect("rubbish");
    until("the refusal is shown", PATIENCE, || server.json("/api/v1/rules")["items"].as_array()?.iter().any(|row| row["state"] == "refused").then_some(()));
    server.post_events(&[event("1", "StillGood", "web-1", now_s(), "ABNORMAL")]);
    let alert = until("the event becomes an alert", PATIENCE, || view::alert_named(&mut server, "StillGood"));
    assert!(has_version(&alert, "a"), "the last good version saw it: {alert}");

    // The same across a restart, which finds only the rubbish in the folder.
    server.kill();
    let mut server = site.start();
    server.post_events(&[event("2", "AfterRestart", "web-1", now_s(), "ABNORMAL")]);
    let alert = until("the event becomes an alert", PATIENCE, || view::alert_named(&mut server, "AfterRestart"));
    assert!(has_version(&alert, "a"), "the last good version saw it: {alert}");

    // And a good module takes over without a restart.
    std::fs::copy(rule_file("test/says-b"), site.rules_dir().join("10-says.wasm")).expect("copy");
    until("the new version is active", PATIENCE, || {
        let rules = server.json("/api/v1/rules");
        let rows = rules["items"].as_array()?;
        (rows.len() == 1 && rows[0]["state"] == "active" && rows[0]["version"] == "1.1.0").then_some(())
    });
    server.post_events(&[event("3", "Healed", "web-1", now_s(), "ABNORMAL")]);
    let alert = until("the event becomes an alert", PATIENCE, || view::alert_named(&mut server, "Healed"));
    assert!(has_version(&alert, "b"), "{alert}");
}

#[test]
fn a_folder_that_is_gone_at_start_takes_no_rule_away() {
    let site = Site::new().rule("10-says.wasm", "test/says", "").rule("20-severity-by-labels.wasm", "severity-by-labels", "");
    let mut server = site.start();
    let generation = |server: &mut alertmill_e2e::Server| server.json("/api/v1/rules")["items"][0]["generation"].as_u64().expect("a generation");
    let active = |server: &mut alertmill_e2e::Server| -> Vec<String> {
        let rules = server.json("/api/v1/rules");
        let rows = rules["items"].as_array().expect("items").iter().filter(|row| row["state"] == "active");
        rows.map(|row| row["name"].as_str().expect("a name").to_owned()).collect()
    };
    let before = generation(&mut server);
    server.kill();

    let aside = site.path().join("aside");
    std::fs::rename(site.rules_dir(), &aside).expect("moved away");
    let mut server = site.start();
    until("the missing folder is said", PATIENCE, || server.log().contains("source-gone").then_some(()));
    assert_eq!((generation(&mut server), active(&mut server)), (before, vec!["says".to_owned(), "severity-by-labels".to_owned()]), "{}", server.log());
    server.post_events(&[event("1", "WhileGone", "web-1", now_s(), "ABNORMAL")]);
    let alert = until("the event becomes an alert", PATIENCE, || view::alert_named(&mut server, "WhileGone"));
    assert!(has_version(&alert, "a"), "its rules saw it: {alert}");

    // Back again: the problem goes, nothing else changes.
    std::fs::rename(&aside, site.rules_dir()).expect("moved back");
    until("nothing is wrong any more", PATIENCE, || {
        let rules = server.json("/api/v1/rules");
        rules["items"].as_array()?.iter().all(|row| row["state"] == "active").then_some(())
    });
    assert_eq!((generation(&mut server), active(&mut server).len()), (before, 2));

    // A file that is removed while the process runs is a rule that is removed.
    std::fs::remove_file(site.rules_dir().join("10-says.wasm")).expect("removed");
    until("the rule is gone", PATIENCE, || (active(&mut server) == ["severity-by-labels"]).then_some(()));
    assert_eq!(generation(&mut server), before + 1);
}

fn has_version(alert: &Value, version: &str) -> bool {
    alert["event"]["tags"].as_array().is_some_and(|tags| tags.iter().any(|tag| tag["key"] == "version" && tag["value"] == version))
}
