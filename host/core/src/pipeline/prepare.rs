//! The prepare half: normalized where an item is a raw payload, understood, enriched, keyed. It has no state but the rules of the
//! generation it is in, so any worker may do any batch; batches are handed over in journal order.

use super::conductor::COMMIT_BYTES_MAX;
use super::dedupe::dedupe;
use super::enrich_events::enrich_events;
use super::normalize::{is_payload, normalize, payload_count, understand_payload};
use super::redrive::{PreparedLetter, understand_again};
use super::understand::{Place, UnderstandConfig, understand};
use crate::command::Command;
use crate::decode::decode_event;
use crate::letter::{Arrival, ArrivalBy, DeadLetter};
use crate::payload::Normalized;
use crate::record::{DoorCounts, Journaled, RecordBody, RuleSet};
use crate::row::{Row, RuleFailure};
use crate::rules::{Generation, RuleChain, RuleTally};
use crate::value::Text;
use crate::verdict::{Halted, Verdicts};
use crate::version_change::VersionChange;

/// Records of one generation, ready to be folded.
#[derive(Debug, Default)]
pub struct Prepared {
    /// In the order of ordinals.
    pub records: Vec<PreparedRecord>,
    /// The rows of all records, in order.
    pub rows: Vec<Row>,
    /// What the rules did.
    pub tallies: Vec<RuleTally>,
    changes: usize,
    bytes: usize,
}

/// Counted for each alert that a command names: its document is written whole, and only the fold knows how long it is.
const COMMANDED_ALERT_BYTES: usize = 64 << 10;

impl Prepared {
    /// These records with their rows, as large as they are now.
    pub fn new(records: Vec<PreparedRecord>, rows: Vec<Row>, tallies: Vec<RuleTally>) -> Prepared {
        let changes = records.iter().map(PreparedRecord::changes).sum();
        let bytes = records.iter().map(PreparedRecord::size_bytes).sum::<usize>() + rows.iter().map(Row::size_bytes).sum::<usize>();
        Prepared { records, rows, tallies, changes, bytes }
    }

    /// Rows, dead letters, and alerts that commands name; a record without any counts as one. What a commit of it may write,
    /// for bounds.
    pub fn changes(&self) -> usize {
        self.changes
    }

    /// Rough bytes held, for bounds: what rules have written and what dead letters hold included.
    pub fn size_bytes(&self) -> usize {
        self.bytes
    }

    /// Whether one commit may take `next` along.
    pub fn has_room_for(&self, next: &Prepared, changes_max: usize) -> bool {
        self.changes + next.changes <= changes_max && self.bytes + next.bytes <= COMMIT_BYTES_MAX
    }

    /// Puts the batch that follows behind this one, so that one commit takes both.
    pub fn append(&mut self, next: Prepared) {
        self.records.extend(next.records);
        self.rows.extend(next.rows);
        self.tallies.extend(next.tallies);
        self.changes += next.changes;
        self.bytes += next.bytes;
    }
}

/// One record of a prepared batch.
#[derive(Debug)]
pub struct PreparedRecord {
    /// Its ordinal.
    pub ordinal: u64,
    /// Its time, milliseconds.
    pub received_at_ms: i64,
    /// The generation whose rules saw it.
    pub generation: Generation,
    /// Content.
    pub body: PreparedBody,
}

impl PreparedRecord {
    fn changes(&self) -> usize {
        let changes = match &self.body {
            PreparedBody::Items { rows, dead_letters, .. } => rows + dead_letters.len(),
            PreparedBody::Command(command) => command.alerts.len(),
            PreparedBody::Redrive { letters, dead_letters } => letters.iter().map(|letter| 1 + letter.rows).sum::<usize>() + dead_letters.len(),
            PreparedBody::RuleSet(_) | PreparedBody::RuleVersion(_) | PreparedBody::Clock | PreparedBody::Start | PreparedBody::Verdicts(_) => 0,
        };
        changes.max(1)
    }

