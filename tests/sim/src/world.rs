//! The simulated world: virtual time, a disk that forgets what was not synced, and faults drawn from one seed.
//!
//! What survives a crash is in [`Disk`]; everything else is gone when the futures are dropped.

use crate::clock::Clocks;
use crate::commands::Operators;
use crate::disk::Disk;
use crate::failure::{Checked, Failure};
use crate::faults::{FaultKind, Injected};
use crate::plant::Plant;
use crate::process::Life;
use crate::redrives::Redriver;
use crate::rng::Rng;
use crate::services::Services;
use crate::setup::Setup;
use crate::trace::Trace;
use crate::weather::{Crashes, Part};
use alertmill_core::ports::PortError;
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;

/// When every run begins.
pub const BEGIN_MS: i64 = 1_700_000_000_000;
/// Faults stop then, so that what is left must come to rest.
pub const FAULTS_END_MS: i64 = BEGIN_MS + 26 * 3_600_000;
/// A stall takes between this and eight times as long.
const STALL_MS: u64 = 60_000;

/// Everything at one moment.
pub struct State {
    pub rng: Rng,
    pub clocks: Clocks,
    pub next_wake_ms: i64,
    /// Something changed that others may wait for.
    pub progress: bool,
    /// An await came back since the last step.
    pub stepped: bool,
    pub crashed: bool,
    pub setup: Setup,
    pub calm: bool,
    pub calls: u64,
    pub steps: u64,
    pub commits: u64,
    pub crashes: u64,
    pub merged: u64,
    /// How often the pipeline halted at a row.
    pub halted: u64,
    /// Batches folded while the commit before them was only begun.
    pub folded_ahead: u64,
    pub injected: Injected,
    /// How often each could have happened.
    pub chances: Injected,
    /// Those of them that chance wanted.
    pub faults: u64,
    pub checked: Checked,
    pub trace: Trace,
    pub disk: Disk,
    pub life: Life,
    /// What a port saw go wrong.
    pub broken: Option<Failure>,
    /// Marks of items that senders were told are safe.
    pub acknowledged: BTreeSet<String>,
    /// What operators remember.
    pub operators: Operators,
    /// What those remember who have dead letters tried again and upload rules.
    pub redriver: Redriver,
    /// The last record whose append was answered with success.
    pub acknowledged_to: u64,
    /// Until then somebody was away or stalled: what is late may be so because of it.
    pub troubled_until_ms: i64,
    /// Elasticsearch and Redis.
    pub services: Services,
}

impl State {
    pub fn now_ms(&self) -> i64 {
        self.clocks.now_ms
    }

    /// Asks to be woken at a moment of true time.
    pub fn wake_at(&mut self, at_ms: i64) {
        self.next_wake_ms = self.next_wake_ms.min(at_ms);
    }

    /// True when all that is durable is folded, and nothing else is on its way.
    pub fn all_folded(&self) -> bool {
        self.disk.journal.cached.is_empty() && self.life.appends.is_empty() && self.disk.journal.records.len() as u64 == self.disk.tables.position
    }

    /// Whether chance wants a fault of this kind now.
    pub fn rolls(&mut self, kind: FaultKind) -> bool {
        // Always drawn, so that a run with fewer kinds is the same up to the first one that it leaves out.
        let drawn = self.rng.per_mille(self.setup.weather.rate(kind));
        self.chances.count(kind);
        let planned = self.setup.weather.once == Some((kind, self.chances.of(kind)));
        (drawn || planned) && self.may(kind)
    }

    /// Whether a fault of this kind happens now.
    pub fn draws(&mut self, kind: FaultKind) -> bool {
        let happens = self.rolls(kind);
        if happens {
            self.happens(kind);
        }
        happens
    }

    /// Chance wanted it, and it happens.
    pub fn happens(&mut self, kind: FaultKind) {
        self.faults += 1;
        self.saw(kind);
    }

    /// Whether a kind may happen at all now.
    pub fn may(&self, kind: FaultKind) -> bool {
        !self.calm && self.setup.kinds.has(kind) && self.faults < self.setup.faults_max
    }

    /// It is seen, whether chance wanted it or it followed from something else.
    pub fn saw(&mut self, kind: FaultKind) {
        self.injected.count(kind);
        self.trace.word(0xfa_0000 + kind as u64);
    }

    /// Until when a part is away, and whether it hangs; it is asked for something.
    fn finds_away(&mut self, part: Part) -> Option<(i64, bool)> {
        let away = self.setup.weather.away.filter(|away| away.part == part && self.may(FaultKind::Away))?;
        let passed_ms = self.now_ms() - BEGIN_MS;
        if !(away.from_ms..away.to_ms).contains(&passed_ms) {
            return None;
        }
        let until_ms = BEGIN_MS + away.to_ms;
        // However often it is asked, it is away once.
        let troubled_until_ms = self.troubled_until(part);
        if *troubled_until_ms < until_ms {
            *troubled_until_ms = until_ms;
            self.happens(FaultKind::Away);
        }
        Some((until_ms, away.hangs))
    }

