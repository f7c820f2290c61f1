//! Every kind of record there and back, as journals on disk hold it.

use super::*;
use crate::rule_set::{Change, ChangeAction, RuleVersion};
use crate::verdict::{Hook, Place, Policy, Verdict};
use crate::version_change::{VersionAction, VersionSignature};

fn samples() -> Vec<RecordBody> {
    vec![
        RecordBody::Items(Items {
            tenant: "system".into(),
            source: "web".into(),
            door: Door::Events,
            idempotency_key: Some("k1".into()),
            counts: DoorCounts { received: 3, refused: 1, duplicates: 0 },
            heap: b"{}{\"a\":1}".to_vec().into(),
            spans: vec![ItemSpan { bytes: 0..2, request_index: 0 }, ItemSpan { bytes: 2..9, request_index: 2 }],
        }),
        RecordBody::RuleSet(RuleSet {
            generation: 7,
            change: Change { action: ChangeAction::Rollback, object: "n".into(), operator: "wang".into(), ..Change::default() },
            rules: vec![RuleEntry {
                previous: Some(RuleVersion { version: "2".into(), digest: "e".into(), config: "".into(), options: "{}".into() }),
                pinned: true,
                ..rule()
            }],
            tables: vec![("hosts".into(), "d2".into())],
        }),
        RecordBody::Clock,
        RecordBody::Start { version: "0.1.0".into() },
        RecordBody::Command(Command {
            tenant: "system".into(),
            action: Action::Close,
            alerts: vec![AlertRef { create_time: 1_700_000_000, seq: 16_384 }, AlertRef { create_time: 1_700_000_001, seq: 3 << 14 | 7 }],
            operator: "wang".into(),
            comment: "INC-881".into(),
            idempotency_key: Some("k2".into()),
        }),
        RecordBody::Payload(RawPayload {
            tenant: "system".into(),
            source: "grafana".into(),
            idempotency_key: Some("k3".into()),
            counts: DoorCounts { received: 2, refused: 1, duplicates: 0 },
            content_type: "text/csv".into(),
            headers: vec![("x-event".into(), "push".into())],
            body: b"a,\xff\n".to_vec().into(),
        }),
        RecordBody::Verdicts(Verdicts {
            generation: 7,
            verdicts: vec![Verdict {
                rule: "n".into(),
                version: "1@sha256:d".into(),
                hook: Hook::EnrichEvent,
                kind: "deadline".into(),
                message: "still running at its time limit".into(),
                policy: Policy::DeadLetter,
                from: Place { ordinal: 9, index: 1 },
                until: None,
            }],
        }),
        RecordBody::RuleVersion(VersionChange {
            action: VersionAction::Removed,
            name: "n".into(),
            version: "1".into(),
            digest: "d".into(),
            size_bytes: 9,
            operator: "wang".into(),
            signature: Some(VersionSignature { signer: "platform".into(), key_id: "k".into(), digest: "s".into() }),
            info: "{}".into(),
            ..VersionChange::default()
        }),
        RecordBody::Redrive(Redrive {
            tenant: "system".into(),
            operator: "wang".into(),
            comment: "c".into(),
            letters: vec![RedrivenLetter {
                ordinal: 9,
                index: 1,
                received_at_ms: 1_700_000_000_000,
                source: "grafana".into(),
                arrival: Arrival {
                    idempotency_key: Some("k".into()),
                    request_index: 2,
                    content_type: "text/csv".into(),
                    headers: vec![("x-event".into(), "push".into())],
                    redriven: 3,
                    ..Arrival::by(ArrivalBy::Payload)
                },
                item: b"a,\xff\n".to_vec().into(),
            }],
        }),
    ]
}

fn rule() -> RuleEntry {
    RuleEntry { name: "n".into(), version: "1".into(), digest: "d".into(), config: "{}".into(), options: "{}".into(), ..RuleEntry::default() }
}

#[test]
fn every_kind_survives_the_round_trip() {
    for body in samples() {
        let mut bytes = Vec::new();
        body.encode(&mut bytes);
        assert_eq!(RecordBody::decode(&bytes), Ok(body));
    }
}

