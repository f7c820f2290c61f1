//! Live versions from the command line, against a running server: what each command prints, what it changes, and how it ends.
//! The commands of `docs/rule-versions.md` are run as they stand there.

use alertmill_e2e::{Done, PATIENCE, Server, Site, binary, event, now_s, rule_file, until, view};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

fn run(server: &Server, dir: &Path, args: &[&str]) -> Done {
    Done::of(Command::new(binary()).args(args).current_dir(dir).env("ALERTMILL_SERVER", server.url()).env("ALERTMILL_OPERATOR", "wang"))
}

/// A folder with both versions of a rule in it.
fn modules() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    for (module, file) in [("test/says", "says-1.0.0.wasm"), ("test/says-b", "says-1.1.0.wasm")] {
        std::fs::copy(rule_file(module), dir.path().join(file)).expect("a module");
    }
    std::fs::write(dir.path().join("rubbish.wasm"), "rubbish").expect("rubbish");
    std::fs::write(dir.path().join("says.toml"), "[limits]\ntime_ms = 99\n").expect("options");
    std::fs::write(dir.path().join("wrong.toml"), "time = 99\n").expect("options");
    dir
}

#[test]
fn every_command_does_what_it_says_and_ends_as_it_says() {
    let site = Site::new();
    let mut server = site.start();
    let dir = modules();
    let cli = |server: &Server, args: &[&str]| run(server, dir.path(), args);
    let slot = |server: &mut Server| server.json("/api/v1/rules/says");

    // Nothing is there yet.
    cli(&server, &["rule", "versions", "says"]).ends(3, "no rule is named");
    cli(&server, &["rule", "rollback", "says"]).ends(3, "no rule is named");
    cli(&server, &["rule", "activate", "says"]).ends(3, "no rule is named");
    cli(&server, &["rule", "push", "not-there.wasm"]).ends(3, "not-there.wasm");
    cli(&server, &["rule", "push", "rubbish.wasm"]).ends(1, "not-a-component");

    // What is wrong is said before anything is sent.
    cli(&server, &["rule", "push", "says-1.0.0.wasm", "--options", "says.toml"]).ends(2, "add --activate");
    cli(&server, &["rule", "push", "says-1.0.0.wasm", "--activate", "--options", "wrong.toml"]).ends(2, "time");
    cli(&server, &["rule", "push", "says-1.0.0.wasm", "--activate", "--options", "none.toml"]).ends(3, "none.toml");
    cli(&server, &["rule", "versions", "says"]).ends(3, "no rule is named");

    // An upload changes nothing that runs, and only the first one is an upload.
    let would = cli(&server, &["rule", "push", "says-1.0.0.wasm", "--dry-run", "-o", "json"]).json();
    assert_eq!((&would["status"], &would["version"]), (&"created".into(), &"1.0.0".into()), "{would}");
    cli(&server, &["rule", "versions", "says"]).ends(3, "no rule is named");
    let pushed = cli(&server, &["rule", "push", "says-1.0.0.wasm", "-m", "the first", "-o", "json"]).json();
    assert_eq!((&pushed["status"], &pushed["hooks"][0]), (&"created".into(), &"enrich-event".into()), "{pushed}");
    let digest = view::text(&pushed, "digest");
    let again = cli(&server, &["rule", "push", "says-1.0.0.wasm", "-o", "json"]).json();
    assert_eq!((&again["digest"], &again["state"], &again["comment"]), (&pushed["digest"], &"ready".into(), &"the first".into()), "{again}");
    assert_eq!(server.json("/api/v1/rules")["items"], Value::Array(Vec::new()));

    // Activate, also together with the upload.
    let would = cli(&server, &["rule", "activate", "says", "--dry-run", "-o", "json"]).json();
    assert_eq!((&would["changed"], &would["rules"][0]["from"], &would["orphaned"]["count"]), (&true.into(), &Value::Null, &0.into()), "{would}");
    assert!(would["writes"]["added"].as_array().is_some_and(|fields| fields.iter().any(|field| field == "enrich-event: tags.version")), "{would}");
    let by_push = cli(&server, &["rule", "push", "says-1.0.0.wasm", "--activate", "--dry-run", "-o", "json"]).json();
    assert_eq!(by_push, would);
    let active = cli(&server, &["rule", "activate", "says", "-m", "go", "-o", "json"]).json();
    assert_eq!((&active["changed"], &active["version"], &active["to"], &active["in_force"]), (&true.into(), &"1.0.0".into(), &pushed["digest"], &true.into()));
    let again = cli(&server, &["rule", "activate", "says", "1.0.0", "-o", "json"]).json();
    assert_eq!((&again["changed"], &again["generation"]), (&false.into(), &active["generation"]), "{again}");
    server.post_events(&[event("1", "First", "web-1", now_s(), "ABNORMAL")]);
    assert_eq!(seen_by(&mut server, "First"), "a");
    let seen = view::text(&slot(&mut server), "etag");
    let second = cli(&server, &["rule", "push", "says-1.1.0.wasm", "--activate", "--if-version", &seen, "-o", "json"]).json();
    assert_eq!((&second["version"], &second["from"]), (&"1.1.0".into(), &pushed["digest"]), "{second}");
    server.post_events(&[event("2", "Second", "web-2", now_s(), "ABNORMAL")]);
    assert_eq!(seen_by(&mut server, "Second"), "b");

    // Compare and set; downgrades are meant.
    cli(&server, &["rule", "rollback", "says", "--if-version", &seen]).ends(5, "was changed meanwhile");
    cli(&server, &["rule", "activate", "says", "1.0.0"]).ends(7, "is lower than 1.1.0");
    cli(&server, &["rule", "activate", "says", "9.9.9"]).ends(3, "has no version");
    cli(&server, &["rule", "activate", "says", "1.0.0", "--allow-downgrade"]).ok();
    let back = cli(&server, &["rule", "rollback", "says", "-o", "json"]).json();
    assert_eq!(back["version"], "1.1.0", "{back}");

    // A pin holds.
    cli(&server, &["rule", "pin", "says", "-m", "season"]).ok();
    cli(&server, &["rule", "activate", "says", &digest[..20], "--allow-downgrade"]).ends(5, "is pinned");
    cli(&server, &["rule", "rollback", "says"]).ends(5, "is pinned");
    cli(&server, &["rule", "remove", "says"]).ends(5, "is pinned");
    cli(&server, &["rule", "unpin", "says"]).ok();

    // Options and place, and what is wrong with them.
    cli(&server, &["rule", "configure", "says", "--options", "says.toml", "--order", "7"]).ok();
    let configured = slot(&mut server);
    assert_eq!((&configured["active"]["options"]["limits"]["time_ms"], &configured["order"]), (&99.into(), &"7".into()), "{configured}");
    cli(&server, &["rule", "configure", "says", "--options", "wrong.toml"]).ends(2, "time");
    cli(&server, &["rule", "configure", "says", "--options", "none.toml"]).ends(3, "none.toml");

    // Quarantine by hand, and out of it; off, and on again.
    let out = cli(&server, &["rule", "quarantine", "says", "-m", "looks odd", "-o", "json"]).json();
    assert_eq!(out["state"], "quarantined", "{out}");
    assert_eq!(slot(&mut server)["quarantine"]["message"], "looks odd");
    assert_eq!(cli(&server, &["rule", "release", "says", "-o", "json"]).json()["state"], "active");
    assert_eq!(cli(&server, &["rule", "deactivate", "says", "-o", "json"]).json()["state"], "disabled");
    assert_eq!(cli(&server, &["rule", "activate", "says", "1.1.0", "-o", "json"]).json()["state"], "active");

    // Versions, their bytes, their end.
    let list = cli(&server, &["rule", "versions", "says", "-o", "json"]).json();
    let states: Vec<(&str, &str)> = list["items"].as_array().expect("items").iter().map(|row| (text(row, "version"), text(row, "state"))).collect();
    assert_eq!(states, [("1.1.0", "active"), ("1.0.0", "ready")], "{list}");
    cli(&server, &["rule", "pull", "says", "1.0.0", "-f", "back.wasm"]).ok();
    assert_eq!(std::fs::read(dir.path().join("back.wasm")).expect("pulled"), std::fs::read(dir.path().join("says-1.0.0.wasm")).expect("pushed"));
    cli(&server, &["rule", "pull", "says", "1.0.0", "-f", "back.wasm"]).ends(5, "is there already");
    cli(&server, &["rule", "remove", "says", "1.1.0"]).ends(5, "runs");
    cli(&server, &["rule", "remove", "says", "1.0.0", "--dry-run"]).ok();
    cli(&server, &["rule", "remove", "says", "1.0.0", "--if-version", "g1"]).ends(2, "--if-version is of the rule");
    cli(&server, &["rule", "remove", "says", "1.0.0"]).ok();
    cli(&server, &["rule", "pull", "says", "1.0.0", "-f", "gone.wasm"]).ends(3, "has no version");

    // The slot goes, its versions stay; the history has all of it, newest first, with who and from where.
    cli(&server, &["rule", "remove", "says", "-m", "done with it"]).ok();
    assert_eq!(server.json("/api/v1/rules")["items"], Value::Array(Vec::new()));
    let history = cli(&server, &["rule", "history", "says", "--limit", "0", "-o", "ndjson"]).ok();
    let rows: Vec<Value> = history.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let actions: Vec<&str> = rows.iter().rev().map(|row| text(row, "action")).collect();
    let expected = [
        "upload",
        "activate",
        "upload",
        "activate",
        "activate",
        "rollback",
        "pin",
        "unpin",
        "configure",
        "quarantine",
        "release",
        "deactivate",
        "activate",
        "remove-version",
        "remove",
    ];
    assert_eq!(actions, expected, "{history}");
    let last = &rows[0];
    assert_eq!((text(last, "operator"), text(last, "address"), text(last, "comment")), ("wang", "127.0.0.1", "done with it"), "{last}");
    assert!(rows.windows(2).all(|pair| pair[0]["prev_hash"] == pair[1]["hash"]), "{history}");

    // It outlives the process.
    cli(&server, &["rule", "activate", "says"]).ok();
    let before = server.json("/api/v1/rules");
    server.kill();
    let mut server = site.start();
    until("the rules are those of before", PATIENCE, || {
        let now = server.json("/api/v1/rules");
        (now["items"][0]["digest"] == before["items"][0]["digest"] && now["items"][0]["generation"] == before["items"][0]["generation"]).then_some(())
    });
    assert_eq!(run(&server, dir.path(), &["rule", "versions", "says", "-o", "name"]).ok().lines().count(), 1);
}