    /// Its rows are counted by themselves.
    fn size_bytes(&self) -> usize {
        let body = match &self.body {
            PreparedBody::Items { dead_letters, .. } => dead_letters.iter().map(DeadLetter::size_bytes).sum(),
            PreparedBody::Command(command) => command.size_bytes() + command.alerts.len() * COMMANDED_ALERT_BYTES,
            PreparedBody::Redrive { letters, dead_letters } => {
                letters.len() * size_of::<PreparedLetter>() + dead_letters.iter().map(DeadLetter::size_bytes).sum::<usize>()
            }
            PreparedBody::RuleSet(set) => set.size_bytes(),
            PreparedBody::Verdicts(verdicts) => verdicts.size_bytes(),
            PreparedBody::RuleVersion(change) => change.size_bytes(),
            PreparedBody::Clock | PreparedBody::Start => 0,
        };
        size_of::<PreparedRecord>() + body
    }
}

/// What a prepared record holds.
#[derive(Debug)]
pub enum PreparedBody {
    /// Items that were received; a raw payload is one.
    Items {
        /// From where.
        source: Text,
        /// The door's numbers.
        counts: DoorCounts,
        /// How many items the record had.
        journaled: u64,
        /// What a raw payload became: events that the rules made of it, or 1 when it is a dead letter itself.
        became: Option<u64>,
        /// How many of the batch's rows are this record's.
        rows: usize,
        /// Items, or events of a payload, that were not understood.
        dead_letters: Vec<DeadLetter>,
    },
    /// A rule-set generation begins.
    RuleSet(RuleSet),
    /// Time went by.
    Clock,
    /// The process started.
    Start,
    /// An operator commands.
    Command(Box<Command>),
    /// What rules did not judge; whoever needs it had it before the records that it speaks of.
    Verdicts(Verdicts),
    /// A version of a rule came or went.
    RuleVersion(Box<VersionChange>),
    /// Dead letters were tried again.
    Redrive {
        /// What each became.
        letters: Vec<PreparedLetter>,
        /// Those that are dead letters again, and events of payloads that are.
        dead_letters: Vec<DeadLetter>,
    },
}

impl PreparedBody {
    /// How many of the batch's rows are this record's.
    pub fn rows(&self) -> usize {
        match self {
            PreparedBody::Items { rows, .. } => *rows,
            PreparedBody::Redrive { letters, .. } => letters.iter().map(|letter| letter.rows).sum(),
            _ => 0,
        }
    }
}

/// Prepares records that all belong to one generation (a record that begins the next one may come last): the first of them at
/// least, and as many as there is room for what normalize rules make of them. Those that are not among
/// [`Prepared::records`] are for the next call. What doors have parsed of records is used up; when a rule halts the pipeline
/// the same records are prepared again, from their bytes.
pub fn prepare(records: &mut [Journaled], generation: Generation, chain: &mut dyn RuleChain, config: &UnderstandConfig) -> Result<Prepared, Halted> {
    let (mut rows, mut tallies) = (Vec::new(), Vec::new());
    let (normalized, taken) = normalize(records, chain, &mut tallies)?;
    let records = &mut records[..taken];
    let mut prepared = Vec::with_capacity(taken);
    let mut judged = normalized.iter();
    for journaled in records.iter_mut() {
        let (ordinal, received_at_ms) = (journaled.record.ordinal, journaled.record.received_at_ms);
        let body = match &journaled.record.body {
            RecordBody::Items(items) => {
                let (source, counts, journaled_items) = (items.source.clone(), items.counts, items.spans.len() as u64);
                let (mut dead_letters, before) = (Vec::new(), rows.len());
                understand(journaled, config, &mut rows, &mut dead_letters);
                PreparedBody::Items { source, counts, journaled: journaled_items, became: None, rows: rows.len() - before, dead_letters }
            }
            RecordBody::Payload(payload) => {
                // There is one for each payload.
                let judged = judged.next().unwrap_or(&Normalized::Unclaimed);
                let (mut dead_letters, before) = (Vec::new(), rows.len());
                let whole = Place {
                    idempotency_key: payload.idempotency_key.as_ref(),
                    head: Some((&payload.content_type, &payload.headers)),
                    bytes: &payload.body,
                    ..Place::of(ArrivalBy::Payload, (&payload.tenant, &payload.source), (ordinal, received_at_ms))
                };
                let became = understand_payload(whole, judged, config, &mut rows, &mut dead_letters);
                let (source, counts) = (payload.source.clone(), payload.counts);
                PreparedBody::Items { source, counts, journaled: 1, became: Some(became), rows: rows.len() - before, dead_letters }
            }
            RecordBody::RuleSet(set) => PreparedBody::RuleSet(set.clone()),
            RecordBody::Clock => PreparedBody::Clock,
            RecordBody::Verdicts(verdicts) => PreparedBody::Verdicts(verdicts.clone()),
            RecordBody::Start { .. } => PreparedBody::Start,
            RecordBody::Command(command) => PreparedBody::Command(Box::new(command.clone())),
            RecordBody::RuleVersion(change) => PreparedBody::RuleVersion(Box::new(change.clone())),
            RecordBody::Redrive(redrive) => {
                let mut dead_letters = Vec::new();
                let letters = understand_again((ordinal, received_at_ms), redrive, &mut judged, config, &mut rows, &mut dead_letters);
                PreparedBody::Redrive { letters, dead_letters }
            }
        };
        prepared.push(PreparedRecord { ordinal, received_at_ms, generation, body });
    }
    enrich_events(&mut rows, chain, &mut tallies)?;
    dedupe(&mut rows, chain, config.algorithm, &mut tallies)?;
    write_letters(records, &normalized, &mut rows);
    Ok(Prepared::new(prepared, rows, tallies))
}

