//! The coercion table: which types each field of an event takes at our own doors, and what becomes of them. One table for
//! every door; `docs/coercion.md` is the same in prose. `null` always means absent.
//!
//! | field | takes | becomes | else |
//! |---|---|---|---|
//! | `alert_name` | text of 1 to 512 bytes that is not blank, no NUL | as sent | `name`, `size` |
//! | `event_id`, `plugin_id` | text of 1 to 512 bytes, no NUL; integer within 2^53 | text | `id`, `type`, `number`, `size` |
//! | `severity` | 1, 2, 3; `"1"`, `"2"`, `"3"` | integer | `severity`; `number` for what is no exact integer |
//! | `status` | abnormal, recovered, closed in any case | upper case | `status` |
//! | `time`, `anomaly_time`, `bk_ingest_time`, `bk_clean_time` | integer of Unix seconds, 0 to 253402300799 | as sent | `time` |
//! | `bk_biz_id`, `strategy_id` | integer within 2^53, or its decimal digits as text | integer | `number`, `type` |
//! | `tags` | list of `{key, value, display_key?, display_value?}`, or an object | list | `tags`, `tag-key`, `size` |
//! | `description` | text up to 32 KiB | as sent | `type`, `size` |
//! | `data_type`, `category`, `target_type`, `ip`, `ipv6` | text up to 8 KiB | as sent | `type`, `size` |
//! | `target`, `bk_cloud_id`, `bk_host_id`, `bk_service_instance_id` | text up to 8 KiB, integer within 2^53 | as sent | `type`, `number`, `size` |
//! | `assignee`, `metric` | text, list of texts | as sent | `type`, `size` |
//! | `dedupe_keys`, `bk_topo_node` | list of texts | as sent | `type`, `size` |
//! | `extra_info` | object | as sent | `type` |
//! | `bk_tenant_id` | the tenant of the sender's token, or empty | absent | `tenant` |
//! | `id`, `dedupe_md5`, `create_time` | anything | `extra_info.unknown.*`, never trusted | |
//! | any other | anything | `extra_info.unknown.*` | |

use super::code::{Code, Refusal, quoted};
use super::syntax::inexact_integer;
use super::tags::tags;
use crate::event::Status;
use crate::fields::{ALERT_NAME_BYTES_MAX, DESCRIPTION_BYTES_MAX};
use crate::item::{Item, ItemField};
use crate::value::{Text, Value};
use sha2::{Digest, Sha256};

/// Longest `event_id` or `plugin_id`, bytes.
pub const EVENT_ID_BYTES_MAX: usize = 512;
/// Longest tag value, and longest text of fields without a cap of their own, bytes. Texts inside `extra_info` and unknown
/// fields are bounded by the item's size only.
pub const TEXT_BYTES_MAX: usize = 8 * 1024;
/// Longest key of an object, at any depth, bytes. Tag keys have a shorter cap of their own.
pub const KEY_BYTES_MAX: usize = 512;
/// The last second of year 9999.
pub const TIME_S_MAX: i64 = 253_402_300_799;

/// Key in `extra_info` of fields without a meaning.
const UNKNOWN: &str = "unknown";
/// Key in `extra_info` of our own marks, which neither senders nor rules write.
pub const OUR_MARKS: &str = "alertmill";
/// Integers beyond it are not exact in JSON as browsers and Elasticsearch's clients read it.
const EXACT_MAX: i64 = 1 << 53;

/// Checks and coerces all fields of an item of [`Door::Events`](crate::record::Door).
pub(super) fn coerce(mut item: Item, bytes: &[u8], tenant: &str) -> Result<Item, Refusal> {
    for &field in ItemField::ALL {
        if !item.get(field).is_null() {
            let value = item.take(field);
            item.set(field, coerce_field(field, value, tenant)?);
        }
    }
    if item.get(ItemField::AlertName).is_null() {
        return Err(Refusal::new(Code::Name, "/alert_name", "alert_name is missing; an event without a name cannot be shown or deduplicated"));
    }
    check_target(&mut item)?;
    move_unknown(&mut item)?;
    sweep(&mut item, bytes)?;
    if item.get(ItemField::EventId).is_null() {
        item.set(ItemField::EventId, digest(bytes));
    }
    Ok(item)
}

/// 32 hex digits of SHA-256: the `event_id` of an item that has none.
pub(super) fn digest(bytes: &[u8]) -> Value {
    let digest = Sha256::digest(bytes);
    let mut half = [0u8; 16];
    half.copy_from_slice(&digest[..16]);
    Value::Text(crate::event::hex(&half))
}

