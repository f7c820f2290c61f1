use super::*;
use crate::alert::{Alert, LifecycleConfig};
use crate::fields::tests::{check_alert_restores, row};
use crate::fields::{EXTRA_KEYS_MAX, KnownField, RESERVED_TAG_KEYS};

const NOW_S: i64 = 1_700_000_000;

/// What the alert rules get of an alert that an item opens.
fn opened(item: &str) -> AlertRow {
    let row = row(item);
    let (at, source, received_at_ms, seed) = (row.place(), row.source.clone(), row.received_at_ms, row.seed);
    let alert = Alert::open(row, 1 << 14, NOW_S, 1, &LifecycleConfig::default());
    AlertRow::new(Box::new(alert), at, source, received_at_ms, seed)
}

fn read(row: &AlertRow, field: &str) -> Option<String> {
    AlertField::parse_read(field).unwrap().text(row).map(Cow::into_owned)
}

fn write(row: &mut AlertRow, field: &str, text: &str) -> Result<(), WriteError> {
    AlertField::parse_write(field).unwrap().write_text(row, text)
}

const ITEM: &str = r#"{"alert_name":"Disk full","severity":2,"strategy_id":7,"time":1699999000,"anomaly_time":1699998000,"dedupe_keys":["alert_name","tags.host"],
    "tags":[{"key":"host","value":"web-1","display_key":"Host"},{"key":"zone","value":"a"},{"key":"zone","value":"b"}],
    "extra_info":{"a":{"b":"c"},"strategy":{"labels":["x","y"]}}}"#;

