use super::*;
use crate::event::unhex;
use crate::item::{ItemLimits, parse_item};
use crate::pipeline::fingerprint::{dedupe_values, fingerprint_bk_monitor};

const NOW: i64 = 1_700_000_000;

/// A good item with `changes` laid over it.
fn item(changes: &str) -> Item {
    let mut item = parse_item(br#"{"event_id":"e1","plugin_id":"p","alert_name":"disk full","time":1700000000}"#, ItemLimits::UPSTREAM).unwrap();
    let mut over = parse_item(changes.as_bytes(), ItemLimits::UPSTREAM).unwrap();
    for field in ItemField::ALL.iter().copied().filter(|field| over.has(*field)).collect::<Vec<_>>() {
        item.set(field, over.take(field));
    }
    item.unknown = over.unknown;
    item
}

fn cleaned(changes: &str) -> Event {
    clean(item(changes), NOW, Algorithm::BkMonitor).unwrap()
}

fn refused(changes: &str) -> String {
    let error = clean(item(changes), NOW, Algorithm::BkMonitor).unwrap_err();
    format!("{}: {error}", error.code())
}

fn poison(changes: &str) -> String {
    check_poison(&cleaned(changes)).map_or_else(|error| format!("{}: {error}", error.code()), |()| "fine".to_owned())
}

#[test]
fn the_least_item_gets_its_defaults() {
    let event = cleaned("{}");
    assert_eq!(
        serde_json::to_string(&event.embedded()).unwrap(),
        concat!(
            r#"{"id":"e326907b6cc6b41abf4cd7d260bc2c7c","bk_tenant_id":"system","event_id":"e1","plugin_id":"p","alert_name":"disk full","severity":3,"#,
            r#""data_type":"event","tags":[],"target_type":"","status":"ABNORMAL","metric":[],"category":"other_rt","#,
            r#""dedupe_keys":["alert_name","target_type","target","bk_biz_id"],"time":1700000000,"anomaly_time":1700000000,"#,
            r#""create_time":1700000000,"extra_info":{}}"#
        )
    );
    assert_eq!(check_poison(&event), Ok(()));
}

#[test]
fn what_upstream_ignores_is_refused_by_name() {
    for (changes, expected) in [
        (r#"{"event_id":null}"#, "missing-field: event_id is absent or null"),
        (r#"{"plugin_id":null}"#, "missing-field: plugin_id is absent or null"),
        (r#"{"time":null}"#, "no-time: time is absent, and bk_ingest_time too"),
        (r#"{"status":1}"#, "not-text: status is not a text"),
        (r#"{"category":["os"]}"#, "not-text: category is not a text"),
        (r#"{"data_type":1}"#, "not-text: data_type is not a text"),
        (r#"{"target_type":7}"#, "not-text: target_type is not a text"),
        (r#"{"tags":{"a":1}}"#, "tags-not-list: tags is not a list"),
        (r#"{"tags":"a"}"#, "tags-not-list: tags is not a list"),
        (r#"{"tags":0}"#, "tags-not-list: tags is not a list"),
        (r#"{"tags":[{"key":1,"value":2},null]}"#, "tag-not-object: tags[1] is not an object"),
        (r#"{"tags":[{"value":2}]}"#, "tag-incomplete: tags[0].key is absent"),
        (r#"{"tags":[{"key":"a"}]}"#, "tag-incomplete: tags[0].value is absent"),
    ] {
        assert_eq!(refused(changes), expected, "{changes}");
    }
}

#[test]
fn poison_is_refused_by_name() {
    for (changes, expected) in [
        (r#"{"alert_name":null}"#, "missing-field: alert_name is absent or null"),
        (r#"{"time":"1700000000"}"#, "not-number: time is not a number of seconds"),
        (r#"{"time":true}"#, "not-number: time is not a number of seconds"),
        (r#"{"time":1e300}"#, "not-number: time is not a number of seconds"),
        (r#"{"time":1700000000.5}"#, "fine"),
        (r#"{"extra_info":{"origin_alarm":{"data":{"access_time":"x"}}}}"#, "not-number: extra_info.origin_alarm.data.access_time is not a number of seconds"),
        (r#"{"extra_info":{"origin_alarm":{"data":{"access_time":null}}}}"#, "fine"),
        (r#"{"strategy_id":"nine"}"#, "not-integer: strategy_id is not an integer"),
        (r#"{"strategy_id":[9]}"#, "not-integer: strategy_id is not an integer"),
        (r#"{"strategy_id":" 9 "}"#, "fine"),
        (r#"{"strategy_id":""}"#, "fine"),
        (r#"{"target_type":"HOST","target":[1]}"#, "not-text: target is not a text"),
        (r#"{"target_type":"HOST","target":7}"#, "not-text: target is not a text"),
        (r#"{"target_type":"HOST","target":""}"#, "fine"),
        (r#"{"target_type":"HOST"}"#, "fine"),
        (r#"{"target_type":"SERVICE","target":"x"}"#, "not-integer: target is not an integer"),
        (r#"{"target_type":"SERVICE"}"#, "not-integer: target is not an integer"),
        (r#"{"target_type":"SERVICE","target":12}"#, "fine"),
        (r#"{"dedupe_keys":["tags.a",5]}"#, "dedupe-key-not-text: dedupe_keys[5] is not a text"),
        (r#"{"dedupe_keys":["tags.a",5],"dedupe_md5":"0e95b03cf36c69577971f3c246543af3"}"#, "fine"),
    ] {
        assert_eq!(poison(changes), expected, "{changes}");
    }
}

#[test]
fn fields_are_coerced() {
    let fields = |changes: &str, names: &[&str]| {
        let event = cleaned(changes);
        names.iter().map(|name| event.field(name).to_json()).collect::<Vec<_>>().join(" ")
    };
    for (changes, names, expected) in [
        (r#"{"metric":"a"}"#, &["metric"][..], r#"["a"]"#),
        (r#"{"metric":""}"#, &["metric"], "[]"),
        (r#"{"metric":["a",1]}"#, &["metric"], r#"["a",1]"#),
        (r#"{"bk_tenant_id":""}"#, &["bk_tenant_id"], r#""system""#),
        (r#"{"bk_tenant_id":"t"}"#, &["bk_tenant_id"], r#""t""#),
        (r#"{"target_type":"k8s-pod"}"#, &["target_type"], r#""k8s-pod""#),
        (r#"{"target_type":0}"#, &["target_type"], r#""""#),
        (r#"{"target_type":"Topo"}"#, &["target_type"], r#""TOPO""#),
        (r#"{"data_type":"LOG"}"#, &["data_type"], r#""log""#),
        (r#"{"data_type":"alert"}"#, &["data_type"], r#""event""#),
        (r#"{"category":"Kubernetes"}"#, &["category"], r#""kubernetes""#),
        (r#"{"category":""}"#, &["category"], r#""other_rt""#),
        (r#"{"severity":"fatal"}"#, &["severity"], "3"),
        (r#"{"severity":[1]}"#, &["severity"], "3"),
        (r#"{"severity":18446744073709551615}"#, &["severity"], "3"),
        (r#"{"time":null,"bk_ingest_time":5}"#, &["time", "bk_ingest_time"], "5 5"),
        (r#"{"time":"x","bk_ingest_time":5}"#, &["time"], r#""x""#),
        (r#"{"create_time":5,"id":"mine"}"#, &["create_time", "id"], r#"1700000000 "e326907b6cc6b41abf4cd7d260bc2c7c""#),
        (r#"{"tags":null}"#, &["tags"], "[]"),
        (
            r#"{"tags":[{"key":null,"value":{"a":"é/","b":[1.0, 2]}},{"key":["x"],"value":[{"c": 1},[2, 3],"t",null],"colour":1}]}"#,
            &["tags"],
            r#"[{"key":"None","value":"{\"a\":\"\\u00e9/\",\"b\":[1.0,2]}"},{"key":"['x']","value":["{\"c\":1}","[2,3]","t",null]}]"#,
        ),
    ] {
        assert_eq!(fields(changes, names), expected, "{changes}");
    }
}

#[test]
fn the_origin_alarm_can_set_the_severity() {
    let severity = |inner: &str| {
        let inner = serde_json::to_string(inner).unwrap();
        cleaned(&format!(r#"{{"severity":2,"extra_info":{{"origin_alarm":{{"data":{{"values":{{"extra_info":{inner}}}}}}}}}}}"#)).severity
    };
    assert_eq!(severity(r#"{"alert_level_msg":{"alert_level":1}}"#), Value::Int(1));
    assert_eq!(severity(r#"{"alert_level_msg":{"alert_level":"fatal"}}"#), Value::from("fatal"), "neither clamped nor cast");
    assert_eq!(severity(r#"{"alert_level_msg":{"alert_level":9}}"#), Value::Int(9));
    for broken in ["", "x", "[]", "{}", r#"{"alert_level_msg":1}"#, r#"{"alert_level_msg":{"alert_level":null}}"#] {
        assert_eq!(severity(broken), Value::Int(2), "{broken}");
    }
}

#[test]
fn a_sent_fingerprint_counts_under_bk_monitor_only() {
    let sent = r#"{"dedupe_md5":"0e95b03cf36c69577971f3c246543af3"}"#;
    let event = cleaned(sent);
    assert_eq!(fingerprint_bk_monitor(&event), unhex("0e95b03cf36c69577971f3c246543af3").unwrap());
    assert_eq!(dedupe_values(&event), Vec::new());
    let keyed = clean(item(sent), NOW, Algorithm::Keyed).unwrap();
    assert_eq!((keyed.dedupe_md5, keyed.uid), (None, Uid::default()));
}

#[test]
fn a_dedupe_key_reaches_an_unknown_field_that_the_document_drops() {
    let event = cleaned(r#"{"colour":"red","shape":"round","dedupe_keys":["colour"]}"#);
    assert_eq!(dedupe_values(&event)[4], Value::from("red"));
    assert_eq!(event.unknown.len(), 1);
    assert!(!serde_json::to_string(&event.embedded()).unwrap().contains("red"));
}

/// Any JSON gives an event or a reason, and an event can be hashed, dated and written.
#[test]
fn nothing_panics() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut events, mut refusals) = (0, 0);
    for _ in 0..20_000 {
        let mut item = item("{}");
        for field in ItemField::ALL {
            if random.below(4) == 0 {
                item.set(*field, random.value(3));
            }
        }
        item.unknown.push((random.text(), random.value(2)));
        match clean(item, NOW, if random.below(2) == 0 { Algorithm::Keyed } else { Algorithm::BkMonitor }) {
            Ok(event) => {
                events += 1;
                let _ = (check_poison(&event), fingerprint_bk_monitor(&event), dedupe_values(&event));
                let _ = (crate::pipeline::expiry::is_expired(&event, NOW, Some(random.next() as i64)), crate::pipeline::expiry::write_index(&event));
                let text = serde_json::to_vec(&event.embedded()).unwrap();
                assert!(Value::from_json(&text).is_ok());
                assert!(matches!(event.severity_level(), 1..=3));
            }
            Err(error) => {
                refusals += 1;
                assert!(!error.code().is_empty() && !error.to_string().is_empty());
            }
        }
    }
    assert!(events > 100 && refusals > 100, "{events} events, {refusals} refusals");
}

/// A small generator (xorshift) with a fixed seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    fn text(&mut self) -> Text {
        const TEXTS: [&str; 16] = [
            "",
            "HOST",
            "service",
            "closed",
            "log",
            " 1_0 ",
            "-",
            "tags.a",
            "tags.tags.",
            "key",
            "value",
            "\u{0}\u{7f}'\"\\",
            "é\u{301}\u{200b}",
            "😀",
            "target",
            r#"{"alert_level_msg":{"alert_level":[]}}"#,
        ];
        Text::new(TEXTS[self.below(16) as usize])
    }
    fn value(&mut self, depth: u64) -> Value {
        match self.below(if depth == 0 { 8 } else { 12 }) {
            0 => Value::Null,
            1 => Value::Bool(self.below(2) == 0),
            2 => Value::Int(self.next() as i64),
            3 => Value::UInt(self.next() | 1 << 63),
            4 => Value::Float(f64::from_bits(self.next())),
            5 => Value::Int(self.below(5) as i64 - 1),
            6 | 7 => Value::Text(self.text()),
            8 | 9 => Value::List((0..self.below(4)).map(|_| self.value(depth - 1)).collect()),
            10 => Value::Object((0..self.below(4)).map(|_| (self.text(), self.value(depth - 1))).collect()),
            _ => Value::List(vec![Value::Object(vec![("key".into(), self.value(depth - 1)), ("value".into(), self.value(depth - 1))])]),
        }
    }
}
