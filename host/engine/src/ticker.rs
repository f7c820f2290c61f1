//! The clock of time limits: one thread for the process that moves wasmtime's epoch once a millisecond while rules run,
//! and sleeps while none does.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_millis(1);
/// Ticks without a call before the thread sleeps: a wake-up costs more than some idle ticks.
const IDLE_TICKS_MAX: u32 = 100;
/// Ticks at once, at most.
const TICKS_MAX: u64 = 10_000;

/// Counts running calls and keeps the epoch moving for them.
#[derive(Clone)]
pub(crate) struct Ticker(Arc<Shared>);

struct Shared {
    running: AtomicUsize,
    asleep: AtomicBool,
    /// Up to when the epoch has moved.
    moved_to: Mutex<Instant>,
    thread: OnceLock<Thread>,
}

/// A call in progress.
pub(crate) struct Running<'a> {
    shared: &'a Shared,
    behind: u64,
}

impl Shared {
    fn new(now: Instant) -> Shared {
        Shared { running: AtomicUsize::new(0), asleep: AtomicBool::new(false), moved_to: Mutex::new(now), thread: OnceLock::new() }
    }

    fn moved_to(&self) -> MutexGuard<'_, Instant> {
        self.moved_to.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call begins: how many ticks are still to come for time before it. A thread that got no processor makes up for it
    /// in one go, and whoever began meanwhile must not pay for that.
    fn begin(&self, now: Instant) -> (u64, bool) {
        self.running.fetch_add(1, Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) {
            // Time in which it slept gives no ticks. Said before anyone can see that it sleeps no more. Somebody else may have woken it
            // since `now`: what it has ticked then must not be ticked again, at the cost of all that run.
            let mut moved_to = self.moved_to();
            *moved_to = now.max(*moved_to);
        }
        let wakes = self.asleep.swap(false, Ordering::SeqCst);
        let behind = now.saturating_duration_since(*self.moved_to()).as_millis();
        ((behind as u64).min(TICKS_MAX), wakes)
    }
}

impl Ticker {
    pub fn start(engine: wasmtime::Engine) -> std::io::Result<Ticker> {
        let shared = Arc::new(Shared::new(Instant::now()));
        let ticker = Ticker(shared.clone());
        let handle = thread::Builder::new().name("alertmill-epoch".to_owned()).spawn(move || tick(&engine, &shared))?;
        // The thread sleeps only after its first idle ticks, long after this.
        let _ = ticker.0.thread.set(handle.thread().clone());
        Ok(ticker)
    }

    /// Keeps time going until the guard is dropped.
    pub fn run(&self) -> Running<'_> {
        let (behind, wakes) = self.0.begin(Instant::now());
        if let Some(thread) = self.0.thread.get().filter(|_| wakes) {
            thread.unpark();
        }
        Running { shared: &self.0, behind }
    }
}

impl Running<'_> {
    /// Ticks from now until the call has run for `limit_ms`, and not a moment less: the running millisecond counts as none.
    pub fn ticks_until(&self, limit_ms: u64) -> u64 {
        self.behind + limit_ms + 1
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.shared.running.fetch_sub(1, Ordering::SeqCst);
    }
}

fn tick(engine: &wasmtime::Engine, shared: &Shared) {
    let mut idle = 0;
    loop {
        thread::sleep(TICK);
        // On a busy machine one sleep may take many milliseconds; a limit is in milliseconds, not in sleeps.
        let now = Instant::now();
        {
            // Held meanwhile: who begins between two ticks would count some of them twice.
            let mut moved_to = shared.moved_to();
            let passed = now.saturating_duration_since(*moved_to).as_millis() as u64;
            *moved_to += Duration::from_millis(passed);
            (0..passed.min(TICKS_MAX)).for_each(|_| engine.increment_epoch());
        }
        idle = if shared.running.load(Ordering::SeqCst) == 0 { idle + 1 } else { 0 };
        if idle > IDLE_TICKS_MAX {
            shared.asleep.store(true, Ordering::SeqCst);
            // A call that began between the two lines above saw `asleep` unset; one that begins now unparks.
            while shared.asleep.load(Ordering::SeqCst) && shared.running.load(Ordering::SeqCst) == 0 {
                thread::park();
            }
            *shared.moved_to() = Instant::now();
            shared.asleep.store(false, Ordering::SeqCst);
            idle = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_pays_for_no_tick_of_time_before_it() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let shared = Shared::new(start);
        for (now, behind) in [(at(0), 0), (at(1), 1), (at(37), 37), (at(37) + Duration::from_micros(900), 37), (at(3_600_000), TICKS_MAX)] {
            assert_eq!(shared.begin(now), (behind, false));
        }
        let running = Running { shared: &shared, behind: 37 };
        assert_eq!(running.ticks_until(250), 37 + 251);
        // Asleep it owes nothing: the first to come wakes it, and whoever comes then finds a clock that goes.
        shared.asleep.store(true, Ordering::SeqCst);
        assert_eq!(shared.begin(at(7_200_000)), (0, true));
        assert_eq!(shared.begin(at(7_200_004)), (4, false));
        drop(running);
        assert_eq!(shared.running.load(Ordering::SeqCst), 6);
    }

    #[test]
    fn who_was_held_up_while_waking_the_clock_sets_it_back_for_nobody() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let shared = Shared::new(at(300));
        shared.asleep.store(true, Ordering::SeqCst);
        assert_eq!(shared.begin(start), (0, true));
        assert_eq!(*shared.moved_to(), at(300));
    }
}
