//! The closed table of fields that rules may read and write: name, type, access.

use crate::decode::{KEY_BYTES_MAX, OUR_MARKS};
use crate::event::Tag;
use crate::row::Row;
use crate::value::{Text, Value};
use std::borrow::Cow;

/// How a field crosses to a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// A text column.
    Text,
    /// An integer column.
    Integer,
    /// All tags of each row, the expensive way.
    Tags,
}

/// A field by its name in a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// A field of the closed table.
    Known(KnownField),
    /// `tags.KEY`: the last tag of that key.
    Tag(Text),
    /// `tags`: all of them. In `writes` it is spelt `tags.*`.
    AllTags,
    /// `extra_info.PATH`: keys divided by dots.
    Extra(Vec<Text>),
    /// `drop`: only in `writes`.
    Drop,
}

macro_rules! known_fields {
    ($($variant:ident $name:literal $kind:ident $writable:literal)*) => {
        /// Fields with a name of their own.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum KnownField { $($variant),* }

        impl KnownField {
            /// All of them.
            pub const ALL: &'static [KnownField] = &[$(KnownField::$variant),*];
            /// Name in a manifest.
            pub const fn name(self) -> &'static str {
                match self { $(KnownField::$variant => $name),* }
            }
            /// How it crosses.
            pub const fn kind(self) -> FieldType {
                match self { $(KnownField::$variant => FieldType::$kind),* }
            }
            /// Whether a rule may write it.
            pub const fn is_writable(self) -> bool {
                match self { $(KnownField::$variant => $writable),* }
            }
        }
    };
}

known_fields! {
    Uid "uid" Text false
    TenantId "bk_tenant_id" Text false
    EventId "event_id" Text false
    PluginId "plugin_id" Text false
    Source "source" Text false
    StrategyId "strategy_id" Text false
    AlertName "alert_name" Text true
    Description "description" Text true
    Severity "severity" Integer true
    DataType "data_type" Text false
    TargetType "target_type" Text true
    Target "target" Text true
    Assignee "assignee" Text true
    Status "status" Text false
    Metric "metric" Text true
    Category "category" Text true
    DedupeKeys "dedupe_keys" Text true
    DedupeMd5 "dedupe_md5" Text false
    Time "time" Integer false
    AnomalyTime "anomaly_time" Integer false
    BkIngestTime "bk_ingest_time" Integer false
    BkCleanTime "bk_clean_time" Integer false
    CreateTime "create_time" Integer false
    BkBizId "bk_biz_id" Integer true
    Ip "ip" Text true
    Ipv6 "ipv6" Text true
    BkCloudId "bk_cloud_id" Text true
    BkHostId "bk_host_id" Text true
    BkServiceInstanceId "bk_service_instance_id" Text true
    BkTopoNode "bk_topo_node" Text true
    ReceivedAt "received_at" Integer false
    Seed "seed" Integer false
}

/// A name that is no field, or one that may not be used so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// Nothing has this name.
    #[error("field `{0}` does not exist; fields are listed in the rule author's guide")]
    Unknown(String),
    /// It can be read only.
    #[error("field `{0}` can be read but never written by a rule")]
    ReadOnly(String),
    /// It can be written only.
    #[error("field `{0}` can only be named in `writes`")]
    WriteOnly(String),
    /// A tag's key that events may not have.
    #[error("tag key `{0}` is refused: {1}")]
    TagKey(String, &'static str),
    /// A path into `extra_info` that is too deep, or has too long a key.
    #[error("field `{0}` is refused: a path in extra_info has at most {EXTRA_KEYS_MAX} keys of at most {KEY_BYTES_MAX} bytes")]
    Path(String),
}

/// Tag keys that would be taken for something else downstream.
pub const RESERVED_TAG_KEYS: &[&str] = &["bk_tenant_id", "_id", "_index", "_source", "dedupe_md5"];

/// The one rule for tag keys, the same at every door and for rules: 1 to 128 bytes of UTF-8, no control characters, not
/// a reserved name. `Err` says why not.
pub fn check_tag_key(key: &str) -> Result<(), &'static str> {
    if key.is_empty() || key.len() > 128 {
        return Err("a tag key has 1 to 128 bytes");
    }
    if key.chars().any(char::is_control) {
        return Err("a tag key has no control characters");
    }
    if RESERVED_TAG_KEYS.contains(&key) {
        return Err("this name is reserved");
    }
    Ok(())
}

