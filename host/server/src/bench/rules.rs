//! `rule-enrich` and `rule-dedupe`: what crossing into a component costs. The rules R1 (reads three fields, looks up a host
//! in a table of 10,000, sets four tags, maybe the severity) and R2 (a key of three fields) through the engine, against the
//! same lines in native code on the same rows (`rule_rows`); one thread, batches of 256.

use super::rule_rows::{chain, hosts, r1, r2, row};
use super::{GoalIs, Row, RowName};
use alertmill_core::row;
use alertmill_core::rules::RuleChain;
use anyhow::{Result, ensure};
use bench_logic::samples;
use std::time::{Duration, Instant};

const BATCH: usize = 256;
const EVENTS: usize = 16 * BATCH;
const UNIT: &str = "ns per event";

/// Measures both rows.
pub fn measure(quick: bool) -> Result<Vec<Row>> {
    let rows: Vec<row::Row> = samples::events(EVENTS).iter().map(row).collect();
    let hosts = hosts();
    let mut chain = chain()?;

    let native_enrich = |batch: &mut [row::Row]| batch.iter_mut().for_each(|row| r1(row, &hosts));
    let native_dedupe = |batch: &mut [row::Row]| batch.iter_mut().for_each(r2);
    same(&rows, &mut *chain, native_enrich, native_dedupe)?;

    let time = Duration::from_millis(if quick { 500 } else { 6_000 });
    let mut tally = Vec::new();
    let enrich = turns(time, &rows, native_enrich, |batch| chain.enrich_events(batch, &mut tally).expect(NEVER_HALTS));
    let dedupe = turns(time, &rows, native_dedupe, |batch| chain.dedupe(batch, &mut tally).expect(NEVER_HALTS));
    ensure!(tally.iter().all(|rule| rule.failed == 0), "a rule failed: {tally:?}");
    Ok(vec![
        Row::new(RowName::RuleEnrich, UNIT, enrich.0, enrich.1, 1.5, GoalIs::AtMost),
        Row::new(RowName::RuleDedupe, UNIT, dedupe.0, dedupe.1, 3.0, GoalIs::AtMost),
    ])
}

const NEVER_HALTS: &str = "the rules of the bench pass on what they cannot judge";

/// Both ways have to give the same rows, or the figures mean nothing.
fn same(rows: &[row::Row], chain: &mut dyn RuleChain, enrich: impl Fn(&mut [row::Row]), dedupe: impl Fn(&mut [row::Row])) -> Result<()> {
    let (mut ours, mut native) = (rows.to_vec(), rows.to_vec());
    chain.enrich_events(&mut ours, &mut Vec::new())?;
    chain.dedupe(&mut ours, &mut Vec::new())?;
    enrich(&mut native);
    dedupe(&mut native);
    for (a, b) in ours.iter().zip(&native) {
        let equal = (&a.event, &a.dedupe) == (&b.event, &b.dedupe);
        ensure!(a.failures.is_empty() && equal, "the engine gives {a:?}, native code {b:?}");
    }
    let changed = ours.iter().zip(rows).filter(|(a, b)| a.event != b.event).count();
    ensure!(changed * 2 > rows.len(), "R1 changed only {changed} of {} events", rows.len());
    Ok(())
}

/// Native and engine in turns over all batches until the time is up. Gives (engine, native) in ns per event, the sum of each
/// batch's fastest run, and the ratio of every pair of runs.
fn turns(time: Duration, rows: &[row::Row], mut native: impl FnMut(&mut [row::Row]), mut engine: impl FnMut(&mut [row::Row])) -> ((f64, f64), Vec<f64>) {
    let mut fastest = vec![(f64::MAX, f64::MAX); rows.len() / BATCH];
    let mut ratios = Vec::new();
    let end = Instant::now() + time;
    while Instant::now() < end {
        for (batch, (a, b)) in rows.chunks(BATCH).zip(&mut fastest) {
            let (native, engine) = (window(batch, &mut native), window(batch, &mut engine));
            (*a, *b) = (a.min(native), b.min(engine));
            ratios.push(engine / native);
        }
    }
    let per_event = |side: fn(&(f64, f64)) -> f64| fastest.iter().map(side).sum::<f64>() / rows.len() as f64;
    ((per_event(|w| w.1), per_event(|w| w.0)), ratios)
}

fn window(rows: &[row::Row], run: &mut impl FnMut(&mut [row::Row])) -> f64 {
    let mut rows = rows.to_vec();
    let started = Instant::now();
    run(&mut rows);
    started.elapsed().as_nanos() as f64
}
