//! The doors before a journal kept in memory.

use super::*;
use crate::http::BodyLimits;
use alertmill_core::decode::decode_item;
use alertmill_core::item::{Item, ItemLimits, parse_item};
use alertmill_core::ports::{Appended, PortError};
use alertmill_core::record::{DoorCounts, Items, RawPayload, RecordBody};
use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode};
use flate2::{Compression, write::GzEncoder};
use http_body_util::BodyExt;
use serde_json::Value;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tower::ServiceExt;

/// Remembers what was appended; answers as told, and only when `open` has a permit.
#[derive(Clone)]
pub(super) struct FakeJournal {
    records: Arc<Mutex<Vec<Items>>>,
    pub(super) payloads: Arc<Mutex<Vec<RawPayload>>>,
    open: Arc<Semaphore>,
    answer: Arc<Mutex<Option<PortError>>>,
    /// So many records are taken before `answer` is given.
    taken_first: Arc<AtomicUsize>,
    /// So often an append is worth another try before `answer` goes away.
    changes: Arc<AtomicUsize>,
    /// Bytes asked for, request by request.
    reserved: Arc<Mutex<Vec<usize>>>,
    pub(super) is_full: Arc<AtomicBool>,
    pub(super) record_bytes_max: Arc<AtomicUsize>,
}

impl FakeJournal {
    fn new() -> FakeJournal {
        FakeJournal {
            records: Arc::default(),
            payloads: Arc::default(),
            open: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            answer: Arc::default(),
            taken_first: Arc::default(),
            changes: Arc::default(),
            reserved: Arc::default(),
            is_full: Arc::default(),
            record_bytes_max: Arc::new(AtomicUsize::new(usize::MAX)),
        }
    }

    pub(super) fn records(&self) -> Vec<Items> {
        self.records.lock().unwrap().clone()
    }

    fn items(&self) -> usize {
        self.records().iter().map(|items| items.spans.len()).sum()
    }

    pub(super) fn fails_with(&self, error: impl Into<Option<PortError>>) {
        *self.answer.lock().unwrap() = error.into();
    }

    /// The sums that the ledger will see: received, refused, duplicates.
    fn sums(&self) -> (u64, u64, u64) {
        self.records().iter().fold((0, 0, 0), |(a, b, c), r| (a + r.counts.received, b + r.counts.refused, c + r.counts.duplicates))
    }
}

impl Intake for FakeJournal {
    type Room = ();

    fn reserve(&self, bytes: usize) -> Result<(), PortError> {
        if self.is_full.load(Relaxed) {
            return Err(PortError::Unavailable("no room".into()));
        }
        self.reserved.lock().unwrap().push(bytes);
        Ok(())
    }

    fn record_bytes_max(&self) -> usize {
        self.record_bytes_max.load(Relaxed)
    }

    async fn append_in(&self, (): &mut (), body: RecordBody, parsed: Option<Vec<Item>>) -> Result<Appended, PortError> {
        self.open.acquire().await.unwrap().forget();
        if let Some(error) = self.answer.lock().unwrap().clone() {
            if self.taken_first.load(Relaxed) == 0 {
                return Err(error);
            }
            self.taken_first.fetch_sub(1, Relaxed);
        }
        let items = match body {
            RecordBody::Items(items) => items,
            RecordBody::Payload(payload) => {
                assert!(parsed.is_none(), "nobody has read it");
                let mut payloads = self.payloads.lock().unwrap();
                payloads.push(payload);
                return Ok(Appended { ordinal: payloads.len() as u64, received_at_ms: 0 });
            }
            other => panic!("doors append no {other:?}"),
        };
        for (i, item) in parsed.iter().flatten().enumerate() {
            assert_eq!(decode_item(items.door, items.bytes(i), &items.tenant).as_ref(), Ok(item), "a replay would differ");
        }
        assert!(parsed.is_none_or(|parsed| parsed.len() == items.spans.len()));
        let mut records = self.records.lock().unwrap();
        records.push(items);
        Ok(Appended { ordinal: records.len() as u64, received_at_ms: 0 })
    }

    async fn changed(&self) {
        if self.changes.fetch_sub(1, Relaxed) == 1 {
            self.fails_with(None);
        }
        tokio::task::yield_now().await;
    }
}

pub(super) struct Bench {
    pub(super) journal: FakeJournal,
    pub(super) doors: Arc<Doors<FakeJournal>>,
    app: Router,
}

