//! Promises I1, I2, I6, I7, I8: whatever is killed whenever, every acknowledged event counts exactly once, and the documents
//! are byte for byte those of a server that read the same journal and was never killed.

use alertmill_e2e::storm::{self, Senders, count, digests, never_killed};
use alertmill_e2e::{Http, PATIENCE, Random, Server, Site, Syncs, event, until, view};
use alertmill_proof::{Tier, record};
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// Kills of one data folder; more of them begin another one, so that what is checked at the end stays small.
const FOLDER_KILLS: u64 = 1_000;
/// Events of one of the large requests that a rule-set generation has to wait behind.
const BACKLOG_PART: u64 = 5_000;
/// Backlogs of a data folder, the last thing that happens to it: after them each start reads many more uids again.
const BACKLOGS: u64 = 4;
/// Requests that the senders make in one process, about.
const REQUESTS: u64 = 20;
/// By how much each sync takes longer in some lives: as long as it takes for the fold not to wait for it.
const SLOW_SYNC: Duration = Duration::from_millis(20);
/// Kills of starts in a row, one in the recovery from the other.
const DEEPEST: u64 = 3;

#[test]
fn kills_at_200_points() {
    kills(200, Tier::Ci);
}

#[test]
#[ignore = "long: 10,000 kills"]
fn kills_at_10000_points() {
    // For a look at some of them.
    let count = std::env::var("ALERTMILL_KILLS").map_or(10_000, |text| text.parse().expect("ALERTMILL_KILLS is a number"));
    kills(count, Tier::Hand);
}

fn kills(wanted: u64, tier: Tier) {
    let mut random = Random::of("kills");
    let began = Instant::now();
    let mut tally = Tally::default();
    while tally.kills < wanted {
        one_folder((wanted - tally.kills).min(FOLDER_KILLS), &mut random, &mut tally);
        println!("kills: {} of {wanted} after {:.0} s", tally.kills, began.elapsed().as_secs_f64());
    }
    tally.print();
    assert!(tally.starting > 0 && tally.replaying > 0 && tally.serving > 0, "kills fall everywhere: {tally:?}");
    assert!(tally.deepest > 0 && tally.slow > 0 && tally.swaps > 0 && tally.backlogs > 0, "{tally:?}");
    let per_second = format!("{:.1}", tally.kills as f64 / tally.storm.as_secs_f64());
    record(
        "kills",
        tier,
        &[
            ("kills", &tally.kills),
            ("kills_while_starting", &tally.starting),
            ("kills_while_replaying", &tally.replaying),
            ("kills_with_a_backlog_behind_a_generation_switch", &tally.backlogs),
            ("recoveries_killed_3_deep", &tally.deepest),
            ("kills_on_a_slow_disk", &tally.slow),
            ("rule_swaps", &tally.swaps),
            ("events", &tally.events),
            ("alerts_equal_to_a_run_without_kills", &tally.alerts),
            ("lost", &0),
            ("doubled", &0),
            ("kills_per_second", &per_second),
        ],
    );
}

/// What happened, and where the time went.
#[derive(Debug, Default)]
struct Tally {
    kills: u64,
    /// Kills before it listened, before what the last one left was folded, and later.
    starting: u64,
    replaying: u64,
    serving: u64,
    deepest: u64,
    /// Kills while every sync took longer.
    slow: u64,
    backlogs: u64,
    swaps: u64,
    events: u64,
    alerts: u64,
    storm: Duration,
    readying: Duration,
    loading: Duration,
    backlogging: Duration,
    ending: Duration,
    checking: Duration,
}

impl Tally {
    fn print(&self) {
        let share = |part: Duration| 100.0 * part.as_secs_f64() / self.storm.as_secs_f64();
        println!(
            "kills: {} kills in {:.1} s ({:.1}/s), then {:.1} s of checks; {} while it started, {} while it replayed, {} later",
            self.kills,
            self.storm.as_secs_f64(),
            self.kills as f64 / self.storm.as_secs_f64(),
            self.checking.as_secs_f64(),
            self.starting,
            self.replaying,
            self.serving,
        );
        println!(
            "kills: of the time, {:.0} % until it was ready, {:.0} % under load, {:.0} % for backlogs, {:.0} % until a killed process was gone",
            share(self.readying),
            share(self.loading),
            share(self.backlogging),
            share(self.ending)
        );
    }

