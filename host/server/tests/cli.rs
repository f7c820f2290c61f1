//! The built binary, with a scripted server: exit codes, output, what it sends.

use serde_json::Value;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

#[derive(Clone, Debug)]
struct Asked {
    line: String,
    head: String,
    body: String,
}

impl Asked {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.split_once(": ").filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value))
    }
}

/// Answers each request with what `answer` says of its number: status, further headers, body.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

type Answer = (u16, &'static str, String);

impl Server {
    fn start(answer: impl Fn(usize, &Asked) -> Answer + Send + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let url = format!("http://{}", listener.local_addr().expect("address"));
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let kept = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Some((request, mut stream)) = read(stream) else { continue };
                let number = kept.lock().expect("lock").len();
                let (status, headers, body) = answer(number, &request);
                kept.lock().expect("lock").push(request);
                let _ = write!(stream, "HTTP/1.1 {status} X\r\n{headers}connection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            }
        });
        Server { url, asked }
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("lock").clone()
    }
}

fn read(mut stream: TcpStream) -> Option<(Asked, TcpStream)> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
        match stream.read(&mut buffer).ok()? {
            0 => return None,
            n => bytes.extend_from_slice(&buffer[..n]),
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut asked = Asked { line: head.lines().next()?.to_owned(), head, body: String::new() };
    let length = asked.header("content-length").map_or(0, |n| n.parse().unwrap_or(0));
    while bytes.len() < end + 4 + length {
        match stream.read(&mut buffer).ok()? {
            0 => return None,
            n => bytes.extend_from_slice(&buffer[..n]),
        }
    }
    asked.body = String::from_utf8_lossy(&bytes[end + 4..]).into_owned();
    Some((asked, stream))
}

fn alertmill(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alertmill"));
    command.args(arguments).current_dir(dir).stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ALERTMILL_")) {
        command.env_remove(name);
    }
    command
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    ended(alertmill(&std::env::temp_dir(), arguments).output().expect("run"))
}