fn coerce_field(field: ItemField, value: Value, tenant: &str) -> Result<Value, Refusal> {
    use ItemField::*;
    match field {
        BkTenantId => tenant_of(value, tenant),
        AlertName => name(value),
        EventId | PluginId => id(field, value),
        Severity => severity(value),
        Status => status(value),
        Time | AnomalyTime | BkIngestTime | BkCleanTime => time(field, value),
        BkBizId | StrategyId => whole(field, value),
        Tags => tags(value),
        Description => text(field, value, DESCRIPTION_BYTES_MAX),
        DataType | Category | TargetType | Ip | Ipv6 => text(field, value, TEXT_BYTES_MAX),
        Target | BkCloudId | BkHostId | BkServiceInstanceId => match value {
            Value::Int(_) | Value::UInt(_) | Value::Float(_) => exact(field, value),
            other => text_of(field, other, TEXT_BYTES_MAX, "a text or an integer"),
        },
        Assignee | Metric => match value {
            list @ Value::List(_) => texts(field, list),
            other => text_of(field, other, TEXT_BYTES_MAX, "a text or a list of texts"),
        },
        DedupeKeys | BkTopoNode => texts(field, value),
        ExtraInfo if matches!(value, Value::Object(_)) => Ok(value),
        ExtraInfo => Err(wrong_type(field, "an object")),
        // Kept where it is until `move_unknown`.
        Id | DedupeMd5 | CreateTime => Ok(value),
    }
}

fn pointer(field: ItemField) -> String {
    format!("/{}", field.name())
}

fn wrong_type(field: ItemField, wanted: &str) -> Refusal {
    Refusal::new(Code::Type, pointer(field), format!("{} takes {wanted}", field.name()))
}

fn too_long(field: ItemField, bytes: usize, most: usize) -> Refusal {
    Refusal::new(Code::Size, pointer(field), format!("{} has {bytes} bytes, at most {most}", field.name()))
}

fn tenant_of(value: Value, tenant: &str) -> Result<Value, Refusal> {
    match value.as_text() {
        Some(sent) if sent.is_empty() || sent == tenant => Ok(Value::Null),
        _ => Err(Refusal::new(Code::Tenant, "/bk_tenant_id", "bk_tenant_id is not the tenant of the sender's token; leave it out, the token decides")),
    }
}

fn name(value: Value) -> Result<Value, Refusal> {
    let refuse = |why: &str| Refusal::new(Code::Name, "/alert_name", why);
    let Some(name) = value.as_text() else { return Err(refuse("alert_name takes a text")) };
    if name.len() > ALERT_NAME_BYTES_MAX {
        return Err(too_long(ItemField::AlertName, name.len(), ALERT_NAME_BYTES_MAX));
    }
    if name.trim().is_empty() {
        return Err(refuse("alert_name is empty"));
    }
    if name.contains('\0') {
        return Err(refuse("alert_name has a NUL"));
    }
    Ok(value)
}

fn id(field: ItemField, value: Value) -> Result<Value, Refusal> {
    let value = match value {
        Value::Int(_) | Value::UInt(_) | Value::Float(_) => Value::Text(Text::from(exact(field, value)?.to_json())),
        other => text_of(field, other, EVENT_ID_BYTES_MAX, "a text or an integer")?,
    };
    let sent = value.as_text().unwrap_or_default();
    if sent.is_empty() || sent.contains('\0') {
        let why = if sent.is_empty() { "is empty; leave it out" } else { "has a NUL" };
        return Err(Refusal::new(Code::Id, pointer(field), format!("{} {why}", field.name())));
    }
    Ok(value)
}

fn severity(value: Value) -> Result<Value, Refusal> {
    let refuse = || Refusal::new(Code::Severity, "/severity", "severity is 1 (fatal), 2 (warning) or 3 (reminder), or these digits as text");
    match &value {
        Value::Int(1..=3) => Ok(value),
        Value::Text(text) => match text.as_str() {
            "1" => Ok(Value::Int(1)),
            "2" => Ok(Value::Int(2)),
            "3" => Ok(Value::Int(3)),
            _ => Err(refuse()),
        },
        Value::Int(n) if n.unsigned_abs() <= EXACT_MAX as u64 => Err(refuse()),
        Value::Int(_) | Value::UInt(_) | Value::Float(_) => Err(inexact(ItemField::Severity)),
        _ => Err(refuse()),
    }
}