#[test]
fn the_folder_and_operators_share_a_rule_and_the_last_change_wins() {
    let site = Site::new().rule("10-says.wasm", "test/says", "");
    let mut server = site.start();
    let dir = modules();
    let cli = |server: &Server, args: &[&str]| run(server, dir.path(), args);
    let row = |server: &mut Server| server.json("/api/v1/rules")["items"][0].clone();

    cli(&server, &["rule", "push", "says-1.1.0.wasm", "--activate"]).ok();
    let held = row(&mut server);
    assert_eq!((&held["version"], &held["source"], &held["held"]["version"]), (&"1.1.0".into(), &"upload".into(), &"1.0.0".into()), "{held}");
    // What the file says is not said otherwise, and its slot does not go before it.
    cli(&server, &["rule", "configure", "says", "--options", "says.toml"]).ends(5, "are in its file");
    cli(&server, &["rule", "remove", "says"]).ends(5, "would bring it back");
    // A restart is no change of the file.
    server.kill();
    let mut server = site.start();
    assert_eq!(row(&mut server)["version"], "1.1.0");
    // Pinned, a changed file is held; unpinned, the next change of it is taken.
    cli(&server, &["rule", "pin", "says"]).ok();
    std::fs::write(site.rules_dir().join("10-says.toml"), "[limits]\ntime_ms = 99\n").expect("options");
    until("the offer is known", PATIENCE, || {
        let history = server.json("/api/v1/rules:history?limit=1");
        (history["items"][0]["action"] == "folder").then_some(())
    });
    assert_eq!(row(&mut server)["held"]["why"], "pinned");
    cli(&server, &["rule", "unpin", "says"]).ok();
    std::fs::write(site.rules_dir().join("10-says.toml"), "[limits]\ntime_ms = 98\n").expect("options");
    until("the file is taken", PATIENCE, || (row(&mut server)["version"] == "1.0.0").then_some(()));
    let now = row(&mut server);
    assert_eq!((&now["source"], &now["held"]), (&"folder".into(), &Value::Null), "{now}");
    // What the folder brought is a version like any other.
    let versions = cli(&server, &["rule", "versions", "says", "-o", "json"]).json();
    assert!(versions["items"].as_array().expect("items").iter().any(|row| row["version"] == "1.0.0" && row["source"] == "folder"), "{versions}");
}