impl Bench {
    fn new() -> Bench {
        Bench::with(1 << 30, DoorConfig::default())
    }

    pub(super) fn with(budget: usize, config: DoorConfig) -> Bench {
        let journal = FakeJournal::new();
        let doors = Doors::new(journal.clone(), Budget::new(budget), config);
        Bench { app: router(&doors), journal, doors }
    }

    pub(super) async fn send(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> (StatusCode, HeaderMap, Bytes) {
        let mut request = Request::post(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.app.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        (head.status, head.headers, body.collect().await.unwrap().to_bytes())
    }

    async fn post(&self, body: impl Into<Body>) -> (u16, Value) {
        let (status, _, body) = self.send("/api/v1/events", &[("content-type", "application/json")], body).await;
        (status.as_u16(), serde_json::from_slice(&body).unwrap())
    }

    async fn alerts(&self, body: &'static str) -> (u16, String) {
        let (status, _, body) = self.send("/am/api/v2/alerts", &[("content-type", "application/json")], body).await;
        (status.as_u16(), String::from_utf8(body.to_vec()).unwrap())
    }

    pub(super) fn snapshot(&self, source: &str) -> DoorSnapshot {
        self.doors.snapshot().into_iter().find(|snapshot| snapshot.source == source).unwrap()
    }
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const ONE: &str = r#"{"alert_name":"a","time":1700000000}"#;

#[tokio::test]
async fn one_event_an_array_and_lines_are_taken() {
    let bench = Bench::new();
    let accepted = |n: u64| serde_json::json!({"accepted": n, "duplicates": 0, "rejected": []});
    assert_eq!(bench.post(format!(" {ONE}\n")).await, (200, accepted(1)));
    assert_eq!(bench.post(format!("[{ONE},{}]", r#"{"alert_name":"b"}"#)).await, (200, accepted(2)));
    assert_eq!(bench.post("[]").await, (200, accepted(0)));
    let (status, _, body) = bench.send("/api/v1/events", &[("content-type", "application/x-ndjson")], format!("{ONE}\r\n\r\n{ONE} x")).await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (status.as_u16(), &body["accepted"], &body["rejected"][0]["code"], &body["rejected"][0]["index"]),
        (200, &1.into(), &"syntax".into(), &1.into())
    );
    let headers = [("content-type", "application/json; charset=UTF-8"), ("content-encoding", "gzip")];
    assert_eq!(bench.send("/api/v1/events", &headers, gzip(ONE.as_bytes())).await.0, StatusCode::OK);
    let records = bench.journal.records();
    assert_eq!(records.len(), 4);
    assert_eq!((records[0].bytes(0), &*records[0].source, &*records[0].tenant, records[0].door), (ONE.as_bytes(), "events", "system", Door::Events));
    assert_eq!(records[1].spans[1].request_index, 1);
    assert_eq!(bench.doors.bytes_in_flight(), 0);
}

#[tokio::test]
async fn refusals_are_answered_counted_and_ride_in_the_next_record() {
    let bench = Bench::new();
    let (status, problem) = bench.post(r#"{"alert_name":"a","severity":9}"#).await;
    assert_eq!((status, &problem["code"], &problem["errors"][0]["pointer"]), (400, &"severity".into(), &"/severity".into()));
    assert_eq!((&problem["status"], &problem["retryable"], &problem["type"]), (&400.into(), &false.into(), &"/problems/severity".into()));
    let (status, answer) = bench.post(r#"[{},{"alert_name":1}]"#).await;
    assert_eq!((status, &answer["accepted"], answer["rejected"].as_array().unwrap().len()), (200, &0.into(), 2));
    for (body, status, code) in [("[1,2]", 400, "shape"), ("", 400, "shape"), ("[{", 400, "syntax"), ("\u{1}", 400, "syntax")] {
        let (answered, problem) = bench.post(body).await;
        assert_eq!((answered, &problem["code"]), (status, &code.into()), "{body}");
    }
    let large = format!(r#"{{"alert_name":"a","x":"{}"}}"#, "x".repeat(1 << 20));
    assert_eq!(bench.post(large).await.0, 413);
    assert!(bench.journal.records().is_empty());

    let (status, answer) = bench.post(format!("[{ONE},{ONE},7]")).await;
    assert_eq!((status, &answer["accepted"], &answer["duplicates"]), (200, &1.into(), &1.into()));
    // 1 lone + 2 in the array + 5 bodies that count as one item each, then this request.
    assert_eq!(bench.journal.sums(), (8 + 3, 8 + 1, 1));
    let snapshot = bench.snapshot("events");
    assert_eq!((snapshot.received, snapshot.journaled, snapshot.duplicates), (11, 1, 1));
    assert_eq!(snapshot.refused.iter().map(|(_, n)| n).sum::<u64>(), 9);
    assert_eq!(snapshot.requests, [(200, 2), (400, 5), (413, 1)]);
    assert_eq!(bench.post(ONE).await.0, 200);
    assert_eq!(bench.journal.sums(), (12, 9, 1), "what a record carries is not carried again");
}

#[tokio::test]
async fn a_large_request_becomes_several_records_of_one_buffer() {
    let bench = Bench::new();
    let items: Vec<_> = (0..25_000).map(|i| format!(r#"{{"alert_name":"a","event_id":"{i}","time":1700000000}}"#)).collect();
    let (status, answer) = bench.post(format!("[{},{{}},{}]", items.join(","), items[0])).await;
    assert_eq!((status, &answer["accepted"], &answer["duplicates"]), (200, &25_000.into(), &1.into()));
    let records = bench.journal.records();
    assert_eq!(records.iter().map(|items| items.spans.len()).collect::<Vec<_>>(), [10_000, 10_000, 5_000]);
    assert_eq!(records[0].counts, DoorCounts { received: 10_002, refused: 1, duplicates: 1 });
    assert_eq!(records[2].counts, DoorCounts { received: 5_000, refused: 0, duplicates: 0 });
    assert!(Arc::ptr_eq(&records[0].heap, &records[2].heap));
    assert_eq!(records[2].spans[4_999].request_index, 24_999);
}

/// 25,000 distinct items without time or key, which a second try would count again.
fn large() -> String {
    let items: Vec<_> = (0..25_000).map(|i| format!(r#"{{"alert_name":"{i}"}}"#)).collect();
    format!("[{},7]", items.join(","))
}

#[tokio::test]
async fn a_large_request_has_room_for_all_of_it_or_nothing_is_journaled() {
    let bench = Bench::new();
    bench.journal.is_full.store(true, Relaxed);
    assert_eq!(bench.post(large()).await.0, 429);
    assert_eq!((bench.journal.items(), bench.snapshot("events").received), (0, 0));
    bench.journal.is_full.store(false, Relaxed);
    assert_eq!(bench.post(large()).await.0, 200);
    assert_eq!((bench.journal.items(), bench.journal.sums()), (25_000, (25_001, 1, 0)));
    let reserved = bench.journal.reserved.lock().unwrap().clone();
    let one = parse_item(br#"{"alert_name":"24999"}"#, ItemLimits::STRICT).expect("an item");
    let parsed = 25_000 * one.size_bytes();
    assert!(reserved.len() == 1 && (parsed..parsed + 25_000 * 64 + large().len()).contains(&reserved[0]), "the body counts once: {reserved:?}");
}

#[tokio::test]
async fn a_journal_that_refuses_a_later_record_is_waited_for() {
    let bench = Bench::new();
    bench.journal.taken_first.store(1, Relaxed);
    bench.journal.changes.store(3, Relaxed);
    bench.journal.fails_with(PortError::Unavailable("full".into()));
    let (status, answer) = bench.post(large()).await;
    assert_eq!((status, &answer["accepted"], bench.journal.items()), (200, &25_000.into(), 25_000));
    assert_eq!((bench.journal.sums(), bench.journal.changes.load(Relaxed)), ((25_001, 1, 0), 0));
    assert_eq!(bench.journal.records().iter().map(|items| items.spans[0].request_index).collect::<Vec<_>>(), [0, 10_000, 20_000]);
}

#[tokio::test]
async fn a_journal_that_refuses_a_later_record_for_too_long_is_given_up() {
    let bench = Bench::with(1 << 30, DoorConfig { later_records_wait: Duration::ZERO, ..DoorConfig::default() });
    bench.journal.taken_first.store(1, Relaxed);
    bench.journal.fails_with(PortError::Unavailable("full".into()));
    let (status, problem) = bench.post(large()).await;
    assert_eq!((status, &problem["code"], bench.journal.items()), (503, &"unclear".into(), 10_000));
    assert!(problem["detail"].as_str().unwrap().contains("10000 of 25000 items"), "{problem}");
}

#[tokio::test]
async fn a_later_record_that_never_fits_is_found_before_the_first_is_taken() {
    let bench = Bench::new();
    let small: Vec<_> = (0..10_000).map(|i| format!(r#"{{"alert_name":"{i}"}}"#)).collect();
    let later = format!(r#"{{"alert_name":"a","x":"{}"}}"#, "x".repeat(500_000));
    let body = format!("[{},{later}]", small.join(","));
    let encoded = |items: &Items| {
        let mut payload = Vec::new();
        RecordBody::Items(items.clone()).encode(&mut payload);
        payload.len()
    };
    assert_eq!(bench.post(body.clone()).await.0, 200);
    let largest = bench.journal.records().iter().map(encoded).max().unwrap();
    assert!(largest > 500_000 && bench.journal.records().len() == 2);
    bench.journal.record_bytes_max.store(largest, Relaxed);
    assert_eq!(bench.post(body.clone()).await.0, 200, "to the byte");
    bench.journal.record_bytes_max.store(largest - 1, Relaxed);
    let (status, problem) = bench.post(body).await;
    assert_eq!((status, &problem["code"], bench.journal.records().len()), (413, &"body-too-large".into(), 4));
}

#[tokio::test]
async fn what_is_half_stored_says_so_and_is_counted() {
    let bench = Bench::new();
    bench.journal.taken_first.store(2, Relaxed);
    bench.journal.fails_with(PortError::Fatal("disk".into()));
    let (status, problem) = bench.post(large()).await;
    assert_eq!((status, &problem["code"]), (503, &"unclear".into()));
    assert!(problem["detail"].as_str().unwrap().contains("20000 of 25000 items"), "{problem}");
    let snapshot = bench.snapshot("events");
    assert_eq!((snapshot.received, snapshot.journaled, bench.journal.sums()), (20_001, 20_000, (20_001, 1, 0)));
}

#[tokio::test]
async fn many_refusals_are_shortened_and_say_so() {
    let bench = Bench::new();
    let body = format!("[{}]", vec!["{}"; 1_500].join(","));
    let (status, headers, body) = bench.send("/api/v1/events", &[("content-type", "application/json")], body).await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status.as_u16(), body["rejected"].as_array().unwrap().len(), &body["rejected_total"]), (200, 1_000, &1_500.into()));
    assert_eq!(headers["x-alertmill-limit"], "rejected; 1000; 1500");
    let few = Bench::with(1 << 30, DoorConfig { items_max: 10, ..DoorConfig::default() });
    let (status, problem) = few.post(format!("[{}]", ["{}"; 11].join(","))).await;
    assert_eq!((status, &problem["code"]), (413, &"too-many-items".into()));
}

#[tokio::test]
async fn the_answer_waits_for_the_journal() {
    let bench = Bench::new();
    bench.journal.open.forget_permits(Semaphore::MAX_PERMITS);
    let answer = bench.post(ONE);
    tokio::pin!(answer);
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut answer).await.is_err(), "answered before it was durable");
    assert!(bench.doors.bytes_in_flight() > 0);
    bench.journal.open.add_permits(1);
    assert_eq!(answer.await.0, 200);
    assert_eq!((bench.journal.items(), bench.doors.bytes_in_flight()), (1, 0));
}

#[tokio::test]
async fn h28_a_sender_that_goes_away_tears_nothing() {
    let bench = Bench::new();
    bench.journal.open.forget_permits(Semaphore::MAX_PERMITS);
    let items: Vec<_> = (0..10_001).map(|i| format!(r#"{{"alert_name":"a","event_id":"{i}"}}"#)).collect();
    let body = format!("[7,{}]", items.join(","));
    assert!(tokio::time::timeout(Duration::from_millis(300), bench.post(body)).await.is_err());
    bench.journal.open.add_permits(2);
    let journaled = async {
        while bench.snapshot("events").journaled == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), journaled).await.expect("what the sender left behind is journaled");
    assert_eq!((bench.journal.items(), bench.journal.sums(), bench.doors.bytes_in_flight()), (10_001, (10_002, 1, 0), 0));
}

#[tokio::test]
async fn a_journal_that_refuses_is_never_answered_with_yes() {
    let bench = Bench::new();
    assert_eq!(bench.post("{}").await.0, 400);
    let mut taken = 0;
    for (error, status, code) in [
        (PortError::Unavailable("full".into()), 429, "overloaded"),
        (PortError::Full("full".into()), 429, "overloaded"),
        (PortError::DiskRefused("no space".into()), 503, "unavailable"),
        (PortError::TooLarge("over 256 MiB".into()), 413, "body-too-large"),
        (PortError::Unclear("gone".into()), 503, "unclear"),
        (PortError::Fatal("disk".into()), 503, "unclear"),
    ] {
        bench.journal.fails_with(error);
        let (answered, headers, body) = bench.send("/api/v1/events", &[("content-type", "application/json")], format!("[{ONE},7]")).await;
        let problem: Value = serde_json::from_slice(&body).unwrap();
        let retryable = status != 413;
        assert_eq!((answered.as_u16(), &problem["code"], &problem["retryable"]), (status, &code.into(), &retryable.into()));
        assert_eq!(headers.contains_key("retry-after"), retryable);
        assert_eq!(headers["content-type"], "application/problem+json");
        bench.journal.fails_with(None);
        if status == 429 {
            // What was kept of earlier requests is still there; of this one nothing, since it comes again.
            assert_eq!(bench.post(ONE).await.0, 200);
            taken += 1;
            assert_eq!(bench.journal.sums(), (1 + taken, 1, 0));
        }
    }
    assert_eq!(bench.snapshot("events").journaled, taken);
}

#[tokio::test]
async fn sources_and_keys_are_named_plainly() {
    let bench = Bench::new();
    let json = ("content-type", "application/json");
    for (path, headers, status, source) in [
        ("/api/v1/events?source=web-1", vec![json], 200, "web-1"),
        ("/api/v1/events", vec![json, ("x-alertmill-source", "a.b_c")], 200, "a.b_c"),
        ("/api/v1/events?source=x", vec![json, ("x-alertmill-source", "x")], 200, "x"),
        ("/api/v1/events?source=x", vec![json, ("x-alertmill-source", "y")], 400, ""),
        ("/api/v1/events?source=X", vec![json], 400, ""),
        ("/api/v1/events?source=", vec![json], 400, ""),
        ("/api/v1/events?source=a%2e", vec![json], 400, ""),
        ("/api/v1/events?source=a&source=a", vec![json], 400, ""),
        ("/api/v1/events?dry_run=true", vec![json], 400, ""),
        ("/api/v1/events", vec![json, ("x-alertmill-source", "a b")], 400, ""),
        ("/api/v1/events", vec![json, ("idempotency-key", "")], 400, ""),
    ] {
        let before = bench.journal.items();
        assert_eq!(bench.send(path, &headers, ONE).await.0.as_u16(), status, "{path} {headers:?}");
        assert_eq!(bench.journal.items() - before, usize::from(status == 200));
        if status == 200 {
            assert_eq!(bench.journal.records().last().unwrap().source, source);
        }
    }
    assert_eq!(bench.send("/api/v1/events", &[json, ("idempotency-key", "k-1")], ONE).await.0, StatusCode::OK);
    assert_eq!(bench.journal.records().last().unwrap().idempotency_key.as_deref(), Some("k-1"));
    // Names that a sender makes up do not grow without a bound.
    for i in 0..2 * counters::SOURCES_MAX {
        bench.send(&format!("/api/v1/events?source=s{i}"), &[json], "{}").await;
    }
    assert_eq!(bench.doors.snapshot().len(), counters::SOURCES_MAX);
    assert_eq!(bench.post(ONE).await.0, 200);
}

#[tokio::test]
async fn h22_h24_other_types_and_encodings_are_refused() {
    let bench = Bench::new();
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/json; charset=latin1", "application/jsonx", ""]
    {
        let (status, headers, _) = bench.send("/api/v1/events", &[("content-type", content_type)], ONE).await;
        assert_eq!((status.as_u16(), headers["connection"].as_bytes()), (415, &b"close"[..]), "{content_type}");
    }
    assert_eq!(bench.send("/api/v1/events", &[], ONE).await.0.as_u16(), 415);
    for encoding in ["zstd", "deflate", "gzip, gzip", "gzip, gzip, gzip", "x-gzip", ""] {
        let headers = [("content-type", "application/json"), ("content-encoding", encoding)];
        assert_eq!(bench.send("/api/v1/events", &headers, ONE).await.0.as_u16(), 415, "{encoding}");
    }
    let twice = [("content-type", "application/json"), ("content-encoding", "gzip"), ("content-encoding", "gzip")];
    assert_eq!(bench.send("/api/v1/events", &twice, gzip(&gzip(ONE.as_bytes()))).await.0.as_u16(), 415);
    assert_eq!(bench.journal.items(), 0);
}

#[tokio::test]
async fn h23_damaged_and_explosive_gzip_is_refused() {
    let bench = Bench::new();
    let headers = [("content-type", "application/json"), ("content-encoding", "gzip")];
    let good = gzip(ONE.as_bytes());
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let bomb = gzip(&vec![b' '; 60 << 20]);
    assert!(bomb.len() < 80_000);
    for (what, body, status, code) in [
        ("cut", good[..good.len() - 1].to_vec(), 400, "body"),
        ("cut in the header", good[..5].to_vec(), 400, "body"),
        ("empty", Vec::new(), 400, "body"),
        ("wrong checksum", flipped(good.len() - 8), 400, "body"),
        ("wrong length", flipped(good.len() - 1), 400, "body"),
        ("second member", [good.clone(), good.clone()].concat(), 400, "body"),
        ("trailing bytes", [good.clone(), vec![0]].concat(), 400, "body"),
        ("not gzip", ONE.as_bytes().to_vec(), 400, "body"),
        ("1:1000", bomb, 413, "body-too-large"),
        ("nested", gzip(&good), 400, "syntax"),
    ] {
        let (answered, _, body) = bench.send("/api/v1/events", &headers, body).await;
        let problem: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((answered.as_u16(), problem["code"].as_str().unwrap()), (status, code), "{what}: {problem}");
    }
    // Well compressed but honest: a few MiB of similar events.
    let honest: Vec<_> = (0..20_000).map(|i| format!(r#"{{"alert_name":"disk full","event_id":"{i}","time":1700000000,"x":"{}"}}"#, i * 7919)).collect();
    let (status, _, _) = bench.send("/api/v1/events", &headers, gzip(format!("[{}]", honest.join(",")).as_bytes())).await;
    assert_eq!((status.as_u16(), bench.journal.items(), bench.doors.bytes_in_flight()), (200, 20_000, 0));
}

#[tokio::test]
async fn bodies_are_bounded_before_memory_grows() {
    let body = BodyLimits { sent_max: 1 << 20, decoded_max: 2 << 20, ..BodyLimits::default() };
    let bench = Bench::with(1 << 30, DoorConfig { body, ..DoorConfig::default() });
    let json = ("content-type", "application/json");
    assert_eq!(bench.send("/api/v1/events", &[json], vec![b' '; (1 << 20) + 1]).await.0.as_u16(), 413);
    let mut noise = 1u64;
    let text: String = std::iter::repeat_with(|| {
        noise = noise.wrapping_mul(6364136223846793005).wrapping_add(1);
        char::from(b'a' + (noise >> 60) as u8)
    })
    .take(3 << 20)
    .collect();
    let packed = gzip(text.as_bytes());
    assert!(packed.len() > 1 << 20);
    assert_eq!(bench.send("/api/v1/events", &[json, ("content-encoding", "gzip")], packed).await.0.as_u16(), 413);
    let packed = gzip(&text.as_bytes()[..1_500_000]);
    assert!(packed.len() < 1 << 20);
    assert_eq!(bench.send("/api/v1/events", &[json, ("content-encoding", "gzip")], packed).await.0.as_u16(), 400);

    let small = Bench::with(64 << 10, DoorConfig::default());
    let (status, _, body) = small.send("/api/v1/events", &[json], vec![b' '; 65 << 10]).await;
    assert!(status.as_u16() == 413 && String::from_utf8_lossy(&body).contains("limits.queue"), "no waiting would make it fit: {status}");
    assert_eq!(small.send("/api/v1/events", &[json, ("content-encoding", "gzip")], gzip(&vec![b' '; 65 << 10])).await.0.as_u16(), 413);
    assert_eq!(small.post(ONE).await.0, 200, "a refused request gave its bytes back");
    // Parsed items count too: a request whose items alone need more than all is let in on top, and nobody beside it.
    let distinct: Vec<_> = (0..500).map(|i| format!(r#"{{"alert_name":"{i}"}}"#)).collect();
    let distinct = format!("[{}]", distinct.join(","));
    small.journal.open.forget_permits(Semaphore::MAX_PERMITS);
    let first = small.post(distinct.clone());
    tokio::pin!(first);
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut first).await.is_err());
    assert!(small.doors.bytes_in_flight() > 64 << 10);
    for body in [distinct, ONE.to_owned()] {
        let (status, headers, _) = small.send("/api/v1/events", &[json], body).await;
        assert_eq!((status.as_u16(), &headers["retry-after"]), (429, &"1".parse::<axum::http::HeaderValue>().unwrap()));
    }
    small.journal.open.add_permits(1);
    assert_eq!(first.await.0, 200);
    assert_eq!((small.journal.items(), small.journal.reserved.lock().unwrap().len(), small.doors.bytes_in_flight()), (501, 2, 0));
}

#[tokio::test]
async fn a_line_of_100_mb_is_refused_without_being_held() {
    let bench = Bench::with(1 << 30, DoorConfig { body: BodyLimits { sent_max: 128 << 20, ..BodyLimits::default() }, ..DoorConfig::default() });
    let line = format!("{{\"alert_name\":\"{}\"}}\n{ONE}", "a".repeat(100 << 20));
    let (status, _, _) = bench.send("/api/v1/events", &[("content-type", "application/x-ndjson")], line).await;
    assert_eq!((status.as_u16(), bench.journal.items()), (413, 0));
    // Within the body's bound the long line is refused and its neighbour taken.
    let line = format!("{{\"alert_name\":\"{}\"}}\n{ONE}", "a".repeat(60 << 20));
    let (status, _, body) = bench.send("/api/v1/events", &[("content-type", "application/x-ndjson")], line).await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status.as_u16(), &body["accepted"], &body["rejected"][0]["code"]), (200, &1.into(), &"size".into()));
}

#[tokio::test]
async fn alertmanager_takes_the_good_and_names_the_bad() {
    let bench = Bench::new();
    assert_eq!(bench.alerts(r#"[{"labels":{"alertname":"a"},"startsAt":"2026-11-22T20:00:00Z"}]"#).await, (200, String::new()));
    let (status, text) = bench.alerts(r#"[{"labels":{}},{"labels":{"alertname":"b"}}]"#).await;
    assert_eq!((status, text.as_str()), (400, "\"alert 0: name: the label alertname is missing or empty\""));
    for body in [r#"{"labels":{}}"#, "[1]", "", "x"] {
        let (status, text) = bench.alerts(body).await;
        assert_eq!(status, 400);
        assert!(serde_json::from_str::<String>(&text).is_ok(), "{text}");
    }
    let (status, _, _) = bench.send("/am/api/v2/alerts", &[("content-type", "application/x-ndjson")], "[]").await;
    assert_eq!(status.as_u16(), 415);
    let records = bench.journal.records();
    assert_eq!((records.len(), &*records[0].source, records[0].door), (2, "alertmanager", Door::Alertmanager));
    assert_eq!(bench.journal.sums(), (3, 1, 0));
    bench.journal.fails_with(PortError::Unavailable("full".into()));
    let (status, headers, _) = bench.send("/am/api/v2/alerts", &[("content-type", "application/json")], r#"[{"labels":{"alertname":"a"}}]"#).await;
    assert!(status.as_u16() == 429 && headers.contains_key("retry-after"));
}

#[tokio::test]
async fn alertmanager_answers_what_its_clients_ask_and_nothing_else() {
    let bench = Bench::new();
    let get = async |path: &str| {
        let response = bench.app.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        (response.status().as_u16(), response.into_body().collect().await.unwrap().to_bytes())
    };
    let (status, body) = get("/am/api/v2/status").await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &body["versionInfo"]["version"], &body["cluster"]["status"]), (200, &"0.33.0".into(), &"disabled".into()));
    assert!(body["versionInfo"]["revision"].as_str().unwrap().starts_with("alertmill-"));
    assert!(body["uptime"].as_str().unwrap().ends_with('Z') && body["config"]["original"].is_string());
    assert_eq!((get("/am/-/healthy").await.0, get("/am/-/ready").await.0), (200, 200));
    for path in ["/am", "/am/", "/am/alertmanager/api/v2/status", "/am/api/v1/status/buildinfo", "/am/api/v2/silences"] {
        assert_eq!(get(path).await.0, 404, "{path}");
    }
    assert_eq!((get("/api/v1/events").await.0, get("/am/api/v2/alerts").await.0), (405, 405));
    let closed = Bench::with(1 << 20, DoorConfig { alertmanager_source: None, ..DoorConfig::default() });
    assert_eq!(closed.alerts("[]").await.0, 404);
}
