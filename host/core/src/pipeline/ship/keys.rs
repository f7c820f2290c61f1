//! Keys of an alert in Redis: upstream's patterns, which other readers know.

use crate::services::SnapshotWrite;
use crate::value::{Text, Value};

/// The keys under which an open alert is found. They hold its document, and go when it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotKeys {
    /// By what the alert is about.
    pub content: Text,
    /// By its id.
    pub snapshot: Text,
}

impl SnapshotKeys {
    /// The keys that a document says.
    pub fn of(document: &Value) -> SnapshotKeys {
        let text = |name: &str| document.get(name).and_then(Value::to_rule_text).unwrap_or_default();
        let strategy = match document.get("strategy_id") {
            Some(value) if value.is_truthy() => value.to_rule_text().unwrap_or_default(),
            _ => "0".into(),
        };
        // Upstream has one tenant in a Redis; a key must not be two tenants'.
        let tenant = match text("bk_tenant_id") {
            tenant if tenant == "system" || tenant.is_empty() => String::new(),
            tenant => format!("{tenant}."),
        };
        SnapshotKeys {
            content: Text::from(format!("{tenant}alert.builder.{strategy}.{}.content", text("dedupe_md5"))),
            snapshot: Text::from(format!("{tenant}alert.builder.snapshot.{strategy}.{}", text("id"))),
        }
    }

    /// The writes that bring the cache to a document.
    pub fn writes(document: &[u8], is_open: bool) -> [SnapshotWrite; 2] {
        let SnapshotKeys { content, snapshot } = SnapshotKeys::of(&Value::from_json(document).unwrap_or_default());
        [content, snapshot].map(|key| match is_open {
            true => SnapshotWrite::Set { key, document: document.to_vec() },
            false => SnapshotWrite::Remove { key },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_upstreams() {
        let keys = |json: &str| SnapshotKeys::of(&Value::from_json(json.as_bytes()).unwrap());
        let plain = keys(r#"{"id":"17000000001","dedupe_md5":"ab","strategy_id":null,"bk_tenant_id":"system"}"#);
        assert_eq!((plain.content.as_str(), plain.snapshot.as_str()), ("alert.builder.0.ab.content", "alert.builder.snapshot.0.17000000001"));
        let other = keys(r#"{"id":"1","dedupe_md5":"ab","strategy_id":7,"bk_tenant_id":"blue"}"#);
        assert_eq!((other.content.as_str(), other.snapshot.as_str()), ("blue.alert.builder.7.ab.content", "blue.alert.builder.snapshot.7.1"));
    }
}
