//! The closed table of fields that rules over alerts may read and write. As in [`fields`](crate::fields), whose bounds and
//! errors are used here: an alert rule can write nothing into a document that an event rule could not.

use crate::event::Tag;
use crate::fields::{
    ALL_TAGS_WRITTEN, EventView, Field, FieldError, FieldType, RULE_TEXT_BYTES_MAX, RuleField, RuleRow, SEVERITIES, TAGS_MAX, WriteError, check_alert_name,
    check_bytes, check_tag, extra_text, is_ours, known_fields, only_tag, parse_extra, parse_tag, refused_tag, tags_in_writes, texts, write_extra,
};
use crate::row::{AlertRow, Dropped, RuleFailure};
use crate::value::{Text, Value};
use crate::verdict::Place;
use std::borrow::Cow;

/// A field of an alert that was just opened, by its name in a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlertField {
    /// A field of the closed table.
    Known(KnownAlertField),
    /// `event.NAME`: any field of the event that opened it. Only in `reads`.
    Event(Field),
    /// `tags.KEY`: what a rule wrote, else the last tag of that key of the event that opened it.
    Tag(Text),
    /// `tags`: all of them. In `writes` it is spelt `tags.*`.
    AllTags,
    /// `extra_info.PATH`: keys divided by dots.
    Extra(Vec<Text>),
}

known_fields! {
    /// Fields of an alert with a name of their own.
    KnownAlertField:
    Id "id" Text false
    AlertName "alert_name" Text true
    Severity "severity" Integer true
    Status "status" Text false
    StrategyId "strategy_id" Text false
    BeginTime "begin_time" Integer false
    CreateTime "create_time" Integer false
    LatestTime "latest_time" Integer false
    FirstAnomalyTime "first_anomaly_time" Integer false
    DedupeMd5 "dedupe_md5" Text false
    EventCount "event_count" Integer false
    TenantId "bk_tenant_id" Text false
    Labels "labels" Text true
    Dimensions "dimensions" Text false
    ReceivedAt "received_at" Integer false
    Seed "seed" Integer false
}

/// Bytes that all rules together may write into one alert. Its document is written whole with every change, for as long as it
/// is open.
pub const ALERT_WRITTEN_BYTES_MAX: usize = 256 * 1024;
/// Says in `extra_info` that the severity is a rule's. Ours to write, as `severity` is written.
pub(crate) const SEVERITY_SOURCE: &str = "severity_source";
/// Dimensions that are tags have their key behind it.
const TAG_DIMENSION: &str = "tags.";

impl AlertField {
    /// The field named in a hook's `reads`.
    pub fn parse_read(name: &str) -> Result<AlertField, FieldError> {
        if let Some(of_event) = name.strip_prefix("event.") {
            return Field::parse_read(of_event).map(AlertField::Event).map_err(|error| match error {
                FieldError::TagKey(..) => error,
                FieldError::Path(_) => FieldError::Path(name.to_owned()),
                _ => FieldError::Unknown(name.to_owned()),
            });
        }
        if let Some(key) = parse_tag(name)? {
            return Ok(AlertField::Tag(key));
        }
        if let Some(keys) = parse_extra(name)? {
            return Ok(AlertField::Extra(keys));
        }
        match name {
            "tags" => Ok(AlertField::AllTags),
            "drop" => Err(FieldError::NoDrop),
            _ => KnownAlertField::named(name).map(AlertField::Known).ok_or_else(|| match Field::parse_read(name) {
                Ok(_) => FieldError::OfEvent(name.to_owned()),
                Err(_) => FieldError::Unknown(name.to_owned()),
            }),
        }
    }

    /// The field named in a hook's `writes`.
    pub fn parse_write(name: &str) -> Result<AlertField, FieldError> {
        if name == ALL_TAGS_WRITTEN {
            return Ok(AlertField::AllTags);
        }
        let read_only = || Err(FieldError::ReadOnly(name.to_owned()));
        match AlertField::parse_read(name)? {
            AlertField::Known(known) if !known.is_writable() => read_only(),
            AlertField::Event(_) => read_only(),
            AlertField::Extra(keys) if is_ours(&keys) || keys[0] == SEVERITY_SOURCE => read_only(),
            AlertField::AllTags => Err(tags_in_writes()),
            field => Ok(field),
        }
    }

