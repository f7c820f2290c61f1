//! Uploads of rules over HTTP: compressed ones, too many at once, and a version that is signed after it came.

use alertmill_e2e::{Done, PATIENCE, Server, Site, binary, rule_file, until};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

const VERSIONS: &str = "/api/v1/rules/says/versions";
const WASM: (&str, &str) = ("content-type", "application/wasm");
/// Uploads that are received or checked at the same time.
const AT_ONCE: usize = 16;

fn module() -> Vec<u8> {
    std::fs::read(rule_file("test/says")).expect("a module")
}

fn upload(server: &mut Server, headers: &[(&str, &str)], body: &[u8]) -> (u16, Value, Option<String>) {
    let answer = server.http.post(VERSIONS, headers, body).expect("an answer");
    (answer.status, answer.json(), answer.header("retry-after").map(str::to_owned))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = Command::new("gzip").arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("gzip runs");
    let (mut to, bytes) = (gzip.stdin.take().expect("stdin"), bytes.to_vec());
    let writing = std::thread::spawn(move || to.write_all(&bytes).expect("written"));
    let mut packed = Vec::new();
    gzip.stdout.take().expect("stdout").read_to_end(&mut packed).expect("read");
    writing.join().expect("no panic");
    assert!(gzip.wait().expect("gzip ends").success());
    packed
}

#[test]
fn a_compressed_module_is_the_module() {
    let site = Site::new();
    let mut server = site.start();
    let (module, packed) = (module(), gzip(&module()));
    assert!(packed.len() < module.len());
    let (status, answer, _) = upload(&mut server, &[WASM, ("content-encoding", "gzip")], &packed);
    assert_eq!((status, &answer["status"], &answer["size_bytes"]), (201, &"created".into(), &module.len().into()), "{answer}");
    let back = server.get(&format!("{VERSIONS}/{}/module", answer["digest"].as_str().expect("a digest")));
    assert_eq!((back.status, back.body == module), (200, true));
    // Plain it is the same version.
    let (status, again, _) = upload(&mut server, &[WASM], &module);
    assert_eq!((status, &again["status"], &again["digest"]), (200, &"known".into(), &answer["digest"]), "{again}");
    let (status, problem, _) = upload(&mut server, &[WASM, ("content-encoding", "gzip")], &packed[..packed.len() / 2]);
    assert_eq!((status, &problem["code"]), (400, &"body".into()), "{problem}");
    let left = std::fs::read_dir(site.data_dir().join("uploads")).expect("the folder").count();
    assert_eq!(left, 0, "nothing of an upload stays");
    // What is asked in the wrong place is not done: changes are told in the body that they are only tried.
    let refused = server.http.post_json(&format!("{VERSIONS}/1.0.0:activate?dry_run=true"), b"{}").expect("an answer");
    assert_eq!((refused.status, &refused.json::<Value>()["code"]), (400, &"unknown-parameter".into()), "{}", refused.text());
    assert_eq!(server.json("/api/v1/rules")["items"], Value::Array(Vec::new()));
    // A file that was lost comes back with the next upload.
    let digest = answer["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:")).expect("a digest");
    std::fs::remove_file(site.data_dir().join("modules").join(digest)).expect("the module's file");
    let (status, again, _) = upload(&mut server, &[WASM], &module);
    assert_eq!((status, &again["status"]), (200, &"known".into()), "{again}");
    assert_eq!(server.get(&format!("{VERSIONS}/sha256:{digest}/module")).body, module);
}

