//! What is gone with the process: queues, answers that somebody waits for, what the doors hold.

use crate::disk::DiskRecord;
use crate::faults::FaultKind;
use crate::intake::InFlightWitness;
use crate::plant::Plant;
use crate::setup::Setup;
use crate::world::State;
use alertmill_core::command::Decision;
use alertmill_core::event::Uid;
use alertmill_core::item::Item;
use alertmill_core::letter::LetterFate;
use alertmill_core::pipeline::in_flight::InFlight;
use alertmill_core::ports::{Appended, PortError};
use alertmill_core::record::{DoorCounts, Journaled, RecordBody};
use std::collections::{BTreeMap, VecDeque};

/// One append that waits for the journal's writer.
pub struct Waiting {
    pub id: u64,
    pub body: RecordBody,
    pub parsed: Option<Vec<Item>>,
    pub payload: Vec<u8>,
}

/// A durable record on its way to the reader.
pub enum Live {
    /// In memory.
    Held(Box<Journaled>, usize),
    /// There was no room for it: its ordinal.
    OnDisk(u64),
}

/// What is gone with the process.
pub struct Life {
    /// Port calls and steps so far.
    pub calls: u64,
    pub steps: u64,
    /// The step behind which it crashes.
    pub crash_at_step: u64,
    pub appends: VecDeque<Waiting>,
    pub answers: BTreeMap<u64, Result<Appended, PortError>>,
    pub next_append: u64,
    /// The journal failed and takes nothing any more.
    pub journal_stopped: bool,
    /// Until then a process that was asked to stop folds what it has.
    pub stops_by_ms: Option<i64>,
    /// It ended by itself.
    pub exited: bool,
    /// It folded all of it, and synced it.
    pub stopped_clean: bool,
    /// From where to where a commit is begun that is not in yet.
    pub begun: Option<(u64, u64)>,
    /// Clock records since the last commit.
    pub clocks_waiting: u64,
    pub live: VecDeque<Live>,
    pub live_bytes: usize,
    pub in_flight: InFlight,
    pub witness: InFlightWitness,
    /// Numbers of requests that made no record, by source.
    pub kept: BTreeMap<&'static str, DoorCounts>,
    pub next_due_ms: Option<i64>,
    /// What became of commands, by the ordinal of their record.
    pub decided: BTreeMap<u64, Vec<Decision>>,
    /// What became of dead letters, by the ordinal of the record that had them tried again.
    pub redriven: BTreeMap<u64, Vec<LetterFate>>,
    /// Uids of events that a rule has rejected, by the place of their letter; only a planted bug asks for them.
    pub rejected: BTreeMap<(u64, u32), Uid>,
    /// When it began.
    pub up_since_ms: i64,
    /// Its start is in the journal: doors are open.
    pub started: bool,
    /// The newest generation that it has read.
    pub generation: u64,
    /// The segment that is written to was begun beyond the journal's bound.
    pub in_reserve: bool,
    /// The last try to write a verdict found no room, not even there.
    pub verdict_waits: bool,
}

impl Life {
    pub fn new(setup: &Setup, now_ms: i64) -> Life {
        Life {
            calls: 0,
            steps: 0,
            crash_at_step: u64::MAX,
            appends: VecDeque::new(),
            answers: BTreeMap::new(),
            next_append: 0,
            journal_stopped: false,
            stops_by_ms: None,
            exited: false,
            stopped_clean: false,
            begun: None,
            clocks_waiting: 0,
            live: VecDeque::new(),
            live_bytes: 0,
            in_flight: InFlight::new(if setup.plant == Some(Plant::UnboundedIntake) { usize::MAX } else { setup.bounds.in_flight_bytes }),
            witness: InFlightWitness::default(),
            kept: BTreeMap::new(),
            next_due_ms: None,
            decided: BTreeMap::new(),
            redriven: BTreeMap::new(),
            rejected: BTreeMap::new(),
            up_since_ms: now_ms,
            started: false,
            generation: 0,
            in_reserve: false,
            verdict_waits: false,
        }
    }
}

impl State {
    /// What is durable goes to the reader, in memory as far as there is room.
    pub fn hand_over(&mut self, record: Journaled) {
        let bytes = record.size_bytes();
        let full = self.life.live_bytes + bytes > self.setup.bounds.live_bytes;
        if full && self.may(FaultKind::ReadFromDisk) {
            self.saw(FaultKind::ReadFromDisk);
            self.life.live.push_back(Live::OnDisk(record.record.ordinal));
        } else {
            self.life.live_bytes += bytes;
            self.life.live.push_back(Live::Held(Box::new(record), bytes));
        }
        self.progress = true;
    }

    /// Takes the oldest live record.
    pub fn next_live(&mut self) -> Option<Journaled> {
        match self.life.live.pop_front()? {
            Live::Held(record, bytes) => {
                self.life.live_bytes -= bytes;
                Some(*record)
            }
            Live::OnDisk(ordinal) => self.disk.journal.records.get(ordinal as usize - 1).map(DiskRecord::replayed),
        }
    }
}
