//! Seeded simulator: senders, start, clock and an operator around the production pipeline (decode, both halves, time-outs,
//! rule-set switches) on fake ports, in one thread and virtual time. A crash drops every future where it waits.
//!
//! Reading order: [`life`] (what runs), [`world`] and [`disk`] (time, faults, what survives), `ports`, `senders`, `check`.

#![allow(missing_docs)] // Inside of a test program; each file says what it is for.

mod check;
mod disk;
mod failure;
mod life;
mod outcome;
mod plant;
mod ports;
mod rng;
mod senders;
mod setup;
mod shrink;
mod tasks;
mod world;

pub use failure::{Failure, Promise};
pub use outcome::Outcome;
pub use plant::Plant;
pub use setup::{Load, Setup, Weather};
pub use shrink::{replay_line, shrink};

use world::World;

/// Runs one seed to the end, or says which promise broke. A panic of core is a failure like any other.
pub fn simulate(seed: u64, setup: &Setup) -> Result<Outcome, Failure> {
    std::panic::catch_unwind(|| simulate_once(seed, setup)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Failure::other(format!("panic: {}", text.unwrap_or("without a text"))))
    })
}

fn simulate_once(seed: u64, setup: &Setup) -> Result<Outcome, Failure> {
    let world = World::new(seed, setup);
    let mut sent = vec![0u64; senders::SENDERS as usize];
    while !life::live(&world, seed, setup, &mut sent)? {
        world.restart();
    }
    let state = world.state();
    check::finally(&state, seed)?;
    Ok(Outcome::of(&state))
}
