//! `alertmill conformance DIR`: runs recorded vectors through the real core and compares, step by step.
//!
//! Reading order: [`vector`] (what is read), [`world`] with `ops/` (what is done), [`compare`] (what counts as the same),
//! [`mod@listed`] (differences that are meant). `tests/conformance/README.md` says what is compared and how the lists are kept.

pub mod compare;
pub mod listed;
mod ops;
pub mod vector;
pub mod world;

use anyhow::{Context, Result, bail};
use compare::Difference;
use listed::Listed;
use std::fmt;
use std::path::PathBuf;
use vector::Vector;
use world::World;

/// What the command line gives.
#[derive(Clone, Debug, clap::Args)]
pub struct ConformanceArgs {
    /// Folder of vectors: one folder a suite, one JSON file a vector
    pub dir: PathBuf,
    /// Which hash makes `dedupe_md5` and event ids; under `keyed` the hashes themselves are not compared
    #[arg(long, value_enum, default_value_t = Fingerprint::BkMonitor)]
    pub fingerprint: Fingerprint,
    /// Run only this suite
    #[arg(long, value_name = "SUITE")]
    pub suite: Option<String>,
    /// Write the names of the passing vectors to this file, sorted, one a line
    #[arg(long, value_name = "FILE")]
    pub list_passing: Option<PathBuf>,
    /// Print every difference of a failing vector, not only the first
    #[arg(long)]
    pub all: bool,
    /// Print the differences of failing vectors as entries for `differences.toml`, to be given row and reason by hand
    #[arg(long)]
    pub as_list: bool,
}

/// A hash algorithm, by its name on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Fingerprint {
    /// Upstream's.
    #[default]
    BkMonitor,
    /// Ours.
    Keyed,
}

/// How one vector went.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The same in everything that is compared.
    Passed,
    /// It differs exactly as `differences.toml` says.
    Listed,
    /// Anything else.
    Failed(Vec<Problem>),
}

/// Why a vector failed.
#[derive(Clone, Debug, PartialEq)]
pub enum Problem {
    /// An expected value is another one.
    Differs(Difference),
    /// It cannot be run or is not as listed.
    Cannot(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Problem::Differs(difference) => write!(f, "{difference}"),
            Problem::Cannot(why) => f.write_str(why),
        }
    }
}

/// How all vectors went, in the order of their names.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Name and verdict of each vector.
    pub verdicts: Vec<(String, Verdict)>,
}

impl Summary {
    /// Names of the vectors that passed.
    pub fn passed(&self) -> impl Iterator<Item = &str> {
        self.verdicts.iter().filter(|(_, verdict)| *verdict == Verdict::Passed).map(|(name, _)| name.as_str())
    }

    /// Failed vectors with their problems.
    pub fn failed(&self) -> impl Iterator<Item = (&str, &[Problem])> {
        self.verdicts.iter().filter_map(|(name, verdict)| match verdict {
            Verdict::Failed(problems) => Some((name.as_str(), problems.as_slice())),
            _ => None,
        })
    }

    /// How many differ as listed.
    pub fn listed(&self) -> usize {
        self.verdicts.iter().filter(|(_, verdict)| *verdict == Verdict::Listed).count()
    }
}

/// Runs the vectors, prints the failing ones and the sums. Gives the exit code: 0 when none failed.
pub fn run(args: &ConformanceArgs) -> Result<i32> {
    let summary = execute(args)?;
    for (name, problems) in summary.failed() {
        if args.as_list {
            print!("{}", listed::entry(name, problems));
            continue;
        }
        let shown = if args.all { problems.len() } else { 1 };
        for problem in problems.iter().take(shown) {
            println!("FAIL {name}: {problem}");
        }
    }
    if let Some(file) = &args.list_passing {
        let names: String = summary.passed().flat_map(|name| [name, "\n"]).collect();
        std::fs::write(file, names).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let (passed, failed) = (summary.passed().count(), summary.failed().count());
    if summary.listed() > 0 {
        println!("{} differ as listed in tests/conformance/differences.toml", summary.listed());
    }
    println!("{passed} passed, {failed} failed");
    Ok(i32::from(failed > 0))
}

/// Runs the vectors and says how each went. No vectors at all is an error, since nothing would have been shown.
pub fn execute(args: &ConformanceArgs) -> Result<Summary> {
    let vectors = vector::read_all(&args.dir, args.suite.as_deref())?;
    if vectors.is_empty() {
        bail!("no vectors in {}; it must hold one folder a suite with one JSON file a vector", args.dir.display());
    }
    let listed = Listed::built_in()?;
    let verdicts = vectors.iter().map(|vector| (vector.full_name(), judge(vector, args.fingerprint, &listed))).collect();
    Ok(Summary { verdicts })
}

/// Runs one vector and settles its verdict.
pub fn judge(vector: &Vector, fingerprint: Fingerprint, listed: &Listed) -> Verdict {
    let problems = run_vector(vector, fingerprint);
    let meant = listed.of(&vector.full_name());
    match (problems.is_empty(), meant) {
        (true, None) => Verdict::Passed,
        (true, Some(_)) => Verdict::Failed(vec![Problem::Cannot("listed as different, but it passes: take it off the list".to_owned())]),
        (false, None) => Verdict::Failed(problems),
        (false, Some(meant)) => match meant.other_than_listed(&problems) {
            None => Verdict::Listed,
            Some(other) => Verdict::Failed(vec![Problem::Cannot(format!("differs otherwise than listed: {other}"))]),
        },
    }
}

/// All problems of one vector. After an op that is not built its later steps say nothing.
fn run_vector(vector: &Vector, fingerprint: Fingerprint) -> Vec<Problem> {
    let mut world = match World::new(&vector.config, fingerprint) {
        Ok(world) => world,
        Err(why) => return vec![Problem::Cannot(why)],
    };
    let mut problems = Vec::new();
    for (at, step) in vector.steps.iter().enumerate() {
        match world.step(step) {
            Ok(got) => match compare::step(at, step, got, fingerprint) {
                Ok(differences) => problems.extend(differences.into_iter().map(Problem::Differs)),
                Err(why) => problems.push(Problem::Cannot(format!("steps[{at}]: {why}"))),
            },
            Err(why) => {
                problems.push(Problem::Cannot(format!("steps[{at}]: {why}")));
                break;
            }
        }
    }
    problems
}
