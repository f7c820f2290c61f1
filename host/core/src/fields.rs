//! The closed table of fields that rules may read and write: name, type, access.

use crate::decode::{KEY_BYTES_MAX, OUR_MARKS};
use crate::event::{Event, Tag};
use crate::row::{Dropped, Row, RuleFailure};
use crate::value::{Text, Value};
use crate::verdict::Place;
use std::borrow::Cow;
use std::fmt::Debug;

/// A field that rules read and write, of one kind of row: what the engine needs to know of it. Fields of events are
/// [`Field`], those of alerts [`AlertField`](crate::alert_fields::AlertField).
pub trait RuleField: Clone + Debug + PartialEq + Send + Sync + Sized {
    /// What it is a field of.
    type Row: RuleRow;

    /// The field named in a hook's `reads`.
    fn parse_read(name: &str) -> Result<Self, FieldError>;
    /// The field named in a hook's `writes`.
    fn parse_write(name: &str) -> Result<Self, FieldError>;
    /// How it crosses. What has no column in `writes` is [`is_all_tags`](RuleField::is_all_tags) or [`is_drop`](RuleField::is_drop).
    fn kind(&self) -> FieldType;
    /// Name in a manifest.
    fn name(&self) -> Cow<'static, str>;
    /// All tags, in `writes`.
    fn is_all_tags(&self) -> bool;
    /// `drop`, in `writes`.
    fn is_drop(&self) -> bool;
    /// The key of one tag.
    fn tag_key(&self) -> Option<&str>;

    /// The text of a row, borrowed wherever the row holds it as text; `None` is missing.
    fn text<'a>(&self, row: &'a Self::Row) -> Option<Cow<'a, str>>;
    /// The integer of a row; `None` is missing.
    fn integer(&self, row: &Self::Row) -> Option<i64>;
    /// Key and value of all tags of a row, for a field of [`FieldType::Tags`].
    fn each_tag<'a>(&self, row: &'a Self::Row, each: impl FnMut(&'a str, &'a Value));

    /// Writes a text. Refuses what the field cannot hold and then leaves the row as it was.
    fn write_text(&self, row: &mut Self::Row, text: &str) -> Result<(), WriteError>;
    /// Writes an integer. Refuses what the field cannot hold and then leaves the row as it was.
    fn write_integer(&self, row: &mut Self::Row, n: i64) -> Result<(), WriteError>;
    /// Whether every row takes any text of at most so many bytes, as long as there is [room for its tags](RuleRow::has_room_for_tags).
    fn takes_texts_of(&self, bytes: usize) -> bool;
    /// Whether every row takes this integer.
    fn takes_integer(&self, n: i64) -> bool;
}

/// What rules decide about one by one, and what they may do to it beside its fields.
pub trait RuleRow: Clone {
    /// Sets a tag: a write replaces all tags of that key.
    fn write_tag(&mut self, key: &str, value: &str) -> Result<(), WriteError>;
    /// Removes all tags of that key.
    fn remove_tag(&mut self, key: &str);
    /// Whether it takes so many new tags.
    fn has_room_for_tags(&self, tags: usize) -> bool;
    /// A rule took it out, or could not judge it and its policy did: the rules behind that one are not asked.
    fn is_dropped(&self) -> bool;
    /// It goes no further. An alert does, since the event that opened it is counted.
    fn reject(&mut self);
    /// Whose it is; no rule gets rows of two tenants at once.
    fn tenant(&self) -> &Text;
    /// Where it stands in the journal; an alert where the event stands that opened it.
    fn place(&self) -> Place;
    /// Takes it out, unless a rule did so before. Only where a field [is `drop`](RuleField::is_drop).
    fn drop_by(&mut self, dropped: Dropped);
    /// Rules that could not judge it.
    fn failures_mut(&mut self) -> &mut Vec<RuleFailure>;
}

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
    ($(#[$doc:meta])* $Known:ident: $($variant:ident $name:literal $kind:ident $writable:literal)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum $Known { $($variant),* }

        impl $Known {
            /// All of them.
            pub const ALL: &'static [$Known] = &[$($Known::$variant),*];
            /// Name in a manifest.
            pub const fn name(self) -> &'static str {
                match self { $($Known::$variant => $name),* }
            }
            /// How it crosses.
            pub const fn kind(self) -> $crate::fields::FieldType {
                match self { $($Known::$variant => $crate::fields::FieldType::$kind),* }
            }
            /// Whether a rule may write it.
            pub const fn is_writable(self) -> bool {
                match self { $($Known::$variant => $writable),* }
            }
            fn named(name: &str) -> Option<$Known> {
                $Known::ALL.iter().copied().find(|known| known.name() == name)
            }
        }
    };
}
pub(crate) use known_fields;

