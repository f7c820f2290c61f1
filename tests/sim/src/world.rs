//! The simulated world: virtual time, a disk that forgets what was not synced, and faults drawn from one seed.
//!
//! What survives a crash is in [`Disk`]; everything else is gone when the futures are dropped.

use crate::rng::Rng;
use alertmill_core::event::Uid;
use alertmill_core::ports::{AlertWrite, Commit, EventRole};
use alertmill_core::record::{Journaled, RuleSet};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard};
use std::task::Poll;

/// Bugs that can be planted, to show that the checks find them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// The journal answers before the record is durable.
    EarlyAcknowledge,
}

impl Plant {
    /// Reads the name of the command line.
    pub fn parse(name: &str) -> Option<Plant> {
        (name == "early-acknowledge").then_some(Plant::EarlyAcknowledge)
    }
}

/// A journal record on the simulated disk.
#[derive(Clone)]
pub struct DiskRecord {
    pub ordinal: u64,
    pub received_at_ms: i64,
    pub payload: Vec<u8>,
}

/// The store's tables.
#[derive(Clone, Default)]
pub struct Tables {
    pub position: u64,
    pub received_at_ms: i64,
    pub started_at_ms: i64,
    pub alerts: BTreeMap<u64, AlertWrite>,
    pub events: Vec<Uid>,
    pub uids: BTreeSet<Uid>,
    pub lists: BTreeMap<u64, Vec<(Uid, EventRole)>>,
    pub dead_letters: u64,
    pub ledger: BTreeMap<(String, String, String), u64>,
    pub rule_set: RuleSet,
}

impl Tables {
    /// Applies a commit whole.
    pub fn apply(&mut self, commit: &Commit) {
        for alert in &commit.alerts {
            self.alerts.insert(alert.seq, alert.clone());
        }
        for event in &commit.events {
            self.events.push(event.uid);
            self.uids.insert(event.uid);
        }
        for list in &commit.alert_events {
            let uids = list.events.iter().map(|(at, role)| (commit.events[*at as usize].uid, *role));
            self.lists.entry(list.seq).or_default().extend(uids);
        }
        self.dead_letters += commit.dead_letters.len() as u64;
        for value in &commit.ledger {
            self.ledger.insert((value.scope.to_owned(), value.name.to_string(), value.counter.to_string()), value.value);
        }
        if let Some(set) = &commit.rule_set {
            self.rule_set = set.clone();
        }
        self.position = commit.to;
        self.received_at_ms = commit.received_at_ms;
        self.started_at_ms = commit.started_at_ms;
    }
}

/// What survives a crash.
#[derive(Default)]
pub struct Disk {
    /// Synced records.
    pub journal: Vec<DiskRecord>,
    /// Written, not synced: a crash keeps a random part of the front.
    pub journal_unsynced: Vec<DiskRecord>,
    /// The store as its last commit left it.
    pub tables: Tables,
    /// The store as its last synced checkpoint left it: what power loss may fall back to.
    pub checkpoint: Tables,
}

/// What one run draws its faults from.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub fault_percent: u64,
    pub latency_max_ms: u64,
    /// Crash when this many port calls were made in all, if ever.
    pub crash_at_call: Option<u64>,
    /// Percent of port calls that crash.
    pub crash_percent: u64,
}

impl Weather {
    /// Faults of a seed; some seeds have no crash, some no error, so that rare combinations come up.
    pub fn of_seed(seed: u64) -> Weather {
        Weather {
            fault_percent: [0, 5, 20][(seed % 3) as usize],
            latency_max_ms: [1, 20, 400][(seed / 3 % 3) as usize],
            crash_at_call: None,
            crash_percent: [0, 1, 3][(seed / 9 % 3) as usize],
        }
    }
}

