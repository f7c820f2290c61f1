//! `cargo xtask sim --seeds N [--from S] [--plant BUG]`: exits 0 when every promise held; with a planted bug it exits
//! non-zero and says `found` when the checks caught it.

use alertmill_sim::{Outcome, Plant, Weather, simulate};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (mut seeds, mut from, mut plant) = (200u64, 0u64, None);
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_default();
        match arg.as_str() {
            "--seeds" => seeds = value().parse().unwrap_or(seeds),
            "--from" => from = value().parse().unwrap_or(from),
            "--plant" => {
                let name = value();
                plant = Plant::parse(&name);
                if plant.is_none() {
                    eprintln!("no bug `{name}` can be planted; one of: early-acknowledge");
                    return ExitCode::from(2);
                }
            }
            other => {
                eprintln!("unknown argument `{other}`; known: --seeds N, --from SEED, --plant BUG");
                return ExitCode::from(2);
            }
        }
    }
    let (mut passed, mut failures, mut sum) = (0u64, Vec::new(), Outcome::default());
    for seed in from..from + seeds {
        match simulate(seed, Weather::of_seed(seed), plant) {
            Ok(outcome) => {
                passed += 1;
                sum.calls += outcome.calls;
                sum.crashes += outcome.crashes;
                sum.faults += outcome.faults;
                sum.checks += outcome.checks;
                sum.acknowledged += outcome.acknowledged;
                if seed % 10 == 0 && simulate(seed, Weather::of_seed(seed), plant).map(|again| again.trace) != Ok(outcome.trace) {
                    failures.push(format!("seed {seed}: two runs differ"));
                }
            }
            Err(why) => failures.push(why),
        }
    }
    println!(
        "{} port calls, {} crashes, {} faults, {} checks of all promises, {} events acknowledged",
        sum.calls, sum.crashes, sum.faults, sum.checks, sum.acknowledged
    );
    for why in failures.iter().take(5) {
        println!("{why}");
    }
    if let (Some(plant), Some(_)) = (plant, failures.first()) {
        println!("found: planted {plant:?} broke {} of {seeds} seeds", failures.len());
    }
    println!("{passed} passed, {} failed", failures.len());
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