known_fields! {
    /// Fields with a name of their own.
    KnownField:
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
    /// It is a field of events only.
    #[error("alerts have no field `{0}`; `event.{0}` is that of the event that opened it, and can be read")]
    OfEvent(String),
    /// Alerts are not dropped.
    #[error("`drop` is not for alerts: the event that opened it is counted; a rule of the hook `enrich-event` may drop the event")]
    NoDrop,
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
        if name == ALL_TAGS_WRITTEN {
            return Ok(Field::AllTags);
        }
        match Field::parse(name)? {
            Field::Known(known) if !known.is_writable() => Err(FieldError::ReadOnly(name.to_owned())),
            Field::Extra(keys) if is_ours(&keys) => Err(FieldError::ReadOnly(name.to_owned())),
            Field::AllTags => Err(tags_in_writes()),
            field => Ok(field),
        }
    }

    fn parse(name: &str) -> Result<Field, FieldError> {
        if let Some(key) = parse_tag(name)? {
            return Ok(Field::Tag(key));
        }
        if let Some(keys) = parse_extra(name)? {
            return Ok(Field::Extra(keys));
        }
        match name {
            "tags" => Ok(Field::AllTags),
            "drop" => Ok(Field::Drop),
            _ => KnownField::named(name).map(Field::Known).ok_or_else(|| FieldError::Unknown(name.to_owned())),
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
        self.text_of(EventView::of(row))
    }

    pub(crate) fn text_of<'a>(&self, view: EventView<'a>) -> Option<Cow<'a, str>> {
        let e = view.event;
        let plain = |text: &'a Text| Some(Cow::Borrowed(text.as_str()));
        let list = |values: &[Value]| (!values.is_empty()).then(|| Cow::Owned(serde_json::to_string(values).unwrap_or_default()));
        match self {
            Field::Tag(key) => e.tag(key).and_then(Value::to_rule_text),
            Field::Extra(keys) => extra_text(&e.extra_info, keys),
            Field::AllTags => (!e.tags.is_empty()).then(|| Cow::Owned(serde_json::to_string(&e.tags).unwrap_or_default())),
            Field::Drop => None,
            Field::Known(known) => match known {
                KnownField::Uid => Some(Cow::Owned(e.uid.to_hex().to_string())),
                KnownField::TenantId => plain(&e.tenant),
                KnownField::EventId => e.event_id.to_rule_text(),
                KnownField::PluginId => e.plugin_id.to_rule_text(),
                KnownField::Source => plain(view.source),
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
                | KnownField::Seed => self.integer_of(view).map(|n| Cow::Owned(n.to_string())),
            },
        }
    }

    /// The integer of a row; `None` is missing. Texts of digits count as integers in `bk_biz_id`.
    pub fn integer(&self, row: &Row) -> Option<i64> {
        self.integer_of(EventView::of(row))
    }

    pub(crate) fn integer_of(&self, view: EventView<'_>) -> Option<i64> {
        let e = view.event;
        let Field::Known(known) = self else { return None };
        match known {
            KnownField::Severity => Some(i64::from(e.severity_level())),
            KnownField::Time => e.time.as_int(),
            KnownField::AnomalyTime => e.anomaly_time.as_int().or(e.time.as_int()),
            KnownField::BkIngestTime => e.bk_ingest_time.as_int(),
            KnownField::BkCleanTime => e.bk_clean_time.as_int(),
            KnownField::CreateTime => Some(e.create_time),
            KnownField::BkBizId => e.bk_biz_id.as_int().or_else(|| e.bk_biz_id.as_text().and_then(|t| t.parse().ok())),
            KnownField::ReceivedAt => Some(view.received_at_ms),
            KnownField::Seed => Some(view.seed),
            _ => None,
        }
    }

    /// Writes a text. Refuses what the field cannot hold and then leaves the row as it was.
    pub fn write_text(&self, row: &mut Row, text: &str) -> Result<(), WriteError> {
        self.check_text(text)?;
        let value = || Value::from(text);
        let e = &mut row.event;
        match self {
            Field::Tag(key) => return put_tag(row, key.clone(), text).map_err(|why| self.refuses(why)),
            Field::Extra(keys) => return write_extra(&mut e.extra_info, keys, text).map_err(|why| self.refuses(why)),
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
        match self {
            Field::Known(KnownField::AlertName) => check_alert_name(text),
            Field::Known(KnownField::Description) => check_bytes(text, DESCRIPTION_BYTES_MAX),
            _ => check_bytes(text, RULE_TEXT_BYTES_MAX),
        }
        .map_err(|why| self.refuses(why))
    }

    /// List fields cross as JSON text; anything that is no JSON list is one text. The same as at the doors: a list of texts.
    fn texts_or_text(&self, text: &str) -> Result<Value, WriteError> {
        match texts(text) {
            Some(list) => list.map(Value::List).ok_or_else(|| self.wants("a JSON list of texts, or one text")),
            None => Ok(Value::from(text)),
        }
    }

    fn wants(&self, wanted: &'static str) -> WriteError {
        WriteError::Type { field: self.name().into_owned(), wanted }
    }

    fn refuses(&self, why: String) -> WriteError {
        WriteError::Value { field: self.name().into_owned(), why }
    }
}

