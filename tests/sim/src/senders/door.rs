//! What a door does with a request: decode, append all records, and only then say yes. The numbers of requests that make
//! no record ride on the source's next one, as `host/server/src/doors` does it.

use crate::faults::FaultKind;
use crate::intake::Room;
use crate::ports::FakeJournal;
use crate::world::World;
use alertmill_core::decode::{ContentKind, DecodedRequest, ITEMS_PER_REQUEST_MAX, decode_request};
use alertmill_core::item::Item;
use alertmill_core::ports::{Appended, Journal, PortError};
use alertmill_core::record::{Door, DoorCounts, ItemSpan, Items, RawPayload, RecordBody};

/// Items of one record; small, so that requests become several.
const ITEMS_PER_RECORD: usize = 3;
const LATER_RECORDS_WAIT_MS: i64 = 60_000;

pub struct Request {
    pub door: Door,
    pub source: &'static str,
    pub key: Option<String>,
    pub body: String,
}

/// What the sender of a request learns.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// All that is good of it is safe.
    Safe,
    /// It is to be sent again.
    Again,
}

/// Posts a request.
pub async fn post(world: &World, journal: &FakeJournal<'_>, request: &Request) -> Answer {
    let Ok(decoded) = decode_request(request.door, request.body.as_bytes(), ContentKind::Json, "system", ITEMS_PER_REQUEST_MAX) else { return Answer::Safe };
    let marks: Vec<String> = decoded.good.iter().map(|good| mark_of(request.door, &request.body.as_bytes()[good.bytes.clone()]).to_owned()).collect();
    let own = DoorCounts {
        received: (decoded.refused.len() + decoded.duplicates.len()) as u64,
        refused: decoded.refused.len() as u64,
        duplicates: decoded.duplicates.len() as u64,
    };
    if decoded.good.is_empty() {
        keep(world, request.source, own);
        return answer(world);
    }
    let parsed_bytes: usize = decoded.good.iter().map(|good| good.item.size_bytes()).sum();
    let Ok(mut room) = Room::take(world, request.body.len() + parsed_bytes) else { return Answer::Again };
    let before = world.state().life.kept.remove(request.source).unwrap_or_default();
    let mut extra = plus(before, own);
    for (i, (items, parsed)) in records(request, decoded).into_iter().enumerate() {
        let n = items.spans.len() as u64;
        let counts = plus(std::mem::take(&mut extra), DoorCounts { received: n, ..DoorCounts::default() });
        let items = Items { counts, ..items };
        match append(world, journal, &mut room, RecordBody::Items(items), Some(parsed), i > 0).await {
            Ok(_) => {}
            // Nothing of it is taken, and the sender comes again: only what was kept before still counts.
            Err(error) if i == 0 && error.changed_nothing() => {
                keep(world, request.source, before);
                return Answer::Again;
            }
            Err(_) => return Answer::Again,
        }
    }
    world.state().acknowledged.extend(marks);
    answer(world)
}

/// Posts a raw payload; `marks` are those of the events that it holds.
pub async fn post_payload(world: &World, journal: &FakeJournal<'_>, payload: &RawPayload, marks: &[String]) -> Answer {
    let Ok(mut room) = Room::take(world, payload.size_bytes()) else { return Answer::Again };
    let payload = RawPayload { counts: DoorCounts { received: 1, ..DoorCounts::default() }, ..payload.clone() };
    match append(world, journal, &mut room, RecordBody::Payload(payload), None, false).await {
        Ok(_) => {
            world.state().acknowledged.extend(marks.iter().cloned());
            answer(world)
        }
        Err(_) => Answer::Again,
    }
}

/// The answer goes over the network.
fn answer(world: &World) -> Answer {
    if world.draws(FaultKind::LostAnswer) { Answer::Again } else { Answer::Safe }
}

/// Appends a record; behind durable ones of its request it waits for a journal that takes nothing now.
async fn append(
    world: &World,
    journal: &FakeJournal<'_>,
    room: &mut Room<'_>,
    body: RecordBody,
    mut parsed: Option<Vec<Item>>,
    later: bool,
) -> Result<Appended, PortError> {
    let until_ms = world.state().now_ms() + LATER_RECORDS_WAIT_MS;
    loop {
        let parsed = parsed.take();
        let bytes: usize = parsed.iter().flatten().map(Item::size_bytes).sum();
        match journal.append(body.clone(), parsed).await {
            Ok(appended) => {
                room.appended(appended.ordinal, bytes);
                return Ok(appended);
            }
            Err(error) if error.may_pass() && later && world.state().now_ms() < until_ms => world.wait(200).await,
            Err(error) => return Err(error),
        }
    }
}

fn records(request: &Request, decoded: DecodedRequest) -> Vec<(Items, Vec<Item>)> {
    let mut records = Vec::new();
    let mut good = decoded.good.into_iter().peekable();
    while good.peek().is_some() {
        let (spans, parsed) = good
            .by_ref()
            .take(ITEMS_PER_RECORD)
            .map(|good| (ItemSpan { bytes: good.bytes.start as u32..good.bytes.end as u32, request_index: good.index }, good.item))
            .unzip();
        let items = Items {
            tenant: "system".into(),
            source: request.source.into(),
            door: request.door,
            idempotency_key: request.key.as_deref().map(Into::into),
            counts: DoorCounts::default(),
            heap: request.body.as_bytes().into(),
            spans,
        };
        records.push((items, parsed));
    }
    records
}

fn keep(world: &World, source: &'static str, counts: DoorCounts) {
    let mut state = world.state();
    let kept = state.life.kept.entry(source).or_default();
    *kept = plus(*kept, counts);
}

fn plus(a: DoorCounts, b: DoorCounts) -> DoorCounts {
    DoorCounts { received: a.received + b.received, refused: a.refused + b.refused, duplicates: a.duplicates + b.duplicates }
}

/// By what the checks know an item again, read from its bytes without core: its event_id, or the name of an alert.
pub fn mark_of(door: Door, bytes: &[u8]) -> &str {
    text_behind(
        bytes,
        match door {
            Door::Events => r#""event_id":""#,
            Door::Alertmanager => r#""alertname":""#,
        },
    )
}

/// Since when an item of an Alertmanager says that something is wrong, milliseconds, read without core.
pub fn since_ms(bytes: &[u8]) -> Option<i64> {
    text_behind(bytes, r#""since_ms":""#).parse().ok()
}

/// The time that an event's sender gave it, seconds, read without core.
pub fn time_s(bytes: &[u8]) -> Option<i64> {
    number_behind(bytes, r#""time":"#)
}

/// Whether an item has a tag.
pub fn has_key(bytes: &[u8], tag: &str) -> bool {
    let tag = format!(r#""key":"{tag}""#);
    bytes.windows(tag.len()).any(|part| part == tag.as_bytes())
}

/// The digits behind a key.
pub fn number_behind(bytes: &[u8], key: &str) -> Option<i64> {
    let text = std::str::from_utf8(bytes).ok()?;
    let from = text.find(key)? + key.len();
    let digits = text[from..].bytes().take_while(u8::is_ascii_digit).count();
    text[from..from + digits].parse().ok()
}

/// What stands behind a key up to the next quote.
pub fn text_behind<'b>(bytes: &'b [u8], key: &str) -> &'b str {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let from = text.find(key).map_or(0, |at| at + key.len());
    text[from..].split('"').next().unwrap_or_default()
}
