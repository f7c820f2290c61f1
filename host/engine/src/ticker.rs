//! The clock of time limits: one thread for the process that moves wasmtime's epoch once a millisecond while rules run,
//! and sleeps while none does.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_millis(1);
/// Ticks without a call before the thread sleeps: a wake-up costs more than some idle ticks.
const IDLE_TICKS_MAX: u32 = 100;

/// Counts running calls and keeps the epoch moving for them.
#[derive(Clone)]
pub(crate) struct Ticker(Arc<Shared>);

#[derive(Default)]
struct Shared {
    running: AtomicUsize,
    asleep: AtomicBool,
    thread: OnceLock<Thread>,
}

/// A call in progress.
pub(crate) struct Running<'a>(&'a Shared);

impl Ticker {
    pub fn start(engine: wasmtime::Engine) -> std::io::Result<Ticker> {
        let shared = Arc::new(Shared::default());
        let ticker = Ticker(shared.clone());
        let handle = thread::Builder::new().name("alertmill-epoch".to_owned()).spawn(move || tick(&engine, &shared))?;
        // The thread sleeps only after its first idle ticks, long after this.
        let _ = ticker.0.thread.set(handle.thread().clone());
        Ok(ticker)
    }

    /// Keeps time going until the guard is dropped.
    pub fn run(&self) -> Running<'_> {
        self.0.running.fetch_add(1, Ordering::SeqCst);
        if self.0.asleep.swap(false, Ordering::SeqCst)
            && let Some(thread) = self.0.thread.get()
        {
            thread.unpark();
        }
        Running(&self.0)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

fn tick(engine: &wasmtime::Engine, shared: &Shared) {
    let mut idle = 0;
    let mut last = Instant::now();
    loop {
        thread::sleep(TICK);
        // On a busy machine one sleep may take many milliseconds; a limit is in milliseconds, not in sleeps.
        let now = Instant::now();
        let passed = now.duration_since(last).as_millis();
        last += Duration::from_millis(passed as u64);
        for _ in 0..passed.min(10_000) {
            engine.increment_epoch();
        }
        idle = if shared.running.load(Ordering::SeqCst) == 0 { idle + 1 } else { 0 };
        if idle > IDLE_TICKS_MAX {
            shared.asleep.store(true, Ordering::SeqCst);
            // A call that began between the two lines above saw `asleep` unset; one that begins now unparks.
            while shared.asleep.load(Ordering::SeqCst) && shared.running.load(Ordering::SeqCst) == 0 {
                thread::park();
            }
            shared.asleep.store(false, Ordering::SeqCst);
            idle = 0;
            last = Instant::now();
        }
    }
}