impl RuleField for Field {
    type Row = Row;

    fn parse_read(name: &str) -> Result<Field, FieldError> {
        Field::parse_read(name)
    }
    fn parse_write(name: &str) -> Result<Field, FieldError> {
        Field::parse_write(name)
    }
    fn kind(&self) -> FieldType {
        Field::kind(self)
    }
    fn name(&self) -> Cow<'static, str> {
        Field::name(self)
    }
    fn is_all_tags(&self) -> bool {
        matches!(self, Field::AllTags)
    }
    fn is_drop(&self) -> bool {
        matches!(self, Field::Drop)
    }
    fn tag_key(&self) -> Option<&str> {
        if let Field::Tag(key) = self { Some(key) } else { None }
    }
    fn text<'a>(&self, row: &'a Row) -> Option<Cow<'a, str>> {
        Field::text(self, row)
    }
    fn integer(&self, row: &Row) -> Option<i64> {
        Field::integer(self, row)
    }
    fn each_tag<'a>(&self, row: &'a Row, mut each: impl FnMut(&'a str, &'a Value)) {
        row.event.tags.iter().for_each(|tag| each(&tag.key, &tag.value));
    }
    fn write_text(&self, row: &mut Row, text: &str) -> Result<(), WriteError> {
        Field::write_text(self, row, text)
    }
    fn write_integer(&self, row: &mut Row, n: i64) -> Result<(), WriteError> {
        Field::write_integer(self, row, n)
    }
    fn takes_texts_of(&self, bytes: usize) -> bool {
        match self {
            Field::Known(KnownField::DedupeKeys | KnownField::AlertName | KnownField::Assignee | KnownField::Metric | KnownField::BkTopoNode) => false,
            Field::Known(known) => known.is_writable() && known.kind() == FieldType::Text && bytes <= RULE_TEXT_BYTES_MAX,
            Field::Tag(_) => bytes <= RULE_TEXT_BYTES_MAX,
            Field::AllTags | Field::Extra(_) | Field::Drop => false,
        }
    }
    fn takes_integer(&self, n: i64) -> bool {
        match self {
            Field::Known(KnownField::Severity) => SEVERITIES.contains(&n),
            Field::Known(KnownField::BkBizId) => true,
            _ => false,
        }
    }
}

