//! A disk that is full, then read-only, then refuses to sync, under a real server: senders hear it with Retry-After, reads go on,
//! the log says it once, `/readyz` says it, and when the disk is well again everything goes on by itself.

use alertmill_e2e::{PATIENCE, Server, Site, event, now_s, until, view};
use alertmill_proof::Tier;
use alertmill_proof::processes::strace;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Within this, senders are taken again once the disk is well.
const BACK_WITHIN: Duration = Duration::from_secs(5);
/// The one line that says that the journal refuses.
const ALARM: &str = "the journal takes nothing";

/// A file system in memory, of a bounded size. It goes with the value.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, mebibytes: u32) -> SmallDisk {
        fs::create_dir_all(at).expect("a folder");
        let options = format!("size={mebibytes}m,mode=0700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "alertmill-test"]).arg(at).output().expect("`mount` is there");
        assert!(mounted.status.success(), "this test mounts a tmpfs and must run as root: {}", String::from_utf8_lossy(&mounted.stderr));
        SmallDisk(at.to_path_buf())
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// Takes all of the space that is left.
    fn fill(&self) {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(self.filler()).expect("the filler");
        for piece in [1 << 20, 4096, 1] {
            let zeros = vec![0; piece];
            while file.write_all(&zeros).is_ok() {}
        }
    }

    fn free(&self) {
        fs::remove_file(self.filler()).expect("the filler");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A process whose system calls are refused as long as the value lives.
struct Refusing(Child);

impl Refusing {
    fn start(server: &Server, calls: &str, error: &str) -> Refusing {
        let mut command = Command::new(strace());
        command.args(["-f", "-o", "/dev/null", "-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:error={error}")]);
        let mut child = command.args(["-p", &server.id().to_string()]).stderr(Stdio::piped()).spawn().expect("strace runs");
        let mut words = BufReader::new(child.stderr.take().expect("stderr"));
        let mut line = String::new();
        while !line.contains("attached") {
            line.clear();
            assert!(words.read_line(&mut line).expect("a line") > 0, "strace could not attach; this test must run as root");
        }
        std::thread::spawn(move || words.read_to_string(&mut String::new()));
        Refusing(child)
    }
}

impl Drop for Refusing {
    /// Asked to end, strace lets the process go on as before.
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        let _ = self.0.wait();
    }
}

/// Posts large batches of one alert's events and keeps count of what was taken.
#[derive(Default)]
struct Sender {
    batches: u64,
    taken: u64,
    refused: u64,
    /// Batches of which the answer was that nobody knows.
    unclear: u64,
}

impl Sender {
    const EVENTS: u64 = 20;

    /// The next batch; the same one again if it was refused. Gives whether it was taken.
    fn post(&mut self, server: &mut Server) -> bool {
        let batch = self.batches;
        let events: Vec<Value> = (0..Sender::EVENTS)
            .map(|i| {
                let mut event = event(&format!("{batch}-{i}"), "Filling", "h1", now_s(), "ABNORMAL");
                event["description"] = "x".repeat(8_000).into();
                event
            })
            .collect();
        let headers = [("content-type", "application/json"), ("idempotency-key", &format!("batch-{batch}") as &str)];
        let body = serde_json::to_vec(&events).expect("json");
        let answer = server.http.post("/api/v1/events", &headers, &body).unwrap_or_else(|error| panic!("POST: {error}\n{}", server.log()));
        match answer.status {
            200 => {
                self.batches += 1;
                self.taken += Sender::EVENTS;
                return true;
            }
            429 | 503 => {
                self.refused += 1;
                self.unclear += u64::from(answer.text().contains("unclear"));
                assert!(answer.header("retry-after").is_some_and(|after| after.parse::<u32>().is_ok()), "when to come again: {}", answer.text());
                assert!(!answer.text().contains("alertmill-e2e-"), "senders learn no paths: {}", answer.text());
            }
            other => panic!("{other}: {}", answer.text()),
        }
        false
    }

    /// Posts until it is refused.
    fn post_until_refused(&mut self, server: &mut Server) {
        until("the disk refuses", PATIENCE, || (!self.post(server)).then_some(()));
    }

    /// Posts until it is taken again; gives how long that took.
    fn post_until_taken(&mut self, server: &mut Server) -> Duration {
        let began = Instant::now();
        until("it is taken again", PATIENCE, || self.post(server).then_some(()));
        began.elapsed()
    }

    /// All that was acknowledged counts, once.
    fn all_there(&self, server: &mut Server) {
        server.wait_folded();
        let alert = view::alert_named(server, "Filling").expect("the alert");
        assert_eq!(alert["event_count"], self.taken, "{} batches were taken: {}", self.batches, server.log());
        let ledger = view::ledger(server);
        assert_eq!(ledger.get("dead_letters"), None, "{ledger:?}");
    }
}

fn alarms(server: &Server) -> usize {
    server.log().matches(ALARM).count()
}

fn small_site() -> Site {
    Site::new().set("DATA__JOURNAL_SEGMENT", "1MiB").set("LIMITS__BODY", "1MiB").set("LIMITS__BODY_DECODED", "1MiB")
}

