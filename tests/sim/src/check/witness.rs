//! What the journal's records say by themselves: which items there are, how often, from whom, under which rules.

use crate::disk::{DiskRecord, Tables, verdicts_of};
use crate::failure::{Failure, Promise};
use crate::ports::{JUDGED, known_of, policy};
use crate::senders::hooks::{self, Fate};
use crate::senders::{has_key, mark_of, since_ms, time_s};
use alertmill_core::record::{ArrivalBy, Door, DoorCounts, RecordBody, RedrivenLetter};
use alertmill_core::value::Text;
use alertmill_core::verdict::{Hook, Place, Policy, Verdicts};
use std::collections::{BTreeMap, BTreeSet};

const DAY_MS: i64 = 86_400_000;
const HOUR_S: i64 = 3_600;

/// How often an item was journaled.
#[derive(Default)]
struct Copies {
    all: u64,
    /// How many of them came when the ones before were no longer known: 24 h after time as sent and receipt, to the end of the hour
    /// (docs/semantics.md, Identity).
    new: u64,
    /// How many were rejected by a rule: of those no uid is remembered.
    rejected: u64,
    known_until_s: i64,
}

impl Copies {
    fn add(&mut self, received_s: i64, time_s: Option<i64>) {
        self.all += 1;
        if self.new > 0 && received_s <= self.known_until_s {
            return;
        }
        self.new += 1;
        let newest_s = time_s.unwrap_or(received_s).clamp(received_s, received_s + 24 * HOUR_S);
        self.known_until_s = (newest_s + 24 * HOUR_S + HOUR_S - 1) / HOUR_S * HOUR_S;
    }

    fn add_rejected(&mut self) {
        self.all += 1;
        self.rejected += 1;
    }
}

#[derive(Default)]
struct Source {
    counts: DoorCounts,
    journaled: u64,
    /// Of its payloads: events beyond one each, and those without any.
    normalized_extra: u64,
    no_events: u64,
    /// Dead letters that were tried again.
    redriven: u64,
}

impl Source {
    fn door(&mut self, counts: DoorCounts, journaled: u64) {
        self.counts.received += counts.received;
        self.counts.refused += counts.refused;
        self.counts.duplicates += counts.duplicates;
        self.journaled += journaled;
    }

    fn payload(&mut self, events: u64) {
        self.normalized_extra += events.saturating_sub(1);
        self.no_events += u64::from(events == 0);
    }
}

#[derive(Default)]
pub struct Witness {
    copies: BTreeMap<String, Copies>,
    /// Items of which every copy came a day after the begin of what it tells of: what a rule drops of those, and what holds an
    /// alert open, is counted and not stored (docs/semantics.md, Re-sends).
    late: BTreeSet<String>,
    /// What the journal says of each source.
    sources: BTreeMap<Text, Source>,
    /// The generation in force for the records from an ordinal on.
    generations: BTreeMap<u64, u64>,
    /// Events of payloads that were tried again and have neither time nor key, by where the payload first came: it is its identity.
    again: BTreeMap<(u64, u32), Copies>,
    /// How often the letter of a place had been tried again, as whoever had it tried again for the last time knew.
    redriven: BTreeMap<(u64, u32), u32>,
}

impl Witness {
    pub fn of(journal: &[DiskRecord]) -> Witness {
        let mut witness = Witness::default();
        let known = verdicts_of(journal);
        for record in journal {
            match record.replayed().record.body {
                RecordBody::Items(items) => {
                    let generation = witness.generation_at(record.ordinal);
                    witness.sources.entry(items.source.clone()).or_default().door(items.counts, items.spans.len() as u64);
                    for i in 0..items.spans.len() {
                        let mark = mark_of(items.door, items.bytes(i));
                        let is_late = since_ms(items.bytes(i)).is_some_and(|since_ms| record.received_at_ms - since_ms >= DAY_MS);
                        let copies = witness.copies.entry(mark.to_owned()).or_default();
                        match is_rejected(&known, generation, (record.ordinal, i), items.bytes(i)) {
                            true => copies.add_rejected(),
                            false => copies.add(record.received_at_ms.div_euclid(1000), time_s(items.bytes(i))),
                        }
                        match is_late {
                            true if copies.all == 1 => witness.late.insert(mark.to_owned()),
                            true => false,
                            false => witness.late.remove(mark),
                        };
                    }
                }
                RecordBody::Payload(payload) => {
                    let generation = witness.generation_at(record.ordinal);
                    let fate = hooks::fate(generation, &payload.source, &payload.body);
                    let source = witness.sources.entry(payload.source.clone()).or_default();
                    source.door(payload.counts, 1);
                    if fate == Fate::Events {
                        source.payload(hooks::lines(&payload.body).count() as u64);
                    }
                    for (i, line) in hooks::lines(&payload.body).enumerate() {
                        // What became a dead letter is not known, and may count when it comes again.
                        let copies = witness.copies.entry(mark_of(Door::Events, line).to_owned()).or_default();
                        if fate != Fate::Events || hooks::is_bad(line) {
                            continue;
                        }
                        if is_rejected(&known, generation, (record.ordinal, i), line) {
                            copies.add_rejected();
                        } else {
                            copies.add(record.received_at_ms.div_euclid(1000), time_s(line));
                        }
                    }
                }
                RecordBody::RuleSet(set) => {
                    witness.generations.insert(record.ordinal + 1, set.generation);
                }
                RecordBody::Redrive(redrive) => {
                    for (i, letter) in redrive.letters.iter().enumerate() {
                        witness.again(record, i, letter, &known);
                    }
                }
                RecordBody::Clock | RecordBody::Start { .. } | RecordBody::Command(_) | RecordBody::Verdicts(_) | RecordBody::RuleVersion(_) => {}
            }
        }
        witness
    }

