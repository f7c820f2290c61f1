//! `cargo xtask sim --seeds N [--from S] [--plant BUG]`: exits 0 when every promise held; with a planted bug it exits
//! non-zero, and says `found` only when the promise that the bug breaks was seen broken.

use alertmill_sim::{Failure, Load, Outcome, Plant, Promise, Setup, replay_line, shrink, simulate};
use std::process::ExitCode;

const HELP: &str =
    "--seeds N, --from SEED, --plant BUG (`list` names them), and to replay a smaller run --senders A,B, --events N, --faults PERCENT, --crashes PERCENT";

/// What the command line asks for.
#[derive(Default)]
struct Options {
    seeds: Option<u64>,
    from: u64,
    plant: Option<Plant>,
    senders: Option<u8>,
    events: Option<u64>,
    faults: Option<u64>,
    crashes: Option<u64>,
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
                "--events" => options.events = Some(number()?),
                "--faults" => options.faults = Some(number()?),
                "--crashes" => options.crashes = Some(number()?),
                "--senders" => options.senders = Some(senders(&value)?),
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
        let mut setup = Setup::of_seed(seed, self.plant);
        setup.load = Load { senders: self.senders.unwrap_or(setup.load.senders), events: self.events.unwrap_or(setup.load.events) };
        setup.weather.fault_percent = self.faults.unwrap_or(setup.weather.fault_percent);
        setup.weather.crash_percent = self.crashes.unwrap_or(setup.weather.crash_percent);
        setup
    }
}

fn senders(list: &str) -> Result<u8, String> {
    let bit = |n: &str| n.parse::<u32>().ok().and_then(|n| 1u8.checked_shl(n)).filter(|bit| Load::FULL.senders & bit != 0);
    list.split(',').try_fold(0, |bits, n| Some(bits | bit(n)?)).ok_or_else(|| format!("`{list}` is no list of senders, such as 0,4"))
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args == ["--plant", "list"] {
        for plant in Plant::ALL {
            println!("{:<24} breaks {:?}", plant.name(), plant.breaks());
        }
        return ExitCode::SUCCESS;
    }
    match Options::parse(args.into_iter()) {
        Ok(options) => run(&options),
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> ExitCode {
    let seeds = options.seeds.unwrap_or(200);
    let (mut failures, mut sum) = (Vec::new(), Outcome::default());
    for seed in options.from..options.from + seeds {
        match one(seed, &options.setup(seed)) {
            Ok(outcome) => sum.add(&outcome),
            Err(failure) => failures.push((seed, failure)),
        }
    }
    println!("{} port calls, {} crashes, {} faults, {} merged batches", sum.calls, sum.crashes, sum.faults, sum.merged);
    println!(
        "{} records, {} items acknowledged, {} dead letters, {} refreshed, {} alerts timed out",
        sum.records, sum.acknowledged, sum.dead_letters, sum.refreshed, sum.timed_out
    );
    println!("checked {}: after {} commits and restarts, and whole tables against one fold at the end of {} runs", Promise::CHECKED, sum.checks, seeds);
    report(options, seeds, &failures);
    println!("{} passed, {} failed", seeds - failures.len() as u64, failures.len());
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One seed; every tenth runs twice, which must make no difference.
fn one(seed: u64, setup: &Setup) -> Result<Outcome, Failure> {
    let outcome = simulate(seed, setup)?;
    if seed.is_multiple_of(10) && simulate(seed, setup)? != outcome {
        return Err(Failure::other("two runs differ"));
    }
    Ok(outcome)
}

fn report(options: &Options, seeds: u64, failures: &[(u64, Failure)]) {
    let Some(plant) = options.plant else {
        for (seed, failure) in failures.iter().take(5) {
            println!("seed {seed}: {failure}\n  replay: {}", replay_line(*seed, &options.setup(*seed)));
        }
        // Shrinking takes a while; one tells enough.
        if let Some((seed, failure)) = failures.first() {
            let (seed, setup, failure) = shrink(*seed, options.setup(*seed), failure.clone());
            println!("shrunk to: {failure}\n  replay: {}", replay_line(seed, &setup));
        }
        return;
    };
    let own = failures.iter().filter(|(_, failure)| failure.promise == Some(plant.breaks())).count();
    if own > 0 {
        println!("found: planted {} broke {:?} in {own} of {seeds} seeds", plant.name(), plant.breaks());
    } else {
        println!("planted {} was not seen to break {:?} in {seeds} seeds", plant.name(), plant.breaks());
    }
    let shown = failures.iter().find(|(_, failure)| failure.promise == Some(plant.breaks())).or(failures.first());
    if let Some((seed, failure)) = shown {
        println!("seed {seed}: {failure}\n  replay: {}", replay_line(*seed, &options.setup(*seed)));
    }
    let others: std::collections::BTreeSet<String> =
        failures.iter().filter(|(_, f)| f.promise != Some(plant.breaks())).map(|(_, f)| format!("{:?}", f.promise)).collect();
    if !others.is_empty() {
        println!("other failures: {others:?}");
    }
}