impl RuleRow for Row {
    fn write_tag(&mut self, key: &str, value: &str) -> Result<(), WriteError> {
        write_tag(self, key, value)
    }
    fn remove_tag(&mut self, key: &str) {
        remove_tag(self, key);
    }
    fn has_room_for_tags(&self, tags: usize) -> bool {
        self.event.tags.len() + tags <= TAGS_MAX
    }
    fn is_dropped(&self) -> bool {
        self.dropped.is_some() || self.rejected
    }
    fn reject(&mut self) {
        self.rejected = true;
    }
    fn tenant(&self) -> &Text {
        &self.event.tenant
    }
    fn place(&self) -> Place {
        Row::place(self)
    }
    fn drop_by(&mut self, dropped: Dropped) {
        self.dropped.get_or_insert(dropped);
    }
    fn failures_mut(&mut self) -> &mut Vec<RuleFailure> {
        &mut self.failures
    }
}

/// What the fields of an event are read from: a row, or the alert that the event opened.
#[derive(Clone, Copy)]
pub(crate) struct EventView<'a> {
    pub event: &'a Event,
    pub source: &'a Text,
    pub received_at_ms: i64,
    pub seed: i64,
}

impl<'a> EventView<'a> {
    fn of(row: &'a Row) -> EventView<'a> {
        EventView { event: &row.event, source: &row.source, received_at_ms: row.received_at_ms, seed: row.seed }
    }
}

/// Severities that a rule may write.
pub(crate) const SEVERITIES: std::ops::RangeInclusive<i64> = 1..=3;
/// How `writes` spell all tags.
pub(crate) const ALL_TAGS_WRITTEN: &str = "tags.*";

pub(crate) fn tags_in_writes() -> FieldError {
    FieldError::Unknown(format!("tags (in `writes` it is spelt `{ALL_TAGS_WRITTEN}`)"))
}

/// The key of `tags.KEY`; `None` when the name has another form.
pub(crate) fn parse_tag(name: &str) -> Result<Option<Text>, FieldError> {
    let Some(key) = name.strip_prefix("tags.") else { return Ok(None) };
    check_tag_key(key).map_err(|why| FieldError::TagKey(key.to_owned(), why))?;
    Ok(Some(Text::new(key)))
}

/// The keys of `extra_info.PATH`; `None` when the name has another form.
pub(crate) fn parse_extra(name: &str) -> Result<Option<Vec<Text>>, FieldError> {
    let Some(path) = name.strip_prefix("extra_info.") else { return Ok(None) };
    let keys: Vec<Text> = path.split('.').map(Text::new).collect();
    if keys.iter().any(|key| key.is_empty()) {
        return Err(FieldError::Unknown(name.to_owned()));
    }
    if keys.len() > EXTRA_KEYS_MAX || keys.iter().any(|key| key.len() > KEY_BYTES_MAX) {
        return Err(FieldError::Path(name.to_owned()));
    }
    Ok(Some(keys))
}

/// Whether a path in `extra_info` leads where our own marks are, which say what rules did.
pub(crate) fn is_ours(keys: &[Text]) -> bool {
    keys.first().is_some_and(|key| key.starts_with(OUR_MARKS))
}

pub(crate) fn extra_text<'a>(extra_info: &'a Value, keys: &[Text]) -> Option<Cow<'a, str>> {
    keys.iter().try_fold(extra_info, |value, key| value.get(key)).and_then(Value::to_rule_text)
}