/// What a rule has rejected becomes a letter with the bytes that it came from. They are looked for only then.
fn write_letters(records: &[Journaled], normalized: &[Normalized], rows: &mut [Row]) {
    if !rows.iter().any(|row| row.rejected) {
        return;
    }
    let payloads_before = |next: &mut usize, journaled: &Journaled| Some(std::mem::replace(next, *next + payload_count(journaled)));
    let firsts: Vec<usize> = records.iter().scan(0, payloads_before).collect();
    for row in rows.iter_mut().filter(|row| row.rejected) {
        let why = row.failures.last().map(|failure| {
            let RuleFailure { rule, version, hook, kind, message, .. } = failure;
            format!("rule {rule} {version} ({}): {kind}: {message}", hook.name())
        });
        let origin = origin(row, records, (normalized, &firsts)).unwrap_or_default();
        row.dead_letter = Some(Box::new(DeadLetter {
            tenant: row.event.tenant.clone(),
            source: row.source.clone(),
            code: Text::new_static("rule-failed"),
            detail: why.unwrap_or_default(),
            ..origin
        }));
    }
}

/// Where a row first came, how, and its bytes: those of the item, or of the event that a normalize rule made as JSON. `firsts`
/// says of each record which of the payloads is its first one.
fn origin(row: &Row, records: &[Journaled], (normalized, firsts): (&[Normalized], &[usize])) -> Option<DeadLetter> {
    let at = records.partition_point(|journaled| journaled.record.ordinal < row.ordinal);
    let event = |tenant: &str| {
        let Normalized::Events(events) = normalized.get(*firsts.get(at)?)? else { return None };
        Some(decode_event(events.get(row.index as usize)?, tenant).0)
    };
    let here = DeadLetter { ordinal: row.ordinal, index: row.index, received_at_ms: row.received_at_ms, ..DeadLetter::default() };
    match &records.get(at)?.record.body {
        RecordBody::Items(items) => {
            let (idempotency_key, request_index) = (items.idempotency_key.clone(), items.spans.get(row.index as usize)?.request_index);
            let arrival = Some(Arrival { idempotency_key, request_index, ..Arrival::by(items.door.into()) });
            Some(DeadLetter { item: items.bytes(row.index as usize).to_vec(), arrival, ..here })
        }
        RecordBody::Payload(payload) => {
            let arrival = Arrival { idempotency_key: payload.idempotency_key.clone(), request_index: row.index, ..Arrival::by(ArrivalBy::Events) };
            Some(DeadLetter { item: event(&payload.tenant)?, arrival: Some(arrival), ..here })
        }
        RecordBody::Redrive(redrive) => {
            // A payload is alone; items have a row each, or a letter in its place.
            let letter = redrive.letters.first().filter(|letter| is_payload(letter)).or_else(|| redrive.letters.get(row.index as usize))?;
            let then = DeadLetter { ordinal: letter.ordinal, index: letter.index, received_at_ms: letter.received_at_ms, ..here };
            let again = Arrival { redriven: letter.arrival.redriven.saturating_add(1), ..letter.arrival.clone() };
            if !is_payload(letter) {
                return Some(DeadLetter { item: letter.item.to_vec(), arrival: Some(again), ..then });
            }
            let arrival = Arrival { by: ArrivalBy::Events, request_index: row.index, content_type: Text::default(), headers: Vec::new(), ..again };
            Some(DeadLetter { index: row.index, item: event(&redrive.tenant)?, arrival: Some(arrival), ..then })
        }
        _ => None,
    }
}

