//! Understood: a journaled item becomes a cleaned event with its uid, or a dead letter with the reason.
//!
//! Everything that depends on when the record was received is settled here, so that a replay settles it the same way.

use crate::decode::{self, OUR_MARKS};
use crate::event::{ACCESS_TIME, Status};
use crate::identity::{Algorithm, EVENTS_PER_RECORD_MAX, TimeAsSent, UidKey, seed, uid};
use crate::item::{Item, ItemField};
use crate::letter::{Arrival, ArrivalBy, DeadLetter};
use crate::pipeline::clean::{check_poison, clean};
use crate::pipeline::fingerprint::uid_bk_monitor;
use crate::record::{Door, Journaled, RecordBody};
use crate::row::{Lasting, Row};
use crate::value::{Text, Value};
use crate::verdict;

/// How far an event's time may lie ahead of its receipt, seconds; beyond, the time of receipt stands in for it.
pub const FUTURE_MAX_S: i64 = 300;
/// A re-sent episode older than this counts from its receipt, seconds.
pub const EPISODE_AGE_MAX_S: i64 = 86_400;

/// What of understanding is configured.
#[derive(Clone, Copy)]
pub struct UnderstandConfig {
    /// The journal's secret.
    pub uid_key: UidKey,
    /// Which hash makes uid and fingerprint.
    pub algorithm: Algorithm,
}

/// Understands all items of a record, appending rows and dead letters in the items' order. What the door has parsed is used up.
pub fn understand(journaled: &mut Journaled, config: &UnderstandConfig, rows: &mut Vec<Row>, dead_letters: &mut Vec<DeadLetter>) {
    let Journaled { record, parsed } = journaled;
    let RecordBody::Items(items) = &record.body else { return };
    let mut parsed = parsed.take().map(Vec::into_iter);
    for (i, span) in items.spans.iter().enumerate() {
        let place = Place {
            idempotency_key: items.idempotency_key.as_ref(),
            index: i as u32,
            request_index: span.request_index,
            bytes: items.bytes(i),
            ..Place::of(items.door.into(), (&items.tenant, &items.source), (record.ordinal, record.received_at_ms))
        };
        let item = match parsed.as_mut().and_then(Iterator::next) {
            Some(item) => Ok(item),
            None => place.decoded(items.door),
        };
        match item.and_then(|item| place.event(item, config)) {
            Ok(row) => rows.push(row),
            Err(letter) => dead_letters.push(*letter),
        }
    }
}

/// Where an item first came, when it is tried again: its identity and its times are those of then.
#[derive(Clone, Copy)]
pub(super) struct First {
    pub ordinal: u64,
    pub index: u32,
    pub received_at_ms: i64,
}

/// The place in the journal of one item, or of one event that rules made of a payload; and how it came.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub tenant: &'a Text,
    pub source: &'a Text,
    pub idempotency_key: Option<&'a Text>,
    pub ordinal: u64,
    pub received_at_ms: i64,
    /// Among the record's events.
    pub index: u32,
    /// What an idempotency key rests on.
    pub request_index: u32,
    pub by: ArrivalBy,
    /// Content type and headers of a payload.
    pub head: Option<(&'a Text, &'a [(Text, Text)])>,
    /// What a dead letter keeps.
    pub bytes: &'a [u8],
    pub first: Option<First>,
    /// How often it was tried again, this time included.
    pub redriven: u32,
}

impl<'a> Place<'a> {
    /// The first place of a record.
    pub fn of(by: ArrivalBy, (tenant, source): (&'a Text, &'a Text), (ordinal, received_at_ms): (u64, i64)) -> Place<'a> {
        let (idempotency_key, head, first) = (None, None, None);
        Place { tenant, source, idempotency_key, ordinal, received_at_ms, index: 0, request_index: 0, by, head, bytes: &[], first, redriven: 0 }
    }

    /// When it first came.
    fn first(&self) -> First {
        self.first.unwrap_or(First { ordinal: self.ordinal, index: self.index, received_at_ms: self.received_at_ms })
    }

    /// The item that its bytes are.
    pub fn decoded(&self, door: Door) -> Result<Item, Box<DeadLetter>> {
        decode::decode_item(door, self.bytes, self.tenant).map_err(|refusal| self.dead("undecodable-now", refusal.to_string()))
    }
}

