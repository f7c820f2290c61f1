//! Rows of several tenants in one pipeline: what a rule keeps of one of them never meets another.

mod support;

use alertmill_core::payload::Payload;
use alertmill_core::row::{AlertRow, Row};
use alertmill_core::rules::RuleSets;
use alertmill_core::value::Text;
use alertmill_engine::RuleStatsSnapshot;
use serde_json::json;
use std::collections::HashMap;
use support::{Bench, Random, enrich, enrich_alerts, normalize, opened, options, payload, tag, tagged};

fn tenant(n: usize) -> Text {
    Text::from(format!("tenant-{n}"))
}

fn of_tenant(n: usize, index: u32) -> Row {
    let mut row = tagged(index, "host", &tenant(n));
    row.event.tenant = tenant(n);
    row
}

fn stats(bench: &Bench) -> RuleStatsSnapshot {
    bench.engine.stats().remove(0)
}

/// `remembers` tells for each row how many its instance saw before: that is how many there were of the row's own tenant, however the
/// rows are mixed and cut.
#[test]
fn m28_what_a_rule_saw_of_one_tenant_it_never_shows_to_another() {
    let mut random = Random(28);
    let (mut rows_seen, mut turns) = (0, 0);
    for round in 0..40 {
        let tenants = 2 + random.below(3);
        // Long stretches of one tenant and rows that change with each.
        let stretch = [1, 2, 40, 300][round % 4];
        let mut bench = Bench::new();
        let mut chain = bench.chain(&[("remembers", options(json!({})))], &[]);
        let (mut seen, mut last): (HashMap<usize, u64>, _) = (HashMap::new(), usize::MAX);
        for _ in 0..1 + random.below(6) {
            let mut rows = Vec::new();
            while rows.len() < 600 {
                let of = random.below(tenants);
                rows.extend((0..1 + random.below(stretch)).map(|i| of_tenant(of, i as u32)));
            }
            enrich(&mut *chain, &mut rows);
            for row in &rows {
                let of = row.event.tenant.rsplit('-').next().unwrap().parse::<usize>().unwrap();
                let before = seen.entry(of).or_default();
                assert_eq!((tag(row, "note").unwrap(), row.failures.len()), (format!("{} is row {before}", row.event.tenant), 0), "round {round}");
                *before += 1;
                turns += u64::from(std::mem::replace(&mut last, of) != of);
            }
            rows_seen += rows.len();
        }
        assert_eq!(stats(&bench).instances_by_reason, [("start", seen.len() as u64)], "one for each tenant");
    }
    println!("{rows_seen} rows, the tenant changed {turns} times");
}

/// More of them than have an instance at once: one that comes back begins anew, and never with what another left.
#[test]
fn m28_many_tenants_share_the_room_and_nothing_else() {
    const TENANTS: usize = 9;
    let mut random = Random(2_800);
    let mut bench = Bench::new();
    let mut chain = bench.chain(&[("remembers", options(json!({})))], &[]);
    let mut seen = [0_u64; TENANTS];
    let (mut kept, mut anew) = (0, 0);
    for _ in 0..2_000 {
        let of = random.below(TENANTS);
        let mut rows = [of_tenant(of, 0)];
        enrich(&mut *chain, &mut rows);
        let note = tag(&rows[0], "note").unwrap();
        let before: u64 = note.strip_prefix(&format!("{} is row ", tenant(of))).unwrap().parse().unwrap();
        assert!(before == seen[of] || before == 0, "{before} rows before, {} of its own", seen[of]);
        (kept, anew) = (kept + u64::from(before > 0), anew + u64::from(before == 0));
        seen[of] = before + 1;
    }
    println!("{kept} rows met an instance of their own tenant, {anew} a new one");
    assert!(kept > 200 && anew > 200, "{kept} and {anew}");
    assert_eq!(stats(&bench).instances, anew);
}

/// The other hooks take the same way: as many instances as tenants, and no call with two.
#[test]
fn m28_payloads_and_alerts_of_two_tenants_have_an_instance_each() {
    let mut bench = Bench::new();
    let mut chain = bench.chain(&[("normalizes", options(json!({})))], &[]);
    let payloads: Vec<Payload> = (0..6).map(|n| Payload { tenant: tenant(n / 3), ..payload("{}") }).collect();
    normalize(&mut *chain, &payloads);
    normalize(&mut *chain, &payloads);
    assert_eq!((stats(&bench).instances, stats(&bench).calls, stats(&bench).rows), (2, 4, 12), "{:?}", stats(&bench));

    let mut bench = Bench::new();
    let generation = bench.generation(&[("alerts", options(json!({})))], &[]);
    let mut alerts = bench.engine.open_alerts(generation).unwrap().unwrap();
    let rows = |at: u32| (0..6).map(move |n| opened(of_tenant(n / 3, at + n as u32))).collect::<Vec<AlertRow>>();
    enrich_alerts(&mut *alerts, &mut rows(0));
    enrich_alerts(&mut *alerts, &mut rows(6));
    assert_eq!((stats(&bench).instances, stats(&bench).calls, stats(&bench).rows), (2, 4, 12), "{:?}", stats(&bench));
}
