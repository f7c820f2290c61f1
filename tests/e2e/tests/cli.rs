//! The command line against a running server: what is on stdout, what on stderr, and the exit code of each way to end.

use alertmill_e2e::{Done, PATIENCE, Server, Site, binary, free_port, rule_file, until, view};
use serde_json::Value;
use std::process::Command;

fn run(server: &str, args: &[&str], stdin: &str) -> Done {
    Done::with_input(Command::new(binary()).args(args).env("ALERTMILL_SERVER", server), stdin)
}

#[test]
fn events_in_and_alerts_out() {
    let site = Site::new().rule("10-severity-by-labels.wasm", "severity-by-labels", "");
    let mut server = site.start();
    let url = server.url();
    let cli = |args: &[&str]| run(&url, args, "");

    assert_eq!(cli(&["alert", "list"]).ok().trim_end().split('\t').next(), Some("SEV"));
    let sent = cli(&["event", "send", "--name", "Disk full", "--target", "10.0.0.1", "--severity", "1", "--tag", "device=/data"]).ok();
    assert_eq!(sent.trim_end(), "accepted 1, duplicates 0, rejected 0");
    let alert = until("the alert is there", PATIENCE, || view::alert_named(&mut server, "Disk full"));
    let id = view::text(&alert, "id");

    let list = cli(&["alert", "list", "-o", "json"]).json();
    assert_eq!((&list["items"][0]["id"], list["items"].as_array().map(Vec::len)), (&alert["id"], Some(1)), "{list}");
    assert_eq!(cli(&["alert", "list", "--status", "closed", "-o", "name"]).ok(), "");
    assert_eq!(cli(&["alert", "list", "--severity", "1", "-o", "name"]).ok(), format!("{id}\n"));
    assert_eq!(cli(&["alert", "get", &id, "-o", "json"]).json(), alert);
    assert_eq!(cli(&["alert", "events", &id, "-o", "json"]).json()["items"][0]["role"], "opened");
    assert_eq!(cli(&["alert", "logs", &id, "-o", "json"]).json()["items"][0]["op_type"], "CREATE");

    let rules = cli(&["rule", "list", "-o", "json"]).json();
    assert_eq!((&rules["items"][0]["name"], &rules["items"][0]["state"]), (&"severity-by-labels".into(), &"active".into()), "{rules}");
    assert_eq!(cli(&["dlq", "list", "-o", "json"]).json()["items"], Value::Array(Vec::new()));
    assert_eq!(cli(&["check"]).code, 0);
}

#[test]
fn exit_codes_say_how_it_ended() {
    let site = Site::new();
    let server: Server = site.start();
    let url = server.url();
    let cases: [(&[&str], &str, i32, &str); 9] = [
        (&["alert", "get", "17000000001"], "", 3, "17000000001"),
        (&["alert", "get", "no-digits"], "", 3, "digits"),
        (&["dlq", "show", "7"], "", 3, "7"),
        (&["alert", "list", "--severity", "9"], "", 2, "severity"),
        (&["no-such-command"], "", 2, "no-such-command"),
        (&["event", "send", "-f", "-"], "{\"alert_name\":\"A\"}\n{\"severity\":1}\n", 6, "alert_name"),
        (&["event", "send", "-f", "-"], "{\"severity\":1}\n", 1, "alert_name"),
        (&["event", "send", "-f", "-"], "{\"alert_name\":\"B\"}\n", 0, ""),
        (&["check", "--config", "/nonexistent/alertmill.toml"], "", 1, ""),
    ];
    for (args, stdin, code, word) in cases {
        let done = run(&url, args, stdin);
        assert_eq!(done.code, code, "{args:?}: stdout {:?}, stderr {:?}", done.out, done.err);
        assert!(done.err.contains(word), "{args:?}: stderr {:?}", done.err);
    }
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let done = run(&nobody, &["alert", "list"], "");
    assert_eq!((done.code, done.out.as_str()), (69, ""), "{}", done.err);
}

