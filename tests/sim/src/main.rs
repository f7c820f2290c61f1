//! `cargo xtask sim --seeds N [--from S] [--plant BUG]`: runs every seed twice and exits 0 when every promise held and every
//! quota was met; with a planted bug it exits non-zero, and says `found` only when the promise that the bug breaks was seen
//! broken. What it prints does not depend on the number of threads.

mod quota;

use alertmill_sim::{Failure, FaultKind, Kinds, Load, Outcome, Plant, Setup, quiet_panics, replay_line, shrink, simulate_twice};
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const HELP: &str = "--seeds N, --from SEED, --jobs THREADS, --plant BUG (`--plant list` names them), and to replay a smaller run --senders A,B, \
                    --events N, --only-faults KIND,.. (`--only-faults list` names them, `none` is none), --faults-max N, --weather-of SEED";

/// What the command line asks for.
#[derive(Default)]
struct Options {
    seeds: Option<u64>,
    from: u64,
    jobs: Option<usize>,
    plant: Option<Plant>,
    senders: Option<u8>,
    events: Option<u64>,
    kinds: Option<Kinds>,
    faults_max: Option<u64>,
    weather_of: Option<u64>,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
        let mut options = Options::default();
        while let Some(arg) = args.next() {
            let value = args.next().ok_or_else(|| format!("`{arg}` needs a value; known: {HELP}"))?;
            let number = || value.parse::<u64>().map_err(|_| format!("`{arg} {value}` is no number"));
            match arg.as_str() {
                "--seeds" => options.seeds = Some(number()?),
                "--from" => options.from = number()?,
                "--jobs" => options.jobs = Some(number()?.max(1) as usize),
                "--events" => options.events = Some(number()?),
                "--weather-of" => options.weather_of = Some(number()?),
                "--faults-max" => options.faults_max = Some(number()?),
                "--senders" => options.senders = Some(senders(&value)?),
                "--only-faults" => options.kinds = Some(kinds(&value)?),
                "--plant" => {
                    options.plant = Some(
                        Plant::parse(&value).ok_or_else(|| format!("no bug `{value}` can be planted; one of: {}", Plant::ALL.map(Plant::name).join(", ")))?,
                    );
                }
                _ => return Err(format!("unknown argument `{arg}`; known: {HELP}")),
            }
        }
        Ok(options)
    }

    fn setup(&self, seed: u64) -> Setup {
        let setup = Setup::of_seed(seed, self.plant);
        let mut setup = self.weather_of.map_or(setup, |other| setup.in_weather_of(other));
        setup.load = Load { senders: self.senders.unwrap_or(setup.load.senders), events: self.events.unwrap_or(setup.load.events) };
        setup.kinds = self.kinds.unwrap_or(setup.kinds);
        setup.faults_max = self.faults_max.unwrap_or(setup.faults_max);
        setup
    }

    /// Whether nothing is left out and no bug planted.
    fn is_whole(&self) -> bool {
        self.plant.is_none()
            && self.senders.is_none()
            && self.events.is_none()
            && self.kinds.is_none()
            && self.faults_max.is_none()
            && self.weather_of.is_none()
    }
}

fn senders(list: &str) -> Result<u8, String> {
    let bit = |n: &str| n.parse::<u32>().ok().and_then(|n| 1u8.checked_shl(n)).filter(|bit| Load::FULL.senders & bit != 0);
    list.split(',').try_fold(0, |bits, n| Some(bits | bit(n)?)).ok_or_else(|| format!("`{list}` is no list of senders, such as 0,4"))
}

