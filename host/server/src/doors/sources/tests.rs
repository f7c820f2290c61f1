use super::*;
use crate::doors::DoorConfig;
use crate::doors::tests::{Bench, gzip};
use crate::telemetry::DoorSnapshot;
use alertmill_core::ports::PortError;
use alertmill_core::record::Door;
use serde_json::{Value, json};
use std::sync::atomic::Ordering::Relaxed;

type Headers<'h> = &'h [(&'h str, &'h str)];

const HOOK: &str = "/api/v1/sources/hook";

/// A source `hook` that rules read, and `feed` with events.
fn bench() -> Bench {
    let hook =
        Source { content_types: vec!["application/json".into(), "text/csv".into()], headers: vec!["X-Event".into(), "x-none".into()], ..Source::default() };
    let feed = Source { decoder: Decoder::Events, content_types: vec!["application/json".into()], ..Source::default() };
    let sources = [("hook", hook), ("feed", feed)].into_iter().map(|(name, source)| (Text::new(name), SourceConfig::of(&source)));
    Bench::with(1 << 30, DoorConfig { sources: sources.collect(), ..DoorConfig::default() })
}

async fn post(bench: &Bench, path: &str, headers: Headers<'_>, body: impl Into<Body>) -> (u16, Value) {
    let (status, _, body) = bench.send(path, headers, body).await;
    (status.as_u16(), serde_json::from_slice(&body).unwrap())
}

fn counts(bench: &Bench, source: &str) -> DoorSnapshot {
    bench.snapshot(source)
}

#[tokio::test]
async fn a_body_is_taken_as_it_is_with_the_headers_that_are_configured() {
    let bench = bench();
    let body: &[u8] = b"host,\xff\x00level\r\n";
    let headers = [
        ("content-type", "Text/CSV; charset=latin1"),
        ("x-event", "push"),
        ("x-event", "pull"),
        ("authorization", "Bearer secret"),
        ("x-other", "1"),
        ("idempotency-key", "k1"),
    ];
    assert_eq!(post(&bench, HOOK, &headers, body).await, (200, json!({"accepted": 1, "duplicates": 0, "rejected": []})));
    let zipped = [("content-type", "application/json"), ("content-encoding", "gzip")];
    assert_eq!(post(&bench, HOOK, &zipped, gzip(b"{\"a\":")).await.0, 200, "nobody has read it yet");
    let taken = bench.journal.payloads.lock().unwrap().clone();
    assert_eq!(taken.len(), 2);
    let RawPayload { tenant, source, idempotency_key, counts: own, content_type, headers, body: kept } = &taken[0];
    assert_eq!((tenant.as_str(), source.as_str(), idempotency_key.as_deref(), content_type.as_str()), ("system", "hook", Some("k1"), "text/csv"));
    assert_eq!((&**kept, *own), (body, DoorCounts { received: 1, refused: 0, duplicates: 0 }));
    let kept: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(kept, [("x-event", "push"), ("x-event", "pull")], "no other header is kept");
    assert_eq!((&*taken[1].body, taken[1].headers.len(), &taken[1].idempotency_key), (&b"{\"a\":"[..], 0, &None));
    let counted = counts(&bench, "hook");
    assert_eq!((counted.door.as_str(), counted.received, counted.journaled, counted.requests), ("sources", 2, 2, vec![(200, 2)]));
    assert_eq!(bench.doors.bytes_in_flight(), 0);
}

#[test]
fn headers_stand_in_the_order_of_the_configuration_and_as_text() {
    let mut sent = HeaderMap::new();
    for (name, value) in [("x-b", &b"1"[..]), ("x-a", b"caf\xc3\xa9"), ("x-b", b"\xff")] {
        sent.append(name, axum::http::HeaderValue::from_bytes(value).unwrap());
    }
    let seen = kept(&sent, &["x-a".into(), "x-b".into()]);
    let seen: Vec<(&str, &str)> = seen.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(seen, [("x-a", "caf\u{e9}"), ("x-b", "1"), ("x-b", "\u{fffd}")]);
}

