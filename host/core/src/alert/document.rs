//! The alert's document (docs/semantics.md, Documents): whole, with its revision, and read back at start.

use super::{Acknowledged, Alert, open::dimension_from_value};
use crate::event::{Event, Fingerprint, Status, Tag, Uid, unhex};
use crate::row::Lasting;
use crate::value::{Text, Value};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// A view of an alert that serialises as its document.
pub struct AlertDocument<'a>(pub &'a Alert);

impl Serialize for AlertDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let a = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("bk_tenant_id", a.tenant.as_str())?;
        map.serialize_entry("id", a.id().as_str())?;
        map.serialize_entry("seq_id", &a.seq)?;
        map.serialize_entry("alert_name", &a.alert_name)?;
        map.serialize_entry("strategy_id", &a.strategy_id)?;
        map.serialize_entry("create_time", &a.create_time)?;
        map.serialize_entry("update_time", &a.update_time)?;
        map.serialize_entry("begin_time", &a.begin_time)?;
        map.serialize_entry("end_time", &a.end_time)?;
        map.serialize_entry("latest_time", &a.latest_time)?;
        map.serialize_entry("first_anomaly_time", &a.first_anomaly_time)?;
        map.serialize_entry("duration", &a.duration())?;
        map.serialize_entry("event", &a.event.embedded())?;
        map.serialize_entry("severity", &a.severity)?;
        map.serialize_entry("status", a.status.as_str())?;
        map.serialize_entry("is_blocked", &a.is_blocked)?;
        map.serialize_entry("is_ack", &a.ack.is_some())?;
        // No notices are sent, so none has told of it.
        map.serialize_entry("is_ack_noticed", &false)?;
        map.serialize_entry("ack_operator", &a.ack.as_ref().map(|ack| ack.operator.as_str()))?;
        map.serialize_entry("ack_duration", &a.ack.as_ref().map(|ack| ack.after_s))?;
        map.serialize_entry("labels", &a.labels)?;
        map.serialize_entry("dimensions", &a.dimensions)?;
        map.serialize_entry("dedupe_md5", a.dedupe_md5.as_str())?;
        map.serialize_entry("next_status", &a.next_status.map(|(status, _)| status.as_str()))?;
        map.serialize_entry("next_status_time", &a.next_status.map(|(_, at)| at))?;
        map.serialize_entry("extra_info", &a.extra_info)?;
        map.serialize_entry("event_count", &a.event_count)?;
        map.serialize_entry("revision", &a.revision)?;
        map.serialize_entry("rule_generation", &a.rule_generation)?;
        map.end()
    }
}

/// A document or state that cannot be read back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stored alert {seq} cannot be read back: {why}")]
pub struct DocumentError {
    /// Which.
    pub seq: u64,
    /// What is wrong with it.
    pub why: String,
}

impl Alert {
    /// The document as JSON, appended to `out`.
    pub fn write_document(&self, out: &mut Vec<u8>) {
        // Writing to memory does not fail, and no value of an alert has a form that JSON lacks.
        let _ = serde_json::to_writer(out, &AlertDocument(self));
    }

    /// What the fold needs beside the document.
    pub fn write_state(&self) -> Vec<u8> {
        let mut state = Value::Object(Vec::new());
        state.set("fingerprint", Value::Text(self.fingerprint.to_hex()));
        state.set("severity_by_rule", Value::Bool(self.severity_by_rule));
        state.set("timed_out", Value::Bool(self.ended_by_us));
        if !self.keyed_by.is_empty() {
            state.set("keyed_by", Value::Text(self.keyed_by.clone()));
        }
        if let Some(lasting) = self.lasting {
            state.set("starts_at", Value::Int(lasting.starts_at));
            state.set("ends_at", lasting.ends_at.map_or(Value::Null, Value::Int));
        }
        if let Some((event_id, starts_at)) = &self.ended_by {
            state.set("ended_by", Value::List(vec![event_id.clone(), Value::Int(*starts_at)]));
        }
        if !self.requests.is_empty() {
            state.set("requests", Value::List(self.requests.iter().cloned().map(Value::Text).collect()));
        }
        if self.written_bytes > 0 {
            state.set("written_bytes", Value::Int(self.written_bytes as i64));
        }
        state.to_json().into_bytes()
    }

