use super::*;
use crate::alert::{Alert, LifecycleConfig};
use crate::decode::{ITEM_BYTES_MAX, decode_item};
use crate::event::Event;
use crate::identity::{Algorithm, UidKey};
use crate::pipeline::prepare::prepare;
use crate::pipeline::understand::UnderstandConfig;
use crate::record::{Door, Items, Journaled, Record, RecordBody};
use crate::rules::NoRules;

/// The row that an item becomes.
pub(crate) fn row(item: &str) -> Row {
    assert!(item.len() <= ITEM_BYTES_MAX);
    decode_item(Door::Events, item.as_bytes(), "system").unwrap();
    let items = Items::of_texts(Door::Events, &[item]);
    let record = Record { ordinal: 1, received_at_ms: 1_700_000_000_000, body: RecordBody::Items(items) };
    let config = UnderstandConfig { uid_key: UidKey([1; 16]), algorithm: Algorithm::Keyed };
    prepare(&mut [Journaled { record, parsed: None }], 1, &mut NoRules, &config).unwrap().rows.remove(0)
}

fn write(row: &mut Row, field: &str, text: &str) -> Result<(), WriteError> {
    Field::parse_write(field).unwrap().write_text(row, text)
}

/// The alert that a row opens comes back from what is stored of it, byte for byte.
fn check_restores(row: Row) {
    check_alert_restores(&Alert::open(row, 1 << 14, 1_700_000_000, 1, &LifecycleConfig::default()));
}

pub(crate) fn check_alert_restores(alert: &Alert) {
    let mut document = Vec::new();
    alert.write_document(&mut document);
    let restored = Alert::restore(alert.seq, &document, &alert.write_state()).unwrap();
    let mut again = Vec::new();
    restored.write_document(&mut again);
    assert_eq!(String::from_utf8_lossy(&again), String::from_utf8_lossy(&document));
    assert_eq!(String::from_utf8_lossy(&restored.write_state()), String::from_utf8_lossy(&alert.write_state()));
}