#[test]
fn too_many_uploads_at_once_are_put_off_and_their_places_come_back() {
    let site = Site::new();
    let mut server = site.start();
    let module = module();
    let half = |server: &Server| {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).expect("connected");
        let head = format!(
            "POST {VERSIONS} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\ncontent-type: application/wasm\r\ncontent-length: {}\r\n\r\n",
            server.port,
            module.len()
        );
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&module[..module.len() / 2])).expect("sent");
        stream
    };
    let mut halves: Vec<TcpStream> = (0..AT_ONCE).map(|_| half(&server)).collect();
    let uploads = site.data_dir().join("uploads");
    until("all of them are being received", PATIENCE, || (std::fs::read_dir(&uploads).ok()?.count() == AT_ONCE).then_some(()));
    let (status, problem, retry_after) = upload(&mut server, &[WASM], &module);
    assert_eq!((status, &problem["code"], retry_after.as_deref()), (429, &"checks-busy".into(), Some("5")), "{problem}");
    // What is not an upload does not wait for them.
    assert_eq!(server.get("/api/v1/rules").status, 200);

    // One that ends makes room for one; those that hang up make room too.
    let mut last = halves.pop().expect("one");
    last.write_all(&module[module.len() / 2..]).expect("sent");
    let mut line = String::new();
    BufReader::new(last).read_line(&mut line).expect("an answer");
    assert!(line.contains(" 201 "), "{line}");
    let (status, answer, _) = upload(&mut server, &[WASM], &module);
    assert_eq!((status, &answer["status"]), (200, &"known".into()), "{answer}");
    halves.push(half(&server));
    until("it is being received", PATIENCE, || (std::fs::read_dir(&uploads).ok()?.count() == AT_ONCE).then_some(()));
    assert_eq!(upload(&mut server, &[WASM], &module).0, 429);
    drop(halves);
    until("their files are gone", PATIENCE, || (std::fs::read_dir(&uploads).ok()?.count() == 0).then_some(()));
    until("their places are free", PATIENCE, || (upload(&mut server, &[WASM], &module).0 == 200).then_some(()));
}

fn run(server: &Server, dir: &Path, args: &[&str]) -> Done {
    Done::of(Command::new(binary()).args(args).current_dir(dir).env("ALERTMILL_SERVER", server.url()))
}

#[test]
fn a_version_that_came_unsigned_says_so_and_is_signed_later() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("says.wasm"), module()).expect("a module");
    let site = Site::new();
    let server = site.start();
    run(&server, dir.path(), &["rule", "push", "says.wasm", "--activate"]).ok();
    run(&server, dir.path(), &["rule", "keygen", "platform.key"]).ok();
    server.kill();
    let key = dir.path().join("platform.key.pub").display().to_string();
    let site = site.config(&format!("[rules.publishers.platform]\nkey_file = {key:?}\n"));
    let mut server = site.start();
    let degraded = |server: &mut Server| server.json("/api/v1/rules")["items"][0]["degraded"].clone();
    until("what runs unsigned says so", PATIENCE, || (degraded(&mut server) == serde_json::json!(["unsigned"])).then_some(()));
    run(&server, dir.path(), &["rule", "deactivate", "says"]).ok();
    assert_eq!(degraded(&mut server), serde_json::json!([]), "it does not run");
    run(&server, dir.path(), &["rule", "activate", "says"]).ends(7, "signature-missing");

    // The same module again, with a signature: the server takes that.
    run(&server, dir.path(), &["rule", "push", "says.wasm"]).ok();
    run(&server, dir.path(), &["rule", "activate", "says"]).ends(7, "signature-missing");
    run(&server, dir.path(), &["rule", "sign", "says.wasm", "--key", "platform.key"]).ok();
    let would = run(&server, dir.path(), &["rule", "push", "says.wasm", "--dry-run", "-o", "json"]).json();
    assert_eq!(would["status"], "signed", "{would}");
    let signed = run(&server, dir.path(), &["rule", "push", "says.wasm", "-o", "json"]).json();
    assert_eq!(signed["status"], "signed", "{signed}");
    run(&server, dir.path(), &["rule", "activate", "says"]).ok();
    let versions = run(&server, dir.path(), &["rule", "versions", "says", "-o", "json"]).json();
    assert_eq!((versions["items"].as_array().map(Vec::len), &versions["items"][0]["signer"]), (Some(1), &"platform".into()), "{versions}");
    assert_eq!(degraded(&mut server), serde_json::json!([]));
    // And is sent nothing more.
    assert_eq!(run(&server, dir.path(), &["rule", "push", "says.wasm", "-o", "json"]).json()["state"], "active");
}