#[tokio::test]
async fn refusals_say_what_to_do_and_change_nothing() {
    let bench = bench();
    let json_type = ("content-type", "application/json");
    let large = "x".repeat(PAYLOAD_BYTES_MAX + 1);
    let cases: [(&str, Headers<'_>, &str, u16, &str, &str); 10] = [
        ("/api/v1/sources/nobody", &[json_type], "x", 404, "not-found", "add a section [sources.nobody] to the configuration"),
        ("/api/v1/sources/No.Name%20", &[json_type], "x", 404, "not-found", "a source has a name of a-z"),
        (HOOK, &[("content-type", "application/xml")], "x", 415, "content-type", "source hook takes application/json, text/csv"),
        (HOOK, &[], "x", 415, "content-type", "add the type to sources.hook.content_types"),
        (HOOK, &[json_type, ("content-type", "text/csv")], "x", 415, "content-type", "source hook takes"),
        (HOOK, &[json_type], "", 400, "shape", "the body is empty"),
        (HOOK, &[json_type], &large, 413, "body-too-large", "8388608"),
        (HOOK, &[json_type, ("idempotency-key", "")], "x", 400, "header", "Idempotency-Key"),
        ("/api/v1/sources/hook?dry_run=1", &[json_type], "x", 400, "unknown-parameter", "no query parameters"),
        ("/api/v1/sources/feed", &[("content-type", "application/x-ndjson")], "{}", 415, "content-type", "source feed takes application/json;"),
    ];
    for (path, headers, body, status, code, said) in cases {
        let (answered, problem) = post(&bench, path, headers, body.to_owned()).await;
        assert_eq!((answered, &problem["code"]), (status, &code.into()), "{path} {headers:?}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(said), "{problem}");
    }
    assert!(bench.journal.payloads.lock().unwrap().is_empty() && bench.journal.records().is_empty());
    let (status, ..) = bench.send("/api/v1/sources", &[json_type], "x").await;
    assert_eq!(status.as_u16(), 404);
    let hook = counts(&bench, "hook");
    assert_eq!((hook.received, hook.journaled, hook.refused), (1, 0, vec![("shape".to_owned(), 1)]), "only the empty body was an item");
}

#[tokio::test]
async fn a_refused_body_rides_in_the_next_record_of_its_source() {
    let bench = bench();
    let headers = [("content-type", "application/json")];
    assert_eq!(post(&bench, HOOK, &headers, "").await.0, 400);
    bench.journal.fails_with(PortError::Full("no room".into()));
    assert_eq!(post(&bench, HOOK, &headers, "{}").await.0, 429);
    bench.journal.fails_with(None);
    assert_eq!(post(&bench, HOOK, &headers, "{}").await.0, 200);
    let taken = bench.journal.payloads.lock().unwrap().clone();
    assert_eq!((taken.len(), taken[0].counts), (1, DoorCounts { received: 2, refused: 1, duplicates: 0 }), "what is sent again counts once");
}

#[tokio::test]
async fn a_body_without_room_is_put_off_and_one_that_never_fits_is_refused() {
    let bench = bench();
    let headers = [("content-type", "application/json")];
    bench.journal.is_full.store(true, Relaxed);
    let (status, problem) = post(&bench, HOOK, &headers, "{}").await;
    assert_eq!((status, &problem["retryable"]), (429, &true.into()));
    bench.journal.is_full.store(false, Relaxed);
    let encoded = |body: &str| {
        let payload = RawPayload {
            tenant: "system".into(),
            source: "hook".into(),
            idempotency_key: None,
            counts: DoorCounts::default(),
            content_type: "application/json".into(),
            headers: Vec::new(),
            body: body.as_bytes().into(),
        };
        let mut bytes = Vec::new();
        alertmill_core::record::RecordBody::Payload(payload).encode(&mut bytes);
        bytes.len()
    };
    let body = "x".repeat(10_000);
    bench.journal.record_bytes_max.store(encoded(&body), Relaxed);
    assert_eq!(post(&bench, HOOK, &headers, body.clone()).await.0, 200, "to the byte");
    assert_eq!(post(&bench, HOOK, &headers, body + "x").await.0, 413);
    assert_eq!(bench.journal.payloads.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_source_of_events_takes_what_the_door_of_events_does() {
    let bench = bench();
    let headers = [("content-type", "application/json"), ("idempotency-key", "k")];
    let one = r#"{"alert_name":"a","time":1700000000}"#;
    let (status, answer) = post(&bench, "/api/v1/sources/feed", &headers, format!("[{one},{one},7]")).await;
    assert_eq!((status, &answer["accepted"], &answer["duplicates"], &answer["rejected"][0]["code"]), (200, &1.into(), &1.into(), &"shape".into()));
    let records = bench.journal.records();
    assert_eq!((&*records[0].source, records[0].door, records[0].idempotency_key.as_deref()), ("feed", Door::Events, Some("k")));
    let feed = counts(&bench, "feed");
    assert_eq!((feed.door.as_str(), feed.received, feed.journaled), ("sources", 3, 1));
    assert_eq!(post(&bench, "/api/v1/sources/feed", &headers, "").await.0, 400);
}