/// Longest tag value and other text that a rule may write, bytes.
pub const RULE_TEXT_BYTES_MAX: usize = 8 * 1024;
/// Longest alert name, bytes.
pub const ALERT_NAME_BYTES_MAX: usize = 512;
/// Longest description, bytes.
pub const DESCRIPTION_BYTES_MAX: usize = 32 * 1024;
/// Tags of one event.
pub const TAGS_MAX: usize = 256;
/// Keys of a path into `extra_info`: a rule makes objects inside each other no deeper than that.
pub const EXTRA_KEYS_MAX: usize = 16;

/// A value that a field does not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Wrong column type.
    #[error("field `{field}` takes {wanted}")]
    Type {
        /// Which.
        field: String,
        /// What it takes.
        wanted: &'static str,
    },
    /// A value out of range.
    #[error("field `{field}`: {why}")]
    Value {
        /// Which.
        field: String,
        /// Why not.
        why: String,
    },
}

impl Field {
    /// The field named in a hook's `reads`.
    pub fn parse_read(name: &str) -> Result<Field, FieldError> {
        match Field::parse(name)? {
            Field::Drop => Err(FieldError::WriteOnly(name.to_owned())),
            field => Ok(field),
        }
    }

    /// The field named in a hook's `writes`.
    pub fn parse_write(name: &str) -> Result<Field, FieldError> {
        if name == "tags.*" {
            return Ok(Field::AllTags);
        }
        match Field::parse(name)? {
            Field::Known(known) if !known.is_writable() => Err(FieldError::ReadOnly(name.to_owned())),
            // Where our own marks are, which say what rules did.
            Field::Extra(keys) if keys.first().is_some_and(|key| key.starts_with(OUR_MARKS)) => Err(FieldError::ReadOnly(name.to_owned())),
            Field::AllTags => Err(FieldError::Unknown("tags (in `writes` it is spelt `tags.*`)".to_owned())),
            field => Ok(field),
        }
    }

    fn parse(name: &str) -> Result<Field, FieldError> {
        if let Some(key) = name.strip_prefix("tags.") {
            check_tag_key(key).map_err(|why| FieldError::TagKey(key.to_owned(), why))?;
            return Ok(Field::Tag(Text::new(key)));
        }
        if let Some(path) = name.strip_prefix("extra_info.") {
            let keys: Vec<Text> = path.split('.').map(Text::new).collect();
            if keys.iter().any(|key| key.is_empty()) {
                return Err(FieldError::Unknown(name.to_owned()));
            }
            if keys.len() > EXTRA_KEYS_MAX || keys.iter().any(|key| key.len() > KEY_BYTES_MAX) {
                return Err(FieldError::Path(name.to_owned()));
            }
            return Ok(Field::Extra(keys));
        }
        match name {
            "tags" => Ok(Field::AllTags),
            "drop" => Ok(Field::Drop),
            _ => KnownField::ALL.iter().find(|f| f.name() == name).map(|f| Field::Known(*f)).ok_or_else(|| FieldError::Unknown(name.to_owned())),
        }
    }

    /// How it crosses. `Drop` and, in `writes`, `AllTags` have no column.
    pub fn kind(&self) -> FieldType {
        match self {
            Field::Known(known) => known.kind(),
            Field::AllTags => FieldType::Tags,
            Field::Tag(_) | Field::Extra(_) | Field::Drop => FieldType::Text,
        }
    }

