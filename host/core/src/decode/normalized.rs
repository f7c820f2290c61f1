//! An event that a normalize rule made: written as the JSON object that a sender of `POST /api/v1/events` would have posted,
//! and read by that door's own decoder. So a rule can say nothing that a sender could not, whatever the checks come to be.

use super::code::{Code, Refusal};
use super::decode_item;
use crate::item::{Item, ItemField};
use crate::payload::NewEvent;
use crate::record::Door;
use crate::value::Text;
use serde::Serialize;
use serde::de::IgnoredAny;

/// The object that the event is, and the item that it decodes to. An absent `event_id` is the digest of the object, so the order
/// and form of its members never change.
pub fn decode_event(event: &NewEvent, tenant: &str) -> (Vec<u8>, Result<Item, Refusal>) {
    // Text that is no object of its own would change the object around it.
    if !event.extra.as_deref().is_none_or(is_object) {
        let refusal = Refusal::new(Code::Type, "/extra_info", "`extra` is the text of one JSON object");
        return (object(event, false), Err(refusal));
    }
    let bytes = object(event, true);
    let item = decode_item(Door::Events, &bytes, tenant);
    (bytes, item)
}

fn is_object(text: &str) -> bool {
    text.trim_ascii_start().starts_with('{') && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// What is no object stands there as the text that it is.
fn object(event: &NewEvent, extra_is_object: bool) -> Vec<u8> {
    let mut object = Object(vec![b'{']);
    object.some(ItemField::EventId, event.event_id.as_deref());
    object.some(ItemField::PluginId, event.plugin_id.as_deref());
    object.member(ItemField::AlertName.name(), event.alert_name.as_str());
    object.some(ItemField::Description, Some(event.description.as_str()).filter(|text| !text.is_empty()));
    object.some(ItemField::Status, event.status.as_deref());
    object.some(ItemField::Time, event.time);
    object.some(ItemField::AnomalyTime, event.anomaly_time);
    object.some(ItemField::Severity, event.severity);
    object.some(ItemField::Category, event.category.as_deref());
    object.some(ItemField::TargetType, event.target_type.as_deref());
    object.some(ItemField::Target, event.target.as_deref());
    object.some(ItemField::BkBizId, event.bk_biz_id);
    object.texts(ItemField::Metric, &event.metric);
    let tags: Vec<TagObject> = event.tags.iter().map(|(key, value)| TagObject { key, value }).collect();
    object.some(ItemField::Tags, Some(tags).filter(|tags| !tags.is_empty()));
    object.texts(ItemField::DedupeKeys, &event.dedupe_keys);
    for (name, value) in &event.more {
        object.member(name, value.as_str());
    }
    if let Some(extra) = &event.extra {
        object.name(ItemField::ExtraInfo.name());
        match extra_is_object {
            true => object.0.extend_from_slice(extra.as_bytes()),
            false => object.value(extra.as_str()),
        }
    }
    object.0.push(b'}');
    object.0
}

#[derive(Serialize)]
struct TagObject<'a> {
    key: &'a str,
    value: &'a str,
}

/// The bytes of an object that is not closed yet.
struct Object(Vec<u8>);

