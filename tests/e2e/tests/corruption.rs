//! A server whose state was damaged while it was down starts by itself: what the journal still has is made again, byte for byte,
//! and what happened is in the log, in the API, in the numbers and in a file.

use alertmill_e2e::{Server, Site, binary, event, now_s, view};
use serde_json::Value;
use std::process::Command;

fn with_events(site: &Site, start: u64) -> Server {
    let mut server = site.start();
    for round in 0..5 {
        let events: Vec<Value> = (0..40).map(|i| event(&format!("r{round}-{i}"), "Damaged", &format!("h{i}"), start + round, "ABNORMAL")).collect();
        server.post_events(&events);
    }
    server.wait_folded();
    server
}

#[test]
fn a_damaged_state_is_made_again_from_the_journal() {
    let site = Site::new().set("DATA__JOURNAL_KEEP", "4GiB").rule("10-says.wasm", "test/says", "");
    let start = now_s() - 60;
    let mut server = with_events(&site, start);
    let before = view::documents(&mut server);
    assert!(server.stop().0.success());
    let state = site.data_dir().join("state.sqlite");
    let mut bytes = std::fs::read(&state).expect("the state");
    for page in bytes.chunks_mut(4096).skip(1).step_by(2) {
        page[1_000..1_100].fill(0x5a);
    }
    std::fs::write(&state, bytes).expect("written");
    let mut server = site.start();
    server.wait_folded();
    assert_eq!(view::documents(&mut server), before);
    let log = server.log();
    assert!(log.contains("the state was damaged and is made again") && log.contains("nothing is lost"), "{log}");
    let storage = server.json("/api/v1/pipeline/storage");
    let damages = storage["damages"].as_array().expect("a list");
    let report = damages.iter().find_map(|damage| damage["report"].as_object()).expect("a report");
    assert!(report["rebuilt"] == "replay" && !report["findings"].as_array().expect("a list").is_empty(), "{storage}");
    assert!(damages.iter().any(|damage| damage["file"].as_str().expect("text").ends_with("state.sqlite")), "{storage}");
    let families: Vec<&str> = storage["families"].as_array().expect("a list").iter().map(|family| family["name"].as_str().expect("text")).collect();
    assert_eq!(families, ["journal", "state", "events", "dead-letters", "known-uids", "modules", "compiled-code", "quarantine", "backup"]);
    let output = Command::new(binary()).args(["pipeline", "storage", "--server", &server.url()]).output().expect("it runs");
    let said = (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned());
    assert!(output.status.success() && said.0.contains("retention.state_size=") && said.1.contains("damaged files were set aside"), "{said:?}");
    // Everything sent again is known.
    assert!(server.stop().0.success());
    let mut server = with_events(&site, start);
    assert_eq!(view::documents(&mut server), before);
    assert_eq!(server.log().matches("the state was damaged").count(), 1, "it is made again once");
}

#[test]
fn what_the_journal_no_longer_has_is_taken_over_or_named() {
    let site = Site::new().set("DATA__JOURNAL_SEGMENT", "1MiB");
    let start = now_s() - 60;
    let mut server = with_events(&site, start);
    let before = view::documents(&mut server);
    assert!(server.stop().0.success());
    // As after long years: the first records are gone.
    let mut server = site.start();
    alertmill_e2e::until("the first segment is released", alertmill_e2e::PATIENCE, || {
        let names = std::fs::read_dir(site.data_dir().join("journal")).expect("the journal").map(|entry| entry.expect("entry").file_name());
        (!names.into_iter().any(|name| name.to_string_lossy().starts_with("00000000000000000001-"))).then_some(())
    });
    server.wait_folded();
    assert!(server.stop().0.success());
    // One document of the state.
    let state = site.data_dir().join("state.sqlite");
    let mut bytes = std::fs::read(&state).expect("the state");
    let at = bytes.windows(9).rposition(|window| window == b"\"Damaged\"").expect("a document");
    bytes[at + 3] ^= 1;
    std::fs::write(&state, bytes).expect("written");
    let mut server = site.start();
    server.wait_folded();
    let storage = server.json("/api/v1/pipeline/storage");
    let report = storage["damages"].as_array().expect("a list").iter().find_map(|damage| damage["report"].as_object()).expect("a report").clone();
    let after = view::documents(&mut server);
    let lost: Vec<u64> = report["lost_open_alerts"].as_array().expect("a list").iter().map(|seq| seq.as_u64().expect("a number")).collect();
    assert_eq!((report["rebuilt"].as_str(), lost.len(), after.len()), (Some("rows"), 1, before.len() - 1), "{report:?}");
    for (id, document) in &before {
        match after.get(id) {
            Some(found) => assert_eq!(found, document),
            None => assert!(document.contains(&format!("\"seq_id\":{}", lost[0])), "{document} is not the one that the report names"),
        }
    }
}