/// Everything at one moment.
pub struct State {
    pub rng: Rng,
    pub now_ms: i64,
    pub next_wake_ms: i64,
    pub progress: bool,
    pub crashed: bool,
    pub weather: Weather,
    pub calls: u64,
    pub faults: u64,
    pub crashes: u64,
    pub trace: u64,
    pub disk: Disk,
    /// Live records on their way to prepare, in this life.
    pub queue: VecDeque<Journaled>,
    pub plant: Option<Plant>,
    /// Event ids that senders were told are safe.
    pub acknowledged: BTreeSet<String>,
    pub next_due_ms: Option<i64>,
    pub checks: u64,
}

/// How a port call goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Fails, nothing done.
    Before,
    /// Done, but the answer is lost.
    After,
}

/// Shared by all fake ports.
pub struct World(Mutex<State>);

impl World {
    pub fn new(seed: u64, weather: Weather, plant: Option<Plant>) -> World {
        World(Mutex::new(State {
            rng: Rng::new(seed),
            now_ms: 1_700_000_000_000,
            next_wake_ms: i64::MAX,
            progress: false,
            crashed: false,
            weather,
            calls: 0,
            faults: 0,
            crashes: 0,
            trace: 0xcbf2_9ce4_8422_2325,
            disk: Disk::default(),
            queue: VecDeque::new(),
            plant,
            acknowledged: BTreeSet::new(),
            next_due_ms: None,
            checks: 0,
        }))
    }

    /// The state; a panic elsewhere leaves it usable.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Waits in virtual time.
    pub async fn wait(&self, ms: u64) {
        let due = self.state().now_ms + ms as i64;
        self.until(|state| {
            if state.now_ms >= due {
                return Some(());
            }
            state.next_wake_ms = state.next_wake_ms.min(due);
            None
        })
        .await
    }

    /// Waits until `ready` gives something; it is asked whenever anything happened.
    pub async fn until<T>(&self, mut ready: impl FnMut(&mut State) -> Option<T> + Send) -> T {
        poll_fn(|_| match ready(&mut self.state()) {
            Some(value) => Poll::Ready(value),
            None => Poll::Pending,
        })
        .await
    }

    /// One port call: takes time, may fail, may be where the process dies.
    pub async fn call(&self, tag: u64) -> Fault {
        let (ms, fault) = {
            let mut guard = self.state();
            let state = &mut *guard;
            state.calls += 1;
            let weather = state.weather;
            if weather.crash_at_call == Some(state.calls) || state.rng.chance(weather.crash_percent) {
                state.crashed = true;
            }
            let ms = 1 + state.rng.below(weather.latency_max_ms);
            let fault = match state.rng.chance(weather.fault_percent) {
                true if state.rng.chance(50) => Fault::Before,
                true => Fault::After,
                false => Fault::None,
            };
            state.faults += u64::from(fault != Fault::None);
            state.trace = (state.trace ^ (tag + state.now_ms as u64 * 31 + ms)).wrapping_mul(0x100_0000_01b3);
            (ms, fault)
        };
        // A process that dies at this call never comes back from it; the futures are dropped outside.
        self.until(|state| (!state.crashed).then_some(())).await;
        self.wait(ms).await;
        fault
    }

    /// Something changed that others may wait for.
    pub fn moved(&self) {
        self.state().progress = true;
    }

    /// The machine goes down and comes up: unsynced records survive in part, power loss may take commits back.
    pub fn restart(&self) {
        let mut guard = self.state();
        let state = &mut *guard;
        state.crashed = false;
        state.crashes += 1;
        state.queue.clear();
        state.next_due_ms = None;
        let kept = state.rng.below(state.disk.journal_unsynced.len() as u64 + 1) as usize;
        let tail: Vec<DiskRecord> = state.disk.journal_unsynced.drain(..).take(kept).collect();
        state.disk.journal.extend(tail);
        if state.rng.chance(40) {
            state.disk.tables = state.disk.checkpoint.clone();
        }
        state.now_ms += 1 + state.rng.below(5_000) as i64;
    }
}