    /// Kills it, and notes what it was doing.
    fn kill(&mut self, mut server: Server) {
        match server.http.get("/readyz") {
            Err(_) => self.starting += 1,
            Ok(answer) if answer.status == 503 => self.replaying += 1,
            Ok(_) => self.serving += 1,
        }
        self.kills += 1;
        timed(&mut self.ending, || server.kill());
    }
}

fn timed<T>(sum: &mut Duration, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = work();
    *sum += began.elapsed();
    done
}

/// Small journal segments, so that kills also fall between them, and nothing of it thrown away, so that it can be read again.
fn site() -> Site {
    Site::new().set("DATA__JOURNAL_SEGMENT", "1MiB").set("DATA__JOURNAL_KEEP", "16GiB").set("DATA__JOURNAL_MAX", "32GiB")
}

fn one_folder(wanted: u64, random: &mut Random, tally: &mut Tally) {
    let site = site().rule("10-says.wasm", "test/says", "");
    let began = Instant::now();
    let sent = run_storm(&site, random, wanted, tally);
    tally.storm += began.elapsed();
    let checking = Instant::now();
    let mut server = site.start();
    server.wait_folded();
    let counted = count(&mut server, &sent);
    assert_eq!(counted.lost, 0, "{:?}", counted.ledger);
    let versions = &counted.versions;
    assert!(versions.len() == 2 && !versions.contains_key(""), "every event is seen by one of the two versions: {versions:?}");
    println!("kills: {:?}; events by the version that saw them: {versions:?}", counted.ledger);
    let killed = digests(&mut server);
    tally.events += sent.acknowledged.len() as u64;
    tally.alerts += killed.len() as u64;
    assert!(server.stop().0.success());
    never_killed(&site, &self::site(), &killed);
    tally.checking += checking.elapsed();
}

/// Sends, kills, swaps. Gives the ids of all acknowledged events.
fn run_storm(site: &Site, random: &mut Random, wanted: u64, tally: &mut Tally) -> storm::Sent {
    let senders = Senders::start(site.port, random);
    let mut swaps = Swaps { site, count: 0 };
    let mut more = HashSet::new();
    let until_kills = tally.kills + wanted;
    for round in 1.. {
        let left = until_kills - tally.kills;
        if left == 0 {
            break;
        }
        // Now and then on a disk so slow that the fold goes on while an event file is synced.
        let slow = (round % 10 == 7).then_some(Syncs::Delayed(SLOW_SYNC));
        site.syncs(slow);
        // Some of it before it is ready, so that there is something to replay after the next kill.
        senders.allow(REQUESTS);
        let mut server = site.spawn();
        let (mut starts, mut held) = (0, None);
        timed(&mut tally.readying, || server.wait_ready());
        if left > DEEPEST && left <= BACKLOGS * (1 + DEEPEST) {
            // With a generation's record in the middle of a backlog, and again while that is replayed.
            held = timed(&mut tally.backlogging, || {
                let (ids, held) = backlog(site, &mut swaps, &mut server, &senders, round);
                more.extend(ids);
                Some(held)
            });
            tally.backlogs += 1;
            starts = DEEPEST;
        } else {
            // In the middle of the stream, a random number of requests further, some of them with new rules.
            if round % 10 == 5 {
                swaps.swap();
            }
            timed(&mut tally.loading, || {
                senders.wait_taken(1 + random.below(REQUESTS));
                std::thread::sleep(Duration::from_micros(random.below(5_000)));
            });
            if random.below(2) == 0 {
                starts = 1 + random.below(DEEPEST);
            }
        }
        tally.kill(server);
        drop(held);
        tally.slow += u64::from(slow.is_some());
        site.syncs(None);
        if round % 10 == 2 {
            // Replaced while nobody looks.
            swaps.swap();
        }
        let starts = starts.min(until_kills - tally.kills);
        for _ in 0..starts {
            // While it starts, in the middle of the recovery, or at its first answers.
            senders.allow(REQUESTS / 4);
            let mut server = site.spawn();
            timed(&mut tally.readying, || {
                if random.below(2) == 0 {
                    // On a slow machine it would never get to the replay.
                    until("it answers", PATIENCE, || server.http.get("/readyz").ok());
                }
                std::thread::sleep(Duration::from_micros(random.below(60_000)));
            });
            tally.kill(server);
        }
        tally.deepest += u64::from(starts == DEEPEST);
    }
    tally.swaps += swaps.count;
    let mut last = site.start();
    senders.wait_taken(storm::SENDERS * 5);
    let mut sent = senders.finish();
    sent.acknowledged.extend(more);
    last.wait_folded();
    assert!(last.stop().0.success());
    sent
}