fn status(value: Value) -> Result<Value, Refusal> {
    let known = [Status::Abnormal, Status::Recovered, Status::Closed];
    let sent = value.as_text().unwrap_or_default();
    match known.into_iter().find(|status| status.as_str().eq_ignore_ascii_case(sent)) {
        Some(status) => Ok(Value::literal(status.as_str())),
        None => Err(Refusal::new(Code::Status, "/status", "status is abnormal, recovered or closed")),
    }
}

/// One rule for every field of seconds: the unit is declared, never guessed.
fn time(field: ItemField, value: Value) -> Result<Value, Refusal> {
    let remedy = match &value {
        Value::Int(0..=TIME_S_MAX) => return Ok(value),
        Value::Int(..0) => "times before 1970 are refused",
        Value::Int(n) if *n < 100_000_000_000_000 => "this looks like milliseconds: divide by 1000",
        Value::Int(n) if *n < 100_000_000_000_000_000 => "this looks like microseconds: divide by 1000000",
        Value::Int(_) | Value::UInt(_) => "this looks like nanoseconds: divide by 1000000000",
        Value::Float(_) => "fractions of a second are refused: round it",
        Value::Text(text) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => "send it as a number, not as text",
        Value::Text(_) => "dates as text (ISO 8601) are refused: convert it",
        _ => "it is no number",
    };
    let what = format!("{} is an integer of Unix seconds from 0 to {TIME_S_MAX}; {remedy}", field.name());
    Err(Refusal::new(Code::Time, pointer(field), what))
}

/// One type at the border for what upstream mixes (docs/semantics.md, Differences, row 16).
fn whole(field: ItemField, value: Value) -> Result<Value, Refusal> {
    let Some(text) = value.as_text() else {
        return match value {
            Value::Int(_) | Value::UInt(_) | Value::Float(_) => exact(field, value),
            _ => Err(wrong_type(field, "an integer or its digits as text")),
        };
    };
    let digits = text.strip_prefix('-').unwrap_or(text);
    let canonical = digits == "0" || (digits.starts_with(|c: char| ('1'..='9').contains(&c)) && digits.bytes().all(|b| b.is_ascii_digit()));
    if !canonical || text == "-0" {
        return Err(wrong_type(field, "an integer or its digits as text"));
    }
    match text.parse() {
        Ok(n) => exact(field, Value::Int(n)),
        Err(_) => Err(inexact(field)),
    }
}

fn exact(field: ItemField, value: Value) -> Result<Value, Refusal> {
    match value {
        Value::Int(n) if n.unsigned_abs() <= EXACT_MAX as u64 => Ok(value),
        _ => Err(inexact(field)),
    }
}

fn inexact(field: ItemField) -> Refusal {
    let why = format!("{} takes an integer of at most 2^53 without sign of plus, fraction or exponent", field.name());
    Refusal::new(Code::Number, pointer(field), why)
}

fn text(field: ItemField, value: Value, most: usize) -> Result<Value, Refusal> {
    text_of(field, value, most, "a text")
}

fn text_of(field: ItemField, value: Value, most: usize, wanted: &str) -> Result<Value, Refusal> {
    match value.as_text() {
        None => Err(wrong_type(field, wanted)),
        Some(text) if text.len() > most => Err(too_long(field, text.len(), most)),
        Some(_) => Ok(value),
    }
}

fn texts(field: ItemField, value: Value) -> Result<Value, Refusal> {
    let Value::List(list) = &value else { return Err(wrong_type(field, "a list of texts")) };
    for (i, entry) in list.iter().enumerate() {
        let at = || format!("/{}/{i}", field.name());
        match entry.as_text() {
            None => return Err(Refusal::new(Code::Type, at(), format!("{} takes texts", field.name()))),
            Some(text) if text.len() > TEXT_BYTES_MAX => {
                return Err(Refusal::new(Code::Size, at(), format!("{} bytes, at most {TEXT_BYTES_MAX}", text.len())));
            }
            Some(text) if field == ItemField::DedupeKeys && text.contains('\0') => {
                return Err(Refusal::new(Code::Key, at(), "a dedupe key has a NUL"));
            }
            Some(_) => {}
        }
    }
    Ok(value)
}