#[test]
fn check_names_the_mistake() {
    let site = Site::new();
    let file = site.path().join("bad.toml");
    std::fs::write(&file, "[server]\nlisten = \"127.0.0.1:1\"\n\n[limits]\nbodi = \"1MiB\"\n").expect("file");
    let done = run("", &["check", "--config", &file.display().to_string()], "");
    assert_eq!(done.code, 1, "{}", done.err);
    let said = done.out + &done.err;
    assert!(said.contains("bad.toml:5: limits.bodi: ") && said.contains("`body`"), "{said}");

    std::fs::write(&file, format!("[rules]\ndir = \"{}\"\n", site.rules_dir().display())).expect("file");
    std::fs::write(site.rules_dir().join("10-text.wasm"), "no module").expect("file");
    let done = run("", &["check", "--config", &file.display().to_string(), "-o", "json"], "");
    let answer: Value = serde_json::from_str(&done.out).unwrap_or_else(|e| panic!("{e}: {}", done.out));
    assert_eq!((done.code, &answer["ok"], answer["problems"].as_array().map(Vec::len)), (1, &false.into(), Some(1)), "{answer}");
}

#[test]
fn what_a_rule_is_given_is_checked_before_it_runs() {
    let site = Site::new().rule("10-dedupe-by-tags.wasm", "dedupe-by-tags", "grants = [\"log\"]\n[config]\nby = [\"host\"]\n");
    let module = site.rules_dir().join("10-dedupe-by-tags.wasm").display().to_string();
    let options = site.rules_dir().join("10-dedupe-by-tags.toml").display().to_string();
    let done = run("", &["rule", "inspect", &module, "--config", &options], "");
    assert!(done.code == 0 && done.out.contains("warning: it does not need what it is granted: \"log\""), "{}{}", done.out, done.err);
    let info: Value = serde_json::from_str(&run("", &["rule", "inspect", &module, "--config", &options, "-o", "json"], "").out).expect("JSON");
    assert_eq!((&info["stand_ins"], &info["unneeded_grants"]), (&serde_json::json!([]), &serde_json::json!(["log"])), "{info}");

    let done = run("", &["rule", "inspect", &module, "--config", &options, "--probe"], "");
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    let done = run("", &["rule", "inspect", &rule_file("test/remembers").display().to_string(), "--probe"], "");
    assert!(done.code == 1 && done.out.contains("name: remembers") && done.err.contains("asked in another order: `tags.note`"), "{}{}", done.out, done.err);

    let config = site.path().join("alertmill.toml");
    std::fs::write(&config, format!("[rules]\ndir = \"{}\"\n", site.rules_dir().display())).expect("file");
    let config = config.display().to_string();
    let done = run("", &["check", "--config", &config], "");
    assert!(done.code == 0 && done.out.contains("warning: rule `dedupe-by-tags`: it does not need"), "{}{}", done.out, done.err);

    let wrong = site.path().join("config.json");
    std::fs::write(&wrong, r#"{"by":["hostname"]}"#).expect("file");
    let done = run("", &["rule", "inspect", &module, "--config", &wrong.display().to_string()], "");
    assert!(
        done.code == 1 && done.err.contains("`config.by[0]` is \"hostname\"; allowed: \"alert_name\"") && done.err.contains("config-invalid"),
        "{}",
        done.err
    );
    std::fs::write(&options, "[config]\nbye = 1\n").expect("file");
    let done = run("", &["check", "--config", &config, "-o", "json"], "");
    let answer: Value = serde_json::from_str(&done.out).expect("JSON");
    let what = answer["problems"][0]["what"].as_str().unwrap_or_default();
    assert!(done.code == 1 && what.contains("`config.bye` is no known key; did you mean `by`?"), "{answer}");
    let none = site.path().join("none.json").display().to_string();
    assert_eq!(run("", &["rule", "inspect", &module, "--config", &none], "").code, 2);
}