    /// How it crosses. In `writes`, `AllTags` has no column.
    pub fn kind(&self) -> FieldType {
        match self {
            AlertField::Known(known) => known.kind(),
            AlertField::Event(field) => field.kind(),
            AlertField::AllTags => FieldType::Tags,
            AlertField::Tag(_) | AlertField::Extra(_) => FieldType::Text,
        }
    }

    /// Name in a manifest.
    pub fn name(&self) -> Cow<'static, str> {
        match self {
            AlertField::Known(known) => Cow::Borrowed(known.name()),
            AlertField::Event(field) => Cow::Owned(format!("event.{}", field.name())),
            AlertField::Tag(key) => Cow::Owned(format!("tags.{key}")),
            AlertField::AllTags => Cow::Borrowed("tags"),
            AlertField::Extra(keys) => Cow::Owned(format!("extra_info.{}", keys.join("."))),
        }
    }

    /// The text of a row, borrowed wherever the row holds it as text; `None` is missing.
    pub fn text<'a>(&self, row: &'a AlertRow) -> Option<Cow<'a, str>> {
        let alert = &*row.alert;
        let known = match self {
            AlertField::Known(known) => known,
            AlertField::Event(field) => return field.text_of(opening_event(row)),
            AlertField::Tag(key) => return dimension_of_tag(row, key).or_else(|| alert.event.tag(key)).and_then(Value::to_rule_text),
            AlertField::AllTags => return all_tags_text(row),
            AlertField::Extra(keys) => return extra_text(&alert.extra_info, keys),
        };
        match known {
            KnownAlertField::Id => Some(Cow::Owned(alert.id().to_string())),
            KnownAlertField::AlertName => alert.alert_name.to_rule_text(),
            KnownAlertField::Status => Some(Cow::Borrowed(alert.status.as_str())),
            KnownAlertField::StrategyId => alert.strategy_id.to_rule_text(),
            KnownAlertField::DedupeMd5 => Some(Cow::Borrowed(alert.dedupe_md5.as_str())),
            KnownAlertField::TenantId => Some(Cow::Borrowed(alert.tenant.as_str())),
            KnownAlertField::Labels => Some(&alert.labels).filter(|labels| labels.is_truthy()).and_then(Value::to_rule_text),
            KnownAlertField::Dimensions => (!alert.dimensions.is_empty()).then(|| Cow::Owned(serde_json::to_string(&alert.dimensions).unwrap_or_default())),
            KnownAlertField::Severity
            | KnownAlertField::BeginTime
            | KnownAlertField::CreateTime
            | KnownAlertField::LatestTime
            | KnownAlertField::FirstAnomalyTime
            | KnownAlertField::EventCount
            | KnownAlertField::ReceivedAt
            | KnownAlertField::Seed => self.integer(row).map(|n| Cow::Owned(n.to_string())),
        }
    }

    /// The integer of a row; `None` is missing.
    pub fn integer(&self, row: &AlertRow) -> Option<i64> {
        let alert = &*row.alert;
        let known = match self {
            AlertField::Known(known) => known,
            AlertField::Event(field) => return field.integer_of(opening_event(row)),
            AlertField::Tag(_) | AlertField::AllTags | AlertField::Extra(_) => return None,
        };
        match known {
            KnownAlertField::Severity => Some(i64::from(alert.severity)),
            KnownAlertField::BeginTime => Some(alert.begin_time),
            KnownAlertField::CreateTime => Some(alert.create_time),
            KnownAlertField::LatestTime => Some(alert.latest_time),
            KnownAlertField::FirstAnomalyTime => alert.first_anomaly_time.as_int(),
            KnownAlertField::EventCount => i64::try_from(alert.event_count).ok(),
            KnownAlertField::ReceivedAt => Some(row.received_at_ms),
            KnownAlertField::Seed => Some(row.seed),
            KnownAlertField::Id
            | KnownAlertField::AlertName
            | KnownAlertField::Status
            | KnownAlertField::StrategyId
            | KnownAlertField::DedupeMd5
            | KnownAlertField::TenantId
            | KnownAlertField::Labels
            | KnownAlertField::Dimensions => None,
        }
    }

    /// Writes a text. Refuses what the field cannot hold and then leaves the row as it was.
    pub fn write_text(&self, row: &mut AlertRow, text: &str) -> Result<(), WriteError> {
        let keys = match self {
            AlertField::Tag(key) => return row.write_tag(key, text),
            AlertField::Extra(keys) => keys.as_slice(),
            AlertField::Known(KnownAlertField::AlertName | KnownAlertField::Labels) => &[],
            AlertField::Known(KnownAlertField::Severity) => return Err(self.wants("an integer")),
            AlertField::Known(_) | AlertField::Event(_) | AlertField::AllTags => return Err(self.wants("no column")),
        };
        let bytes = text.len() + keys.iter().map(|key| key.len()).sum::<usize>();
        check_room(row, bytes).map_err(|why| self.refuses(why))?;
        match self {
            AlertField::Known(KnownAlertField::AlertName) => {
                check_alert_name(text).map_err(|why| self.refuses(why))?;
                row.alert.alert_name = Value::from(text);
            }
            AlertField::Known(_) => {
                check_bytes(text, RULE_TEXT_BYTES_MAX).map_err(|why| self.refuses(why))?;
                row.alert.labels = Value::List(texts(text).flatten().ok_or_else(|| self.wants("a JSON list of texts"))?);
            }
            _ => check_bytes(text, RULE_TEXT_BYTES_MAX).and_then(|()| write_extra(&mut row.alert.extra_info, keys, text)).map_err(|why| self.refuses(why))?,
        }
        row.alert.written_bytes += bytes;
        Ok(())
    }

    /// Writes an integer. Refuses what the field cannot hold and then leaves the row as it was.
    pub fn write_integer(&self, row: &mut AlertRow, n: i64) -> Result<(), WriteError> {
        match self {
            AlertField::Known(KnownAlertField::Severity) if SEVERITIES.contains(&n) => {
                row.alert.severity = n as u8;
                // From now on the severities of events neither replace nor change it (docs/semantics.md, Fold).
                row.alert.severity_by_rule = true;
                row.alert.extra_info.set(SEVERITY_SOURCE, Value::literal("by_rule"));
                Ok(())
            }
            AlertField::Known(KnownAlertField::Severity) => Err(self.refuses(format!("{n} is not 1, 2 or 3"))),
            _ => Err(self.wants("a text")),
        }
    }

    fn wants(&self, wanted: &'static str) -> WriteError {
        WriteError::Type { field: self.name().into_owned(), wanted }
    }

    fn refuses(&self, why: String) -> WriteError {
        WriteError::Value { field: self.name().into_owned(), why }
    }
}

