//! The simulated world: virtual time, a disk that forgets what was not synced, and faults drawn from one seed.
//!
//! What survives a crash is in [`Disk`]; everything else is gone when the futures are dropped.

use crate::disk::Disk;
use crate::failure::Failure;
use crate::plant::Plant;
use crate::rng::Rng;
use crate::setup::{Setup, Weather};
use alertmill_core::ports::PortError;
use alertmill_core::record::{DoorCounts, Journaled};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard};
use std::task::Poll;

/// When every run begins.
pub const BEGIN_MS: i64 = 1_700_000_000_000;
/// Faults stop then, so that what is left must come to rest.
pub const FAULTS_END_MS: i64 = BEGIN_MS + 26 * 3_600_000;

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
    /// The tables or the journal changed since the promises were last checked.
    pub unchecked: bool,
    /// What a port saw go wrong.
    pub broken: Option<Failure>,
    pub plant: Option<Plant>,
    /// Marks of items that senders were told are safe.
    pub acknowledged: BTreeSet<String>,
    /// Batches that were merged into the one before them.
    pub merged: u64,
    /// How far the wall clock is from the true time, in this life.
    skew_ms: i64,
    /// Live records on their way to prepare, in this life.
    pub queue: VecDeque<Journaled>,
    /// Numbers of requests that made no record, by source, in this life.
    pub kept: BTreeMap<&'static str, DoorCounts>,
    pub next_due_ms: Option<i64>,
    pub checks: u64,
    pub up_since_ms: i64,
    /// This life's start is in the journal: doors are open.
    pub started: bool,
}

impl State {
    /// What this life's wall clock shows.
    pub fn wall_ms(&self) -> i64 {
        self.now_ms + self.skew_ms
    }

    /// The true time at which the wall clock shows `at_ms`.
    pub fn at_wall(&self, at_ms: i64) -> i64 {
        at_ms - self.skew_ms
    }

    /// Asks to be woken when the wall clock shows `at_ms`.
    pub fn wake_at_wall(&mut self, at_ms: i64) {
        self.next_wake_ms = self.next_wake_ms.min(self.at_wall(at_ms));
    }

    /// True when all that is durable is folded.
    pub fn all_folded(&self) -> bool {
        self.disk.journal_unsynced.is_empty() && self.disk.journal.last().is_none_or(|last| last.ordinal == self.disk.tables.position)
    }
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
    pub fn new(seed: u64, setup: &Setup) -> World {
        World(Mutex::new(State {
            rng: Rng::new(seed),
            now_ms: BEGIN_MS,
            next_wake_ms: i64::MAX,
            progress: false,
            crashed: false,
            weather: setup.weather,
            calls: 0,
            faults: 0,
            crashes: 0,
            trace: 0xcbf2_9ce4_8422_2325,
            disk: Disk::default(),
            unchecked: true,
            broken: None,
            plant: setup.plant,
            acknowledged: BTreeSet::new(),
            merged: 0,
            skew_ms: 0,
            queue: VecDeque::new(),
            kept: BTreeMap::new(),
            next_due_ms: None,
            checks: 0,
            up_since_ms: BEGIN_MS,
            started: false,
        }))
    }

    /// The state; a panic elsewhere leaves it usable.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// True if this bug is planted.
    pub fn has(&self, plant: Plant) -> bool {
        self.state().plant == Some(plant)
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

    /// A port call that takes no time: whether it fails.
    pub fn fails(&self) -> bool {
        let mut state = self.state();
        let percent = state.weather.fault_percent;
        let fails = state.rng.chance(percent);
        state.faults += u64::from(fails);
        fails
    }

    /// An error after which nothing was changed.
    pub fn refusal(&self, what: &str) -> PortError {
        let why = format!("simulated: {what}");
        if self.state().rng.chance(50) { PortError::Unavailable(why) } else { PortError::DiskRefused(why) }
    }

    /// Something changed that others may wait for.
    pub fn moved(&self) {
        self.state().progress = true;
    }

    /// The machine goes down and comes up: unsynced records survive in part, power loss may take commits back, and the
    /// wall clock may have been set meanwhile.
    pub fn restart(&self) {
        let mut guard = self.state();
        let state = &mut *guard;
        state.crashed = false;
        state.crashes += 1;
        state.unchecked = true;
        state.queue.clear();
        state.kept.clear();
        state.next_due_ms = None;
        state.started = false;
        state.disk.lose_journal_tail(&mut state.rng);
        if state.rng.chance(40) {
            state.disk.lose_commits(&mut state.rng);
        }
        if state.rng.chance(20) {
            state.skew_ms = state.rng.below(6_000) as i64 - 3_000;
        }
        state.now_ms += 1 + state.rng.below(5_000) as i64;
        state.up_since_ms = state.now_ms;
        let tables = &mut state.disk.tables;
        match state.plant {
            Some(Plant::DroppedUidMemory) => tables.uids.clear(),
            Some(Plant::CommitWithoutPosition) => (tables.position, tables.received_at_ms) = tables.before,
            Some(Plant::LedgerNotRestored) => tables.ledger.clear(),
            _ => {}
        }
    }
}