/// As journals on disk hold them; none of these bytes may ever change its meaning.
#[test]
fn records_of_earlier_versions_are_read() {
    let recorded: [&[u8]; 9] = [
        b"\x01\x01\x01\x06\0\0\0system\x03\0\0\0web\x02\0\0\0k1\x03\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02\0\0\0\
          \0\0\0\0\x02\0\0\0{}\x02\0\0\0\x07\0\0\0{\"a\":1}",
        b"\x01\x07{\"generation\":7,\"change\":{\"action\":\"rollback\",\"object\":\"n\",\"operator\":\"wang\"},\"rules\":[{\"name\":\"n\",\"version\":\"1\",\
          \"digest\":\"d\",\"config\":\"{}\",\"options\":\"{}\",\"pinned\":true,\"previous\":{\"version\":\"2\",\"digest\":\"e\",\"config\":\"\",\
          \"options\":\"{}\"}}],\"tables\":[[\"hosts\",\"d2\"]]}",
        b"\x01\x03",
        b"\x01\x04\x05\0\0\x000.1.0",
        b"\x01\x05\x03\x06\0\0\0system\x04\0\0\0wang\x07\0\0\0INC-881\x02\0\0\0k2\x02\0\0\0\x00\xf1\x53\x65\0\0\0\0\x00\x40\0\0\0\0\0\0\
          \x01\xf1\x53\x65\0\0\0\0\x07\xc0\0\0\0\0\0\0",
        b"\x01\x06\x06\0\0\0system\x07\0\0\0grafana\x02\0\0\0k3\x02\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
          \x08\0\0\0text/csv\x01\0\0\0\x07\0\0\0x-event\x04\0\0\0push\x04\0\0\0a,\xff\n",
        b"\x01\x08{\"generation\":7,\"verdicts\":[{\"rule\":\"n\",\"version\":\"1@sha256:d\",\"hook\":\"enrich-event\",\"kind\":\"deadline\",\
          \"message\":\"still running at its time limit\",\"policy\":\"dead-letter\",\"from\":{\"ordinal\":9,\"index\":1}}]}",
        b"\x01\x09{\"action\":\"removed\",\"name\":\"n\",\"version\":\"1\",\"digest\":\"d\",\"size_bytes\":9,\"operator\":\"wang\",\
          \"signature\":{\"signer\":\"platform\",\"key_id\":\"k\",\"digest\":\"s\"},\"info\":\"{}\"}",
        b"\x01\x0a\x06\0\0\0system\x04\0\0\0wang\x01\0\0\0c\x01\0\0\0\x09\0\0\0\0\0\0\0\x01\0\0\0\x00\x68\xe5\xcf\x8b\x01\0\0\x07\0\0\0grafana\
          \x03\x02\0\0\0\x03\0\0\0\x01\0\0\0k\x08\0\0\0text/csv\x01\0\0\0\x07\0\0\0x-event\x04\0\0\0push\x04\0\0\0a,\xff\n",
    ];
    for (bytes, body) in recorded.into_iter().zip(samples()) {
        assert_eq!(RecordBody::decode(bytes), Ok(body.clone()));
        let mut written = Vec::new();
        body.encode(&mut written);
        assert_eq!(written, bytes, "what is written today is what was written then");
    }
}

/// Kind 2 is read for ever, and written no more.
#[test]
fn a_rule_set_of_the_first_kind_is_read() {
    let bytes = b"\x01\x02\x07\0\0\0\0\0\0\0\x01\0\0\0\x01\0\0\0n\x01\0\0\x001\x01\0\0\0d\x02\0\0\0{}\x02\0\0\0{}\x01\0\0\0\x05\0\0\0hosts\x02\0\0\0d2";
    let set = RuleSet { generation: 7, rules: vec![rule()], tables: vec![("hosts".into(), "d2".into())], ..RuleSet::default() };
    assert_eq!(RecordBody::decode(bytes), Ok(RecordBody::RuleSet(set)));
    (0..bytes.len()).for_each(|cut| assert!(RecordBody::decode(&bytes[..cut]).is_err(), "cut at {cut}"));
}

#[test]
fn what_a_newer_version_wrote_is_told_from_damage() {
    for kind in 11..=u8::MAX {
        let error = RecordBody::decode(&[FORMAT, kind, 1, 2, 3]).unwrap_err();
        assert_eq!(error, RecordError::Kind(kind));
        assert!(error.to_string().ends_with("a newer one wrote it"), "{error}");
    }
    assert_eq!(RecordBody::decode(&[FORMAT + 1, 1]), Err(RecordError::Format(FORMAT + 1)));
    assert!(matches!(RecordBody::decode(b"\x01\x05\x04\x06\0\0\0system"), Err(RecordError::Damaged(_))), "an unknown action");
}

#[test]
fn a_cut_or_longer_payload_is_refused_at_every_byte() {
    for body in samples() {
        let mut bytes = Vec::new();
        body.encode(&mut bytes);
        for cut in 0..bytes.len() {
            assert!(RecordBody::decode(&bytes[..cut]).is_err(), "cut at {cut} of {body:?}");
        }
        bytes.push(0);
        assert!(RecordBody::decode(&bytes).is_err());
    }
}