    /// Reads an alert back from what [`write_document`](Alert::write_document) and `write_state` wrote.
    pub fn restore(seq: u64, document: &[u8], state: &[u8]) -> Result<Alert, DocumentError> {
        let fail = |why: &str| DocumentError { seq, why: why.to_owned() };
        let doc = Value::from_json(document).map_err(|e| fail(&format!("document: {e}")))?;
        let state = Value::from_json(state).map_err(|e| fail(&format!("state: {e}")))?;
        let int = |name: &'static str| doc.get(name).and_then(Value::as_int).ok_or_else(|| fail(name));
        let text = |name: &'static str| doc.get(name).and_then(Value::as_text).map(Text::new).ok_or_else(|| fail(name));
        let any = |name: &str| doc.get(name).cloned().unwrap_or_default();
        let status_of = |value: Option<&Value>| value.and_then(Value::as_text).and_then(Status::parse);
        let fingerprint = state.get("fingerprint").and_then(Value::as_text).and_then(unhex).ok_or_else(|| fail("fingerprint"))?;
        let next_status = match (status_of(doc.get("next_status")), doc.get("next_status_time").and_then(Value::as_int)) {
            (Some(status), Some(at)) => Some((status, at)),
            _ => None,
        };
        let lasting =
            state.get("starts_at").and_then(Value::as_int).map(|starts_at| Lasting { starts_at, ends_at: state.get("ends_at").and_then(Value::as_int) });
        let ended_by = match state.get("ended_by") {
            Some(Value::List(pair)) => pair.first().cloned().zip(pair.get(1).and_then(Value::as_int)),
            _ => None,
        };
        // Documents of before there were commands have none of this.
        let ack = (doc.get("is_ack") == Some(&Value::Bool(true))).then(|| Acknowledged {
            operator: doc.get("ack_operator").and_then(Value::as_text).map(Text::new).unwrap_or_default(),
            after_s: doc.get("ack_duration").and_then(Value::as_int).unwrap_or_default(),
        });
        let requests = match state.get("requests") {
            Some(Value::List(list)) => list.iter().filter_map(Value::as_text).map(Text::new).collect(),
            _ => Vec::new(),
        };
        let dimensions = match doc.get("dimensions") {
            Some(Value::List(list)) => list.iter().filter_map(dimension_from_value).collect(),
            _ => Vec::new(),
        };
        Ok(Alert {
            seq,
            fingerprint: Fingerprint(fingerprint),
            keyed_by: state.get("keyed_by").and_then(Value::as_text).map(Text::new).unwrap_or_default(),
            dedupe_md5: text("dedupe_md5")?,
            tenant: text("bk_tenant_id")?,
            alert_name: any("alert_name"),
            strategy_id: any("strategy_id"),
            status: status_of(doc.get("status")).ok_or_else(|| fail("status"))?,
            severity: u8::try_from(int("severity")?).map_err(|_| fail("severity"))?,
            severity_by_rule: state.get("severity_by_rule") == Some(&Value::Bool(true)),
            create_time: int("create_time")?,
            update_time: int("update_time")?,
            begin_time: int("begin_time")?,
            latest_time: int("latest_time")?,
            first_anomaly_time: any("first_anomaly_time"),
            end_time: doc.get("end_time").and_then(Value::as_int),
            event: doc.get("event").and_then(event_from_embedded).ok_or_else(|| fail("event"))?,
            labels: any("labels"),
            dimensions,
            extra_info: any("extra_info"),
            is_blocked: doc.get("is_blocked") == Some(&Value::Bool(true)),
            next_status,
            lasting,
            ended_by_us: state.get("timed_out") == Some(&Value::Bool(true)),
            ended_by,
            ack,
            requests,
            written_bytes: state.get("written_bytes").and_then(Value::as_int).and_then(|n| usize::try_from(n).ok()).unwrap_or_default(),
            event_count: int("event_count")? as u64,
            revision: int("revision")? as u64,
            rule_generation: int("rule_generation")? as u64,
        })
    }
}

/// The event that an alert's document shows: the latest one of its severity.
pub fn event_of(document: &[u8]) -> Option<Event> {
    Value::from_json(document).ok()?.get("event").and_then(event_from_embedded)
}

/// Reads an event back from its embedded form.
fn event_from_embedded(doc: &Value) -> Option<Event> {
    let any = |name: &str| doc.get(name).cloned().unwrap_or_default();
    let text = |name: &str| doc.get(name).and_then(Value::as_text).map(Text::new);
    let tags = match doc.get("tags") {
        Some(Value::List(list)) => list
            .iter()
            .filter_map(|tag| {
                Some(Tag {
                    key: Text::new(tag.get("key")?.as_text()?),
                    value: tag.get("value").cloned().unwrap_or_default(),
                    display_key: tag.get("display_key").cloned(),
                    display_value: tag.get("display_value").cloned(),
                })
            })
            .collect(),
        _ => Vec::new(),
    };
    Some(Event {
        uid: Uid(unhex(doc.get("id")?.as_text()?)?),
        tenant: text("bk_tenant_id")?,
        event_id: any("event_id"),
        plugin_id: any("plugin_id"),
        strategy_id: any("strategy_id"),
        alert_name: any("alert_name"),
        description: any("description"),
        severity: any("severity"),
        data_type: text("data_type").unwrap_or_default(),
        tags,
        target_type: text("target_type").unwrap_or_default(),
        target: any("target"),
        assignee: any("assignee"),
        status: doc.get("status").and_then(Value::as_text).and_then(Status::parse)?,
        metric: any("metric"),
        category: text("category").unwrap_or_default(),
        dedupe_keys: match doc.get("dedupe_keys") {
            Some(Value::List(keys)) => keys.clone(),
            _ => Vec::new(),
        },
        dedupe_md5: text("dedupe_md5"),
        time: any("time"),
        anomaly_time: any("anomaly_time"),
        bk_ingest_time: any("bk_ingest_time"),
        bk_clean_time: any("bk_clean_time"),
        create_time: doc.get("create_time").and_then(Value::as_int)?,
        bk_biz_id: any("bk_biz_id"),
        ip: any("ip"),
        ipv6: any("ipv6"),
        bk_cloud_id: any("bk_cloud_id"),
        bk_host_id: any("bk_host_id"),
        bk_service_instance_id: any("bk_service_instance_id"),
        bk_topo_node: any("bk_topo_node"),
        extra_info: any("extra_info"),
        unknown: Vec::new(),
    })
}