fn check_room(row: &AlertRow, bytes: usize) -> Result<(), String> {
    let written = row.alert.written_bytes + bytes;
    if written <= ALERT_WRITTEN_BYTES_MAX {
        Ok(())
    } else {
        Err(format!("rules have written {written} bytes into the alert then, at most {ALERT_WRITTEN_BYTES_MAX}"))
    }
}

/// Before it is stored, an alert has no event but the one that opened it.
fn opening_event(row: &AlertRow) -> EventView<'_> {
    EventView { event: &row.alert.event, source: &row.source, received_at_ms: row.received_at_ms, seed: row.seed }
}

/// The value of the dimension that a tag is.
fn dimension_of_tag<'a>(row: &'a AlertRow, key: &str) -> Option<&'a Value> {
    let of_tag = |dimension: &&Tag| dimension.key.strip_prefix(TAG_DIMENSION) == Some(key);
    row.alert.dimensions.iter().rev().find(of_tag).map(|dimension| &dimension.value)
}

/// Key and value of the event's tags that are no dimensions, then of those that are.
fn each_tag<'a>(row: &'a AlertRow, mut each: impl FnMut(&'a str, &'a Value)) {
    for tag in &row.alert.event.tags {
        if dimension_of_tag(row, &tag.key).is_none() {
            each(&tag.key, &tag.value);
        }
    }
    for dimension in &row.alert.dimensions {
        if let Some(key) = dimension.key.strip_prefix(TAG_DIMENSION) {
            each(key, &dimension.value);
        }
    }
}

