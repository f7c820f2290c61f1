//! One item as it was sent: the top-level fields of one JSON object, parsed once, before any meaning is given to them.
//!
//! `decode` checks it strictly at our own doors, `understand` cleans it into an [`Event`](crate::event::Event). The JSON
//! is parsed here and nowhere else on the way of an event; [`parses`] counts it, so that "once per item" can be shown.

use crate::value::{KeySeed, MARK_DUPLICATE, MARK_SIZE, Text, Value, ValueSeed};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! item_fields {
    ($($variant:ident $name:literal)*) => {
        /// A top-level field that has a meaning (docs/semantics.md, Clean).
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        #[allow(missing_docs)]
        pub enum ItemField { $($variant),* }

        impl ItemField {
            /// All of them.
            pub const ALL: &'static [ItemField] = &[$(ItemField::$variant),*];

            /// The name on the wire.
            pub const fn name(self) -> &'static str {
                match self { $(ItemField::$variant => $name),* }
            }

            /// The field of that name.
            pub fn parse(name: &str) -> Option<ItemField> {
                match name { $($name => Some(ItemField::$variant),)* _ => None }
            }
        }
    };
}

item_fields! {
    BkTenantId "bk_tenant_id" Id "id" EventId "event_id" PluginId "plugin_id" StrategyId "strategy_id"
    AlertName "alert_name" Description "description" Severity "severity" DataType "data_type" Tags "tags"
    TargetType "target_type" Target "target" Assignee "assignee" Status "status" Metric "metric" Category "category"
    DedupeKeys "dedupe_keys" DedupeMd5 "dedupe_md5" Time "time" AnomalyTime "anomaly_time"
    BkIngestTime "bk_ingest_time" BkCleanTime "bk_clean_time" CreateTime "create_time" BkBizId "bk_biz_id" Ip "ip"
    Ipv6 "ipv6" BkCloudId "bk_cloud_id" BkHostId "bk_host_id" BkServiceInstanceId "bk_service_instance_id"
    BkTopoNode "bk_topo_node" ExtraInfo "extra_info"
}

/// The fields of one item. Only those that were sent take room: what waits between door and fold is bounded in bytes, and
/// most items have a third of all fields.
#[derive(Clone, Debug, Default)]
pub struct Item {
    /// Values of the fields that are present, in the order of [`ItemField`].
    known: Vec<Value>,
    /// Bit per field: present, be it as `null`.
    present: u64,
    /// What [`Item::weigh`] found, 0 before it.
    weight: usize,
    /// Top-level fields without a meaning, in the order sent.
    pub unknown: Vec<(Text, Value)>,
}

/// Fields for which room is made at once.
const USUAL_FIELDS: usize = 12;
static ABSENT: Value = Value::Null;

/// Whether it was weighed makes no difference.
impl PartialEq for Item {
    fn eq(&self, other: &Item) -> bool {
        (&self.known, self.present, &self.unknown) == (&other.known, other.present, &other.unknown)
    }
}

impl Item {
    /// The field's value; `Null` when absent.
    pub fn get(&self, field: ItemField) -> &Value {
        if self.has(field) { self.known.get(self.place(field)).unwrap_or(&ABSENT) } else { &ABSENT }
    }

    /// Takes the field's value out and leaves `Null`.
    pub fn take(&mut self, field: ItemField) -> Value {
        let place = self.place(field);
        if self.has(field) { self.known.get_mut(place).map(std::mem::take).unwrap_or_default() } else { Value::Null }
    }

    /// True if the field was sent, be it as `null`.
    pub fn has(&self, field: ItemField) -> bool {
        self.present & (1 << field as u32) != 0
    }

    /// Where the field's value is, or belongs: behind those of all fields before it.
    fn place(&self, field: ItemField) -> usize {
        (self.present & ((1 << field as u32) - 1)).count_ones() as usize
    }

    /// Sets a field.
    pub fn set(&mut self, field: ItemField, value: Value) {
        let place = self.place(field);
        if self.has(field) {
            self.known[place] = value;
            return;
        }
        if self.known.capacity() == 0 {
            self.known.reserve_exact(USUAL_FIELDS);
        }
        self.present |= 1 << field as u32;
        self.known.insert(place, value);
    }

    /// Rough bytes held, for the bound of queues: those of [`Item::weigh`] from then on.
    pub fn size_bytes(&self) -> usize {
        if self.weight > 0 { self.weight } else { self.count_bytes() }
    }

    /// Counts the bytes once, where the item is made and still in the cache: every queue on its way asks for them.
    pub fn weigh(&mut self) {
        self.weight = self.count_bytes();
    }

    fn count_bytes(&self) -> usize {
        let fields = self.known.capacity() * size_of::<Value>() + self.known.iter().map(Value::heap_bytes).sum::<usize>();
        size_of::<Item>() + fields + self.unknown.iter().map(|(_, v)| 32 + v.heap_bytes()).sum::<usize>()
    }
}

static PARSES: AtomicU64 = AtomicU64::new(0);

