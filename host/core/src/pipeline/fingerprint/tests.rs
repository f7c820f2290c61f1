use super::*;
use crate::event::{Tag, hex};

fn event(keys: &[&str]) -> Event {
    Event {
        alert_name: "disk full".into(),
        target_type: "HOST".into(),
        target: "10.0.0.1|0".into(),
        bk_biz_id: Value::Int(2),
        dedupe_keys: dedupe_keys(false, Value::List(keys.iter().map(|key| Value::from(*key)).collect())),
        tags: vec![Tag::new("device", "/other"), Tag::new("device", "/data"), Tag::new("tags.x", "hidden"), Tag::new("pod", "p1")],
        ..Event::default()
    }
}

fn md5(event: &Event) -> String {
    hex(&fingerprint_bk_monitor(event)).to_string()
}

#[test]
fn defaults_and_tags_make_the_known_hashes() {
    assert_eq!(md5(&event(&[])), "69c2a8879b96690aa0ef93f3e75abcd5", "V2");
    assert_eq!(md5(&event(&["tags.device", "tags.absent"])), "0e95b03cf36c69577971f3c246543af3", "V4, the last of equal tags");
}

#[test]
fn keys_come_once_and_in_order() {
    let text = |key: &Value| key.as_text().unwrap_or("-").to_owned();
    let sent = Value::from_json(br#"["tags.a", "target", "tags.a", 5, 5.0, "alert_name", null]"#).unwrap();
    let keys: Vec<String> = dedupe_keys(true, sent).iter().map(text).collect();
    assert_eq!(keys, ["strategy_id", "target_type", "target", "bk_biz_id", "tags.a", "-", "alert_name", "-"]);
    assert_eq!(dedupe_keys(false, Value::from("tags.a")).len(), 4, "a key that is no list is ignored");
}

#[test]
fn many_keys_come_once_too() {
    let names: Vec<Value> = (0..200).chain(0..200).map(|n| Value::from(format!("k{n}").as_str())).collect();
    let keys = dedupe_keys(false, Value::List(names.into_iter().chain([Value::from("target")]).collect()));
    assert_eq!(keys.len(), 204);
    assert_eq!(keys[203], Value::from("k199"));
}

#[test]
fn many_tags_are_found_like_few() {
    let mut many = event(&["tags.device", "tags.absent"]);
    let others = (0..3_000).map(|n| Tag::new(format!("t{n}"), n));
    many.tags = others.chain(std::mem::take(&mut many.tags)).collect();
    assert_eq!(md5(&many), "0e95b03cf36c69577971f3c246543af3");
}

#[test]
fn the_tag_prefix_is_stripped_twice() {
    assert_eq!(dedupe_values(&event(&["tags.tags.device"]))[4], Value::from("/data"));
    assert_eq!(dedupe_values(&event(&["tags.tags.x"]))[4], Value::Null);
}

#[test]
fn targets_of_clusters_and_services_do_not_count() {
    for kind in ["K8S-POD", "K8S-NODE", "K8S-SERVICE", "K8S-WORKLOAD", "APM-SERVICE"] {
        let one = Event { target_type: kind.into(), ..event(&["tags.pod"]) };
        let other = Event { target: "else".into(), ..one.clone() };
        assert_eq!(md5(&one), md5(&other), "{kind}");
        assert_eq!(dedupe_values(&one)[1..3], [Value::from(""), Value::Null], "{kind}");
    }
    let custom = Event { target_type: "K8S".into(), ..event(&[]) };
    assert_eq!(dedupe_values(&custom)[1..3], [Value::from("K8S"), Value::from("10.0.0.1|0")]);
}

#[test]
fn a_set_fingerprint_is_taken_as_it_is() {
    let mut event = event(&[]);
    event.dedupe_md5 = Some("0e95b03cf36c69577971f3c246543af3".into());
    assert_eq!(md5(&event), "0e95b03cf36c69577971f3c246543af3");
    assert_eq!(dedupe_values(&event), Vec::new());
    event.dedupe_md5 = Some("mine".into());
    assert_eq!(fingerprint_bk_monitor(&event), count_md5(&Value::from("mine")));
}

#[test]
fn uids_are_upstreams() {
    let event = Event { plugin_id: "p".into(), event_id: "e1".into(), time: Value::Int(1_700_000_000), ..Event::default() };
    assert_eq!(uid_bk_monitor(&event).to_hex(), "e326907b6cc6b41abf4cd7d260bc2c7c");
}
