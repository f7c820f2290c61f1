//! Millions of calls, and memory stays as it was. Figures are of the whole process, so nothing else is in this file.

mod support;

use alertmill_proof::Tier;
use serde_json::json;
use support::process::status;
use support::{Bench, enrich, options, tag, tagged};

/// How far memory may rise from the first tenth of the calls to the end.
const GROWTH_BYTES_MAX: u64 = 1 << 20;

fn memory_stays_flat(tier: Tier, calls: u64) {
    let mut bench = Bench::new();
    let mut chain = bench.chain(&[("errors", options(json!({})))], &[]);
    // The same two rows over and over: one that is changed, one that is refused.
    let fresh = [tagged(0, "quiet", "yes"), tagged(1, "error", "cannot")];
    let (mut after_a_tenth, mut rows) = (0, fresh.clone());
    for call in 0..calls {
        rows.clone_from_slice(&fresh);
        enrich(&mut *chain, &mut rows[(call % 2) as usize..][..1]);
        if call == calls / 10 {
            after_a_tenth = status("VmRSS");
        }
    }
    let growth = status("VmRSS").saturating_sub(after_a_tenth);
    assert_eq!(tag(&rows[0], "note"), None, "the last call was about the other row");
    assert_eq!(rows[1].failures.len(), 1);
    let stats = bench.engine.stats().remove(0);
    assert_eq!((stats.calls, stats.rows, &*stats.failures), (calls, calls, &[("row-error", calls / 2)][..]));
    assert_eq!(stats.instances_by_reason, [("start", 1), ("calls", calls / 100_000 - 1)], "made anew after 100,000 calls each");
    assert!(growth <= GROWTH_BYTES_MAX, "{growth} bytes more after {calls} calls than after {}", calls / 10);
    alertmill_proof::record("rule-calls", tier, &[("calls", &calls), ("rss_growth_bytes", &growth), ("instances", &stats.instances)]);
}

#[test]
fn a_million_calls_leave_memory_flat() {
    memory_stays_flat(Tier::Ci, 1_000_000);
}

#[test]
#[ignore = "long: 10 million calls"]
fn ten_million_calls_leave_memory_flat() {
    memory_stays_flat(Tier::Hand, 10_000_000);
}