/// How many items this process has parsed from JSON so far.
pub fn parses() -> u64 {
    PARSES.load(Ordering::Relaxed)
}

/// Limits under which an item is read.
#[derive(Clone, Copy, Debug)]
pub struct ItemLimits {
    /// Containers inside each other, the item itself included.
    pub depth_max: u32,
    /// Entries of one object or array.
    pub entries_max: usize,
    /// Refuse repeated keys, at any depth; otherwise the last one wins.
    pub strict: bool,
}

impl ItemLimits {
    /// Our own doors (docs/coercion.md, Bounds).
    pub const STRICT: ItemLimits = ItemLimits { depth_max: 32, entries_max: 1_000, strict: true };
    /// Upstream's clean: whatever Python's parser takes.
    pub const UPSTREAM: ItemLimits = ItemLimits { depth_max: 120, entries_max: usize::MAX, strict: false };
}

/// Parses one JSON object. The error is serde's; `decode` turns it into a refusal.
pub fn parse_item(bytes: &[u8], limits: ItemLimits) -> Result<Item, serde_json::Error> {
    PARSES.fetch_add(1, Ordering::Relaxed);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let seed = ValueSeed { depth_left: limits.depth_max, entries_max: limits.entries_max, strict: limits.strict };
    let item = ItemSeed(seed).deserialize(&mut reader)?;
    reader.end()?;
    Ok(item)
}

/// Parses the JSON object that `bytes` begin with, and says how many bytes it has.
pub fn parse_item_prefix(bytes: &[u8], limits: ItemLimits) -> Result<(Item, usize), serde_json::Error> {
    PARSES.fetch_add(1, Ordering::Relaxed);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let seed = ValueSeed { depth_left: limits.depth_max, entries_max: limits.entries_max, strict: limits.strict };
    let item = ItemSeed(seed).deserialize(&mut reader)?;
    Ok((item, reader.into_iter::<serde::de::IgnoredAny>().byte_offset()))
}

struct ItemSeed(ValueSeed);

impl<'de> DeserializeSeed<'de> for ItemSeed {
    type Value = Item;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Item, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ItemSeed {
    type Value = Item;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Item, A::Error> {
        let inner = self.0.deeper()?;
        let mut item = Item::default();
        let mut entries = 0;
        let mut seen: Option<std::collections::HashSet<Text>> = None;
        while let Some(key) = map.next_key_seed(KeySeed)? {
            entries += 1;
            if entries > self.0.entries_max {
                return Err(A::Error::custom(MARK_SIZE));
            }
            match ItemField::parse(&key) {
                Some(field) => {
                    if self.0.strict && item.has(field) {
                        return Err(A::Error::custom(MARK_DUPLICATE));
                    }
                    item.set(field, map.next_value_seed(inner)?);
                }
                None => {
                    // As in `value`: a set once there are many, so that a hostile item costs no square.
                    let repeated = match &mut seen {
                        Some(set) => !set.insert(key.clone()),
                        None => item.unknown.iter().any(|(k, _)| *k == key),
                    };
                    if repeated && self.0.strict {
                        return Err(A::Error::custom(MARK_DUPLICATE));
                    }
                    let value = map.next_value_seed(inner)?;
                    let earlier = if repeated { item.unknown.iter_mut().find(|(k, _)| *k == key) } else { None };
                    match earlier {
                        Some((_, slot)) => *slot = value,
                        None => item.unknown.push((key, value)),
                    }
                    if seen.is_none() && item.unknown.len() == 32 {
                        seen = Some(item.unknown.iter().map(|(k, _)| k.clone()).collect());
                    }
                }
            }
        }
        Ok(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_kept_apart_in_whatever_order_they_come() {
        let mut random = 1u64;
        for _ in 0..200 {
            let (mut item, mut expected) = (Item::default(), [const { None }; ItemField::ALL.len()]);
            for step in 0..60 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let field = ItemField::ALL[(random >> 33) as usize % ItemField::ALL.len()];
                if step % 7 == 6 {
                    let slot: &mut Option<Value> = &mut expected[field as usize];
                    assert_eq!(item.take(field), slot.as_mut().map(std::mem::take).unwrap_or_default());
                } else {
                    item.set(field, Value::Int(step));
                    expected[field as usize] = Some(Value::Int(step));
                }
                for field in ItemField::ALL {
                    let expected = &expected[*field as usize];
                    assert_eq!((item.has(*field), item.get(*field)), (expected.is_some(), expected.as_ref().unwrap_or(&Value::Null)));
                }
            }
        }
    }

    #[test]
    fn an_item_takes_room_for_what_was_sent() {
        let sent = br#"{"event_id":"e","alert_name":"a","severity":2,"status":"ABNORMAL","time":1,"target":"h","tags":[],"dedupe_keys":[]}"#;
        let item = parse_item(sent, ItemLimits::STRICT).unwrap();
        assert!(item.size_bytes() <= 512, "{} bytes", item.size_bytes());
    }
}
