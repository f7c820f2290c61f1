//! `alertmill bench`: what this build costs on this machine, always beside a reference in the same run.
//!
//! Ours and the reference take turns (A, B, A, B, ...), and each side's best window counts, so that a slow moment of the
//! machine hits neither. The ratio is the figure that can be compared between machines; the bare numbers cannot.
//! `docs/benchmarks.md` says what each row measures and what stands between it and its goal.

mod cold_start;
mod path;
mod rule_rows;
mod rules;
mod samples;

use anyhow::{Context, Result};
use serde::Serialize;
use std::path::PathBuf;

/// What the command line gives.
#[derive(Clone, Debug, clap::Args)]
pub struct BenchArgs {
    /// A few seconds in all: shows that everything works; its figures are rough
    #[arg(long)]
    pub quick: bool,
    /// Only this row
    #[arg(long, value_enum, value_name = "NAME")]
    pub row: Option<RowName>,
    /// Folder on the disk to measure on; a scratch folder is made in it and removed again [default: the system's for such]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// A row by its name (docs/benchmarks.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum RowName {
    /// Events into durable alerts with three rules, against parsing and appending alone
    PathEmbedded,
    /// An enrich rule through the engine, against the same lines in native code
    RuleEnrich,
    /// A dedupe rule the same way
    RuleDedupe,
    /// A start with the code of 20 modules kept, against compiling them
    RuleColdStart,
}

/// Whether a ratio has to reach its goal or to stay under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GoalIs {
    /// The ratio has to reach the goal.
    AtLeast,
    /// The ratio must not pass the goal.
    AtMost,
}

/// One measured row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Which.
    pub name: RowName,
    /// Our figure, the best window.
    pub ours: f64,
    /// The reference's figure, the best window.
    pub reference: f64,
    /// What both are.
    pub unit: &'static str,
    /// `ours / reference`.
    pub ratio: f64,
    /// What the ratio is held against.
    pub goal: f64,
    /// From which side.
    pub goal_is: GoalIs,
    /// Whether it is reached.
    pub met: bool,
    /// The median of the ratios of neighbouring windows: close to `ratio` when the machine was quiet.
    pub median_ratio: f64,
    /// Windows of each side.
    pub windows: usize,
}

impl Row {
    fn new(name: RowName, unit: &'static str, (ours, reference): (f64, f64), mut ratios: Vec<f64>, goal: f64, goal_is: GoalIs) -> Row {
        ratios.sort_by(f64::total_cmp);
        let ratio = ours / reference;
        let met = match goal_is {
            GoalIs::AtLeast => ratio >= goal,
            GoalIs::AtMost => ratio <= goal,
        };
        let median_ratio = ratios.get(ratios.len() / 2).copied().unwrap_or(ratio);
        Row { name, ours, reference, unit, ratio, goal, goal_is, met, median_ratio, windows: ratios.len() }
    }
}

/// Measures the asked rows, telling `say` what is being done. `Err` means that something failed; a goal that is missed does not.
pub fn run(args: &BenchArgs, say: &mut dyn FnMut(&str)) -> Result<Vec<Row>> {
    let wanted = |name| args.row.is_none_or(|row| row == name);
    let mut rows = Vec::new();
    if wanted(RowName::PathEmbedded) {
        say("path-embedded: the whole path, then parsing and appending alone, in turns");
        rows.push(path::measure(args.quick, args.dir.as_deref()).context("path-embedded")?);
    }
    if wanted(RowName::RuleEnrich) || wanted(RowName::RuleDedupe) {
        say("rule-enrich, rule-dedupe: native, then through the engine, in turns");
        let measured = rules::measure(args.quick).context("rule-enrich, rule-dedupe")?;
        rows.extend(measured.into_iter().filter(|row| wanted(row.name)));
    }
    if wanted(RowName::RuleColdStart) {
        say("rule-cold-start: code that is kept, then compiling, in turns");
        rows.push(cold_start::measure(args.quick).context("rule-cold-start")?);
    }
    Ok(rows)
}
