//! Promises I1, I2, I6, I8 when the power goes: what was not synced is gone, or half there, and every acknowledged event counts
//! exactly once nevertheless. A killed process leaves its unsynced writes to the kernel, so kills cannot show this.

use alertmill_e2e::storm::{self, Senders, count, digests, never_killed};
use alertmill_e2e::{Random, Site, Syncs, Unsynced};
use alertmill_proof::{Tier, record};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// Cuts of one disk, each of what the last one left.
const CHAIN: u64 = 20;
/// It takes space as it fills.
const DISK_BYTES: u64 = 512 << 20;
/// What the files hold that show whether the harness cuts.
static PROBE: [u8; 100_000] = [7; 100_000];

#[test]
fn power_cuts_at_20_points() {
    power_cuts(20, Tier::Ci);
}

#[test]
#[ignore = "long: 200 power cuts"]
fn power_cuts_at_200_points() {
    power_cuts(200, Tier::Hand);
}

#[derive(Debug, Default)]
struct Tally {
    cuts: u64,
    torn: u64,
    torn_blocks: u64,
    with_unclear: u64,
    swaps: u64,
    events: u64,
    alerts: u64,
    duplicates: u64,
    longest_start: Duration,
    cutting: Duration,
    checking: Duration,
}

fn power_cuts(wanted: u64, tier: Tier) {
    let mut random = Random::of("power-cuts");
    let mut tally = Tally::default();
    let began = Instant::now();
    while tally.cuts < wanted {
        chain((wanted - tally.cuts).min(CHAIN), &mut random, &mut tally);
        println!("power-cuts: {} of {wanted} after {:.0} s", tally.cuts, began.elapsed().as_secs_f64());
    }
    println!("power-cuts: {tally:?}");
    assert!(tally.torn > 0 && tally.torn_blocks > 0 && tally.with_unclear > 0 && tally.swaps > 0, "{tally:?}");
    let start_ms = tally.longest_start.as_millis();
    record(
        "power-cuts",
        tier,
        &[
            ("cuts", &tally.cuts),
            ("cuts_with_torn_unsynced_writes", &tally.torn),
            ("blocks_of_unsynced_writes_kept", &tally.torn_blocks),
            ("cuts_with_requests_in_flight", &tally.with_unclear),
            ("cuts_of_one_disk_in_a_row", &CHAIN),
            ("events", &tally.events),
            ("events_sent_again_and_recognised", &tally.duplicates),
            ("alerts_equal_to_a_run_without_cuts", &tally.alerts),
            ("lost", &0),
            ("doubled", &0),
            ("longest_start_ms", &start_ms),
        ],
    );
}

/// Small journal segments, so that cuts also fall between them, and nothing of it thrown away, so that it can be read again.
fn site() -> Site {
    Site::new().set("DATA__JOURNAL_SEGMENT", "1MiB").set("DATA__JOURNAL_KEEP", "4GiB")
}

fn chain(cuts: u64, random: &mut Random, tally: &mut Tally) {
    let mut site = site().rule("10-says.wasm", "test/says", "").with_disk(DISK_BYTES);
    let senders = Senders::start(site.port, random);
    let mut server = site.start();
    for cut in 0..cuts {
        probe(site.disk(), "synced").sync_all().expect("sync");
        if random.below(3) == 0 {
            tally.swaps += 1;
            site.put_rule("10-says.wasm", ["test/says", "test/says-b"][(tally.swaps % 2) as usize]);
        }
        senders.allow(u64::MAX);
        senders.wait_taken(1 + random.below(150));
        std::thread::sleep(Duration::from_micros(random.below(10_000)));
        server.freeze();
        senders.hold(true);
        drop(probe(site.disk(), "unsynced"));

        let unsynced = [Unsynced::Gone, Unsynced::Torn(512), Unsynced::Torn(4096)][(cut % 3) as usize];
        tally.torn += u64::from(unsynced != Unsynced::Gone);
        let cutting = Instant::now();
        tally.torn_blocks += site.cut_power(unsynced, random, || server.kill());
        tally.cutting += cutting.elapsed();
        assert!(std::fs::read(site.disk().join("synced")).expect("what was synced is there") == PROBE);
        let left = std::fs::read(site.disk().join("unsynced")).unwrap_or_default();
        assert!(left != PROBE, "what nobody synced must not survive: this would show nothing");

        senders.wait_held();
        let sent = senders.sent();
        tally.with_unclear += u64::from(sent.unclear.iter().any(|ids| !ids.is_empty()));
        let starting = Instant::now();
        server = site.start();
        tally.longest_start = tally.longest_start.max(starting.elapsed());
        let checking = Instant::now();
        server.wait_folded();
        let counted = count(&mut server, &sent);
        assert_eq!(counted.lost, 0, "cut {cut} ({unsynced:?}): {:?}", counted.ledger);
        assert!(!server.log().contains("ERROR"), "{}", server.log());
        tally.checking += checking.elapsed();
        tally.cuts += 1;
        senders.hold(false);
    }
    senders.wait_taken(storm::SENDERS * 5);
    let sent = senders.finish();
    server.wait_folded();
    let counted = count(&mut server, &sent);
    assert_eq!(counted.lost, 0, "{:?}", counted.ledger);
    let documents = digests(&mut server);
    tally.events += sent.acknowledged.len() as u64;
    tally.duplicates += counted.ledger.get("duplicates").copied().unwrap_or(0);
    tally.alerts += documents.len() as u64;
    assert!(server.stop().0.success());
    never_killed(&site, &self::site(), &documents);
}

fn probe(dir: &Path, name: &str) -> File {
    let mut file = File::create(dir.join(name)).expect("create");
    file.write_all(&PROBE).expect("write");
    file
}

/// The same cut of a server whose syncs do nothing: the acknowledged events are gone, and are found to be.
#[test]
fn a_disk_that_only_claims_to_sync_is_found_out() {
    let mut random = Random::of("power-cuts");
    let mut site = site().with_disk(DISK_BYTES);
    let senders = Senders::start(site.port, &mut random);
    site.syncs(Some(Syncs::Swallowed));
    let server = site.start();
    senders.wait_taken(20);
    server.freeze();
    senders.hold(true);
    site.cut_power(Unsynced::Gone, &mut random, || server.kill());
    senders.wait_held();
    let sent = senders.sent();
    site.syncs(None);
    let mut server = site.start();
    server.wait_folded();
    let lost = count(&mut server, &sent).lost;
    println!("power-cuts: {lost} of {} events are lost without syncs", sent.acknowledged.len());
    assert!(lost > 0, "the test sees no loss where there must be one");
}
