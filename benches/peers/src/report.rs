//! The figures as a table in Markdown, with each side's version as it was built.

use crate::side::{Rule, Side};

/// The first two are ours and native code, which all are held against.
pub fn table(rule: Rule, measured: &[(Box<dyn Side>, Vec<f64>)]) -> String {
    let name = match rule {
        Rule::Enrich => "R1, enrich",
        Rule::Dedupe => "R2, dedupe",
    };
    let mut table = format!("| {name} | how | ns per event | to ours | to native |\n|---|---|---|---|---|\n");
    let (ours, native) = (&measured[0].1, &measured[1].1);
    for (side, turns) in measured {
        let to = |other: &[f64]| median(turns.iter().zip(other).map(|(a, b)| a / b).collect());
        let (ns, to_ours, to_native) = (median(turns.clone()), to(ours), to(native));
        table.push_str(&format!("| {} | {} | {ns:.0} | {to_ours:.2} | {to_native:.2} |\n", side.name(), side.idiom()));
    }
    table.push_str(&format!("\nMedians of {} turns; ratios are of the same turn.\n", ours.len()));
    table
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// The version of a crate that is here once.
pub fn version(name: &str) -> &'static str {
    versions(name).next().unwrap_or("of unknown version")
}

/// The wasmtime that Extism brings; the other one is ours.
pub fn older_wasmtime() -> &'static str {
    let number = |version: &&str| version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(u32::MAX);
    versions("wasmtime").min_by_key(number).unwrap_or("of unknown version")
}

fn versions(name: &str) -> impl Iterator<Item = &'static str> {
    let line = format!("name = \"{name}\"");
    let lines = include_str!("../Cargo.lock").lines();
    lines.clone().zip(lines.skip(1)).filter(move |(name, _)| *name == line).filter_map(|(_, version)| version.strip_prefix("version = \"")?.strip_suffix('"'))
}
