//! Seeded simulator: senders, start, clock and an operator around the production pipeline (decode, both halves, time-outs,
//! rule-set switches) on fake ports, in one thread and virtual time. A crash drops every future where it waits.
//!
//! Reading order: [`life`] (what runs), [`world`] and [`disk`] (time, faults, what survives), `ports`, `senders`, `check`.

#![allow(missing_docs)] // Inside of a test program; each file says what it is for.

mod check;
mod disk;
mod failure;
mod life;
mod plant;
mod ports;
mod rng;
mod senders;
mod setup;
mod shrink;
mod tasks;
mod world;

pub use failure::{Failure, Promise};
pub use plant::Plant;
pub use setup::{Load, Setup, Weather};
pub use shrink::{replay_line, shrink};

use world::World;

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Hash of every port call and its moment; two runs of one seed have the same.
    pub trace: u64,
    pub calls: u64,
    pub crashes: u64,
    pub faults: u64,
    pub checks: u64,
    pub records: u64,
    pub merged: u64,
    pub timed_out: u64,
    pub refreshed: u64,
    pub dead_letters: u64,
    pub acknowledged: u64,
}

impl Outcome {
    /// Adds the figures of another run.
    pub fn add(&mut self, other: &Outcome) {
        self.calls += other.calls;
        self.crashes += other.crashes;
        self.faults += other.faults;
        self.checks += other.checks;
        self.records += other.records;
        self.merged += other.merged;
        self.timed_out += other.timed_out;
        self.refreshed += other.refreshed;
        self.dead_letters += other.dead_letters;
        self.acknowledged += other.acknowledged;
    }
}

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
    let tables = &state.disk.tables;
    Ok(Outcome {
        trace: state.trace,
        calls: state.calls,
        crashes: state.crashes,
        faults: state.faults,
        checks: state.checks,
        records: state.disk.journal.len() as u64,
        merged: state.merged,
        timed_out: tables.logs.iter().filter(|log| log.op_type.starts_with("SYSTEM_")).count() as u64,
        refreshed: tables.ledger.iter().filter(|((_, _, name), _)| name == "refreshed").map(|(_, n)| *n).sum(),
        dead_letters: tables.dead_letters.len() as u64,
        acknowledged: state.acknowledged.len() as u64,
    })
}
