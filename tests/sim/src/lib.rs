//! Seeded simulator: senders, start, clock, upkeep, operators and redrives around the production pipeline (decode, both halves,
//! time-outs, rule-set switches, shipping to services) on fake ports, in one thread and virtual time. A crash drops every future where it
//! waits.
//!
//! Reading order: [`life`] (what runs), [`world`], [`process`] and [`disk`] (time, faults, what a crash takes and what
//! survives it), [`restart`], `ports`, `senders`, `check`.
//!
//! To add a port: a file in `ports`, whose calls go through `World::call`, so that each takes time and may be the last, whose
//! faults are drawn by `World::draws`, and which tells `State::trace` what it was asked and answered; what survives of it goes
//! into [`disk`]. A kind of fault is a line in [`faults`], a promise one in [`failure`], a bug one in [`plant`]; each has a
//! quota then, or must be found.

#![allow(missing_docs)] // Inside of a test program; each file says what it is for.

mod check;
mod clock;
mod commands;
mod disk;
mod failure;
mod faults;
mod intake;
mod life;
mod outcome;
mod plant;
mod ports;
mod process;
mod redrives;
mod restart;
mod rng;
mod senders;
mod services;
mod setup;
mod shrink;
mod tasks;
mod trace;
mod weather;
mod world;

pub use failure::{Checked, Failure, Promise};
pub use faults::{FaultKind, Injected, Kinds};
pub use outcome::Outcome;
pub use plant::Plant;
pub use setup::{Bounds, Load, Setup};
pub use shrink::{replay_line, shrink};
pub use weather::{Away, Crashes, Part, Weather};

use life::End;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::World;

/// Runs one seed to the end and checks what it came to, or says which promise broke. A panic of core is a failure like any
/// other.
pub fn simulate(seed: u64, setup: &Setup) -> Result<Outcome, Failure> {
    caught(|| {
        let world = run(seed, setup)?;
        check::finally(&mut world.state(), seed)?;
        Ok(Outcome::of(&world.state()))
    })
}

/// The same twice. All that the ports were asked and answered must be the same, so the second run's tables are those of the
/// first and need not be checked again.
pub fn simulate_twice(seed: u64, setup: &Setup) -> Result<Outcome, Failure> {
    caught(|| {
        let world = run(seed, setup)?;
        let first = Outcome::of(&world.state());
        check::finally(&mut world.state(), seed)?;
        match run(seed, setup).map(|again| Outcome::of(&again.state())) {
            Ok(second) if second == first => Ok(Outcome::of(&world.state())),
            Ok(_) => Err(Failure::other("two runs of one seed differ")),
            Err(failure) => Err(Failure::other(format!("the second run of the seed failed: {failure}"))),
        }
    })
}

fn run(seed: u64, setup: &Setup) -> Result<World, Failure> {
    let world = World::new(seed, setup);
    let mut sent = vec![0u64; senders::SENDERS as usize];
    while life::live(&world, seed, &mut sent)? == End::Crashed {
        restart::restart(&world)?;
    }
    Ok(world)
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on panics are told in the failure of their seed only, with their place.
pub fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| PANIC.set(Some(panic.to_string()))));
}

fn caught(run: impl FnOnce() -> Result<Outcome, Failure>) -> Result<Outcome, Failure> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Failure::other(PANIC.take().or(text).unwrap_or_else(|| "a panic without a text".to_owned())))
    })
}