fn all_tags_text(row: &AlertRow) -> Option<Cow<'_, str>> {
    let mut tags = Vec::new();
    each_tag(row, |key, value| tags.push(Tag::new(key, value.clone())));
    (!tags.is_empty()).then(|| Cow::Owned(serde_json::to_string(&tags).unwrap_or_default()))
}

impl RuleField for AlertField {
    type Row = AlertRow;

    fn parse_read(name: &str) -> Result<AlertField, FieldError> {
        AlertField::parse_read(name)
    }
    fn parse_write(name: &str) -> Result<AlertField, FieldError> {
        AlertField::parse_write(name)
    }
    fn kind(&self) -> FieldType {
        AlertField::kind(self)
    }
    fn name(&self) -> Cow<'static, str> {
        AlertField::name(self)
    }
    fn is_all_tags(&self) -> bool {
        matches!(self, AlertField::AllTags)
    }
    fn is_drop(&self) -> bool {
        false
    }
    fn tag_key(&self) -> Option<&str> {
        if let AlertField::Tag(key) = self { Some(key) } else { None }
    }
    fn text<'a>(&self, row: &'a AlertRow) -> Option<Cow<'a, str>> {
        AlertField::text(self, row)
    }
    fn integer(&self, row: &AlertRow) -> Option<i64> {
        AlertField::integer(self, row)
    }
    fn each_tag<'a>(&self, row: &'a AlertRow, mut each: impl FnMut(&'a str, &'a Value)) {
        match self {
            AlertField::Event(_) => row.alert.event.tags.iter().for_each(|tag| each(&tag.key, &tag.value)),
            _ => each_tag(row, each),
        }
    }
    fn write_text(&self, row: &mut AlertRow, text: &str) -> Result<(), WriteError> {
        AlertField::write_text(self, row, text)
    }
    fn write_integer(&self, row: &mut AlertRow, n: i64) -> Result<(), WriteError> {
        AlertField::write_integer(self, row, n)
    }
    /// No text: what rules write into one alert is bounded in all.
    fn takes_texts_of(&self, _: usize) -> bool {
        false
    }
    fn takes_integer(&self, n: i64) -> bool {
        matches!(self, AlertField::Known(KnownAlertField::Severity)) && SEVERITIES.contains(&n)
    }
}

impl RuleRow for AlertRow {
    /// The event stays as it came, and other events take its place in the alert: what is written is the alert's dimension.
    fn write_tag(&mut self, key: &str, value: &str) -> Result<(), WriteError> {
        let name = format!("{TAG_DIMENSION}{key}");
        let bytes = 2 * (name.len() + value.len());
        let room = check_tag(key, value).and_then(|()| check_room(self, bytes));
        let dimensions = &mut self.alert.dimensions;
        let dimension = match room.and_then(|()| only_tag(dimensions, &name, "alert")).map_err(|why| refused_tag(key, why))? {
            Some(at) => &mut dimensions[at],
            None => dimensions.push_mut(Tag::new(name.as_str(), Value::Null)),
        };
        dimension.display_key.get_or_insert_with(|| Value::from(name.as_str()));
        dimension.value = Value::from(value);
        dimension.display_value = Some(Value::from(value));
        self.alert.written_bytes += bytes;
        Ok(())
    }
    /// Tags of the event stay.
    fn remove_tag(&mut self, key: &str) {
        self.alert.dimensions.retain(|dimension| dimension.key.strip_prefix(TAG_DIMENSION) != Some(key));
    }
    fn has_room_for_tags(&self, tags: usize) -> bool {
        self.alert.dimensions.len() + tags <= TAGS_MAX
    }
    fn is_dropped(&self) -> bool {
        false
    }
    fn reject(&mut self) {}
    fn tenant(&self) -> &Text {
        &self.alert.tenant
    }
    fn place(&self) -> Place {
        self.at
    }
    /// No alert field is `drop`, so nobody asks for it.
    fn drop_by(&mut self, _: Dropped) {}
    fn failures_mut(&mut self) -> &mut Vec<RuleFailure> {
        &mut self.failures
    }
}

#[cfg(test)]
mod tests;
