//! What a run must have done at least, so that its silence means something.

use alertmill_proof::{Tier, record as write_down};
use alertmill_sim::{FaultKind, Outcome, Promise};
use std::fmt::Display;

/// Runs of fewer seeds have no quota.
pub const SEEDS_MIN: u64 = 300;
/// From so many on it is a run by hand.
const SEEDS_BY_HAND: u64 = 20_000;
/// So often in 300 seeds each kind of fault must have happened.
const FAULTS_EACH: u64 = 15;
/// So often in 300 seeds each promise must have been looked after.
const CHECKS_EACH: u64 = 1_000;

/// So often in 300 seeds a payload must have become several events, none, or a dead letter, and an event of one been refused.
const PAYLOADS_EACH: u64 = 500;

/// So often in 300 seeds a verdict must have been journaled, the pipeline halted, an event been rejected, a rule struck out, a key not
/// opened an alert because its rule had no room for one more.
const JUDGED_EACH: u64 = 100;

/// So often in 300 seeds a batch must have been folded while the disk worked on the commit before it.
const FOLDED_AHEAD: u64 = 1_000;

/// What was reached.
pub fn print(sum: &Outcome, seeds: u64) {
    println!("runs: {} seeds, each twice; {} simulated days", count(seeds), count(days(sum)));
    let figures: Vec<String> = sum.figures().into_iter().filter(|(name, _)| *name != "simulated_ms").map(|(name, n)| format!("{name} {}", count(n))).collect();
    println!("load: {}", figures.join(", "));
    let faults: Vec<String> = FaultKind::ALL.map(|kind| format!("{} {}", kind.name(), count(sum.injected.of(kind)))).to_vec();
    println!("faults: {}", faults.join(", "));
    let checks: Vec<String> = Promise::ALL.map(|promise| format!("{} {}", promise.name(), count(sum.checked.of(promise)))).to_vec();
    println!("checks: {}", checks.join(", "));
}

/// What was not reached.
pub fn missed(sum: &Outcome, seeds: u64) -> Vec<String> {
    if seeds < SEEDS_MIN {
        return Vec::new();
    }
    let faults = FaultKind::ALL.map(|kind| (kind.name(), sum.injected.of(kind), FAULTS_EACH));
    let checks = Promise::ALL.map(|promise| (promise.name(), sum.checked.of(promise), CHECKS_EACH));
    let ahead = ("folded ahead", sum.folded_ahead, FOLDED_AHEAD);
    let payloads = [
        ("normalized extra", sum.normalized_extra, PAYLOADS_EACH),
        ("no events", sum.no_events, PAYLOADS_EACH),
        ("unjudged payloads or letters tried again", sum.unjudged_payloads + sum.letters_done, PAYLOADS_EACH),
        ("invalid events", sum.invalid_events, PAYLOADS_EACH),
        ("letters done", sum.letters_done, PAYLOADS_EACH),
    ];
    let judged =
        [("verdicts", sum.verdicts), ("halted", sum.halted), ("rejected", sum.rejected), ("struck out", sum.struck_out), ("overflowed", sum.overflowed)]
            .map(|(name, n)| (name, n, JUDGED_EACH));
    let all = faults.into_iter().chain(checks).chain([ahead]).chain(payloads).chain(judged).map(|(name, n, each)| (name, n, each * seeds / SEEDS_MIN));
    all.filter(|(_, n, least)| n < least).map(|(name, n, least)| format!("{name} {}, at least {}", count(n), count(least))).collect()
}

/// Writes the proof down.
pub fn record(sum: &Outcome, seeds: u64) {
    let tier = if seeds >= SEEDS_BY_HAND { Tier::Hand } else { Tier::Ci };
    let mut figures = vec![
        ("seeds".to_owned(), seeds),
        ("runs".to_owned(), 2 * seeds),
        ("simulated_days".to_owned(), days(sum)),
        ("port_calls".to_owned(), sum.calls),
        ("commits".to_owned(), sum.commits),
        ("acknowledged_items".to_owned(), sum.acknowledged),
        ("payloads".to_owned(), sum.payloads),
        ("verdicts".to_owned(), sum.verdicts),
        ("halted".to_owned(), sum.halted),
        ("rejected".to_owned(), sum.rejected),
        ("crashes".to_owned(), sum.crashes),
        ("faults".to_owned(), sum.faults),
        ("fault_kinds".to_owned(), FaultKind::ALL.len() as u64),
    ];
    figures.extend(Promise::ALL.map(|promise| (format!("checks_{}", promise.name().to_lowercase()), sum.checked.of(promise))));
    figures.extend([("lost".to_owned(), 0), ("doubled".to_owned(), 0), ("failed".to_owned(), 0)]);
    let figures: Vec<(&str, &dyn Display)> = figures.iter().map(|(name, n)| (name.as_str(), n as &dyn Display)).collect();
    write_down("sim", tier, &figures);
}

fn days(sum: &Outcome) -> u64 {
    sum.simulated_ms / 86_400_000
}

/// With commas, as people read it.
fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