#[test]
fn with_publishers_only_what_they_signed_is_taken_from_a_file_an_artifact_and_the_folder() {
    let dir = modules();
    let key = dir.path().join("platform.key.pub");
    let site = Site::new().config(&format!("[rules.publishers.platform]\nkey_file = {:?}\n", key.display().to_string()));
    let local = |args: &[&str]| Command::new(binary()).args(args).current_dir(dir.path()).output().expect("the binary runs").status.success();
    assert!(local(&["rule", "keygen", "platform.key"]) && local(&["rule", "keygen", "other.key"]));
    let mut server = site.start();
    let cli = |server: &Server, args: &[&str]| run(server, dir.path(), args);

    cli(&server, &["rule", "push", "says-1.0.0.wasm"]).ends(7, "signature-missing");
    assert!(local(&["rule", "sign", "says-1.0.0.wasm", "--key", "other.key"]));
    cli(&server, &["rule", "push", "says-1.0.0.wasm"]).ends(7, "publisher-unknown");
    // A signature of another module is none of this one.
    assert!(local(&["rule", "sign", "says-1.1.0.wasm", "--key", "platform.key"]));
    cli(&server, &["rule", "push", "says-1.0.0.wasm", "--sig", "says-1.1.0.wasm.sig"]).ends(7, "signature-invalid");
    cli(&server, &["rule", "versions", "says"]).ends(3, "no rule is named");
    assert!(local(&["rule", "sign", "says-1.0.0.wasm", "--key", "platform.key"]));
    cli(&server, &["rule", "push", "says-1.0.0.wasm", "--activate"]).ok();

    // As an artifact the signature goes with the module, and the history says where it came from.
    cli(&server, &["rule", "export", "says-1.1.0.wasm", "--oci", "dist"]).ok();
    cli(&server, &["rule", "push", "oci:dist:1.1.0", "--activate"]).ok();
    let versions = cli(&server, &["rule", "versions", "says", "-o", "json"]).json();
    let newest = &versions["items"][0];
    assert_eq!((text(newest, "version"), text(newest, "signer"), text(newest, "state")), ("1.1.0", "platform", "active"), "{versions}");
    assert!(text(newest, "source").starts_with("oci:dist"), "{versions}");

    // The folder is a publisher's too: a file without a signature is a problem until it has one.
    site.put_rule("20-severity-by-labels.wasm", "severity-by-labels");
    let state = |server: &mut Server| {
        let row = view::rule(server, "severity-by-labels")?;
        Some((view::text(&row, "state"), row["detail"].as_str().unwrap_or_default().to_owned()))
    };
    until("the file is refused", PATIENCE, || state(&mut server).filter(|(state, detail)| state == "refused" && detail.contains("signature-missing")));
    let file = site.rules_dir().join("20-severity-by-labels.wasm").display().to_string();
    assert!(local(&["rule", "sign", &file, "--key", "platform.key"]));
    until("the signed file is taken", PATIENCE, || state(&mut server).filter(|(state, _)| state == "active"));

    // A key that no longer counts stops nothing that runs, and nothing of it is activated again.
    server.kill();
    let site = site.config("revoked = true\n");
    let mut server = site.start();
    assert_eq!(server.json("/api/v1/rules")["items"][0]["state"], "active");
    cli(&server, &["rule", "activate", "says", "1.0.0", "--allow-downgrade"]).ends(7, "publisher-revoked");
    cli(&server, &["rule", "rollback", "says"]).ok();
}