#[test]
fn list_fields_take_lists_of_texts_only() {
    let deep = format!("{}{}", "[".repeat(120), "]".repeat(120));
    for field in ["assignee", "metric", "bk_topo_node", "dedupe_keys"] {
        let mut row = row(r#"{"alert_name":"x"}"#);
        let before = row.event.clone();
        for refused in [deep.as_str(), "[1]", "[null]", r#"["a",["b"]]"#, r#"[{"a":1}]"#] {
            assert!(matches!(write(&mut row, field, refused), Err(WriteError::Type { .. })), "{field} {refused}");
            assert_eq!(row.event, before, "{field} {refused}");
        }
        write(&mut row, field, r#"["a","b"]"#).unwrap();
        assert_eq!(Field::parse_read(field).unwrap().text(&row).as_deref(), Some(r#"["a","b"]"#), "{field}");
        check_restores(row);
    }
    let mut row = row(r#"{"alert_name":"x"}"#);
    assert!(write(&mut row, "dedupe_keys", r#"["a\u0000"]"#).is_err());
    write(&mut row, "metric", "cpu").unwrap();
    write(&mut row, "assignee", "{").unwrap();
    assert_eq!((row.event.metric.to_json(), row.event.assignee), (r#"["cpu"]"#.to_owned(), Value::from("{")));
}

#[test]
fn paths_into_extra_info_are_bounded() {
    let path = |keys: usize, bytes: usize| format!("extra_info.{}", vec!["k".repeat(bytes); keys].join("."));
    for good in [path(1, 1), path(EXTRA_KEYS_MAX, 1), path(EXTRA_KEYS_MAX, KEY_BYTES_MAX)] {
        assert!(Field::parse_write(&good).is_ok() && Field::parse_read(&good).is_ok());
    }
    for bad in [path(EXTRA_KEYS_MAX + 1, 1), path(1, KEY_BYTES_MAX + 1)] {
        assert_eq!((Field::parse_write(&bad), Field::parse_read(&bad)), (Err(FieldError::Path(bad.clone())), Err(FieldError::Path(bad.clone()))));
    }
}

#[test]
fn our_own_marks_are_read_only() {
    for name in ["extra_info.alertmill", "extra_info.alertmill.dropped_by", "extra_info.alertmill2"] {
        assert_eq!(Field::parse_write(name), Err(FieldError::ReadOnly(name.to_owned())));
        assert!(Field::parse_read(name).is_ok());
    }
    assert!(Field::parse_write("extra_info.alertmanager.x").is_ok());
}

#[test]
fn a_severity_from_an_event_rule_is_the_events_own() {
    let mut row = row(r#"{"alert_name":"x","severity":3}"#);
    Field::parse_write("severity").unwrap().write_integer(&mut row, 1).unwrap();
    assert_eq!(row.event.severity_level(), 1);
    let alert = Alert::open(row, 1 << 14, 1_700_000_000, 1, &LifecycleConfig::default());
    assert_eq!((alert.severity, alert.severity_by_rule, alert.extra_info.get("severity_source")), (1, false, None));
}

#[test]
fn the_deepest_that_doors_and_rules_accept_can_be_restored() {
    // The item is the first of 32 containers.
    let nested = |containers: usize| format!("{}7{}", r#"{"k":["#.repeat(containers / 2), "]}".repeat(containers / 2));
    let level = format!(r#"{{\"alert_level_msg\":{{\"alert_level\":{}1{}}}}}"#, "[".repeat(118), "]".repeat(118));
    let item = format!(
        r#"{{"alert_name":"x","tags":[{{"key":"t","value":{},"display_value":{}}}],"unknown_field":{},"dedupe_keys":["tags.t","severity","unknown_field","extra_info"],
        "extra_info":{{"origin_alarm":{{"data":{{"values":{{"extra_info":"{level}"}}}}}},"additional_dimensions":[{{"key":"d","value":{}}}],"deep":{}}}}}"#,
        nested(28),
        nested(28),
        nested(30),
        nested(28),
        nested(30)
    );
    let mut row = row(&item);
    assert!(decode_item(Door::Events, item.replace("\"deep\":", "\"deep\":[[").replace("}}}}", "]]}}}}").as_bytes(), "system").is_err());
    for field in ["extra_info.a", "extra_info.unknown.a", "extra_info.deep.k2"] {
        let path = format!("{field}{}", ".k".repeat(EXTRA_KEYS_MAX - field.matches('.').count()));
        write(&mut row, &path, "text").unwrap();
    }
    for field in ["assignee", "metric", "bk_topo_node"] {
        write(&mut row, field, r#"["[[[[[[","x"]"#).unwrap();
    }
    check_restores(row);
}

#[test]
fn numbers_of_17_digits_keep_their_bytes() {
    let numbers = [
        "0.30000000000000004",
        "1.7976931348623157e308",
        "2.2250738585072014e-308",
        "5e-324",
        "9007199254740993.0",
        "123456789.12345679",
        "0.1234567890123456789",
        "-1.0000000000000002",
        "8.41e21",
        "2.0919495182368195e19",
        "7.2057594037927933e16",
    ];
    let row = row(&format!(r#"{{"alert_name":"x","extra_info":{{"values":[{}]}},"tags":{{"v":{}}}}}"#, numbers.join(","), numbers[0]));
    let Some(Value::List(values)) = row.event.extra_info.get("values") else { panic!("a list") };
    for (value, number) in values.iter().zip(numbers) {
        assert_eq!(*value, Value::Float(number.parse().unwrap()), "{number}");
        assert_eq!(Value::from_json(value.to_json().as_bytes()).unwrap(), *value, "{number}");
    }
    // Many more, by a fixed sequence.
    let mut bits = 0x9e37_79b9_7f4a_7c15u64;
    for _ in 0..20_000 {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let float = f64::from_bits(bits);
        if float.is_finite() {
            assert_eq!(Value::from_json(Value::Float(float).to_json().as_bytes()).unwrap(), Value::Float(float), "{float:e}");
        }
    }
    assert_ne!(row.event, Event::default());
    check_restores(row);
}