/// The forms of a target that upstream's CMDB step chokes on, with the whole batch (docs/semantics.md, Clean: poison).
fn check_target(item: &mut Item) -> Result<(), Refusal> {
    let refuse = |why| Err(Refusal::new(Code::Type, "/target", why));
    let target_type = item.get(ItemField::TargetType).as_text().unwrap_or_default();
    let (is_host, is_service) = (target_type.eq_ignore_ascii_case("HOST"), target_type.eq_ignore_ascii_case("SERVICE"));
    match item.get(ItemField::Target) {
        Value::Text(target) if is_service && target.parse::<i64>().is_err() => refuse("the target of a SERVICE is the id of a service instance, digits only"),
        Value::Text(_) => Ok(()),
        _ if is_host => refuse("the target of a HOST is a text such as `10.0.0.1|0` or a host id as text"),
        Value::Int(id) if is_service => {
            let id = Text::from(id.to_string());
            item.set(ItemField::Target, Value::Text(id));
            Ok(())
        }
        _ if is_service => refuse("the target of a SERVICE is the id of a service instance"),
        _ => Ok(()),
    }
}

/// What holds at any depth, once nothing is left among the unknown fields: keys are short and have no NUL, integers kept
/// their digits, and a NUL in free text is made visible (U+2400) and marked.
pub(super) fn sweep(item: &mut Item, bytes: &[u8]) -> Result<(), Refusal> {
    let has_nul = bytes.contains(&b'\\') && bytes.windows(6).any(|six| six == b"\\u0000");
    let mut found = Found { has_nul, replaced: false, may_be_inexact: false };
    for &field in ItemField::ALL {
        if !item.get(field).is_null() {
            let mut value = item.take(field);
            found.visit(&mut value)?;
            item.set(field, value);
        }
    }
    if found.may_be_inexact
        && let Some(refusal) = inexact_integer(bytes)
    {
        return Err(refusal);
    }
    if found.replaced {
        mark(item, "nul_replaced");
    }
    Ok(())
}

struct Found {
    has_nul: bool,
    replaced: bool,
    may_be_inexact: bool,
}

impl Found {
    fn visit(&mut self, value: &mut Value) -> Result<(), Refusal> {
        match value {
            Value::Text(text) if self.has_nul && text.contains('\0') => {
                *text = Text::from(text.replace('\0', "\u{2400}"));
                self.replaced = true;
            }
            // Where serde_json puts integers that fit neither i64 nor u64.
            Value::Float(f) => self.may_be_inexact |= *f >= 18_446_744_073_709_551_616.0 || *f <= -9_223_372_036_854_775_808.0,
            Value::List(list) => {
                for value in list {
                    self.visit(value)?;
                }
            }
            Value::Object(fields) => {
                for (key, value) in fields {
                    check_key(key)?;
                    self.visit(value)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn check_key(key: &str) -> Result<(), Refusal> {
    if key.len() > KEY_BYTES_MAX {
        return Err(Refusal::whole(Code::Size, format!("the key {} has {} bytes, at most {KEY_BYTES_MAX}", quoted(key), key.len())));
    }
    if key.contains('\0') {
        return Err(Refusal::whole(Code::Key, format!("the key {} has a NUL", quoted(key))));
    }
    Ok(())
}

/// Moves what has no meaning here to `extra_info.unknown`: readable by rules, never trusted. `extra_info.alertmill` is where
/// our own marks stand, so a sender's goes the same way.
fn move_unknown(item: &mut Item) -> Result<(), Refusal> {
    let mut moved = std::mem::take(&mut item.unknown);
    for field in [ItemField::Id, ItemField::DedupeMd5, ItemField::CreateTime] {
        let value = item.take(field);
        if !value.is_null() {
            moved.push((Text::new_static(field.name()), value));
        }
    }
    let mut extra = item.take(ItemField::ExtraInfo);
    if let Some(marks) = extra.remove(OUR_MARKS) {
        moved.push((Text::new_static(OUR_MARKS), marks));
    }
    if !moved.is_empty() {
        // An event read back from the store and sent again has such an object already.
        match extra.remove(UNKNOWN) {
            None | Some(Value::Null) => extra.set(UNKNOWN, Value::Object(moved)),
            Some(Value::Object(mut sent)) => {
                sent.retain(|(key, _)| moved.iter().all(|(k, _)| k != key));
                sent.append(&mut moved);
                extra.set(UNKNOWN, Value::Object(sent))
            }
            Some(_) => return Err(Refusal::new(Code::Type, "/extra_info/unknown", "extra_info.unknown is kept for unknown fields: an object")),
        };
    }
    item.set(ItemField::ExtraInfo, extra);
    Ok(())
}

/// Sets `extra_info.alertmill.WHAT = true`.
pub(super) fn mark(item: &mut Item, what: &str) {
    let mut extra = item.take(ItemField::ExtraInfo);
    let mut marks = extra.remove(OUR_MARKS).unwrap_or_default();
    marks.set(what, Value::Bool(true));
    extra.set(OUR_MARKS, marks);
    item.set(ItemField::ExtraInfo, extra);
}
