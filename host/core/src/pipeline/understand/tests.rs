use super::*;
use crate::identity::fingerprint_of_keys;
use crate::record::{Items, Record};

const T: i64 = 1_700_000_000;

fn items(of: &[&str]) -> Journaled {
    let body = RecordBody::Items(Items::of_texts(Door::Events, of));
    Journaled { record: Record { ordinal: 1, received_at_ms: T * 1000, body }, parsed: None }
}

fn understood(of: &[&str]) -> (Vec<Row>, Vec<DeadLetter>) {
    let config = UnderstandConfig { uid_key: UidKey([1; 16]), algorithm: Algorithm::Keyed };
    let (mut rows, mut dead_letters) = (Vec::new(), Vec::new());
    understand(&mut items(of), &config, &mut rows, &mut dead_letters);
    (rows, dead_letters)
}

fn one(item: &str) -> Row {
    let (mut rows, dead_letters) = understood(&[item]);
    assert_eq!((rows.len(), dead_letters.len()), (1, 0));
    rows.remove(0)
}

#[test]
fn an_access_time_far_ahead_is_clamped_as_the_time_is() {
    let of = |access_time: &str| {
        one(&format!(r#"{{"event_id":"e","alert_name":"x","time":{T},"extra_info":{{"origin_alarm":{{"data":{{"access_time":{access_time},"a":1}}}}}}}}"#))
    };
    for (sent, kept) in [("1700000300", true), ("1700000301", false), ("4000000000", false), ("1.7000003005e9", false), ("1e15", false), ("12", true)] {
        let row = of(sent);
        let mark = row.event.extra_info.path(&["alertmill", "access_time_sent"]);
        assert_eq!(mark.is_none(), kept, "{sent}");
        if !kept {
            assert_eq!((row.event.access_time(), mark.map(Value::to_json)), (&Value::Int(T), Some(Value::from_json(sent.as_bytes()).unwrap().to_json())));
        }
        assert_eq!(row.event.extra_info.path(&["origin_alarm", "data", "a"]), Some(&Value::Int(1)));
    }
    assert_eq!(of("4000000000").event.uid, of("12").event.uid, "the uid rests on what was sent");
}

#[test]
fn both_times_are_marked_when_both_are_ahead() {
    let row = one(r#"{"alert_name":"x","time":1800000000,"extra_info":{"origin_alarm":{"data":{"access_time":1900000000}}}}"#);
    let marks = row.event.extra_info.get("alertmill").map(Value::to_json);
    assert_eq!(marks.as_deref(), Some(r#"{"time_sent":1800000000,"access_time_sent":1900000000}"#));
    assert_eq!((row.event.time_s(), row.event.access_time()), (T, &Value::Int(T)));
}

#[test]
fn a_dedupe_key_may_name_a_field_without_a_meaning() {
    let of = |cluster: &str| one(&format!(r#"{{"alert_name":"x","time":{T},"cluster":{cluster},"dedupe_keys":["cluster"]}}"#));
    let prints: Vec<_> = [r#""a""#, r#""b""#, "1", r#""1""#, "null", r#"{"in":[1]}"#].map(|cluster| fingerprint_of_keys(&of(cluster).event)).into();
    for (i, print) in prints.iter().enumerate() {
        assert!(!prints[..i].contains(print), "{i}");
    }
    assert_eq!(of(r#""a""#).event.field("cluster"), Value::from("a"));
    assert_eq!(fingerprint_of_keys(&of(r#""a""#).event), prints[0]);
}

#[test]
fn the_level_of_an_origin_alarm_is_one_of_three() {
    for (level, severity) in [("1", 1), ("2", 2), ("7", 3), ("[[[[1]]]]", 3), (r#"\"1\""#, 3)] {
        let text = format!(r#"{{\"alert_level_msg\":{{\"alert_level\":{}}}}}"#, level);
        let row =
            one(&format!(r#"{{"alert_name":"x","severity":2,"time":{T},"extra_info":{{"origin_alarm":{{"data":{{"values":{{"extra_info":"{text}"}}}}}}}}}}"#));
        assert_eq!(row.event.severity, Value::Int(severity), "{level}");
    }
}

#[test]
fn a_record_gives_at_most_16383_events() {
    let item = r#"{"alert_name":"x"}"#;
    let (rows, dead_letters) = understood(&vec![item; 16_384]);
    assert_eq!(rows.len(), 16_383);
    assert_eq!(dead_letters.iter().map(|letter| letter.code.as_str()).collect::<Vec<_>>(), ["too-many-events"]);
}
