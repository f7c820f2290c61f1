//! Promise I2 over a day's events: the uids of the last 24 h are known after a restart, an event more costs the same however
//! many there are, memory stays bounded, and a retry of the oldest hour is recognised. The past is written by the pipeline
//! itself ([`history`]); the server, its restart and what it gets then are real.

use alertmill_e2e::{Server, Site, history, now_s, view};
use std::time::{Duration, Instant};

/// Nearly a day: the first events are still to be known while the test runs.
const PAST: u64 = 23 * 3600;
/// The process may hold so much at most.
const RESIDENT_MAX: u64 = 600 << 20;
/// Retries of the oldest and of the newest events.
const RETRIES: u64 = 10_000;
const REQUEST: u64 = 1_000;
/// New events of a window; windows of the two servers take turns.
const WINDOW: u64 = 20_000;

#[test]
fn retries_are_known_after_a_restart() {
    // More than the index holds in memory before it writes its first file.
    run(300_000, 2);
}

#[test]
#[ignore = "long: 20 million events, 15 GB of disk for a while"]
fn retries_are_known_among_20m() {
    let ratio = run(20_000_000, 50);
    assert!(ratio <= 1.25, "an event costs {ratio:.2} times what it costs in an empty folder");
}

/// `past` events, a start, then `windows` of new ones. Gives the median of CPU per event against a server with no past.
fn run(past: u64, windows: u64) -> f64 {
    let (full, empty) = (site(), site());
    let (from_s, to_s) = (now_s() - PAST, now_s());
    let began = Instant::now();
    history::write(&full.data_dir(), past, from_s, to_s);
    println!("many_uids: {past} events of {} h written in {:.0} s", PAST / 3600, began.elapsed().as_secs_f64());

    let began = Instant::now();
    let mut full = full.start();
    println!("many_uids: ready {:.2} s after the start, {} MiB resident", began.elapsed().as_secs_f64(), full.resident_bytes() >> 20);
    let mut empty = empty.start();
    let known = full.metrics().get("alertmill_known_uids");
    assert_eq!(known, past as f64, "uids known after the restart");

    let mut ratios: Vec<f64> = (0..windows)
        .map(|window| {
            let first = past + window * WINDOW;
            let [costs, reference] = [&mut full, &mut empty].map(|server| cost_us(server, first..first + WINDOW));
            if window % (windows / 4).max(1) == 0 {
                println!("many_uids: window {window}: {costs:.2} us of CPU an event, {reference:.2} us in an empty folder");
            }
            costs / reference
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    let median = ratios[ratios.len() / 2];
    println!(
        "many_uids: {} new events; CPU against an empty folder: median {median:.2}, from {:.2} to {:.2}",
        windows * WINDOW,
        ratios[0],
        ratios[ratios.len() - 1]
    );

    let before = view::ledger(&mut full)["folded"];
    for first in [0, past - RETRIES] {
        post(&mut full, first..first + RETRIES, |n| history::time_of(n, past, from_s, to_s));
    }
    full.wait_folded();
    let ledger = view::ledger(&mut full);
    assert_eq!((ledger.get("duplicates"), ledger["folded"]), (Some(&(2 * RETRIES)), before), "{ledger:?}");
    let peak = full.resident_peak_bytes();
    println!("many_uids: {} retries of the oldest and newest events recognised; resident at most {} MiB", 2 * RETRIES, peak >> 20);
    assert!(peak < RESIDENT_MAX, "{} MiB resident, at most {} are allowed", peak >> 20, RESIDENT_MAX >> 20);
    median
}

fn site() -> Site {
    // The events of the past are kept, so that nothing but their number differs.
    Site::new().set("RETENTION__EVENTS_SIZE", "64GiB")
}

/// CPU microseconds of the server for each of these new events.
fn cost_us(server: &mut Server, numbers: std::ops::Range<u64>) -> f64 {
    let (before, count) = (server.cpu(), (numbers.end - numbers.start) as f64);
    post(server, numbers, |_| now_s());
    server.wait_folded();
    (server.cpu() - before).max(Duration::from_millis(10)).as_secs_f64() * 1e6 / count
}

fn post(server: &mut Server, numbers: std::ops::Range<u64>, time_s: impl Fn(u64) -> u64) {
    for first in numbers.clone().step_by(REQUEST as usize) {
        let events: Vec<_> = (first..numbers.end.min(first + REQUEST)).map(|n| history::numbered(n, time_s(n))).collect();
        server.post_events(&events);
    }
}
