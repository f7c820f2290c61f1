//! A disk on which every sync takes 200 ms more: groups and commits grow, so that the rate holds; answers are late, and that
//! is all.

use alertmill_e2e::{Http, Site, Syncs, event, now_s};
use alertmill_proof::{Tier, record};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

const SENDERS: u64 = 160;
/// Events of a request.
const BATCH: usize = 500;
/// At the full rate, so much is on its way while an event waits for about four syncs: in the journal for the one that runs
/// and its own, in the fold for the same two. The default, a quarter of it, bounds the rate of a disk as slow as this.
const QUEUE: &str = "256MiB";
const SYNC_DELAY: Duration = Duration::from_millis(200);
/// No request takes longer; less than the time-out of any sender.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// More memory than this is not needed, with 256 MiB of requests in flight.
const RESIDENT_MAX: u64 = 1 << 30;

#[test]
fn a_slow_disk_keeps_half_of_the_rate() {
    // What else runs on the machine, and a short window, make it a rough figure.
    slow_disk(3, Duration::from_secs(4), 50.0, Tier::Ci);
}

#[test]
#[ignore = "long: 7 turns of 20 s on a slow disk"]
fn a_slow_disk_keeps_half_of_the_rate_for_long() {
    slow_disk(7, Duration::from_secs(20), 50.0, Tier::Hand);
}

/// Turns with and without the delay, one after the other, so that what else the machine does meets both.
fn slow_disk(turns: usize, window: Duration, kept_min: f64, tier: Tier) {
    let (mut rates, mut slow_rates, mut worst) = (Vec::new(), Vec::new(), Turn::default());
    for turn in 0..turns {
        let normal = one_turn(Syncs::Seen, window);
        let slow = one_turn(Syncs::Delayed(SYNC_DELAY), window);
        println!("slow-disk: turn {turn}: {normal:?}\n                   slow: {slow:?}");
        rates.push(normal.rate);
        slow_rates.push(slow.rate);
        worst.longest = worst.longest.max(slow.longest);
        worst.resident = worst.resident.max(slow.resident);
        worst.refused += slow.refused;
        assert!(slow.longest < ANSWER_MAX, "{slow:?}");
        assert!(slow.resident < RESIDENT_MAX, "{slow:?}");
    }
    let (normal, slow) = (median(&mut rates), median(&mut slow_rates));
    let kept = 100.0 * slow / normal;
    record(
        "slow-disk",
        tier,
        &[
            ("sync_delay_ms", &SYNC_DELAY.as_millis()),
            ("events_per_second", &format!("{normal:.0}")),
            ("events_per_second_slow", &format!("{slow:.0}")),
            ("senders", &SENDERS),
            ("queue", &QUEUE),
            ("rate_kept_percent", &format!("{kept:.0}")),
            ("longest_answer_ms", &worst.longest.as_millis()),
            ("answers_429", &worst.refused),
            ("answers_5xx", &0),
            ("resident_peak_mib", &(worst.resident >> 20)),
        ],
    );
    assert!(kept >= kept_min, "{kept:.0} % of the rate is left: {slow_rates:?} of {rates:?} events/s");
}

#[derive(Debug, Default)]
struct Turn {
    /// Events acknowledged in a second.
    rate: f64,
    longest: Duration,
    refused: u64,
    resident: u64,
}

fn one_turn(syncs: Syncs, window: Duration) -> Turn {
    let site = Site::new().set("LIMITS__QUEUE", QUEUE);
    site.syncs(Some(syncs));
    let server = site.start();
    let (done, taken, refused, longest_us) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let turn = std::thread::scope(|scope| {
        let _stopping = Stopping(&done);
        for sender in 0..SENDERS {
            let (port, done, taken, refused, longest_us) = (server.port, &done, &taken, &refused, &longest_us);
            scope.spawn(move || {
                let mut http = Http::new(port);
                let mut body = Body::of(sender);
                let mut number = 0;
                while !done.load(Relaxed) {
                    let began = Instant::now();
                    let answer = http.post_json("/api/v1/events", body.numbered(number)).expect("an answer, however late");
                    longest_us.fetch_max(began.elapsed().as_micros() as u64, Relaxed);
                    match answer.status {
                        200 => {
                            taken.fetch_add(BATCH as u64, Relaxed);
                            number += 1;
                        }
                        429 => {
                            refused.fetch_add(1, Relaxed);
                            let after = answer.header("retry-after").and_then(|after| after.parse().ok()).expect("when to come again");
                            wait(Duration::from_secs(after), done);
                        }
                        _ => panic!("{} {}", answer.status, answer.text()),
                    }
                }
            });
        }
        // The queues fill up first.
        wait(window / 2, &done);
        let (began, before) = (Instant::now(), taken.load(Relaxed));
        wait(window, &done);
        let rate = (taken.load(Relaxed) - before) as f64 / began.elapsed().as_secs_f64();
        assert!(!done.load(Relaxed), "a sender has failed");
        done.store(true, Relaxed);
        Turn { rate, resident: server.resident_peak_bytes(), ..Turn::default() }
    });
    Turn { longest: Duration::from_micros(longest_us.load(Relaxed)), refused: refused.load(Relaxed), ..turn }
}

/// Ends the senders however the turn ends.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

fn wait(time: Duration, done: &AtomicBool) {
    let until = Instant::now() + time;
    while Instant::now() < until && !done.load(Relaxed) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A request whose events get new ids in place: making it anew would cost more than its receipt.
struct Body {
    bytes: Vec<u8>,
    /// Where the digits of the request's number are.
    numbers: Vec<usize>,
}

const DIGITS: usize = 9;

impl Body {
    fn of(sender: u64) -> Body {
        let marker = "#".repeat(DIGITS);
        let time_s = now_s();
        let items: Vec<_> = (0..BATCH).map(|i| event(&format!("{sender}-{marker}-{i}"), "Slow", &format!("h{}", i % 50), time_s, "ABNORMAL")).collect();
        let text = serde_json::to_string(&items).expect("json");
        let numbers = text.match_indices(&marker).map(|(at, _)| at).collect();
        Body { bytes: text.into_bytes(), numbers }
    }

    fn numbered(&mut self, number: u64) -> &[u8] {
        let digits = format!("{number:0DIGITS$}");
        for at in &self.numbers {
            self.bytes[*at..at + DIGITS].copy_from_slice(digits.as_bytes());
        }
        &self.bytes
    }
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