fn ended(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

fn with_input(server: &Server, arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut command = alertmill(&std::env::temp_dir(), arguments);
    command.env("ALERTMILL_SERVER", &server.url).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("spawn");
    child.stdin.take().expect("stdin").write_all(input.as_bytes()).expect("write");
    ended(child.wait_with_output().expect("wait"))
}

fn ask(server: &Server, arguments: &[&str]) -> (i32, String, String) {
    with_input(server, arguments, "")
}

#[test]
fn wrong_usage_is_2_and_suggests() {
    let (code, out, err) = run(&["alrt"]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("exists: 'alert'"), "{err}");
    let (code, _, err) = run(&["alert", "list", "--statuss", "CLOSED"]);
    assert!(code == 2 && err.contains("exists: '--status'"), "{err}");
    assert_eq!(run(&["alert", "list", "--status", "OPEN"]).0, 2);
    assert_eq!(run(&["alert", "list", "--since", "6y"]).0, 2);
    assert_eq!(run(&["event", "send"]).0, 2);
    let (code, _, err) = run(&["event", "send", "--name", "x", "--severity", "critical"]);
    assert!(code == 2 && err.contains("write 1 (fatal), 2 (warning) or 3 (reminder)"), "{err}");
    assert_eq!(run(&["event", "send", "--name", "x", "--tag", "novalue"]).0, 2);
    let (code, _, err) = run(&["--server", "https://localhost:1", "rule", "list"]);
    assert!(code == 2 && err.contains("https is not built"), "{err}");
    assert_eq!(run(&["--server", "localhost", "rule", "list"]).0, 2);
}

#[test]
fn help_is_on_stdout_with_examples_and_without_colour() {
    for path in [
        "",
        "serve",
        "check",
        "event",
        "event send",
        "alert",
        "alert list",
        "alert get",
        "alert events",
        "alert logs",
        "alert ack",
        "alert unack",
        "alert close",
        "rule",
        "rule list",
        "rule inspect",
        "dlq",
        "dlq list",
        "dlq show",
        "conformance",
        "completions",
        "version",
    ] {
        let arguments: Vec<&str> = path.split_whitespace().chain(["--help"]).collect();
        let (code, out, err) = run(&arguments);
        assert_eq!((code, err.as_str()), (0, ""), "{path}");
        assert!(out.contains("Examples:\n  alertmill") && !out.contains('\u{1b}'), "{path}: {out}");
    }
    assert!(run(&["--help"]).1.contains("  69  server or store unreachable"));
}

#[test]
fn version_and_completions() {
    let (code, out, _) = run(&["version"]);
    assert_eq!((code, out.trim()), (0, concat!("alertmill ", env!("CARGO_PKG_VERSION"))));
    let json: Value = serde_json::from_str(&run(&["version", "-o", "json"]).1).expect("json");
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    assert!(run(&["completions", "bash"]).1.contains("_alertmill()"));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut command = alertmill(&std::env::temp_dir(), &["completions", "zsh"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("spawn");
    drop(child.stdout.take());
    let (code, _, err) = ended(child.wait_with_output().expect("wait"));
    assert_eq!((code, err.as_str()), (0, ""));
}

#[test]
fn check_names_every_mistake_and_answers_no() {
    let dir = tempfile::tempdir().expect("dir");
    let (code, out, err) = ended(alertmill(dir.path(), &["check"]).output().expect("run"));
    assert_eq!((code, out.as_str(), err.as_str()), (0, "defaults and environment: good; 0 rules, 0 tables\n", ""));
    std::fs::write(dir.path().join("a.toml"), "[server]\nlistn = \"x\"\n\n[pipeline]\nworkers = \"two\"\n").expect("write");
    let (code, out, err) = ended(alertmill(dir.path(), &["check", "--config", "a.toml"]).output().expect("run"));
    assert_eq!((code, err.as_str()), (1, ""));
    assert!(
        out.contains("a.toml:2: server.listn: unknown key; did you mean `listen`?\n") && out.contains("a.toml:5: pipeline.workers: expected whole number"),
        "{out}"
    );
    let (code, out, _) = ended(alertmill(dir.path(), &["check"]).env("ALERTMILL__LOG__LEVEL", "loud").output().expect("run"));
    assert!(code == 1 && out.contains("environment ALERTMILL__LOG__LEVEL: log.level"), "{out}");
    let (code, out, _) = ended(alertmill(dir.path(), &["check", "--config", "none.toml", "-o", "json"]).output().expect("run"));
    let json: Value = serde_json::from_str(&out).expect("json");
    assert_eq!((code, &json["ok"], &json["problems"][0]["place"]["file"]), (1, &Value::Bool(false), &serde_json::json!({"path": "none.toml"})));
    std::fs::write(dir.path().join("alertmill.toml"), "[log]\n").expect("write");
    let (code, out, err) = ended(alertmill(dir.path(), &["check"]).env("ALERTMILL_LOG_LEVEL", "warn").output().expect("run"));
    assert_eq!((code, out.as_str()), (0, "defaults and environment: good; 0 rules, 0 tables\n"));
    assert!(err.contains("./alertmill.toml is not read; pass --config alertmill.toml") && err.contains("did you mean ALERTMILL__LOG__LEVEL?"), "{err}");
}

#[test]
fn serve_does_not_begin_with_a_bad_configuration() {
    let dir = tempfile::tempdir().expect("dir");
    let mut command = alertmill(dir.path(), &["serve"]);
    let (code, out, err) =
        ended(command.env("ALERTMILL__SERVER__LISTEN", "0.0.0.0:0").env("ALERTMILL__REDIS__URL", "redis://:hunter2@x").output().expect("run"));
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("environment ALERTMILL__SERVER__LISTEN: server.listen: 0.0.0.0:0 can be reached"), "{err}");
    assert!(err.contains("redis.url: Redis is not built in this version") && !err.contains("hunter2"), "{err}");
    assert!(!dir.path().join("data").exists());
}

#[test]
fn check_and_inspect_refuse_a_module_that_is_none() {
    let dir = tempfile::tempdir().expect("dir");
    std::fs::create_dir(dir.path().join("rules.d")).expect("folder");
    std::fs::write(dir.path().join("rules.d/10-bad.wasm"), "not wasm").expect("write");
    let (code, out, _) = ended(alertmill(dir.path(), &["check"]).output().expect("run"));
    assert!(code == 1 && out.starts_with("rules.d/10-bad.wasm: "), "{out}");
    assert!(!dir.path().join("data").exists());
    let (code, out, err) = ended(alertmill(dir.path(), &["rule", "inspect", "rules.d/10-bad.wasm"]).output().expect("run"));
    assert!(code == 1 && out.is_empty() && err.starts_with("alertmill: rules.d/10-bad.wasm: "), "{err}");
    assert_eq!(ended(alertmill(dir.path(), &["rule", "inspect", "none.wasm"]).output().expect("run")).0, 3);
}

#[test]
fn a_file_that_is_not_there_is_named_and_3() {
    let dir = tempfile::tempdir().expect("dir");
    for (name, content) in [("owner.wasm", "x"), ("some.tar", "x")] {
        std::fs::write(dir.path().join(name), content).expect("write");
    }
    let key = "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    for arguments in [
        &["event", "send", "-f", "none"][..],
        &["rule", "inspect", "none"],
        &["rule", "verify", "none", "--key", key],
        &["rule", "verify", "owner.wasm", "--key", key, "--sig", "none"],
        &["rule", "push", "none"],
        &["restore", "--from", "none", "--data-dir", "data"],
        &["restore", "--from", "some.tar", "--data-dir", "data", "--journal", "none"],
    ] {
        let (code, out, err) = ended(alertmill(dir.path(), arguments).output().expect("run"));
        assert_eq!((code, out.as_str()), (3, ""), "{arguments:?}: {err}");
        assert!(err.starts_with("alertmill: there is no file ") && err.contains("none"), "{arguments:?}: {err}");
    }
    assert!(!dir.path().join("data").exists());
}

#[test]
fn no_server_is_69_and_a_hanging_one_124() {
    let closed = TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address");
    let (code, out, err) = run(&["--server", &format!("http://{closed}"), "alert", "list"]);
    assert_eq!((code, out.as_str()), (69, ""));
    assert!(err.contains("cannot be reached") && err.contains("alertmill serve"), "{err}");
    let hanging = TcpListener::bind("127.0.0.1:0").expect("bind");
    let url = format!("http://{}", hanging.local_addr().expect("address"));
    assert_eq!(run(&["--server", &url, "--timeout", "1s", "rule", "list"]).0, 124);
}

fn alerts() -> Server {
    Server::start(|_, asked| {
        let row = |n: u64| {
            format!(
                r#"{{"id":"{n}","alert_name":"a\u001b[31m {n}","severity":1,"status":"ABNORMAL","ack_operator":"wang","event_count":{n},"begin_time":1763800000,"latest_time":1763800000}}"#
            )
        };
        let page = |rows: &[u64], cursor: &str| {
            format!(r#"{{"items":[{}],"next_cursor":{cursor},"took_ms":1}}"#, rows.iter().map(|n| row(*n)).collect::<Vec<_>>().join(","))
        };
        match asked.line.as_str() {
            line if line.contains("/alerts?") && line.contains("cursor=c1") => (200, "", page(&[1], "null")),
            line if line.contains("/alerts?") => (200, "", page(&[3, 2], "\"c1\"")),
            line if line.contains("/alerts/3 ") => (200, "", row(3)),
            _ => (404, "content-type: application/problem+json\r\n", r#"{"code":"not-found","detail":"there is no alert","status":404}"#.to_owned()),
        }
    })
}

#[test]
fn lists_follow_the_cursor_in_every_format() {
    let server = alerts();
    let (code, out, err) = ask(&server, &["alert", "list", "--limit", "0", "--status", "abnormal", "--severity", "1,2", "--since", "6h"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "SEV\tID\tNAME\tSTATUS\tACK\tEVENTS\tBEGAN\tLATEST");
    assert_eq!(lines[1], "FATAL\t3\ta\u{fffd}[31m 3\tABNORMAL\twang\t3\t2025-11-22T08:26:40Z\t2025-11-22T08:26:40Z");
    assert_eq!(lines.len(), 4);
    let asked = server.asked();
    assert_eq!(asked[0].line, "GET /api/v1/alerts?status=ABNORMAL&severity=1&severity=2&from=now-6h&limit=1000 HTTP/1.1");
    assert!(asked[1].line.ends_with("from=now-6h&limit=1000&cursor=c1 HTTP/1.1"));
    assert_eq!(ask(&server, &["alert", "list", "--limit", "0", "-o", "name"]).1, "3\n2\n1\n");
    assert_eq!(ask(&server, &["alert", "list", "--limit", "0", "-o", "ndjson"]).1.lines().count(), 3);
    let json: Value = serde_json::from_str(&ask(&server, &["alert", "list", "--limit", "0", "-o", "json"]).1).expect("json");
    assert_eq!((json["items"].as_array().map(Vec::len), &json["next_cursor"]), (Some(3), &Value::Null));
    let (code, out, err) = ask(&server, &["alert", "list", "--limit", "2"]);
    assert_eq!((code, out.lines().count()), (0, 3));
    assert!(err.contains("2 shown; --limit 0 shows all"), "{err}");
    assert_eq!(ask(&server, &["-q", "alert", "list", "--limit", "2"]).2, "");
}

#[test]
fn one_alert_or_3() {
    let server = alerts();
    let (code, out, _) = ask(&server, &["alert", "get", "3", "-o", "json"]);
    assert_eq!((code, serde_json::from_str::<Value>(&out).expect("json")["id"].as_str()), (0, Some("3")));
    assert!(ask(&server, &["alert", "get", "3"]).1.contains("event_count: 3\n"));
    let (code, out, err) = ask(&server, &["alert", "get", "4"]);
    assert_eq!((code, out.as_str()), (3, ""));
    assert_eq!(err, "alertmill: there is no alert (not-found, HTTP 404)\n");
    let before = server.asked().len();
    assert_eq!(ask(&server, &["alert", "logs", "../rules"]).0, 3);
    assert_eq!(server.asked().len(), before);
}

fn taken(n: u64) -> Answer {
    (200, "", format!(r#"{{"accepted":{n},"duplicates":0,"rejected":[]}}"#))
}

#[test]
fn an_event_of_flags_has_time_id_and_key() {
    let server = Server::start(|_, _| taken(1));
    let arguments =
        ["event", "send", "--name", "Disk full", "--target", "10.0.0.1", "--severity", "1", "--tag", "device=/data", "--tag", "a=b=c", "--source", "me"];
    let (code, out, err) = ask(&server, &arguments);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "accepted 1, duplicates 0, rejected 0\n", ""));
    let asked = &server.asked()[0];
    assert_eq!(asked.line, "POST /api/v1/events HTTP/1.1");
    assert_eq!((asked.header("content-type"), asked.header("x-alertmill-source")), (Some("application/x-ndjson"), Some("me")));
    let event: Value = serde_json::from_str(&asked.body).expect("one line of JSON");
    assert!(event["time"].is_i64() && event["event_id"].is_string() && asked.header("idempotency-key").is_some());
    assert_eq!((&event["alert_name"], &event["status"], &event["severity"]), (&"Disk full".into(), &"ABNORMAL".into(), &1.into()));
    ask(&server, &["event", "send", "--name", "x"]);
    let bare: Value = serde_json::from_str(&server.asked()[1].body).expect("one line of JSON");
    assert!(bare.get("severity").is_none(), "the server's default holds: {bare}");
    assert_eq!(event["tags"], serde_json::json!([{"key": "device", "value": "/data"}, {"key": "a", "value": "b=c"}]));
}

#[test]
fn what_the_server_puts_off_is_sent_again_unchanged() {
    let server = Server::start(|n, _| match n {
        0 => (429, "retry-after: 0\r\n", "{}".to_owned()),
        1 => (503, "retry-after: 0\r\n", "{}".to_owned()),
        _ => taken(1),
    });
    let (code, _, err) = ask(&server, &["event", "send", "--name", "x"]);
    assert_eq!(code, 0, "{err}");
    let asked = server.asked();
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|a| a.body == asked[0].body && a.header("idempotency-key") == asked[0].header("idempotency-key")));
    assert!(err.contains("answered 429") && err.contains("answered 503"));
    let never = Server::start(|_, _| (503, "retry-after: 0\r\n", r#"{"code":"unavailable","detail":"the journal failed"}"#.to_owned()));
    let (code, out, err) = ask(&never, &["-q", "event", "send", "--name", "x"]);
    assert_eq!((code, out.as_str()), (75, ""));
    assert_eq!(err, "alertmill: the journal failed (unavailable, HTTP 503); nothing was sent\n");
    let unclear = Server::start(|n, _| {
        let code = if n == 0 { "unclear" } else { "unavailable" };
        (503, "retry-after: 0\r\n", format!(r#"{{"code":"{code}","detail":"the journal failed"}}"#))
    });
    let err = ask(&unclear, &["-q", "event", "send", "--name", "x"]).2;
    assert_eq!(err, "alertmill: the journal failed (unavailable, HTTP 503); whether events 1 to 1 were sent is not known, the others were not\n");
}

#[test]
fn refused_events_are_listed_and_decide_the_code() {
    let some = Server::start(|_, _| (200, "", r#"{"accepted":1,"duplicates":1,"rejected":[{"index":1,"code":"json","detail":"bad"}]}"#.to_owned()));
    let (code, out, err) = with_input(&some, &["event", "send", "-f", "-"], "{\"time\":1,\"event_id\":\"a\"}\nx\n{}\n");
    assert_eq!((code, out.as_str(), err.as_str()), (6, "accepted 1, duplicates 1, rejected 1\n", "event 2 refused: bad (json)\n"));
    let all = Server::start(|_, _| (400, "", r#"{"code":"json","detail":"bad"}"#.to_owned()));
    let (code, out, err) = with_input(&all, &["event", "send", "-f", "-", "-o", "json"], "x\n");
    assert_eq!((code, out.trim()), (1, r#"{"accepted":0,"duplicates":0,"rejected":1}"#));
    assert_eq!(err, "events 1 to 1 refused: bad (json, HTTP 400)\n");
}

#[test]
fn every_form_of_input_becomes_lines() {
    let server = Server::start(|_, asked| taken(asked.body.lines().count() as u64));
    let events = r#"{"time":1,"event_id":"a"}"#;
    for (input, lines) in [
        (format!("{events}\n\n  {events}\n"), 2),
        (format!("[{events},\n{events} , {events}]"), 3),
        ("{\n  \"time\": 1,\n  \"event_id\": \"a\"\n}\n".to_owned(), 1),
        (events.to_owned(), 1),
        (format!("{events}\n").repeat(2_500), 2_500),
    ] {
        let before = server.asked().len();
        let (code, out, err) = with_input(&server, &["event", "send", "-f", "-"], &input);
        assert_eq!((code, out), (0, format!("accepted {lines}, duplicates 0, rejected 0\n")), "{input}: {err}");
        let bodies: Vec<String> = server.asked()[before..].iter().flat_map(|a| a.body.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        assert!(bodies.iter().all(|line| serde_json::from_str::<Value>(line).expect("a line")["event_id"] == "a"));
    }
    let (code, _, err) = with_input(&server, &["event", "send", "-f", "-"], "[{},");
    assert!(code == 1 && err.contains("this is not JSON"), "{err}");
}

/// Answers commands: ids that begin with 1 are done, with 2 ended, all others are not found.
fn operated() -> Server {
    Server::start(|_, asked| {
        let body: Value = serde_json::from_str(&asked.body).expect("a command");
        let ids: Vec<&str> = body["ids"].as_array().expect("ids").iter().map(|id| id.as_str().expect("text")).collect();
        let item = |id: &&str| match &id[..1] {
            "1" => serde_json::json!({"id": id, "status": "done", "alert": {"status": "ABNORMAL", "ack_operator": "wang"}}),
            "2" => {
                serde_json::json!({"id": id, "status": "ended", "alert": {"status": "CLOSED", "ack_operator": null}, "problem": {"code": "ended", "detail": "has ended"}})
            }
            _ => serde_json::json!({"id": id, "status": "not-found", "problem": {"code": "not-found", "detail": "there is none"}}),
        };
        let ok = ids.iter().filter(|id| id.starts_with('1')).count();
        (200, "", serde_json::json!({"ok": ok, "failed": ids.len() - ok, "items": ids.iter().map(item).collect::<Vec<_>>()}).to_string())
    })
}

#[test]
fn commands_to_alerts_send_every_id_once_and_end_as_the_server_decided() {
    let server = operated();
    let (code, out, err) = ask(&server, &["alert", "ack", "11", "12", "11", "-m", "on it", "--operator", "wang"]);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "ID\tRESULT\tSTATUS\tACK\n11\tdone\tABNORMAL\twang\n12\tdone\tABNORMAL\twang\n", ""));
    let asked = &server.asked()[0];
    assert_eq!((asked.line.as_str(), asked.header("content-type")), ("POST /api/v1/alerts:ack HTTP/1.1", Some("application/json")));
    assert_eq!(serde_json::from_str::<Value>(&asked.body).expect("json"), serde_json::json!({"ids": ["11", "12"], "comment": "on it", "operator": "wang"}));
    let first = asked.header("idempotency-key").expect("a key").to_owned();
    let (code, out, err) = ask(&server, &["alert", "close", "11", "21", "31"]);
    assert_eq!((code, out.lines().count()), (6, 4));
    assert_eq!(err, "21: has ended\n31: there is none\n");
    assert_ne!(server.asked()[1].header("idempotency-key"), Some(first.as_str()));
    assert_eq!(ask(&server, &["alert", "unack", "31", "-o", "json"]).0, 3);
    assert_eq!(ask(&server, &["alert", "unack", "31", "21"]).0, 1);
    assert_eq!(server.asked()[2].line, "POST /api/v1/alerts:unack HTTP/1.1");
    assert_eq!(ask(&server, &["alert", "ack", "31", "12", "-o", "name"]).1, "12\n");
    let (code, out, err) = ask(&server, &["-q", "alert", "ack", "31", "12"]);
    assert_eq!((code, out.as_str(), err.as_str()), (6, "", ""));
}

#[test]
fn ids_of_a_pipe_are_sent_a_thousand_at_a_time() {
    let server = operated();
    let input: String = (0..2_500).map(|n| format!("1{n}\n")).collect();
    let (code, out, err) = with_input(&server, &["alert", "ack", "-", "-o", "json"], &input);
    let json: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out} {err}"));
    assert_eq!((code, &json["ok"], json["items"].as_array().map(Vec::len)), (0, &2_500.into(), Some(2_500)));
    let sizes: Vec<usize> =
        server.asked().iter().map(|asked| serde_json::from_str::<Value>(&asked.body).expect("json")["ids"].as_array().map_or(0, Vec::len)).collect();
    assert_eq!(sizes, [1_000, 1_000, 500]);
    // Nothing in the pipe is nothing to do.
    assert_eq!(with_input(&server, &["alert", "close", "-", "-o", "name"], "\n"), (0, String::new(), String::new()));
    assert_eq!(server.asked().len(), 3);
}

#[test]
fn a_command_that_is_put_off_is_repeated_under_its_key_and_one_that_waits_is_75() {
    let item = |status: &str| {
        format!(r#"{{"ok":{},"failed":0,"pending":{},"items":[{{"id":"1","status":"{status}"}}]}}"#, u8::from(status == "done"), u8::from(status != "done"))
    };
    let server = Server::start(move |number, _| match number {
        0 => (429, "retry-after: 0\r\n", r#"{"code":"overloaded","detail":"full"}"#.to_owned()),
        1 => (200, "", item("done")),
        _ => (202, "", item("pending")),
    });
    assert_eq!(ask(&server, &["-q", "alert", "ack", "1"]).0, 0);
    let asked = server.asked();
    assert!(asked.len() == 2 && asked[0].header("idempotency-key").is_some());
    assert_eq!((asked[0].header("idempotency-key"), &asked[0].body), (asked[1].header("idempotency-key"), &asked[1].body));
    let (code, _, err) = ask(&server, &["alert", "ack", "1"]);
    assert!(code == 75 && err.contains("look again later"), "{code} {err}");
}

#[test]
fn a_command_that_is_wrong_is_not_sent() {
    let server = operated();
    let long = "x".repeat(1_001);
    for (arguments, word) in [
        (&["alert", "ack"][..], "ID"),
        (&["alert", "ack", "1", "-m", "a\u{1b}[31m"], "control character"),
        (&["alert", "ack", "1", "-m", &long], "1000 characters"),
        (&["alert", "close", "1", "--operator", " "], "empty"),
    ] {
        let (code, out, err) = ask(&server, arguments);
        assert!(code == 2 && out.is_empty() && err.contains(word), "{arguments:?}: {code} {err}");
    }
    for arguments in [["alert", "ack", "1", "abc"], ["dlq", "redrive", "1", "abc"]] {
        let (code, out, err) = ask(&server, &arguments);
        assert!(code == 3 && out.is_empty() && err.contains("\"abc\" is no id"), "{arguments:?}: {code} {err}");
    }
    assert!(server.asked().is_empty());
}
