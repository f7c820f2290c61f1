//! Who is who: uid of an event, fingerprint of what it is about, id of an alert. Pure functions of their arguments.

use crate::event::{Event, Fingerprint, Uid};
use crate::value::{Text, Value};
use sha2::{Digest, Sha256};
use siphasher::sip128::{Hasher128, SipHasher24};
use std::hash::Hasher;

/// Secret of one journal, made with it and stored beside it: uids cannot be forged from outside, and a copy of the
/// journal gives the same ones.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct UidKey(pub [u8; 16]);

/// Which hash makes `dedupe_md5` and uid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// Key names bound to typed values; the uid is keyed.
    #[default]
    Keyed,
    /// Upstream's md5 over sorted value hashes, for drop-in use and the recorded vectors.
    BkMonitor,
}

/// What stands for the time in an event's uid.
#[derive(Clone, Copy, Debug)]
pub enum TimeAsSent<'a> {
    /// The sender's `time`.
    Sent(&'a Value),
    /// None was sent, but an idempotency key: the item's place under it.
    Idempotent {
        /// The `Idempotency-Key`.
        key: &'a str,
        /// Index in the request; of an event that rules made of a payload, among that payload's events.
        index: u32,
    },
    /// Neither: each post is a new event.
    Once {
        /// Record.
        ordinal: u64,
        /// Index in the record.
        index: u32,
    },
}

/// The keyed uid of an event: (tenant, source, plugin_id, event_id, status, time as sent).
pub fn uid(key: UidKey, source: &str, event: &Event, time: TimeAsSent<'_>) -> Uid {
    let mut hash = SipHasher24::new_with_key(&key.0);
    put_text(&mut hash, &event.tenant);
    put_text(&mut hash, source);
    put_value(&mut hash, &event.plugin_id);
    put_value(&mut hash, &event.event_id);
    hash.write_u8(event.status as u8);
    match time {
        TimeAsSent::Sent(value) => {
            hash.write_u8(1);
            put_value(&mut hash, value);
        }
        TimeAsSent::Idempotent { key, index } => {
            hash.write_u8(2);
            put_text(&mut hash, key);
            hash.write_u32(index);
        }
        TimeAsSent::Once { ordinal, index } => {
            hash.write_u8(3);
            hash.write_u64(ordinal);
            hash.write_u32(index);
        }
    }
    Uid(hash.finish128().as_bytes())
}

/// The fingerprint of the event's own dedupe keys: names bound to typed values, so that swapped or retyped values never
/// collide (docs/semantics.md, Differences, row 13).
pub fn fingerprint_of_keys(event: &Event) -> Fingerprint {
    let mut hash = Typed(Sha256::new());
    hash.text("keys");
    hash.text(&event.tenant);
    hash.value(&event.strategy_id);
    for key in &event.dedupe_keys {
        hash.value(key);
        let name = key.as_text().unwrap_or_default();
        match name.strip_prefix("tags.") {
            Some(tag) => hash.value(event.tag(tag).unwrap_or(&Value::Null)),
            None => hash.value(&event.field(name)),
        }
    }
    hash.finish()
}

/// The fingerprint of a rule's key: tenant, strategy, the rule's *name* and the key; never digest or severity.
pub fn fingerprint_of_rule(event: &Event, rule: &str, key: &str) -> Fingerprint {
    let mut hash = Typed(Sha256::new());
    hash.text("rule");
    hash.text(&event.tenant);
    hash.value(&event.strategy_id);
    hash.text(rule);
    hash.text(key);
    hash.finish()
}

/// A fingerprint that no other event has.
pub fn fingerprint_unique(uid: Uid) -> Fingerprint {
    let mut hash = Typed(Sha256::new());
    hash.text("unique");
    hash.text(&uid.to_hex());
    hash.finish()
}

/// What an alert remembers of a request whose command changed it, 32 hex digits.
pub fn request_id(tenant: &str, operator: &str, action: &str, key: &str) -> Text {
    let mut hash = Typed(Sha256::new());
    for part in ["request", tenant, operator, action, key] {
        hash.text(part);
    }
    hash.finish().to_hex()
}

/// 63 bits of a hash of (ordinal, index), for rules.
pub fn seed(ordinal: u64, index: u32) -> i64 {
    let mut hash = SipHasher24::new_with_keys(0x616c_6572, 0x746d_696c);
    hash.write_u64(ordinal);
    hash.write_u32(index);
    (hash.finish128().h1 & (i64::MAX as u64)) as i64
}

/// Events that one record may give, after normalize.
pub const EVENTS_PER_RECORD_MAX: u32 = (1 << 14) - 1;

/// `seq_id` of the alert that the event (ordinal, index) opens.
pub fn alert_seq(ordinal: u64, index: u32) -> u64 {
    debug_assert!(index <= EVENTS_PER_RECORD_MAX);
    ordinal << 14 | u64::from(index)
}

/// The alert's id: ten digits of seconds, then its `seq_id` in decimal.
pub fn alert_id(created_at_s: i64, seq: u64) -> Text {
    Text::new(format!("{created_at_s:010}{seq}"))
}

/// Reads creation second and `seq_id` from an alert's id.
pub fn parse_alert_id(id: &str) -> Option<(i64, u64)> {
    if id.len() < 11 || !id.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((id[..10].parse().ok()?, id[10..].parse().ok()?))
}

fn put_text(hash: &mut impl Hasher, text: &str) {
    hash.write_u64(text.len() as u64);
    hash.write(text.as_bytes());
}

fn put_value(hash: &mut impl Hasher, value: &Value) {
    match value {
        Value::Text(t) => {
            hash.write_u8(b't');
            put_text(hash, t);
        }
        Value::Int(n) => {
            hash.write_u8(b'i');
            hash.write_i64(*n);
        }
        other => {
            hash.write_u8(b'j');
            put_text(hash, &other.to_json());
        }
    }
}

struct Typed(Sha256);

impl Typed {
    fn text(&mut self, text: &str) {
        self.0.update((text.len() as u64).to_le_bytes());
        self.0.update(text.as_bytes());
    }
    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.0.update(b"n"),
            Value::Text(t) => {
                self.0.update(b"t");
                self.text(t);
            }
            Value::Int(n) => {
                self.0.update(b"i");
                self.0.update(n.to_le_bytes());
            }
            other => {
                self.0.update(b"j");
                self.text(&other.to_json());
            }
        }
    }
    fn finish(self) -> Fingerprint {
        let digest = self.0.finalize();
        let mut bytes = [0u8; 16];
        bytes.copy_from_slice(&digest[..16]);
        Fingerprint(bytes)
    }
}