impl Place<'_> {
    pub(super) fn event(&self, mut item: Item, config: &UnderstandConfig) -> Result<Row, Box<DeadLetter>> {
        if self.index >= EVENTS_PER_RECORD_MAX {
            return Err(self.dead("too-many-events", format!("a record gives at most {EVENTS_PER_RECORD_MAX} events")));
        }
        let first = self.first();
        // What was left out is what it was when it first came, or it would be another event.
        let received_s = first.received_at_ms.div_euclid(1000);
        let is_resent = self.by == ArrivalBy::Alertmanager;
        let episode = is_resent.then(|| settle_episode(&mut item, received_s));
        let sent_time = match &episode {
            Some(episode) => episode.identity.clone(),
            None => item.get(ItemField::Time).clone(),
        };
        self.fill_defaults(&mut item, received_s);
        clamp_future(&mut item, received_s);
        item.set(ItemField::BkTenantId, Value::Text(self.tenant.clone()));
        let mut event = clean(item, self.received_at_ms.div_euclid(1000), config.algorithm).map_err(|e| self.dead("clean-error", e.to_string()))?;
        check_poison(&event).map_err(|e| self.dead("clean-error", e.to_string()))?;
        if event.dedupe_keys.iter().any(|key| key.as_text().is_none()) {
            return Err(self.dead("clean-error", "dedupe_keys holds something that is no field name".to_owned()));
        }
        let time_as_sent = match (&sent_time, self.idempotency_key) {
            (Value::Null, Some(key)) => TimeAsSent::Idempotent { key, index: self.request_index },
            (Value::Null, None) => TimeAsSent::Once { ordinal: first.ordinal, index: first.index },
            (time, _) => TimeAsSent::Sent(time),
        };
        // The level of an origin alarm may be any JSON, at any depth; our own doors take no such severity.
        event.severity = Value::Int(i64::from(event.severity_level()));
        event.uid = match config.algorithm {
            Algorithm::Keyed => uid(config.uid_key, self.source, &event, time_as_sent),
            Algorithm::BkMonitor => uid_as_sent(&mut event, &sent_time),
        };
        let uid_if_reopened = episode.as_ref().filter(|_| event.status == Status::Abnormal).map(|_| {
            let again = TimeAsSent::Once { ordinal: self.ordinal, index: self.index };
            uid(config.uid_key, self.source, &event, again)
        });
        let at = verdict::Place { ordinal: self.ordinal, index: self.index };
        let row = Row::new(event, self.source.clone(), self.received_at_ms, at, seed(self.ordinal, self.index));
        Ok(Row { lasting: episode.map(|e| e.lasting), uid_if_reopened, ..row })
    }

    /// What a sender may leave out, beside the event_id, which decode fills in (docs/semantics.md, Clean).
    fn fill_defaults(&self, item: &mut Item, received_s: i64) {
        if item.get(ItemField::PluginId).is_null() {
            item.set(ItemField::PluginId, Value::Text(self.source.clone()));
        }
        for field in [ItemField::Time, ItemField::BkIngestTime] {
            if item.get(field).is_null() {
                item.set(field, Value::Int(received_s));
            }
        }
    }

    pub(super) fn dead(&self, code: &'static str, detail: String) -> Box<DeadLetter> {
        let First { ordinal, index, received_at_ms } = self.first();
        let (content_type, headers) = self.head.map(|(content_type, headers)| (content_type.clone(), headers.to_vec())).unwrap_or_default();
        Box::new(DeadLetter {
            ordinal,
            index,
            received_at_ms,
            tenant: self.tenant.clone(),
            source: self.source.clone(),
            code: Text::new_static(code),
            detail,
            item: self.bytes.to_vec(),
            arrival: Some(Arrival {
                by: self.by,
                idempotency_key: self.idempotency_key.cloned(),
                request_index: self.request_index,
                content_type,
                headers,
                redriven: self.redriven,
            }),
        })
    }
}

/// Upstream's uid rests on the time; a clamped one would make a retry another event.
fn uid_as_sent(event: &mut crate::event::Event, sent_time: &Value) -> crate::event::Uid {
    if sent_time.is_null() {
        return uid_bk_monitor(event);
    }
    let settled = std::mem::replace(&mut event.time, sent_time.clone());
    let uid = uid_bk_monitor(event);
    event.time = settled;
    uid
}

/// What a re-sending source said of its episode.
struct Episode {
    lasting: Lasting,
    /// What stands for the time in the uid.
    identity: Value,
}

/// Settles status and time of an Alertmanager item: it fires until `ends_at` has passed (docs/semantics.md, Re-sends).
fn settle_episode(item: &mut Item, received_s: i64) -> Episode {
    let of = |name: &str| item.get(ItemField::ExtraInfo).path(&["alertmanager", name]).and_then(Value::as_int);
    let starts_at = of("starts_at_s").unwrap_or(received_s);
    let ends_at = of("ends_at_s");
    let resolved = ends_at.filter(|at| *at <= received_s);
    let (status, time, identity) = match resolved {
        Some(at) => (Status::Recovered, at, at),
        None if received_s - starts_at < EPISODE_AGE_MAX_S => (Status::Abnormal, starts_at, starts_at),
        None => (Status::Abnormal, received_s, starts_at),
    };
    item.set(ItemField::Status, Value::literal(status.as_str()));
    item.set(ItemField::Time, Value::Int(time));
    item.set(ItemField::AnomalyTime, Value::Int(starts_at));
    Episode { lasting: Lasting { starts_at, ends_at }, identity: Value::Int(identity) }
}

/// Times too far ahead become the time of receipt, or the event would never be too old for a retry to count again; what
/// was sent is kept beside.
fn clamp_future(item: &mut Item, received_s: i64) {
    let newest = received_s + FUTURE_MAX_S;
    let ahead = |value: &Value| match value {
        Value::Int(sent) => *sent > newest,
        Value::Float(sent) => *sent > newest as f64,
        _ => false,
    };
    let mut sent = Vec::new();
    if ahead(item.get(ItemField::Time)) {
        sent.push(("time_sent", item.take(ItemField::Time)));
        item.set(ItemField::Time, Value::Int(received_s));
    }
    let mut extra = item.take(ItemField::ExtraInfo);
    if let Some(access_time) = extra.path_mut(&ACCESS_TIME).filter(|value| ahead(value)) {
        sent.push(("access_time_sent", std::mem::replace(access_time, Value::Int(received_s))));
    }
    if !sent.is_empty() {
        let mut mark = extra.remove(OUR_MARKS).unwrap_or_default();
        for (name, value) in sent {
            mark.set(name, value);
        }
        extra.set(OUR_MARKS, mark);
    }
    item.set(ItemField::ExtraInfo, extra);
}

#[cfg(test)]
mod tests;
