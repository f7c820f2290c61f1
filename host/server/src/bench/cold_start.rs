//! `rule-cold-start`: what a start spends on modules whose code is kept, against compiling them, as the server does it: each in a
//! child, one after the other. To be done with a module is to have asked it what it is.

use super::{GoalIs, Row, RowName};
use crate::compile;
use crate::config::Config;
use alertmill_engine::{CodeCache, Engine};
use anyhow::{Result, anyhow, ensure};
use std::time::Instant;

const SHIPPED: [&[u8]; 3] = [
    include_bytes!("../../../../rules/dist/owner-from-table.wasm"),
    include_bytes!("../../../../rules/dist/severity-by-labels.wasm"),
    include_bytes!("../../../../rules/dist/dedupe-by-tags.wasm"),
];

/// Measures the row.
pub fn measure(quick: bool) -> Result<Row> {
    let dir = tempfile::tempdir()?;
    let mut config = Config::default();
    config.data.dir = dir.path().to_path_buf();
    let modules: Vec<Vec<u8>> = (0..if quick { 3 } else { 20 }).map(module).collect();
    // Puts there what is found in each window.
    load(&modules, &config, compile::cache(&config))?;
    let (mut ours, mut reference, mut ratios) = (f64::MAX, f64::MAX, Vec::new());
    for _ in 0..if quick { 1 } else { 5 } {
        let (a, compiled) = load(&modules, &config, compile::cache(&config))?;
        ensure!(compiled == 0, "{compiled} modules were compiled although their code was kept");
        let (b, compiled) = load(&modules, &config, None)?;
        ensure!(compiled == modules.len() as u64, "{compiled} modules were compiled");
        (ours, reference) = (ours.min(a), reference.min(b));
        ratios.push(a / b);
    }
    Ok(Row::new(RowName::RuleColdStart, "us a module", (ours, reference), ratios, 0.1, GoalIs::AtMost))
}

/// A shipped module that is told from the others by a custom section without a name, which changes nothing but its digest.
fn module(number: usize) -> Vec<u8> {
    [SHIPPED[number % SHIPPED.len()], &[0, 2, 0, number as u8]].concat()
}

/// Microseconds a module, and how many were compiled.
fn load(modules: &[Vec<u8>], config: &Config, cache: Option<Box<dyn CodeCache>>) -> Result<(f64, u64)> {
    let engine = Engine::with(|_: &str| Err("nothing is kept".to_owned()), compile::compiler(&config.rules), cache)?;
    let started = Instant::now();
    for module in modules {
        engine.inspect(module).map_err(|refusal| anyhow!("{refusal}"))?;
    }
    let each_us = started.elapsed().as_secs_f64() * 1e6 / modules.len() as f64;
    Ok((each_us, engine.load_stats().compiles.get("ok").copied().unwrap_or(0)))
}