    /// A letter is tried again, at a place in its record.
    fn again(&mut self, record: &DiskRecord, i: usize, letter: &RedrivenLetter, known: &[Verdicts]) {
        self.redriven.insert((letter.ordinal, letter.index), letter.arrival.redriven);
        self.sources.entry(letter.source.clone()).or_default().redriven += 1;
        let generation = self.generation_at(record.ordinal);
        if letter.arrival.by != ArrivalBy::Payload {
            let door = if letter.arrival.by == ArrivalBy::Alertmanager { Door::Alertmanager } else { Door::Events };
            let is_rejected = is_rejected(known, generation, (record.ordinal, i), &letter.item);
            // What is dead for another reason dies again, and is stored nowhere.
            return self.again_at(record, (letter.ordinal, letter.index), (door, &letter.item), is_rejected);
        }
        if hooks::fate(generation, &letter.source, &letter.item) != Fate::Events {
            return;
        }
        self.sources.entry(letter.source.clone()).or_default().payload(hooks::lines(&letter.item).count() as u64);
        for (at, line) in hooks::lines(&letter.item).enumerate() {
            let place = (letter.ordinal, at as u32);
            let is_rejected = is_rejected(known, generation, (record.ordinal, at), line);
            if hooks::is_bad(line) || is_rejected {
                // It may have a new letter, whatever became of an older one.
                self.redriven.remove(&place);
            }
            if !hooks::is_bad(line) {
                self.again_at(record, place, (Door::Events, line), is_rejected);
            }
        }
    }

    /// What first came at a place comes again.
    fn again_at(&mut self, record: &DiskRecord, place: (u64, u32), (door, item): (Door, &[u8]), is_rejected: bool) {
        let mark = mark_of(door, item);
        let (copies, received_s) = (self.copies.entry(mark.to_owned()).or_default(), record.received_at_ms.div_euclid(1000));
        if is_rejected {
            copies.add_rejected();
        } else if mark.ends_with("-once") {
            let again = self.again.entry(place).or_default();
            let before = again.new;
            again.add(received_s, None);
            copies.all += again.new - before;
        } else {
            copies.add(received_s, time_s(item));
        }
    }

    /// I7: one number is one set, so no number is begun again.
    pub fn numbers_rise(&self) -> Result<(), Failure> {
        let mut last = 0;
        for (ordinal, generation) in &self.generations {
            if *generation <= last {
                return Err(Failure::broken(Promise::I7, format!("record {} begins generation {generation} behind generation {last}", ordinal - 1)));
            }
            last = *generation;
        }
        Ok(())
    }

    /// The generation in force at a record.
    pub fn generation_at(&self, ordinal: u64) -> u64 {
        self.generations.range(..=ordinal).next_back().map_or(0, |(_, generation)| *generation)
    }

    /// I1: what was acknowledged is in the journal, and in the store as an event or a dead letter.
    pub fn durable(&self, tables: &Tables, acknowledged: &BTreeSet<String>) -> Result<(), Failure> {
        // A payload that no rule could judge holds the marks of all its events.
        let lines = tables.dead_letters.iter().flat_map(|letter| letter.item.split(|b| *b == b'\n'));
        let dead = lines.flat_map(|item| [Door::Events, Door::Alertmanager].map(|door| mark_of(door, item)));
        let stored: BTreeSet<&str> = tables.events.iter().map(|row| mark_of_document(row.document())).chain(dead).collect();
        for mark in acknowledged {
            if !self.copies.contains_key(mark) {
                return Err(Failure::broken(Promise::I1, format!("item {mark} was acknowledged and is not in the journal")));
            }
            if !stored.contains(mark.as_str()) && !self.late.contains(mark) {
                return Err(Failure::broken(
                    Promise::I1,
                    format!("item {mark} was acknowledged and is in the journal, and neither an event nor a dead letter"),
                ));
            }
        }
        Ok(())
    }