/// A disk that refuses, from the first refusal on until it is well again: what senders, readers and operators see. Gives how
/// long it took until senders were taken again.
fn refuses_and_comes_back(server: &mut Server, sender: &mut Sender, words: &str, make_well: impl FnOnce()) -> Duration {
    let (before, alarms_before) = (sender.refused, alarms(server));
    sender.post_until_refused(server);
    while sender.refused < before + 30 {
        assert!(!sender.post(server), "nothing has changed");
    }
    let said = server.not_well("journal");
    assert!(said.contains(words), "{said}");
    assert_eq!(server.get("/api/v1/alerts?limit=1").status, 200, "reads go on");
    assert_eq!(server.get("/healthz").status, 200);
    assert_eq!(server.metrics().get("alertmill_journal_failed"), 1.0);
    assert_eq!(alarms(server), alarms_before + 1, "one alarm, not one for each request: {}", server.log());
    make_well();
    let took = sender.post_until_taken(server);
    assert!(took < BACK_WITHIN, "{took:?}");
    server.wait_ready();
    assert_eq!(server.metrics().get("alertmill_journal_failed"), 0.0);
    took
}

#[test]
fn a_full_disk_refuses_and_everything_goes_on_once_there_is_space() {
    let began = Instant::now();
    let site = small_site();
    let disk = SmallDisk::mount(&site.data_dir().join("journal"), 8);
    let mut server = site.start();
    let mut sender = Sender::default();
    let mut back = Duration::ZERO;
    for _ in 0..3 {
        assert!(sender.post(&mut server));
        server.wait_folded();
        disk.fill();
        let took = refuses_and_comes_back(&mut server, &mut sender, "No space left", || disk.free());
        back = back.max(took);
        sender.all_there(&mut server);
    }
    server.kill();
    let mut server = site.start();
    sender.all_there(&mut server);
    drop(server);

    // Read-only, as a file system becomes after an error of its disk: all that changes a file is refused.
    let read_only = small_site();
    let mut server = read_only.start();
    let mut sender_of_read_only = Sender::default();
    assert!(sender_of_read_only.post(&mut server));
    let refusing = Refusing::start(&server, "pwrite64,fallocate,ftruncate,rename,unlink,mkdir", "EROFS");
    let back_from_read_only = refuses_and_comes_back(&mut server, &mut sender_of_read_only, "Read-only", || drop(refusing));
    sender_of_read_only.all_there(&mut server);
    server.kill();
    let mut server = read_only.start();
    sender_of_read_only.all_there(&mut server);

    alertmill_proof::record(
        "journal-disk-full",
        Tier::Ci,
        &[
            ("times_full", &3),
            ("times_read_only", &1),
            ("acknowledged_events", &(sender.taken + sender_of_read_only.taken)),
            ("refused_requests", &(sender.refused + sender_of_read_only.refused)),
            ("alarms_each", &1),
            ("lost", &0),
            ("doubled", &0),
            ("back_after_full_ms", &back.as_millis()),
            ("back_after_read_only_ms", &back_from_read_only.as_millis()),
            ("took_ms", &began.elapsed().as_millis()),
        ],
    );
}

#[test]
fn a_disk_that_is_full_for_the_state_too_loses_nothing() {
    let site = small_site();
    // The first file of events takes 128 MiB.
    let disk = SmallDisk::mount(&site.data_dir(), 160);
    let mut server = site.start();
    let mut sender = Sender::default();
    assert!(sender.post(&mut server));
    server.wait_folded();
    disk.fill();
    sender.post_until_refused(&mut server);
    assert_eq!(server.get("/api/v1/alerts?limit=1").status, 200, "reads go on");
    disk.free();
    let took = sender.post_until_taken(&mut server);
    assert!(took < BACK_WITHIN, "{took:?}");
    sender.all_there(&mut server);
    server.wait_ready();
    disk.fill();
    sender.post_until_refused(&mut server);
    server.kill();
    // A start on a full disk ends with the reason and the remedy; with space it comes up.
    let (status, _) = site.spawn().wait_end();
    let said = until("its last words", PATIENCE, || fs::read_to_string(site.path().join("server.log")).ok()).lines().last().map(str::to_owned);
    assert!(!status.success() && said.as_ref().is_some_and(|said| said.contains("free space")), "{status}: {said:?}");
    disk.free();
    let mut server = site.start();
    sender.all_there(&mut server);
}

#[test]
fn syncs_that_fail_are_said_and_a_restart_has_everything() {
    let site = small_site();
    let mut server = site.start();
    let mut sender = Sender::default();
    assert!(sender.post(&mut server));
    server.wait_folded();
    let refusing = Refusing::start(&server, "fdatasync,fsync", "EIO");
    sender.post_until_refused(&mut server);
    for _ in 0..10 {
        assert!(!sender.post(&mut server), "nothing is acknowledged that is not synced");
    }
    let said = server.not_well("journal");
    assert!(said.contains("Input/output error"), "{said}");
    assert_eq!(alarms(&server), 1, "{}", server.log());
    drop(refusing);
    let took = sender.post_until_taken(&mut server);
    println!("journal_disk_full: taken again {} ms after syncs work again", took.as_millis());
    server.kill();
    let mut server = site.start();
    sender.all_there(&mut server);
}