/// Sets a text in `extra_info`, making objects on the way. `Err` says why not; nothing is changed then, since below an object
/// that was made there is nothing in the way.
pub(crate) fn write_extra(extra_info: &mut Value, keys: &[Text], text: &str) -> Result<(), String> {
    let Some((last, path)) = keys.split_last() else { return Err("it names no place".to_owned()) };
    let mut at = extra_info;
    for key in path {
        if at.get(key).is_none() && !at.set(key, Value::Object(Vec::new())) {
            return Err(format!("`{key}` is inside something that is no object"));
        }
        match at.path_mut(&[key]) {
            Some(next) => at = next,
            None => return Err(format!("`{key}` is inside something that is no object")),
        }
    }
    if at.set(last, Value::from(text)) { Ok(()) } else { Err("its place is no object".to_owned()) }
}

/// The entries of a JSON list of texts, `Some(None)` for one of anything else, `None` for what is no JSON list.
pub(crate) fn texts(text: &str) -> Option<Option<Vec<Value>>> {
    match Value::from_json(text.as_bytes()) {
        Ok(Value::List(list)) => Some(list.iter().all(|entry| entry.as_text().is_some()).then_some(list)),
        _ => None,
    }
}

pub(crate) fn check_bytes(text: &str, bytes_max: usize) -> Result<(), String> {
    if text.len() > bytes_max { Err(format!("{} bytes, at most {bytes_max}", text.len())) } else { Ok(()) }
}

pub(crate) fn check_alert_name(name: &str) -> Result<(), String> {
    check_bytes(name, ALERT_NAME_BYTES_MAX)?;
    if name.is_empty() || name.contains('\0') { Err("empty or with a NUL".to_owned()) } else { Ok(()) }
}

/// The place of the first tag of that key, once all others of it are gone; `None` when there is none and room for one.
pub(crate) fn only_tag(tags: &mut Vec<Tag>, key: &str, what: &str) -> Result<Option<usize>, String> {
    let first = tags.iter().position(|tag| tag.key == key);
    match first {
        Some(first) => {
            let mut at = 0;
            tags.retain(|tag| {
                at += 1;
                at - 1 == first || tag.key != key
            });
        }
        None if tags.len() >= TAGS_MAX => return Err(format!("the {what} already has {TAGS_MAX} tags")),
        None => {}
    }
    Ok(first)
}

/// What no tag may have, and no dimension that a rule makes of it.
pub(crate) fn check_tag(key: &str, value: &str) -> Result<(), String> {
    check_tag_key(key).map_err(str::to_owned)?;
    check_bytes(value, RULE_TEXT_BYTES_MAX)
}

/// Sets a tag: a write replaces all tags of that key.
pub fn write_tag(row: &mut Row, key: &str, value: &str) -> Result<(), WriteError> {
    check_tag(key, value).and_then(|()| put_tag(row, Text::new(key), value)).map_err(|why| refused_tag(key, why))
}

/// The same, with a key and a value that passed their checks: a field's key did so when it was read.
fn put_tag(row: &mut Row, key: Text, value: &str) -> Result<(), String> {
    let tags = &mut row.event.tags;
    match only_tag(tags, &key, "event")? {
        Some(at) => tags[at] = Tag::new(key, value),
        None => tags.push(Tag::new(key, value)),
    }
    Ok(())
}

pub(crate) fn refused_tag(key: &str, why: String) -> WriteError {
    WriteError::Value { field: format!("tags.{key}"), why }
}

/// Removes all tags of that key.
pub fn remove_tag(row: &mut Row, key: &str) {
    row.event.tags.retain(|tag| tag.key != key);
}

#[cfg(test)]
pub(crate) mod tests;