    /// I2: however often an item was journaled it is stored once as long as it is known, unless nothing tells its copies
    /// apart from new events; and no record was counted twice.
    pub fn once(&self, tables: &Tables) -> Result<(), Failure> {
        let mut stored: BTreeMap<&str, u64> = BTreeMap::new();
        for row in &tables.events {
            *stored.entry(mark_of_document(row.document())).or_insert(0) += 1;
        }
        for (mark, n) in stored.iter().filter(|(mark, _)| !mark.starts_with("am")) {
            let (copies, new, judged) = self.copies.get(*mark).map_or((0, 0, 0), |copies| (copies.all, copies.new, copies.all - copies.rejected));
            let allowed = if mark.ends_with("-once") { judged } else { new };
            if *n != allowed {
                return Err(Failure::broken(
                    Promise::I2,
                    format!("item {mark} was journaled {copies} times and is stored {n} times, {allowed} would be right"),
                ));
            }
        }
        // What a rule has rejected counts as soon as one can judge it, unless it is dead for another reason.
        let others = tables.dead_letters.iter().filter(|letter| letter.code != "rule-failed");
        let dead: BTreeSet<&str> = others.flat_map(|letter| letter.item.split(|b| *b == b'\n')).map(|item| mark_of(Door::Events, item)).collect();
        for (mark, copies) in self.copies.iter().filter(|(mark, copies)| copies.rejected > 0 && !mark.starts_with("am") && !dead.contains(mark.as_str())) {
            if copies.new > 0 && !stored.contains_key(mark.as_str()) {
                let why = format!("item {mark} was rejected {} times and journaled {} times, and never counts", copies.rejected, copies.all);
                return Err(Failure::broken(Promise::I2, why));
            }
        }
        for (source, Source { journaled, .. }) in &self.sources {
            let counted = tables.counter(source, "journaled");
            if counted > *journaled {
                return Err(Failure::broken(Promise::I2, format!("{counted} items of {source} were counted, the journal has {journaled}")));
            }
        }
        Ok(())
    }

    /// I6: the counters are what the journal says, and the rows that they stand for are there.
    /// `done` says how many letters of each source are taken out when each record has a commit of its own: one that comes and
    /// goes within one commit is never stored.
    pub fn accounted(&self, tables: &Tables, done: &BTreeMap<Text, u64>) -> Result<(), Failure> {
        for (source, Source { counts, journaled, normalized_extra, no_events, redriven }) in &self.sources {
            let pairs = [
                ("received", counts.received),
                ("refused", counts.refused),
                ("duplicates_in_request", counts.duplicates),
                ("journaled", *journaled),
                ("normalized_extra", *normalized_extra),
                ("no_events", *no_events),
                ("redriven", *redriven),
            ];
            for (name, expected) in pairs {
                let counted = tables.counter(source, name);
                if counted != expected {
                    return Err(Failure::broken(Promise::I6, format!("{name} of {source} is {counted}, the journal says {expected}")));
                }
            }
            let letters = tables.dead_letters.iter().filter(|letter| letter.source == source.as_str()).count() as u64;
            let done = done.get(source).copied().unwrap_or_default();
            if tables.counter(source, "dead_letters") != letters + done {
                let why = format!("{letters} dead letters of {source} are stored and {done} were tried again, the ledger says otherwise");
                return Err(Failure::broken(Promise::I6, why));
            }
        }
        for letter in &tables.dead_letters {
            let stored = letter.arrival.as_ref().map_or(0, |arrival| arrival.redriven);
            if self.redriven.get(&(letter.ordinal, letter.index)).is_some_and(|redriven| stored <= *redriven) {
                let why = format!("the letter of record {} at {} was tried again and is stored as it was", letter.ordinal, letter.index);
                return Err(Failure::broken(Promise::I6, why));
            }
        }
        // A re-send that a rule drops is counted as dropped each time and stored once.
        let rows = |wanted: fn(&str) -> bool| -> u64 {
            tables.ledger.iter().filter(|((scope, _, name), _)| *scope == "source" && wanted(name)).map(|(_, n)| *n).sum()
        };
        let least = rows(|name| name == "folded" || (name.starts_with("stored_only") && name != "stored_only.rule-dropped"));
        let most = least + rows(|name| name == "stored_only.rule-dropped");
        match (least..=most).contains(&(tables.events.len() as u64)) {
            true => Ok(()),
            false => Err(Failure::broken(Promise::I6, format!("{} events are stored, the ledger says {least} to {most}", tables.events.len()))),
        }
    }
}

/// Whether the rule `judge` rejects an item, by its generation and by what was decided.
fn is_rejected(known: &[Verdicts], generation: u64, (ordinal, index): (u64, usize), item: &[u8]) -> bool {
    let has = |tag: &str| has_key(item, tag);
    let at = Place { ordinal, index: index as u32 };
    let of_generation = known.iter().filter(|known| known.generation == generation).flat_map(|known| &known.verdicts);
    let decided = known_of(of_generation, Hook::EnrichEvent, at).map(|verdict| verdict.policy);
    let policy = decided.or_else(|| has("poison").then(|| policy(Hook::EnrichEvent, generation)));
    JUDGED.into_iter().any(has) && policy == Some(Policy::DeadLetter)
}

fn mark_of_document(document: &str) -> &str {
    let name = r#""key":"alertname","value":""#;
    match document.find(name) {
        Some(at) => document[at + name.len()..].split('"').next().unwrap_or_default(),
        None => mark_of(Door::Events, document.as_bytes()),
    }
}