    /// Until when trouble of a part keeps others waiting. Nobody but shipping waits for services.
    fn troubled_until(&mut self, part: Part) -> &mut i64 {
        if part.is_of_shipping() { &mut self.services.troubled_until_ms } else { &mut self.troubled_until_ms }
    }
}

/// How a port call goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// It is made.
    Goes,
    /// Who was asked is away and refuses.
    Refused,
}

/// Shared by all fake ports, and by rules that are opened.
#[derive(Clone)]
pub struct World(Arc<Mutex<State>>);

impl World {
    pub fn new(seed: u64, setup: &Setup) -> World {
        World(Arc::new(Mutex::new(State {
            rng: Rng::new(seed),
            clocks: Clocks::new(BEGIN_MS),
            next_wake_ms: i64::MAX,
            progress: false,
            stepped: false,
            crashed: false,
            setup: *setup,
            calm: false,
            calls: 0,
            steps: 0,
            commits: 0,
            crashes: 0,
            merged: 0,
            halted: 0,
            folded_ahead: 0,
            injected: Injected::default(),
            chances: Injected::default(),
            faults: 0,
            checked: Checked::default(),
            trace: Trace::new(),
            disk: Disk::default(),
            life: Life::new(setup, BEGIN_MS),
            broken: None,
            acknowledged: BTreeSet::new(),
            operators: Operators::default(),
            redriver: Redriver::default(),
            acknowledged_to: 0,
            troubled_until_ms: BEGIN_MS,
            services: Services::new(seed, setup.plant == Some(Plant::StaleEsVersion)),
        })))
    }

    /// The state; a panic elsewhere leaves it usable.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// True if this bug is planted.
    pub fn has(&self, plant: Plant) -> bool {
        self.state().setup.plant == Some(plant)
    }

    /// Whether a fault of this kind happens now.
    pub fn draws(&self, kind: FaultKind) -> bool {
        self.state().draws(kind)
    }

    /// Waits in virtual time.
    pub async fn wait(&self, ms: u64) {
        let due = self.state().now_ms() + ms as i64;
        self.until(|state| {
            if state.now_ms() >= due {
                return Some(());
            }
            state.wake_at(due);
            None
        })
        .await
    }

    /// Waits until `ready` gives something; it is asked whenever anything happened.
    pub async fn until<T>(&self, mut ready: impl FnMut(&mut State) -> Option<T> + Send) -> T {
        poll_fn(|_| {
            let mut state = self.state();
            match ready(&mut state) {
                Some(value) => {
                    state.stepped = true;
                    Poll::Ready(value)
                }
                None => Poll::Pending,
            }
        })
        .await
    }

    /// One port call of a part: takes time, may be where the process dies, is refused while the part is away.
    pub async fn call(&self, part: Part, tag: u64) -> Call {
        let ms = {
            let mut guard = self.state();
            let state = &mut *guard;
            state.calls += 1;
            state.life.calls += 1;
            let dies = match state.setup.weather.crashes {
                Crashes::AtCall(n) => state.calls == n,
                Crashes::Pair(n, m) => (state.crashes == 0 && state.calls == n) || (state.crashes == 1 && state.life.calls == m),
                Crashes::Every(_) | Crashes::AtStep(_) => false,
            };
            state.crashed |= dies;
            let latency_max_ms = state.setup.weather.latency_max_ms;
            let mut ms = 1 + state.rng.below(latency_max_ms);
            if state.draws(FaultKind::Stall) {
                ms += STALL_MS + state.rng.below(7 * STALL_MS);
                let until_ms = state.now_ms() + ms as i64;
                let troubled_until_ms = state.troubled_until(part);
                *troubled_until_ms = until_ms.max(*troubled_until_ms);
            }
            let now_ms = state.now_ms();
            for word in [tag, now_ms as u64, ms] {
                state.trace.word(word);
            }
            ms
        };
        // A process that dies at this call never comes back from it; the futures are dropped outside.
        self.until(|state| (!state.crashed).then_some(())).await;
        self.wait(ms).await;
        let Some((until_ms, hangs)) = self.state().finds_away(part) else { return Call::Goes };
        if !hangs {
            return Call::Refused;
        }
        let ms = until_ms - self.state().now_ms();
        self.wait(ms.max(0) as u64).await;
        Call::Goes
    }

    /// Whether a part that cannot hang is away.
    pub fn is_away(&self, part: Part) -> bool {
        self.state().finds_away(part).is_some()
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
}
