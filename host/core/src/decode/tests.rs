//! The corpus and the rules of decode, through its two doors in: a whole request and one journaled item.

use super::*;
use crate::item::{ItemField, parses};
use crate::value::Value;

/// Fewer than in production, so that the test of the bound is quick.
const ITEMS_MAX: usize = 10_000;

fn decode(body: &[u8]) -> Result<DecodedRequest, Refusal> {
    decode_request(Door::Events, body, ContentKind::Json, "system", ITEMS_MAX)
}

/// The one item of a body, or the refusal of item or body.
fn one(body: &[u8]) -> Result<Item, Refusal> {
    let mut request = decode(body)?;
    assert_eq!(request.received as usize, request.good.len() + request.refused.len() + request.duplicates.len());
    match request.refused.pop() {
        Some((_, refusal)) => Err(refusal),
        None => {
            let good = request.good.remove(0);
            assert_eq!(decode_item(Door::Events, &body[good.bytes.clone()], "system").as_ref(), Ok(&good.item), "replay differs");
            Ok(good.item)
        }
    }
}

fn code_of(body: &str) -> &'static str {
    one(body.as_bytes()).map_or_else(|refusal| refusal.code.as_str(), |_| "ok")
}

fn with(field: &str, json: &str) -> String {
    format!(r#"{{"alert_name":"a","{field}":{json}}}"#)
}

fn field_of(field: ItemField, json: &str) -> Value {
    one(with(field.name(), json).as_bytes()).unwrap().get(field).clone()
}

fn base64(text: &str) -> Vec<u8> {
    let (mut out, mut bits, mut n) = (Vec::new(), 0u32, 0);
    for b in text.bytes().filter(|b| *b != b'=') {
        let six = match b {
            b'A'..=b'Z' => b - b'A',
            b'a'..=b'z' => b - b'a' + 26,
            b'0'..=b'9' => b - b'0' + 52,
            b'+' => 62,
            _ => 63,
        };
        bits = (bits << 6) | u32::from(six);
        n += 6;
        if n >= 8 {
            n -= 8;
            out.push((bits >> n) as u8);
        }
    }
    out
}

#[test]
fn corpus_of_hostile_bodies() {
    let cases = include_str!("../../../../tests/corpus/json-cases.jsonl");
    let mut seen = 0;
    for line in cases.lines() {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        let (id, expect) = (case["id"].as_str().unwrap(), case["expect"].as_str().unwrap());
        let body = base64(case["bytes_b64"].as_str().unwrap());
        let answer = one(&body);
        let code = answer.as_ref().map_or_else(|refusal| refusal.code.as_str(), |_| "ok");
        match expect.split_once(':').unwrap_or((expect, "")) {
            ("ok", "byte-exact") => {
                let sent = body.windows(14).position(|w| w == b"{\"alert_name\":").map(|_| &body[15..body.len() - 2]).unwrap();
                assert_eq!(answer.unwrap().get(ItemField::AlertName).as_text().unwrap().as_bytes(), sent, "{id}");
            }
            ("ok", "flagged") => {
                let item = answer.unwrap();
                assert_eq!(item.get(ItemField::Description), &Value::from("a\u{2400}b"), "{id}");
                assert_eq!(item.get(ItemField::ExtraInfo).path(&["alertmill", "nul_replaced"]), Some(&Value::Bool(true)), "{id}");
            }
            ("ok", _) => assert_eq!(code, "ok", "{id}"),
            ("refuse", wanted) => assert_eq!(code, wanted, "{id}: {answer:?}"),
            // One rule: integers of Unix seconds until year 9999.
            ("rule", "time") => assert_eq!(code, if id == "time-year9999" { "ok" } else { "time" }, "{id}"),
            // One rule: `fields::check_tag_key`.
            ("rule", "tag-key") => {
                let refused = id == "tagkey-bk_tenant_id" || id.starts_with("tagkey-aaaa");
                assert_eq!(code, if refused { "tag-key" } else { "ok" }, "{id}");
            }
            ("table", _) => {
                let severity = if id == "severity-text" { Value::Int(1) } else { Value::Null };
                assert_eq!(answer.unwrap().get(ItemField::Severity), &severity, "{id}");
            }
            // The item counts as the first of 32 containers.
            ("boundary", _) => assert_eq!(code, if id == "depth-31" { "ok" } else { "depth" }, "{id}"),
            other => panic!("{id}: expectation {other:?} is not known"),
        }
        seen += 1;
    }
    assert_eq!(seen, 69);
}

#[test]
fn h1_depth_counts_containers_of_every_kind() {
    let nested = |open: &str, close: &str, n: usize| with("extra", &format!("{}1{}", open.repeat(n), close.repeat(n)));
    assert_eq!(code_of(&nested("[", "]", 31)), "ok");
    assert_eq!(code_of(&nested("[", "]", 32)), "depth");
    assert_eq!(code_of(&nested(r#"{"k":"#, "}", 31)), "ok");
    assert_eq!(code_of(&nested(r#"{"k":"#, "}", 32)), "depth");
    assert_eq!(code_of(&nested("[", "]", 100_000)), "depth");
}

#[test]
fn h3_numbers_keep_their_digits_or_are_refused() {
    for bad in ["18446744073709551616", "-9223372036854775809", "[[100000000000000000000]]", "{\"k\":340282366920938463463374607431768211456}"] {
        assert_eq!(code_of(&with("extra", bad)), "number", "{bad}");
    }
    for bad in ["+1", ".5", "0x10", "01", "1.", "-", "1e", "-01", "1.e5", "+", "NaN", "Infinity", "-Infinity", "1e400"] {
        assert_eq!(code_of(&with("extra", bad)), "number", "{bad}");
        assert_eq!(code_of(&with("time", bad)), "number", "{bad}");
    }
    for good in ["18446744073709551615", "-9223372036854775808", "1e300", "-9223372036854775808.0", "1.5e19", "\"18446744073709551616\""] {
        assert_eq!(code_of(&with("extra", good)), "ok", "{good}");
    }
    // The text beside a large float is not taken for an integer.
    assert_eq!(code_of(&with("extra", r#"[1e300,"99999999999999999999","a\"99999999999999999999"]"#)), "ok");
    for field in ["bk_biz_id", "strategy_id", "bk_host_id", "event_id", "severity"] {
        for bad in ["9007199254740993", "-0", "1.0", "1e2", "18446744073709551615"] {
            assert_eq!(code_of(&with(field, bad)), "number", "{field} {bad}");
        }
    }
    assert_eq!(field_of(ItemField::BkBizId, "9007199254740992"), Value::Int(1 << 53));
}

#[test]
fn h4_not_a_number_as_text_is_refused_in_numeric_fields() {
    for text in [r#""NaN""#, r#""Infinity""#, r#""-Infinity""#, r#""1e3""#, r#""+1""#, r#""01""#, r#""""#, r#"" 1""#] {
        assert_eq!(code_of(&with("severity", text)), "severity", "{text}");
        assert_eq!(code_of(&with("time", text)), "time", "{text}");
        assert_eq!(code_of(&with("bk_biz_id", text)), "type", "{text}");
    }
}

#[test]
fn h6_nul_is_refused_in_names_ids_and_keys_and_made_visible_elsewhere() {
    for (field, json, code) in [
        ("event_id", r#""a\u0000b""#, "id"),
        ("plugin_id", r#""\u0000""#, "id"),
        ("tags", r#"[{"key":"a\u0000","value":1}]"#, "tag-key"),
        ("dedupe_keys", r#"["tags.a\u0000"]"#, "key"),
        ("extra_info", r#"{"a":{"b\u0000":1}}"#, "key"),
        ("b\\u0000", "1", "key"),
    ] {
        assert_eq!(code_of(&with(field, json)), code, "{field}");
    }
    assert_eq!(code_of(r#"{"alert_name":"a\u0000b"}"#), "name");
    let item = one(br#"{"alert_name":"a","tags":{"k":"x\u0000"},"x":["\u0000"]}"#).unwrap();
    assert_eq!(item.get(ItemField::Tags).to_json(), "[{\"key\":\"k\",\"value\":\"x\u{2400}\"}]");
    assert_eq!(item.get(ItemField::ExtraInfo).to_json(), "{\"unknown\":{\"x\":[\"\u{2400}\"]},\"alertmill\":{\"nul_replaced\":true}}");
    // A backslash and the letters are not a NUL.
    let item = one(br#"{"alert_name":"a\\u0000"}"#).unwrap();
    assert_eq!(item.get(ItemField::AlertName), &Value::from("a\\u0000"));
    assert!(item.get(ItemField::ExtraInfo).is_null());
}

#[test]
fn h10_too_many_keys_tags_or_bytes_are_refused_before_they_are_kept() {
    let keys = |n: usize| (0..n).map(|i| format!("\"k{i}\":1")).collect::<Vec<_>>().join(",");
    assert_eq!(code_of(&with("extra", &format!("{{{}}}", keys(1_000)))), "ok");
    assert_eq!(code_of(&with("extra", &format!("{{{}}}", keys(1_001)))), "size");
    assert_eq!(code_of(&format!("{{\"alert_name\":\"a\",{}}}", keys(200_000))), "size");
    let tags = |n: usize| format!("[{}]", vec![r#"{"key":"k","value":1}"#; n].join(","));
    assert_eq!(code_of(&with("tags", &tags(256))), "ok");
    assert_eq!(code_of(&with("tags", &tags(257))), "size");
    assert_eq!(code_of(&with("tags", &tags(40_000))), "size");
    assert_eq!(code_of(&with(&"k".repeat(512), "1")), "ok");
    assert_eq!(code_of(&with(&"k".repeat(513), "1")), "size");
    assert_eq!(code_of(&with(&"k".repeat(1 << 20), "1")), "size");
}

#[test]
fn h12_types_and_caps_are_those_of_the_table() {
    for (field, json, becomes) in [
        (ItemField::Severity, r#""3""#, "3"),
        (ItemField::Status, r#""Recovered""#, r#""RECOVERED""#),
        (ItemField::BkBizId, r#""-42""#, "-42"),
        (ItemField::StrategyId, r#""7""#, "7"),
        (ItemField::EventId, "5", r#""5""#),
        (ItemField::Tags, r#"{"b":"x","a":1}"#, r#"[{"key":"b","value":"x"},{"key":"a","value":1}]"#),
        (ItemField::Tags, r#"[{"key":"a","value":null,"display_key":"A"}]"#, r#"[{"key":"a","value":null,"display_key":"A"}]"#),
        (ItemField::Target, "7", "7"),
        (ItemField::Assignee, r#"["a","b"]"#, r#"["a","b"]"#),
        (ItemField::Metric, r#""m""#, r#""m""#),
        (ItemField::Time, "0", "0"),
        (ItemField::BkTenantId, r#""system""#, "null"),
    ] {
        assert_eq!(field_of(field, json).to_json(), becomes, "{field:?} {json}");
    }
    for (field, json, code) in [
        ("severity", "\"critical\"", "severity"),
        ("severity", "0", "severity"),
        ("severity", "[1]", "severity"),
        ("status", "\"firing\"", "status"),
        ("status", "1", "status"),
        ("time", "\"1700000000\"", "time"),
        ("time", "1700000000.5", "time"),
        ("time", "253402300800", "time"),
        ("time", "true", "time"),
        ("anomaly_time", "-1", "time"),
        ("bk_biz_id", "true", "type"),
        ("bk_biz_id", "\"a\"", "type"),
        ("bk_biz_id", "\"9007199254740993\"", "number"),
        ("bk_biz_id", "\"99999999999999999999\"", "number"),
        ("strategy_id", "{}", "type"),
        ("event_id", "\"\"", "id"),
        ("event_id", "true", "type"),
        ("tags", "\"a\"", "tags"),
        ("tags", "[1]", "tags"),
        ("tags", "[{\"key\":\"a\"}]", "tags"),
        ("tags", "[{\"value\":\"a\"}]", "tags"),
        ("tags", "[{\"key\":\"a\",\"value\":1,\"val\":2}]", "tags"),
        ("tags", "[{\"key\":1,\"value\":1}]", "tag-key"),
        ("tags", "{\"\":1}", "tag-key"),
        ("tags", "{\"dedupe_md5\":1}", "tag-key"),
        ("description", "1", "type"),
        ("assignee", "[1]", "type"),
        ("dedupe_keys", "\"a\"", "type"),
        ("extra_info", "[]", "type"),
        ("bk_tenant_id", "\"other\"", "tenant"),
        ("bk_tenant_id", "1", "tenant"),
    ] {
        assert_eq!(code_of(&with(field, json)), code, "{field} {json}");
    }
    for (field, most) in [("alert_name", 512), ("description", 32 * 1024), ("event_id", 512), ("plugin_id", 512), ("target", 8 * 1024)] {
        let sized = |n: usize| match field {
            "alert_name" => format!("{{\"alert_name\":\"{}\"}}", "x".repeat(n)),
            _ => with(field, &format!("\"{}\"", "x".repeat(n))),
        };
        assert_eq!(code_of(&sized(most)), "ok", "{field}");
        assert_eq!(code_of(&sized(most + 1)), "size", "{field}");
    }
    assert_eq!(code_of(r#"{"alert_name":7}"#), "name");
    assert_eq!(code_of(r#"{"alert_name":" "}"#), "name");
    assert_eq!(code_of(r#"{"alert_name":null}"#), "name");
    let value = |n: usize| with("tags", &format!("{{\"k\":\"{}\"}}", "x".repeat(n)));
    assert_eq!((code_of(&value(8 * 1024)), code_of(&value(8 * 1024 + 1))), ("ok", "size"));
}

#[test]
fn h19_a_refused_time_names_its_unit() {
    for (json, unit) in [
        ("1700000000000", "milliseconds"),
        ("1700000000000000", "microseconds"),
        ("1700000000000000000", "nanoseconds"),
        ("\"2026-11-22T20:00:00Z\"", "ISO 8601"),
    ] {
        let refusal = one(with("time", json).as_bytes()).unwrap_err();
        assert!(refusal.code == Code::Time && refusal.pointer == "/time" && refusal.detail.contains(unit), "{refusal:?}");
    }
}

#[test]
fn poison_targets_of_upstream_are_refused_here() {
    let target = |kind: &str, target: &str| code_of(&format!(r#"{{"alert_name":"a","target_type":"{kind}","target":{target}}}"#));
    assert_eq!(target("HOST", r#""10.0.0.1|0""#), "ok");
    assert_eq!(target("host", "5"), "type");
    assert_eq!(target("HOST", "null"), "type");
    assert_eq!(target("SERVICE", r#""5""#), "ok");
    assert_eq!(target("SERVICE", "5"), "ok");
    assert_eq!(target("SERVICE", r#""x""#), "type");
    assert_eq!(target("K8S-POD", "null"), "ok");
}

#[test]
fn fields_without_a_meaning_are_kept_aside_and_never_trusted() {
    let item = one(br#"{"alert_name":"a","id":"forged","dedupe_md5":"m","create_time":1,"x":{"y":1},
            "extra_info":{"mine":1,"alertmill":{"nul_replaced":true},"unknown":{"x":"old","z":2}}}"#)
    .unwrap();
    let expected = r#"{"mine":1,"unknown":{"z":2,"x":{"y":1},"id":"forged","dedupe_md5":"m","create_time":1,"alertmill":{"nul_replaced":true}}}"#;
    assert_eq!(item.get(ItemField::ExtraInfo).to_json(), expected);
    assert!(item.unknown.is_empty() && item.get(ItemField::DedupeMd5).is_null());
    assert_eq!(code_of(r#"{"alert_name":"a","x":1,"extra_info":{"unknown":3}}"#), "type");
}

#[test]
fn an_absent_event_id_is_the_digest_of_the_bytes() {
    let id = |body: &[u8]| one(body).unwrap().get(ItemField::EventId).clone();
    assert_eq!(id(br#"{"alert_name":"a"}"#).as_text().unwrap().len(), 32);
    assert_eq!(id(br#"  {"alert_name":"a"} "#), id(br#"[{"alert_name":"a"}]"#));
    assert_ne!(id(br#"{"alert_name":"a"}"#), id(br#"{"alert_name": "a"}"#));
}

#[test]
fn one_bad_item_costs_its_neighbours_nothing() {
    let items = [r#"{"alert_name":"a"}"#, r#"{"alert_name":"b",}"#, "7", r#"{"alert_name":"}]\"{"}"#, r#"{"alert_name":01}"#, r#"[1,{"a":"]"}]"#];
    let huge = format!(r#"{{"alert_name":"h","x":"{}"}}"#, "x".repeat(2 << 20));
    let array = format!("\u{feff} [ {} ,\n{huge}, {{\"alert_name\":\"last\"}}]\n", items.join(" , "));
    let request = decode(array.as_bytes()).unwrap();
    assert_eq!(request.form, Form::Array);
    let good: Vec<_> = request.good.iter().map(|good| (good.index, &array.as_bytes()[good.bytes.clone()])).collect();
    assert_eq!(good, [(0, items[0].as_bytes()), (3, items[3].as_bytes()), (7, br#"{"alert_name":"last"}"#.as_slice())]);
    let codes: Vec<_> = request.refused.iter().map(|(i, refusal)| (*i, refusal.code.as_str())).collect();
    assert_eq!(codes, [(1, "syntax"), (2, "shape"), (4, "number"), (5, "shape"), (6, "size")]);
    assert_eq!(request.received, 8);

    let lines = format!("\r\n{}\n\n{huge}\r\n  \n{{\"alert_name\":\"last\"}}", items.join("\r\n"));
    let request = decode_request(Door::Events, lines.as_bytes(), ContentKind::Ndjson, "system", ITEMS_MAX).unwrap();
    assert_eq!(request.form, Form::Lines);
    let good: Vec<_> = request.good.iter().map(|good| (good.index, &lines.as_bytes()[good.bytes.clone()])).collect();
    assert_eq!(good, [(0, items[0].as_bytes()), (3, items[3].as_bytes()), (7, br#"{"alert_name":"last"}"#.as_slice())]);
    let codes: Vec<_> = request.refused.iter().map(|(i, refusal)| (*i, refusal.code.as_str())).collect();
    assert_eq!(codes, [(1, "syntax"), (2, "shape"), (4, "number"), (5, "shape"), (6, "size")]);
}

#[test]
fn a_body_that_cannot_be_divided_is_refused_whole() {
    for (body, code) in [
        ("[", Code::Syntax),
        (r#"[{"alert_name":"a"}"#, Code::Syntax),
        (r#"[{"alert_name":"a"},]"#, Code::Syntax),
        (r#"[,]"#, Code::Syntax),
        (r#"[{"alert_name":"a"} {"alert_name":"b"}]"#, Code::Syntax),
        (r#"[{"alert_name":"a"}]x"#, Code::Syntax),
        (r#"[{"alert_name":"a"},{"alert_name":"b]"#, Code::Syntax),
        (r#"[{"alert_name":"a"},{"alert_name":]}]"#, Code::Syntax),
        (r#"[{"alert_name":"a"},/**/{}]"#, Code::Syntax),
        ("[1,2,\"x\",[{}],null]", Code::Shape),
        ("\"text\"", Code::Shape),
        ("null", Code::Shape),
        ("\u{feff}", Code::Shape),
    ] {
        assert_eq!(decode(body.as_bytes()).map_err(|refusal| refusal.code).unwrap_err(), code, "{body}");
    }
    assert_eq!(decode(b"[]").unwrap().received, 0);
    let two = decode(b"{\"alert_name\":\"a\"}\n{\"alert_name\":\"b\"}").unwrap();
    assert_eq!((two.form, two.refused[0].1.code), (Form::Lone, Code::Syntax));
    let scalars = decode_request(Door::Events, b"1\n2\n", ContentKind::Ndjson, "system", ITEMS_MAX);
    assert_eq!(scalars.unwrap_err().code, Code::Shape);
}

#[test]
fn too_many_items_are_refused_whole() {
    let body = |n: usize| format!("[{}]", vec![r#"{"a":1}"#; n].join(","));
    assert_eq!(decode(body(ITEMS_MAX).as_bytes()).unwrap().refused.len(), ITEMS_MAX);
    assert_eq!(decode(body(ITEMS_MAX + 1).as_bytes()).unwrap_err().code, Code::TooManyItems);
    let scalars = format!("[{}1]", "1,".repeat(1 << 20));
    assert_eq!(decode(scalars.as_bytes()).unwrap_err().code, Code::TooManyItems);
}

#[test]
fn repeats_within_a_request_are_found() {
    let body = br#"[{"alert_name":"a","event_id":"1","time":5},{"event_id":"1","time":5,"alert_name":"changed","status":"abnormal"},
        {"alert_name":"a","event_id":"1","time":6},{"alert_name":"a","event_id":"1","time":5,"status":"closed"},
        {"alert_name":"b"},{"alert_name":"b"},{"alert_name":"b" },{"alert_name":"c","event_id":"1"},{"alert_name":"d","event_id":"1"}]"#;
    let request = decode(body).unwrap();
    assert_eq!(request.duplicates, [1, 5]);
    assert_eq!(request.good.len(), 7);
}

#[test]
fn any_cut_or_flipped_byte_is_answered_without_a_panic() {
    let body = r#"[{"alert_name":"a","severity":2,"tags":{"k":"v\u00e9\\"},"x":[1.5,-2e3,{"y":null}],"time":1700000000}, {"alert_name":"é"}]"#;
    for cut in 0..body.len() {
        for bytes in [
            body.as_bytes()[..cut].to_vec(),
            {
                let mut b = body.as_bytes().to_vec();
                b[cut] ^= 0x15;
                b
            },
            {
                let mut b = body.as_bytes().to_vec();
                b.remove(cut);
                b
            },
        ] {
            for kind in [ContentKind::Json, ContentKind::Ndjson] {
                for door in [Door::Events, Door::Alertmanager] {
                    if let Ok(request) = decode_request(door, &bytes, kind, "system", ITEMS_MAX) {
                        let n = request.good.len() + request.refused.len() + request.duplicates.len();
                        assert_eq!(request.received as usize, n);
                        for good in request.good {
                            assert_eq!(decode_item(door, &bytes[good.bytes], "system").as_ref(), Ok(&good.item));
                        }
                    }
                }
            }
        }
    }
}

mod alertmanager {
    use super::*;

    fn alert(json: &str) -> Result<Item, Refusal> {
        let body = format!("[{json}]");
        let mut request = decode_request(Door::Alertmanager, body.as_bytes(), ContentKind::Json, "system", ITEMS_MAX)?;
        match request.refused.pop() {
            Some((_, refusal)) => Err(refusal),
            None => {
                let good = request.good.remove(0);
                assert_eq!(decode_item(Door::Alertmanager, &body.as_bytes()[good.bytes], "system").as_ref(), Ok(&good.item));
                Ok(good.item)
            }
        }
    }

    #[test]
    fn a_posted_alert_becomes_an_item() {
        let before = parses();
        let item = alert(
            r#"{"labels":{"severity":"Page","alertname":"DiskFull","empty":"","device":"/data"},
                "annotations":{"summary":"s","message":"m"},"startsAt":"2026-11-22T20:00:00.123+08:00",
                "endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://prometheus/graph","status":"ignored","extra":1}"#,
        )
        .unwrap();
        assert!(parses() >= before + 2, "decode and replay parse once each");
        assert_eq!(item.get(ItemField::AlertName), &Value::from("DiskFull"));
        assert_eq!(item.get(ItemField::Severity), &Value::Int(1));
        assert_eq!(item.get(ItemField::Description), &Value::from("m"));
        assert_eq!(
            item.get(ItemField::Tags).to_json(),
            r#"[{"key":"alertname","value":"DiskFull"},{"key":"device","value":"/data"},{"key":"severity","value":"Page"}]"#
        );
        assert_eq!(item.get(ItemField::DedupeKeys).to_json(), r#"["tags.alertname","tags.device","tags.severity"]"#);
        assert_eq!(
            item.get(ItemField::ExtraInfo).to_json(),
            r#"{"alertmanager":{"annotations":{"summary":"s","message":"m"},"generator_url":"http://prometheus/graph","starts_at":1795348800123,"starts_at_s":1795348800}}"#
        );
        for absent in [ItemField::Time, ItemField::Status, ItemField::AnomalyTime] {
            assert!(item.get(absent).is_null());
        }
    }

    #[test]
    fn identity_rests_on_the_labels_only() {
        let id = |json: &str| alert(json).unwrap().get(ItemField::EventId).clone();
        let one = id(r#"{"labels":{"alertname":"a","b":"c"}}"#);
        assert_eq!(one, id(r#"{"labels":{"b":"c","e":"","alertname":"a"},"startsAt":"2026-11-22T20:00:00Z"}"#));
        assert_ne!(one, id(r#"{"labels":{"alertname":"a","bc":"c"}}"#));
        assert_ne!(one, id(r#"{"labels":{"alertname":"ab","c":"c"}}"#));
    }

    #[test]
    fn severity_words() {
        for (labels, severity) in [
            (r#""severity":"critical""#, 1),
            (r#""severity":"WARNING""#, 2),
            (r#""severity":"info""#, 3),
            (r#""level":"fatal""#, 1),
            (r#""priority":"P1""#, 1),
            (r#""priority":"p3""#, 3),
            (r#""x":"y""#, 3),
        ] {
            let item = alert(&format!(r#"{{"labels":{{"alertname":"a",{labels}}}}}"#)).unwrap();
            assert_eq!(item.get(ItemField::Severity), &Value::Int(severity), "{labels}");
        }
    }

    #[test]
    fn refusals() {
        for (json, code) in [
            ("{}", "name"),
            (r#"{"labels":{"alertname":""}}"#, "name"),
            (r#"{"labels":{"alertname":"a\u0000"}}"#, "name"),
            (r#"{"labels":{"alertname":"a","x":1}}"#, "tags"),
            (r#"{"labels":[]}"#, "tags"),
            (r#"{"labels":{"alertname":"a","x\u0000":"1"}}"#, "tag-key"),
            (r#"{"labels":{"alertname":"a"},"annotations":{"a":1}}"#, "type"),
            (r#"{"labels":{"alertname":"a"},"startsAt":1700000000}"#, "time"),
            (r#"{"labels":{"alertname":"a"},"startsAt":"yesterday"}"#, "time"),
            (r#"{"labels":{"alertname":"a"},"startsAt":"1969-12-31T23:59:59Z"}"#, "time"),
            (r#"{"labels":{"alertname":"a"},"startsAt":"2026-11-22T20:00:00Z","endsAt":"2026-11-22T19:59:59Z"}"#, "time"),
            (r#"{"labels":{"alertname":"a","alertname":"b"}}"#, "duplicate-key"),
            ("[]", "shape"),
        ] {
            assert_eq!(alert(json).map_or_else(|refusal| refusal.code.as_str(), |_| "ok"), code, "{json}");
        }
        let lone = decode_request(Door::Alertmanager, br#"{"labels":{}}"#, ContentKind::Json, "system", ITEMS_MAX);
        assert_eq!(lone.unwrap_err().code, Code::Shape);
    }

    #[test]
    fn a_long_description_is_cut_and_marked_and_whole_in_the_annotations() {
        let item = alert(&format!(r#"{{"labels":{{"alertname":"a"}},"annotations":{{"description":"{}"}}}}"#, "é".repeat(20_000))).unwrap();
        assert_eq!(item.get(ItemField::Description).as_text().unwrap().len(), 32 * 1024);
        let extra = item.get(ItemField::ExtraInfo);
        assert_eq!(extra.path(&["alertmill", "description_cut"]), Some(&Value::Bool(true)));
        assert_eq!(extra.path(&["alertmanager", "annotations", "description"]).unwrap().as_text().unwrap().len(), 40_000);
    }
}