#[test]
fn the_commands_of_the_guide_run() {
    let guide = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/rule-versions.md")).expect("the guide");
    let site = Site::new();
    let server = site.start();
    let dir = modules();
    let mut commands = 0;
    for line in guide.lines().filter_map(|line| line.strip_prefix("$ alertmill ")) {
        let args: Vec<String> = words(line.split(" #").next().unwrap_or_default());
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let done = run(&server, dir.path(), &args);
        assert_eq!(done.code, 0, "{line}\nstdout: {}\nstderr: {}", done.out, done.err);
        commands += 1;
    }
    assert!(commands >= 12, "only {commands} commands");
}

/// A line as a shell splits it; single quotes hold words together.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut is_quoted) = (vec![String::new()], false);
    for c in line.chars() {
        match c {
            '\'' => is_quoted = !is_quoted,
            ' ' if !is_quoted => words.push(String::new()),
            c => words.last_mut().expect("a word").push(c),
        }
    }
    words.into_iter().filter(|word| !word.is_empty()).collect()
}

fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap_or_else(|| panic!("`{key}` is no text in {row}"))
}

/// The tag that the rule gave to the event of an alert.
fn seen_by(server: &mut Server, name: &str) -> String {
    let alert = until("the event becomes an alert", PATIENCE, || view::alert_named(server, name));
    let tags = alert["event"]["tags"].as_array().expect("tags").clone();
    tags.iter().find(|tag| tag["key"] == "version").and_then(|tag| tag["value"].as_str()).expect("a version").to_owned()
}