impl Object {
    fn name(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push(b',');
        }
        self.value(name);
        self.0.push(b':');
    }

    /// Numbers, texts and lists of them cannot fail to be written.
    fn value(&mut self, value: impl Serialize) {
        let _ = serde_json::to_writer(&mut self.0, &value);
    }

    fn member(&mut self, name: &str, value: impl Serialize) {
        self.name(name);
        self.value(value);
    }

    fn some(&mut self, field: ItemField, value: Option<impl Serialize>) {
        if let Some(value) = value {
            self.member(field.name(), value);
        }
    }

    fn texts(&mut self, field: ItemField, texts: &[Text]) {
        let texts: Vec<&str> = texts.iter().map(Text::as_str).collect();
        self.some(field, Some(texts).filter(|texts| !texts.is_empty()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;

    fn full() -> NewEvent {
        NewEvent {
            event_id: Some("e1".into()),
            plugin_id: Some("grafana".into()),
            alert_name: "disk \"full\"".into(),
            description: "a\u{0}b".into(),
            status: Some("recovered".into()),
            time: Some(1_790_000_000),
            anomaly_time: Some(1_789_999_000),
            severity: Some(1),
            category: Some("os".into()),
            target_type: Some("HOST".into()),
            target: Some("10.0.0.1|0".into()),
            bk_biz_id: Some(2),
            metric: vec!["m1".into(), "m2".into()],
            tags: vec![("b".into(), "1".into()), ("a".into(), "2".into()), ("b".into(), "3".into())],
            dedupe_keys: vec!["tags.b".into()],
            extra: Some(r#"{"depth":[1,{"x":2.5}],"big":9007199254740993}"#.into()),
            more: vec![("assignee".into(), "wang".into()), ("bk_host_id".into(), "77".into()), ("rack".into(), "r1".into())],
        }
    }

    /// The object that is digested into an absent `event_id`, as it was when uids were first made of it.
    #[test]
    fn an_event_of_a_rule_is_what_a_sender_would_have_posted() {
        let (bytes, item) = decode_event(&full(), "system");
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            concat!(
                r#"{"event_id":"e1","plugin_id":"grafana","alert_name":"disk \"full\"","description":"a\u0000b","status":"recovered","#,
                r#""time":1790000000,"anomaly_time":1789999000,"severity":1,"category":"os","target_type":"HOST","target":"10.0.0.1|0","bk_biz_id":2,"#,
                r#""metric":["m1","m2"],"tags":[{"key":"b","value":"1"},{"key":"a","value":"2"},{"key":"b","value":"3"}],"dedupe_keys":["tags.b"],"#,
                r#""assignee":"wang","bk_host_id":"77","rack":"r1","extra_info":{"depth":[1,{"x":2.5}],"big":9007199254740993}}"#
            )
        );
        let item = item.unwrap();
        assert_eq!(item.get(ItemField::Status).as_text(), Some("RECOVERED"));
        assert_eq!(item.get(ItemField::Description).as_text(), Some("a\u{2400}b"), "coerced as at the door");
        assert_eq!(item.get(ItemField::BkHostId).as_text(), Some("77"));
        assert_eq!(item.get(ItemField::ExtraInfo).path(&["unknown", "rack"]).and_then(Value::as_text), Some("r1"));
    }

    #[test]
    fn an_event_without_an_id_is_known_by_its_content() {
        let event = |name: &str| NewEvent { alert_name: name.into(), ..NewEvent::default() };
        let (bytes, item) = decode_event(&event("a"), "system");
        assert_eq!(bytes, br#"{"alert_name":"a"}"#);
        let id = |event: &NewEvent| decode_event(event, "system").1.unwrap().get(ItemField::EventId).as_text().map(str::to_owned);
        assert_eq!(id(&event("a")), item.unwrap().get(ItemField::EventId).as_text().map(str::to_owned));
        assert_ne!(id(&event("a")), id(&event("b")));
    }

    #[test]
    fn a_rule_can_say_nothing_that_a_sender_could_not() {
        let named = || NewEvent { alert_name: "a".into(), ..NewEvent::default() };
        let more = |name: &str, value: &str| NewEvent { more: vec![(name.into(), value.into())], ..named() };
        let extra = |text: &str| NewEvent { extra: Some(text.into()), ..named() };
        let cases = [
            (NewEvent::default(), Code::Name, "/alert_name"),
            (NewEvent { severity: Some(4), ..named() }, Code::Severity, "/severity"),
            (NewEvent { time: Some(1_790_000_000_000), ..named() }, Code::Time, "/time"),
            (NewEvent { time: Some(u64::MAX), ..named() }, Code::Time, "/time"),
            (NewEvent { status: Some("firing".into()), ..named() }, Code::Status, "/status"),
            (NewEvent { event_id: Some("".into()), ..named() }, Code::Id, "/event_id"),
            (NewEvent { tags: vec![("".into(), "v".into())], ..named() }, Code::TagKey, "/tags/0/key"),
            (more("bk_tenant_id", "other"), Code::Tenant, "/bk_tenant_id"),
            (more("alert_name", "b"), Code::DuplicateKey, ""),
            (more("time", "1790000000"), Code::Time, "/time"),
            (more("x\0", "1"), Code::Key, ""),
            (extra("[1]"), Code::Type, "/extra_info"),
            (extra(""), Code::Type, "/extra_info"),
            (extra(r#"{},"severity":1"#), Code::Type, "/extra_info"),
            (extra(r#"{"a":1"#), Code::Type, "/extra_info"),
            (extra(r#"{"a":1,"a":2}"#), Code::DuplicateKey, ""),
            (extra(r#"{"n":123456789012345678901234567890}"#), Code::Number, ""),
            (extra(&format!("{}1{}", r#"{"a":"#.repeat(40), "}".repeat(40))), Code::Depth, ""),
            (extra(&format!(r#"{{"a":"{}"}}"#, "x".repeat(1 << 20))), Code::Size, ""),
        ];
        for (event, code, pointer) in cases {
            let (bytes, item) = decode_event(&event, "system");
            let refusal = item.expect_err(&format!("{event:?}"));
            assert_eq!((refusal.code, refusal.pointer.as_str()), (code, pointer), "{refusal} of {event:?}");
            assert!(serde_json::from_slice::<IgnoredAny>(&bytes).is_ok(), "what becomes a dead letter is JSON: {event:?}");
        }
        // Its own marks go the way of a sender's.
        let (_, item) = decode_event(&extra(r#"{"alertmill":{"nul_replaced":true}}"#), "system");
        assert_eq!(item.unwrap().get(ItemField::ExtraInfo).path(&["alertmill"]), None);
    }
}
