//! The bench rules R1 (enrich by a table of 10,000 hosts) and R2 (dedupe by a key of three fields) through the engine, natively, and in
//! what others would use for them: VRL, Lua, Rhai, Extism. Prints the tables of `docs/benchmarks.md`.
//!
//! All take turns on the same events (A, B, C, ..., A, B, C, ...), a batch of 256 each. What is made of the events before a side can
//! begin, such as VRL's values, is made outside the measured time. A side whose answers are not those of native code is not
//! printed, and the run ends with an error.

mod extism;
mod lua;
mod ours;
mod report;
mod rhai;
#[path = "../../../host/server/src/bench/rule_rows.rs"]
mod rule_rows;
mod side;
mod vrl;

use anyhow::{Context, Result, ensure};
use bench_logic::samples::{self, Sample};
use side::{Rule, Side};
use std::time::Instant;

/// Events of one turn at one side.
const BATCH: usize = 256;
const EVENTS: usize = 16 * BATCH;

fn main() -> Result<()> {
    let turns = match std::env::args().nth(1) {
        Some(turns) => turns.parse().context("the only argument is a number of turns")?,
        None => 25,
    };
    ensure!(turns > 0, "without a turn there is no figure");
    let events = samples::events(EVENTS);
    let mut refused = Vec::new();
    for rule in [Rule::Enrich, Rule::Dedupe] {
        let (sides, differing) = those_that_agree(sides(rule)?, rule, &events)?;
        refused.extend(differing);
        println!("{}", report::table(rule, &measure(sides, &events, turns)?));
    }
    ensure!(refused.is_empty(), "no figures of sides that answer otherwise: {}", refused.join("; "));
    Ok(())
}

/// Ours first, then native code.
fn sides(rule: Rule) -> Result<Vec<Box<dyn Side>>> {
    Ok(vec![
        Box::new(ours::Engine::new(rule, 256)?),
        Box::new(ours::Native::new(rule)),
        Box::new(ours::Engine::new(rule, 64)?),
        Box::new(ours::Engine::new(rule, 1)?),
        Box::new(lua::Lua::new(rule)?),
        Box::new(vrl::Vrl::new(rule)?),
        Box::new(rhai::Rhai::new(rule)?),
        Box::new(extism::Extism::new(rule, extism::Input::FieldsRead)?),
        Box::new(extism::Extism::new(rule, extism::Input::WholeEvent)?),
    ])
}

/// Those whose answers are native code's for every event, and what is wrong with the others.
fn those_that_agree(sides: Vec<Box<dyn Side>>, rule: Rule, events: &[Sample]) -> Result<(Vec<Box<dyn Side>>, Vec<String>)> {
    let mut native = ours::Native::new(rule);
    native.load(events);
    native.run()?;
    let wanted = native.answers()?;
    let (mut agreeing, mut differing) = (Vec::new(), Vec::new());
    for (at, mut side) in sides.into_iter().enumerate() {
        side.load(events);
        side.run()?;
        let answers = side.answers()?;
        ensure!(answers.len() == events.len(), "{}: {} answers for {} events", side.name(), answers.len(), events.len());
        let Some(event) = answers.iter().zip(&wanted).position(|(answer, wanted)| answer != wanted) else {
            agreeing.push(side);
            continue;
        };
        let why = format!("{} gives {:?} for {:?}, native code {:?}", side.name(), answers[event], events[event], wanted[event]);
        // All others are held against the engine.
        ensure!(at > 0, "{why}");
        differing.push(why);
    }
    Ok((agreeing, differing))
}

/// A side with its ns per event of each turn.
type Measured = (Box<dyn Side>, Vec<f64>);

fn measure(sides: Vec<Box<dyn Side>>, events: &[Sample], turns: usize) -> Result<Vec<Measured>> {
    let mut measured: Vec<Measured> = sides.into_iter().map(|side| (side, Vec::new())).collect();
    // The first turn is for caches and allocators.
    for turn in 0..=turns {
        let mut nanos = vec![0; measured.len()];
        for batch in events.chunks(BATCH) {
            for ((side, _), nanos) in measured.iter_mut().zip(&mut nanos) {
                side.load(batch);
                let started = Instant::now();
                side.run()?;
                *nanos += started.elapsed().as_nanos();
            }
        }
        for ((_, per_event), nanos) in measured.iter_mut().zip(nanos).filter(|_| turn > 0) {
            per_event.push(nanos as f64 / events.len() as f64);
        }
    }
    Ok(measured)
}