    /// Name in a manifest.
    pub fn name(&self) -> Cow<'static, str> {
        match self {
            Field::Known(known) => Cow::Borrowed(known.name()),
            Field::Tag(key) => Cow::Owned(format!("tags.{key}")),
            Field::AllTags => Cow::Borrowed("tags"),
            Field::Extra(keys) => Cow::Owned(format!("extra_info.{}", keys.join("."))),
            Field::Drop => Cow::Borrowed("drop"),
        }
    }

    /// The text of a row, borrowed wherever the row holds it as text; `None` is missing.
    pub fn text<'a>(&self, row: &'a Row) -> Option<Cow<'a, str>> {
        let e = &row.event;
        let plain = |text: &'a Text| Some(Cow::Borrowed(text.as_str()));
        let list = |values: &[Value]| (!values.is_empty()).then(|| Cow::Owned(serde_json::to_string(values).unwrap_or_default()));
        match self {
            Field::Tag(key) => e.tag(key).and_then(Value::to_rule_text),
            Field::Extra(keys) => keys.iter().try_fold(&e.extra_info, |v, key| v.get(key)).and_then(Value::to_rule_text),
            Field::AllTags => (!e.tags.is_empty()).then(|| Cow::Owned(serde_json::to_string(&e.tags).unwrap_or_default())),
            Field::Drop => None,
            Field::Known(known) => match known {
                KnownField::Uid => Some(Cow::Owned(e.uid.to_hex().to_string())),
                KnownField::TenantId => plain(&e.tenant),
                KnownField::EventId => e.event_id.to_rule_text(),
                KnownField::PluginId => e.plugin_id.to_rule_text(),
                KnownField::Source => plain(&row.source),
                KnownField::StrategyId => e.strategy_id.to_rule_text(),
                KnownField::AlertName => e.alert_name.to_rule_text(),
                KnownField::Description => e.description.to_rule_text(),
                KnownField::DataType => plain(&e.data_type),
                KnownField::TargetType => plain(&e.target_type),
                KnownField::Target => e.target.to_rule_text(),
                KnownField::Assignee => e.assignee.to_rule_text(),
                KnownField::Status => Some(Cow::Borrowed(e.status.as_str())),
                KnownField::Metric => e.metric.to_rule_text(),
                KnownField::Category => plain(&e.category),
                KnownField::DedupeKeys => list(&e.dedupe_keys),
                KnownField::DedupeMd5 => e.dedupe_md5.as_ref().and_then(plain),
                KnownField::Ip => e.ip.to_rule_text(),
                KnownField::Ipv6 => e.ipv6.to_rule_text(),
                KnownField::BkCloudId => e.bk_cloud_id.to_rule_text(),
                KnownField::BkHostId => e.bk_host_id.to_rule_text(),
                KnownField::BkServiceInstanceId => e.bk_service_instance_id.to_rule_text(),
                KnownField::BkTopoNode => e.bk_topo_node.to_rule_text(),
                KnownField::Severity
                | KnownField::Time
                | KnownField::AnomalyTime
                | KnownField::BkIngestTime
                | KnownField::BkCleanTime
                | KnownField::CreateTime
                | KnownField::BkBizId
                | KnownField::ReceivedAt
                | KnownField::Seed => self.integer(row).map(|n| Cow::Owned(n.to_string())),
            },
        }
    }

    /// The integer of a row; `None` is missing. Texts of digits count as integers in `bk_biz_id`.
    pub fn integer(&self, row: &Row) -> Option<i64> {
        let e = &row.event;
        let Field::Known(known) = self else { return None };
        match known {
            KnownField::Severity => Some(i64::from(e.severity_level())),
            KnownField::Time => e.time.as_int(),
            KnownField::AnomalyTime => e.anomaly_time.as_int().or(e.time.as_int()),
            KnownField::BkIngestTime => e.bk_ingest_time.as_int(),
            KnownField::BkCleanTime => e.bk_clean_time.as_int(),
            KnownField::CreateTime => Some(e.create_time),
            KnownField::BkBizId => e.bk_biz_id.as_int().or_else(|| e.bk_biz_id.as_text().and_then(|t| t.parse().ok())),
            KnownField::ReceivedAt => Some(row.received_at_ms),
            KnownField::Seed => Some(row.seed),
            _ => None,
        }
    }

    /// Writes a text. Refuses what the field cannot hold and then leaves the row as it was.
    pub fn write_text(&self, row: &mut Row, text: &str) -> Result<(), WriteError> {
        self.check_text(text)?;
        let value = || Value::from(text);
        let e = &mut row.event;
        match self {
            Field::Tag(key) => return write_tag(row, key, text),
            Field::Extra(keys) => return self.write_extra(row, keys.clone(), text),
            Field::Known(known) => match known {
                KnownField::AlertName => e.alert_name = value(),
                KnownField::Description => e.description = value(),
                KnownField::TargetType => e.target_type = Text::new(text),
                KnownField::Target => e.target = value(),
                KnownField::Assignee => e.assignee = self.texts_or_text(text)?,
                KnownField::Metric => {
                    e.metric = match self.texts_or_text(text)? {
                        list @ Value::List(_) => list,
                        one => Value::List(vec![one]),
                    }
                }
                KnownField::Category => e.category = Text::new(text),
                KnownField::DedupeKeys => match self.texts_or_text(text)? {
                    Value::List(keys) if keys.iter().filter_map(Value::as_text).all(|key| !key.contains('\0')) => e.dedupe_keys = keys,
                    _ => return Err(self.wants("a JSON list of field names")),
                },
                KnownField::Ip => e.ip = value(),
                KnownField::Ipv6 => e.ipv6 = value(),
                KnownField::BkCloudId => e.bk_cloud_id = value(),
                KnownField::BkHostId => e.bk_host_id = value(),
                KnownField::BkServiceInstanceId => e.bk_service_instance_id = value(),
                KnownField::BkTopoNode => e.bk_topo_node = self.texts_or_text(text)?,
                _ => return Err(self.wants("an integer")),
            },
            Field::AllTags | Field::Drop => return Err(self.wants("no column")),
        }
        Ok(())
    }

    /// Writes an integer. Refuses what the field cannot hold and then leaves the row as it was.
    pub fn write_integer(&self, row: &mut Row, n: i64) -> Result<(), WriteError> {
        match self {
            Field::Known(KnownField::Severity) if (1..=3).contains(&n) => {
                // As if the sender had sent it: only an alert rule sets the severity of the alert.
                row.event.severity = Value::Int(n);
                Ok(())
            }
            Field::Known(KnownField::Severity) => Err(self.refuses(format!("{n} is not 1, 2 or 3"))),
            Field::Known(KnownField::BkBizId) => {
                row.event.bk_biz_id = Value::Int(n);
                Ok(())
            }
            _ => Err(self.wants("a text")),
        }
    }

    fn check_text(&self, text: &str) -> Result<(), WriteError> {
        let bytes_max = match self {
            Field::Known(KnownField::AlertName) => ALERT_NAME_BYTES_MAX,
            Field::Known(KnownField::Description) => DESCRIPTION_BYTES_MAX,
            _ => RULE_TEXT_BYTES_MAX,
        };
        if text.len() > bytes_max {
            return Err(self.refuses(format!("{} bytes, at most {bytes_max}", text.len())));
        }
        let names_it = matches!(self, Field::Known(KnownField::AlertName));
        if names_it && (text.is_empty() || text.contains('\0')) {
            return Err(self.refuses("empty or with a NUL".to_owned()));
        }
        Ok(())
    }

    fn write_extra(&self, row: &mut Row, keys: Vec<Text>, text: &str) -> Result<(), WriteError> {
        let Some((last, path)) = keys.split_last() else { return Err(self.wants("a path")) };
        let mut at = &mut row.event.extra_info;
        for key in path {
            if at.get(key).is_none() && !at.set(key, Value::Object(Vec::new())) {
                return Err(self.refuses(format!("`{key}` is inside something that is no object")));
            }
            let Value::Object(fields) = at else { return Err(self.wants("an object on the way")) };
            let Some((_, next)) = fields.iter_mut().rev().find(|(k, _)| k == key) else {
                return Err(self.wants("an object on the way"));
            };
            at = next;
        }
        if at.set(last, Value::from(text)) { Ok(()) } else { Err(self.refuses("its place is no object".to_owned())) }
    }

    /// List fields cross as JSON text; anything that is no JSON list is one text. The same as at the doors: a list of texts.
    fn texts_or_text(&self, text: &str) -> Result<Value, WriteError> {
        match Value::from_json(text.as_bytes()) {
            Ok(Value::List(list)) if list.iter().all(|entry| entry.as_text().is_some()) => Ok(Value::List(list)),
            Ok(Value::List(_)) => Err(self.wants("a JSON list of texts, or one text")),
            _ => Ok(Value::from(text)),
        }
    }

    fn wants(&self, wanted: &'static str) -> WriteError {
        WriteError::Type { field: self.name().into_owned(), wanted }
    }

    fn refuses(&self, why: String) -> WriteError {
        WriteError::Value { field: self.name().into_owned(), why }
    }
}

/// Sets a tag: a write replaces all tags of that key.
pub fn write_tag(row: &mut Row, key: &str, value: &str) -> Result<(), WriteError> {
    let refuses = |why: String| WriteError::Value { field: format!("tags.{key}"), why };
    check_tag_key(key).map_err(|why| refuses(why.to_owned()))?;
    if value.len() > RULE_TEXT_BYTES_MAX {
        return Err(refuses(format!("{} bytes, at most {RULE_TEXT_BYTES_MAX}", value.len())));
    }
    let tags = &mut row.event.tags;
    match tags.iter().position(|tag| tag.key == key) {
        Some(first) => {
            tags[first] = Tag::new(key, value);
            let mut at = 0;
            tags.retain(|tag| {
                at += 1;
                at - 1 == first || tag.key != key
            });
        }
        None if tags.len() >= TAGS_MAX => return Err(refuses(format!("the event already has {TAGS_MAX} tags"))),
        None => tags.push(Tag::new(key, value)),
    }
    Ok(())
}

/// Removes all tags of that key.
pub fn remove_tag(row: &mut Row, key: &str) {
    row.event.tags.retain(|tag| tag.key != key);
}

#[cfg(test)]
mod tests;