/// Puts the other version of the rule into the folder.
struct Swaps<'a> {
    site: &'a Site,
    count: u64,
}

impl Swaps<'_> {
    fn swap(&mut self) {
        self.count += 1;
        self.site.put_rule("10-says.wasm", ["test/says", "test/says-b"][(self.count % 2) as usize]);
    }

    /// What the folder asks for now.
    fn version(&self) -> &'static str {
        ["1.0.0", "1.1.0"][(self.count % 2) as usize]
    }
}

/// Leaves the server with records of two generations that are not folded: nothing can be committed while they are made.
/// Gives the ids of what it acknowledged, and what holds the commits up; drop that when the server is gone.
fn backlog(site: &Site, swaps: &mut Swaps, server: &mut Server, senders: &Senders, round: u64) -> (Vec<String>, rusqlite::Connection) {
    until("the folder's rules are in force", PATIENCE, || {
        let says = view::rule(server, "says")?;
        (says["version"] == swaps.version()).then_some(())
    });
    let begun = |server: &Server| server.log().matches("rule-set generation begun").count();
    let before = begun(server);
    let held = hold_commits(site);
    let mut ids = Vec::new();
    for part in 0..2 {
        let name = format!("backlog-{round}-{part}");
        post_backlog(server.port, &backlog_part(&name, senders.start_s + part), senders);
        ids.extend((0..BACKLOG_PART).map(|i| format!("{name}-{i}")));
        if part == 0 {
            swaps.swap();
            until("a generation begins behind a backlog", PATIENCE, || (begun(server) > before).then_some(()));
        }
    }
    let in_flight = server.metrics().get("alertmill_events_in_flight");
    assert!(in_flight >= 2.0 * BACKLOG_PART as f64, "a backlog spans a generation switch: {in_flight}");
    (ids, held)
}

/// Takes the state's write lock, which a commit then waits for.
fn hold_commits(site: &Site) -> rusqlite::Connection {
    let state = rusqlite::Connection::open(site.data_dir().join("state.sqlite")).expect("the state");
    // What the killed process leaves is for the next one to put right.
    state.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).expect("no checkpoint");
    state.busy_timeout(PATIENCE).expect("a timeout");
    state.execute_batch("BEGIN IMMEDIATE").expect("the write lock");
    state
}

/// Posts a part until it is acknowledged.
fn post_backlog(port: u16, body: &str, senders: &Senders) {
    let mut http = Http::new(port);
    until("the backlog is acknowledged", PATIENCE, || {
        let answer = http.post_json("/api/v1/events", body.as_bytes()).expect("answer");
        assert!(matches!(answer.status, 200 | 429), "{}", answer.text());
        // It needs room for all of it, which the others' requests fill up first on a slow machine.
        senders.hold(answer.status == 429);
        (answer.status == 200).then_some(())
    });
}

/// Events as [`event`] makes them, but made in no time.
fn backlog_part(name: &str, time_s: u64) -> String {
    let item = |i: u64| event(&format!("{name}-{i}"), "Backlog", &format!("many-{}", i % 20), time_s, "ABNORMAL").to_string();
    let first = item(0);
    let (id, host) = (format!("\"{name}-0\""), "many-0");
    let items = (0..BACKLOG_PART).map(|i| first.replacen(&id, &format!("\"{name}-{i}\""), 1).replace(host, &format!("many-{}", i % 20)));
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}