/// Cuts records where the next generation begins, so that no batch crosses it (I7). The record that begins it is the last
/// of its piece.
pub fn cut_at_generations(records: Vec<Journaled>) -> Vec<Vec<Journaled>> {
    let mut pieces = vec![Vec::new()];
    for journaled in records {
        let begins = matches!(journaled.record.body, RecordBody::RuleSet(_));
        if let Some(piece) = pieces.last_mut() {
            piece.push(journaled);
        }
        if begins {
            pieces.push(Vec::new());
        }
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Action, AlertRef};
    use crate::identity::{Algorithm, UidKey};
    use crate::payload::Payload;
    use crate::record::{Door, Items, Record};
    use crate::rules::NoRules;

    const CONFIG: UnderstandConfig = UnderstandConfig { uid_key: UidKey([0; 16]), algorithm: Algorithm::Keyed };

    fn one(body: RecordBody, chain: &mut dyn RuleChain) -> Prepared {
        let record = Record { ordinal: 1, received_at_ms: 1_763_800_000_000, body };
        prepare(&mut [Journaled { record, parsed: None }], 1, chain, &CONFIG).unwrap()
    }

    /// A rule that writes a long description.
    struct Writes(usize);

    impl RuleChain for Writes {
        fn normalize(&mut self, payloads: &[Payload], _: &mut Vec<RuleTally>) -> Result<Vec<Normalized>, Halted> {
            Ok(payloads.iter().map(|_| Normalized::Unclaimed).collect())
        }

        fn enrich_events(&mut self, rows: &mut [Row], _: &mut Vec<RuleTally>) -> Result<(), Halted> {
            rows.iter_mut().for_each(|row| row.event.description = "x".repeat(self.0).as_str().into());
            Ok(())
        }
        fn dedupe(&mut self, _: &mut [Row], _: &mut Vec<RuleTally>) -> Result<(), Halted> {
            Ok(())
        }
    }

    #[test]
    fn a_batch_weighs_what_rules_wrote_and_what_dead_letters_and_commands_hold() {
        let items = |texts: &[&str]| RecordBody::Items(Items::of_texts(Door::Events, texts));
        let small = one(items(&[r#"{"alert_name":"a"}"#; 3]), &mut NoRules);
        assert_eq!(small.changes(), 3);
        assert!(small.size_bytes() < 3 * 4096, "{}", small.size_bytes());
        let written = one(items(&[r#"{"alert_name":"a"}"#; 3]), &mut Writes(100_000));
        assert!(written.size_bytes() > small.size_bytes() + 3 * 100_000 - 3, "{}", written.size_bytes());

        let long = format!(r#"{{"alert_name":"a","nonsense":"{}" "#, "y".repeat(50_000));
        let dead = one(items(&[&long, &long]), &mut NoRules);
        assert_eq!((dead.rows.len(), dead.changes()), (0, 2), "dead letters are written too");
        assert!(dead.size_bytes() > 100_000, "{}", dead.size_bytes());

        let alerts = vec![AlertRef { create_time: 1, seq: 1 }; 1_000];
        let command = Command { tenant: "system".into(), action: Action::Close, alerts, operator: "wang".into(), comment: "".into(), idempotency_key: None };
        let command = one(RecordBody::Command(command), &mut NoRules);
        assert_eq!(command.changes(), 1_000);
        assert!(command.size_bytes() > 1_000 * 1_024, "each alert is written whole");
        assert_eq!(one(RecordBody::Clock, &mut NoRules).changes(), 1, "nothing is free");
    }

    #[test]
    fn batches_that_are_put_together_weigh_what_both_did() {
        let batch = |description: usize| one(RecordBody::Items(Items::of_texts(Door::Events, &["{\"alert_name\":\"a\"}"])), &mut Writes(description));
        let mut first = batch(COMMIT_BYTES_MAX / 2);
        assert!(first.has_room_for(&batch(1 << 20), 2) && !first.has_room_for(&batch(1 << 20), 1));
        assert!(!first.has_room_for(&batch(COMMIT_BYTES_MAX / 2), 2), "bytes bound it as well as changes");
        let second = batch(1 << 20);
        let both = (first.changes() + second.changes(), first.size_bytes() + second.size_bytes());
        first.append(second);
        assert_eq!((first.changes(), first.size_bytes()), both);
    }
}
