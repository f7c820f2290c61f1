//! The command: a replay line gives the very same failure, and nothing depends on the number of threads.

use std::process::{Command, Output};

fn sim(args: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_alertmill-sim")).args(args.split_whitespace()).output().expect("the simulator starts")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The failure and the replay line behind a word.
fn failure_after<'t>(text: &'t str, word: &str) -> (&'t str, &'t str) {
    let (_, rest) = text.split_once(word).unwrap_or_else(|| panic!("no `{word}` in:\n{text}"));
    let (failure, rest) = rest.split_once("\n  replay: cargo xtask sim ").unwrap_or_else(|| panic!("no replay line in:\n{text}"));
    (failure, rest.lines().next().unwrap_or_default())
}

#[test]
fn a_planted_bug_ends_with_failure_and_its_seed_replays() {
    let output = sim("--seeds 60 --plant early-acknowledge");
    assert!(!output.status.success());
    let found = text(&output);
    assert!(found.contains("found: planted early-acknowledge broke I1"), "{found}");
    let (failure, replay) = failure_after(&found, "shrunk to: ");
    let again = text(&sim(replay));
    assert!(again.contains(failure), "`{replay}` gave no `{failure}`:\n{again}");
    // It is smaller: few faults are needed for it.
    assert!(replay.contains("--only-faults") || replay.contains("--faults-max"), "{replay}");
}

#[test]
fn threads_make_no_difference() {
    for args in ["--seeds 40", "--seeds 40 --plant double-count"] {
        let one = sim(&format!("{args} --jobs 1"));
        assert_eq!(text(&one), text(&sim(&format!("{args} --jobs 3"))), "{args}");
        assert_eq!(one.status.success(), !args.contains("plant"));
    }
}

#[test]
fn what_it_does_not_know_is_refused_with_what_it_knows() {
    for (args, word) in [("--plant x", "early-acknowledge"), ("--only-faults x", "torn-write"), ("--seed 1", "--seeds N"), ("--senders 9", "such as 0,4")] {
        let output = sim(args);
        assert_eq!(output.status.code(), Some(2), "{args}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(word), "{args}");
    }
}