#[test]
fn every_field_of_an_alert_is_read() {
    let row = opened(ITEM);
    let md5 = row.alert.dedupe_md5.to_string();
    let seed = row.seed.to_string();
    let wanted = [
        ("id", row.alert.id().as_str()),
        ("alert_name", "Disk full"),
        ("severity", "2"),
        ("status", "ABNORMAL"),
        ("strategy_id", "7"),
        ("begin_time", "1699999000"),
        ("create_time", "1700000000"),
        ("latest_time", "1699999000"),
        ("first_anomaly_time", "1699998000"),
        ("dedupe_md5", md5.as_str()),
        ("event_count", "1"),
        ("bk_tenant_id", "system"),
        ("labels", r#"["x","y"]"#),
        ("dimensions", r#"[{"key":"tags.host","value":"web-1","display_key":"Host","display_value":"web-1"}]"#),
        ("received_at", "1700000000000"),
        ("seed", seed.as_str()),
    ]
    .map(|(name, text)| (name, text.to_owned()));
    assert_eq!(wanted.each_ref().map(|(name, _)| *name).as_slice(), KnownAlertField::ALL.iter().map(|known| known.name()).collect::<Vec<_>>());
    for (name, text) in &wanted {
        assert_eq!(read(&row, name).as_ref(), Some(text), "{name}");
        let field = AlertField::parse_read(name).unwrap();
        assert_eq!(field.integer(&row).map(|n| n.to_string()), (field.kind() == FieldType::Integer).then(|| text.clone()), "{name}");
    }
    assert_eq!((read(&row, "extra_info.a.b").as_deref(), read(&row, "extra_info.a.x")), (Some("c"), None));
    let without = opened(r#"{"alert_name":"x"}"#);
    for missing in ["strategy_id", "labels", "dimensions", "tags", "tags.host"] {
        assert_eq!(read(&without, missing), None, "{missing}");
    }
}

#[test]
fn fields_of_the_opening_event_are_those_of_its_row() {
    let (of_event, of_alert) = (row(ITEM), opened(ITEM));
    let more = ["tags", "tags.zone", "tags.host", "extra_info.a.b", "extra_info.a"];
    for name in KnownField::ALL.iter().map(|known| known.name()).chain(more) {
        let (event_field, field) = (Field::parse_read(name).unwrap(), AlertField::parse_read(&format!("event.{name}")).unwrap());
        assert_eq!((field.name(), field.kind()), (Cow::Owned(format!("event.{name}")), event_field.kind()));
        // `agg_dimensions` is the alert's; an event's extra_info is as it was sent.
        assert_eq!(field.text(&of_alert), event_field.text(&of_event), "{name}");
        assert_eq!(field.integer(&of_alert), event_field.integer(&of_event), "{name}");
        assert_eq!(AlertField::parse_write(&format!("event.{name}")), Err(FieldError::ReadOnly(format!("event.{name}"))));
    }
}

#[test]
fn what_is_not_in_the_lists_is_refused_by_name() {
    for known in KnownAlertField::ALL {
        let field = AlertField::parse_read(known.name()).unwrap();
        assert_eq!((field.name(), field.kind()), (Cow::Borrowed(known.name()), known.kind()));
        match known.is_writable() {
            true => assert_eq!(AlertField::parse_write(known.name()), Ok(field)),
            false => assert_eq!(AlertField::parse_write(known.name()), Err(FieldError::ReadOnly(known.name().to_owned()))),
        }
    }
    let writable: Vec<&str> = KnownAlertField::ALL.iter().filter(|known| known.is_writable()).map(|known| known.name()).collect();
    assert_eq!(writable, ["alert_name", "severity", "labels"]);
    for ours in ["extra_info.alertmill", "extra_info.alertmill.rule_failures", "extra_info.alertmill2", "extra_info.severity_source"] {
        assert_eq!(AlertField::parse_write(ours), Err(FieldError::ReadOnly(ours.to_owned())));
        assert!(AlertField::parse_read(ours).is_ok());
    }
    let of_event = |name: &str| Err(FieldError::OfEvent(name.to_owned()));
    assert_eq!((AlertField::parse_read("description"), AlertField::parse_write("assignee")), (of_event("description"), of_event("assignee")));
    assert_eq!((AlertField::parse_read("drop"), AlertField::parse_write("drop")), (Err(FieldError::NoDrop), Err(FieldError::NoDrop)));
    for unknown in ["", "nonsense", "event.", "event.nonsense", "event.drop", "event.event.time", "extra_info.", "extra_info.a..b", "end_time", "event"] {
        assert!(matches!(AlertField::parse_read(unknown), Err(FieldError::Unknown(name)) if name == unknown), "{unknown}");
    }
    assert!(matches!(AlertField::parse_write("tags"), Err(FieldError::Unknown(_))));
    assert_eq!(AlertField::parse_write("tags.*"), Ok(AlertField::AllTags));
    let deep = format!("event.extra_info{}", ".k".repeat(EXTRA_KEYS_MAX + 1));
    assert_eq!(AlertField::parse_read(&deep), Err(FieldError::Path(deep.clone())));
    for key in RESERVED_TAG_KEYS.iter().chain(&["", "a\nb"]) {
        assert!(matches!(AlertField::parse_write(&format!("tags.{key}")), Err(FieldError::TagKey(..))), "{key}");
        assert!(matches!(AlertField::parse_read(&format!("event.tags.{key}")), Err(FieldError::TagKey(..))), "{key}");
    }
}

#[test]
fn a_severity_is_the_rules_and_the_document_says_so() {
    let mut row = opened(ITEM);
    let severity = AlertField::parse_write("severity").unwrap();
    let before = row.clone();
    for refused in [0, 4, 99, 255, 256 + 1, -1, i64::MIN, i64::MAX] {
        assert!(severity.write_integer(&mut row, refused).is_err() && !severity.takes_integer(refused), "{refused}");
    }
    assert!(severity.write_text(&mut row, "1").is_err());
    assert_eq!(row, before);
    severity.write_integer(&mut row, 2).unwrap();
    assert_eq!((row.alert.severity, row.alert.severity_by_rule), (2, true), "a rule that says what the event said has said it");
    severity.write_integer(&mut row, 1).unwrap();
    assert_eq!((row.alert.severity, row.alert.event.severity_level()), (1, 2), "the event's own stays");
    assert_eq!(read(&row, "extra_info.severity_source").as_deref(), Some("by_rule"));
    check_alert_restores(&row.alert);
}

#[test]
fn labels_are_a_list_of_texts() {
    let mut row = opened(ITEM);
    let before = row.clone();
    for refused in ["", "x", "{}", "[1]", r#"["a",["b"]]"#, "null", &format!(r#"["{}"]"#, "x".repeat(RULE_TEXT_BYTES_MAX))] {
        assert!(write(&mut row, "labels", refused).is_err(), "{refused}");
        assert_eq!(row, before);
    }
    write(&mut row, "labels", r#"["b","a"]"#).unwrap();
    assert_eq!(row.alert.labels.to_json(), r#"["b","a"]"#);
    write(&mut row, "labels", "[]").unwrap();
    assert_eq!((row.alert.labels.to_json().as_str(), read(&row, "labels")), ("[]", None));
}

#[test]
fn tags_become_dimensions_and_the_event_stays_as_it_came() {
    let mut row = opened(ITEM);
    let event = row.alert.event.clone();
    assert_eq!(read(&row, "tags.zone").as_deref(), Some("b"), "the last one");
    write(&mut row, "tags.host", "web-2").unwrap();
    write(&mut row, "tags.zone", "c").unwrap();
    write(&mut row, "tags.owner", "alice").unwrap();
    assert_eq!(row.alert.event, event);
    let dimension = |key: &str, value: &str, shown: &str| format!(r#"{{"key":"{key}","value":"{value}","display_key":"{shown}","display_value":"{value}"}}"#);
    let wanted = [dimension("tags.host", "web-2", "Host"), dimension("tags.zone", "c", "tags.zone"), dimension("tags.owner", "alice", "tags.owner")];
    assert_eq!(read(&row, "dimensions"), Some(format!("[{}]", wanted.join(","))));
    let all = |row: &AlertRow, field: &str| {
        let mut tags = Vec::new();
        AlertField::parse_read(field).unwrap().each_tag(row, |key, value| tags.push(format!("{key}={}", value.to_rule_text().unwrap())));
        tags.join(" ")
    };
    assert_eq!(all(&row, "tags"), "host=web-2 zone=c owner=alice", "rules behind see what was written");
    assert_eq!(all(&row, "event.tags"), "host=web-1 zone=a zone=b");
    row.remove_tag("zone");
    row.remove_tag("nothing");
    assert_eq!(all(&row, "tags"), "zone=a zone=b host=web-2 owner=alice");
    for key in RESERVED_TAG_KEYS.iter().chain(&["", "a\nb", &"k".repeat(129)]) {
        assert!(row.write_tag(key, "x").is_err(), "{key}");
    }
    assert!(row.write_tag("k", &"x".repeat(RULE_TEXT_BYTES_MAX + 1)).is_err());
    let left = TAGS_MAX - row.alert.dimensions.len();
    assert!(row.has_room_for_tags(left) && !row.has_room_for_tags(left + 1));
    (0..left).for_each(|n| row.write_tag(&format!("k{n}"), "x").unwrap());
    assert!(row.write_tag("one-more", "x").is_err());
    row.write_tag("owner", "bob").unwrap();
    check_alert_restores(&row.alert);
}

#[test]
fn what_rules_write_into_one_alert_is_bounded_in_all() {
    let text = "x".repeat(RULE_TEXT_BYTES_MAX);
    for field in ["extra_info.a", "tags.k", "tags.*"] {
        let mut row = opened(ITEM);
        let mut write = |n: usize| match field {
            "tags.*" => row.write_tag(&format!("k{n}"), &text),
            _ => write(&mut row, field, &text),
        };
        let (n, error) = (0..100).find_map(|n| Some((n, write(n).err()?))).unwrap();
        let refused = row.clone();
        assert!(error.to_string().contains("at most 262144"), "{error}");
        assert!(
            (ALERT_WRITTEN_BYTES_MAX - 3 * RULE_TEXT_BYTES_MAX..=ALERT_WRITTEN_BYTES_MAX).contains(&refused.alert.written_bytes),
            "{n} {}",
            refused.alert.written_bytes
        );
        assert!(refused.alert.extra_info.heap_bytes() + refused.alert.dimensions.len() * 3 * RULE_TEXT_BYTES_MAX < 2 * ALERT_WRITTEN_BYTES_MAX);
        row.alert.severity = 3;
        AlertField::parse_write("severity").unwrap().write_integer(&mut row, 1).unwrap();
        assert_eq!(row.alert.severity, 1, "a number takes no room");
    }
}

#[test]
fn any_write_is_taken_whole_or_changes_nothing_and_what_was_taken_comes_back() {
    let mut bits = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = |below: usize| {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (bits >> 33) as usize % below
    };
    let long = "x".repeat(RULE_TEXT_BYTES_MAX + 1);
    let texts = ["", "a", "\0", "\u{202e}b", "[]", r#"["l"]"#, r#"["l",2]"#, "{", "\"", "😀", &long[1..], &long, &long[..513]];
    let fields =
        ["alert_name", "labels", "severity", "tags.host", "tags.new", "tags.\u{e9}", "extra_info.a", "extra_info.a.b", "extra_info.a.b.c", "extra_info.n.m"];
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..2_000 {
        let mut row = opened(ITEM);
        for _ in 0..10 {
            let (field, text, before) = (AlertField::parse_write(fields[next(fields.len())]).unwrap(), texts[next(texts.len())], row.clone());
            let n = next(6) as i64 - 1;
            let is_integer = next(4) == 0;
            let written = if is_integer { field.write_integer(&mut row, n) } else { field.write_text(&mut row, text) };
            match written {
                Ok(()) => {
                    taken += 1;
                    let wanted = if is_integer { n.to_string() } else { text.to_owned() };
                    // An empty list is missing, in events too.
                    assert_eq!(field.text(&row), Some(Cow::Owned(wanted)).filter(|text| *text != "[]" || field.name() != "labels"), "{field:?}");
                }
                Err(error) => {
                    refused += 1;
                    assert_eq!(row, before, "{error}");
                    let promised = if is_integer { field.takes_integer(n) } else { field.takes_texts_of(text.len()) };
                    assert!(!promised, "{field:?} {error}");
                }
            }
        }
        assert_eq!(row.alert.event, opened(ITEM).alert.event);
        check_alert_restores(&row.alert);
    }
    assert!(taken > 5_000 && refused > 5_000, "{taken} {refused}");
}