fn kinds(list: &str) -> Result<Kinds, String> {
    if list == "none" {
        return Ok(Kinds::NONE);
    }
    let kind = |name: &str| {
        FaultKind::parse(name).ok_or_else(|| format!("no kind of fault is called `{name}`; one of: {}", FaultKind::ALL.map(FaultKind::name).join(", ")))
    };
    list.split(',').try_fold(Kinds::NONE, |kinds, name| Ok(kinds.with(kind(name)?)))
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--plant", "list"] => Plant::ALL.iter().for_each(|plant| println!("{:<22} breaks {}: {}", plant.name(), plant.breaks().name(), plant.says())),
        ["--only-faults", "list"] => FaultKind::ALL.iter().for_each(|kind| println!("{:<20} {}", kind.name(), kind.says())),
        _ => {
            return match Options::parse(args.into_iter()) {
                Ok(options) => run(&options),
                Err(why) => {
                    eprintln!("{why}");
                    ExitCode::from(2)
                }
            };
        }
    }
    ExitCode::SUCCESS
}

fn run(options: &Options) -> ExitCode {
    quiet_panics();
    let seeds = options.seeds.unwrap_or(200);
    let (sum, failures) = all(options, seeds);
    quota::print(&sum, seeds);
    report(options, seeds, &failures);
    println!("{} passed, {} failed", seeds - failures.len() as u64, failures.len());
    let missed = if options.is_whole() && failures.is_empty() { quota::missed(&sum, seeds) } else { Vec::new() };
    missed.iter().for_each(|missed| println!("quota missed: {missed}"));
    if !failures.is_empty() || !missed.is_empty() {
        return ExitCode::FAILURE;
    }
    if options.is_whole() && seeds >= quota::SEEDS_MIN {
        quota::record(&sum, seeds);
    }
    ExitCode::SUCCESS
}

/// All seeds, on so many threads; what failed in the order of seeds.
fn all(options: &Options, seeds: u64) -> (Outcome, Vec<(u64, Failure)>) {
    let jobs = options.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let next = AtomicU64::new(0);
    let work = || {
        let (mut sum, mut failures) = (Outcome::default(), Vec::new());
        loop {
            let n = next.fetch_add(1, Relaxed);
            if n >= seeds {
                return (sum, failures);
            }
            if n > 0 && n.is_multiple_of(10_000) {
                eprintln!("{n} of {seeds} seeds");
            }
            let seed = options.from + n;
            match simulate_twice(seed, &options.setup(seed)) {
                Ok(outcome) => sum.add(&outcome),
                Err(failure) => failures.push((seed, failure)),
            }
        }
    };
    let done: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("a seed's panic is its failure")).collect()
    });
    let (mut sum, mut failures) = (Outcome::default(), Vec::new());
    for (part, failed) in done {
        sum.add(&part);
        failures.extend(failed);
    }
    failures.sort_by_key(|(seed, _)| *seed);
    (sum, failures)
}

fn report(options: &Options, seeds: u64, failures: &[(u64, Failure)]) {
    // What is looked for comes first: with a planted bug, the promise that it breaks.
    let is_own = |failure: &Failure| options.plant.is_none_or(|plant| failure.promise == Some(plant.breaks()));
    let (own, others): (Vec<_>, Vec<_>) = failures.iter().partition(|(_, failure)| is_own(failure));
    if let Some(plant) = options.plant {
        match own.len() {
            0 => println!("planted {} was not seen to break {:?} in {seeds} seeds", plant.name(), plant.breaks()),
            n => println!("found: planted {} broke {:?} in {n} of {seeds} seeds", plant.name(), plant.breaks()),
        }
        let others: BTreeSet<String> = others.iter().map(|(_, failure)| format!("{:?}", failure.promise)).collect();
        if !others.is_empty() {
            println!("other failures: {others:?}");
        }
    }
    let shown = if options.plant.is_some() { 1 } else { 5 };
    for (seed, failure) in own.iter().chain(&others).take(shown) {
        println!("seed {seed}: {failure}\n  replay: {}", replay_line(*seed, &options.setup(*seed)));
    }
    // Shrinking takes a while; one tells enough.
    if let Some((seed, failure)) = own.first().or(others.first()) {
        let (seed, setup, failure) = shrink(*seed, options.setup(*seed), failure.clone());
        println!("shrunk to: {failure}\n  replay: {}", replay_line(seed, &setup));
    }
}
