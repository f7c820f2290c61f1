//! Load for tests that kill: senders that repeat each request until it is acknowledged, and what must then be true of it.

use crate::{Http, PATIENCE, Random, Server, Site, event, now_s, until, view};
use alertmill_proof::processes::copy;
use serde_json::Value;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Senders at the same time. Each has hosts of its own, so that the order of one fingerprint's events is its own.
pub const SENDERS: u64 = 4;
const HOSTS_PER_SENDER: u64 = 12;
/// Events of a request, at most.
const EVENTS_MAX: u64 = 20;

/// Running senders. They end with the value.
#[derive(Debug)]
pub struct Senders {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// The time of the first events (s).
    pub start_s: u64,
}

#[derive(Debug)]
struct Shared {
    port: u16,
    done: AtomicBool,
    hold: AtomicBool,
    parked: AtomicU64,
    /// Requests that may still be begun.
    credit: AtomicU64,
    taken: AtomicU64,
    sent: Mutex<Sent>,
}

/// Ids of what was sent.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    /// Acknowledged.
    pub acknowledged: HashSet<String>,
    /// Requests without an answer: each may have been taken, as a whole.
    pub unclear: Vec<Vec<String>>,
}

impl Senders {
    /// Starts them against this port. They begin when they are [allowed](Senders::allow) to and somebody listens there.
    pub fn start(port: u16, random: &mut Random) -> Senders {
        let sent = Mutex::new(Sent { unclear: vec![Vec::new(); SENDERS as usize], ..Sent::default() });
        let zero = || AtomicU64::new(0);
        let (done, hold) = (AtomicBool::new(false), AtomicBool::new(false));
        let shared = Arc::new(Shared { port, done, hold, parked: zero(), credit: zero(), taken: zero(), sent });
        let start_s = now_s() - 600;
        let threads = (0..SENDERS).map(|sender| {
            let (shared, random) = (shared.clone(), random.split());
            std::thread::spawn(move || shared.send(sender, start_s, random))
        });
        Senders { threads: threads.collect(), shared, start_s }
    }

    /// Requests that were acknowledged so far.
    pub fn taken(&self) -> u64 {
        self.shared.taken.load(SeqCst)
    }

    /// Lets them make so many requests in all before they wait again; what was not used of an earlier allowance is forgotten.
    pub fn allow(&self, requests: u64) {
        self.shared.credit.store(requests, SeqCst);
    }

    /// Waits until so many more requests are acknowledged; allows as many if necessary. Panics when a sender does.
    #[track_caller]
    pub fn wait_taken(&self, more: u64) {
        let target = self.taken() + more;
        self.shared.credit.fetch_max(more, SeqCst);
        until("senders get on", PATIENCE, || {
            assert!(self.threads.iter().all(|thread| !thread.is_finished()), "a sender has failed");
            (self.taken() >= target).then_some(())
        });
    }

    /// Lets all wait before their next try, or go on.
    pub fn hold(&self, hold: bool) {
        self.shared.hold.store(hold, SeqCst);
    }

    /// Comes back when all wait; call [`Senders::hold`] before it.
    #[track_caller]
    pub fn wait_held(&self) {
        until("all senders wait", PATIENCE, || (self.shared.parked.load(SeqCst) == SENDERS).then_some(()));
    }

    /// What was sent so far.
    pub fn sent(&self) -> Sent {
        self.shared.sent().clone()
    }

    /// Ends them, each after its last request is acknowledged, and gives what was sent: nothing is unclear any more.
    #[track_caller]
    pub fn finish(mut self) -> Sent {
        self.hold(false);
        self.shared.done.store(true, SeqCst);
        self.threads.drain(..).for_each(|thread| thread.join().expect("a sender"));
        let sent = self.sent();
        assert!(sent.unclear.iter().all(Vec::is_empty), "{:?}", sent.unclear);
        sent
    }
}

impl Drop for Senders {
    fn drop(&mut self) {
        self.shared.done.store(true, SeqCst);
    }
}

impl Shared {
    fn sent(&self) -> MutexGuard<'_, Sent> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, sender: u64, start_s: u64, mut random: Random) {
        let mut http = Http::new(self.port);
        let mut number = 0;
        while self.take_credit() {
            let batch: Vec<Value> = (0..1 + random.below(EVENTS_MAX))
                .map(|_| {
                    number += 1;
                    let host = format!("c{sender}-h{}", random.below(HOSTS_PER_SENDER));
                    let status = if random.below(40) == 0 { "RECOVERED" } else { "ABNORMAL" };
                    let mut event = event(&format!("c{sender}-{number}"), "Storm", &host, start_s + number / EVENTS_MAX, status);
                    event["severity"] = [1, 3, 3, 3, 2][random.below(60).min(4) as usize].into();
                    event
                })
                .collect();
            if !self.post(&mut http, sender as usize, &batch) {
                return;
            }
            self.taken.fetch_add(1, SeqCst);
        }
    }

    /// Posts it until it is acknowledged; `false` when the storm is over before anybody answered.
    fn post(&self, http: &mut Http, sender: usize, batch: &[Value]) -> bool {
        let body = serde_json::to_vec(batch).expect("json");
        let ids: Vec<String> = batch.iter().map(|event| view::text(event, "event_id")).collect();
        let is_taken = until("a request is acknowledged", PATIENCE, || {
            self.wait_while_held();
            self.sent().unclear[sender].clone_from(&ids);
            match http.post_json("/api/v1/events", &body) {
                Ok(answer) if answer.status == 200 => {
                    assert_eq!(answer.json::<Value>()["rejected"].as_array().map(Vec::len), Some(0), "{}", answer.text());
                    Some(true)
                }
                Ok(answer) => {
                    assert!(matches!(answer.status, 429 | 503), "{} {}", answer.status, answer.text());
                    None
                }
                Err(_) => self.done.load(SeqCst).then_some(false),
            }
        });
        if is_taken {
            let mut sent = self.sent();
            sent.unclear[sender].clear();
            sent.acknowledged.extend(ids);
        }
        is_taken
    }

    /// `false` when the storm is over.
    fn take_credit(&self) -> bool {
        loop {
            if self.done.load(SeqCst) {
                return false;
            }
            if self.credit.fetch_update(SeqCst, SeqCst, |credit| credit.checked_sub(1)).is_ok() {
                return true;
            }
            self.parked.fetch_add(1, SeqCst);
            std::thread::sleep(Duration::from_millis(1));
            self.parked.fetch_sub(1, SeqCst);
        }
    }

    fn wait_while_held(&self) {
        if !self.hold.load(SeqCst) {
            return;
        }
        self.parked.fetch_add(1, SeqCst);
        until("a sender may go on", PATIENCE * 3, || (!self.hold.load(SeqCst) || self.done.load(SeqCst)).then_some(()));
        self.parked.fetch_sub(1, SeqCst);
    }
}

/// What [`count`] found.
#[derive(Debug, Default)]
pub struct Counted {
    /// Acknowledged events that the ledger does not have. Which ones cannot always be said: stored ones need not be in a list.
    pub lost: u64,
    /// Events that alerts count, by the `version` tag that a rule gave them.
    pub versions: BTreeMap<String, u64>,
    /// The ledger's counters.
    pub ledger: BTreeMap<String, u64>,
}

/// I2 and I6: the ledger adds up to what was acknowledged, and to whole requests of what is unclear; every event that an
/// alert counts was sent, and is in one list once. What is lost is counted, not asserted.
#[track_caller]
pub fn count(server: &mut Server, sent: &Sent) -> Counted {
    let ledger = view::ledger(server);
    let n = |name: &str| ledger.get(name).copied().unwrap_or(0);
    assert_eq!((n("dead_letters"), n("refused"), n("refreshed")), (0, 0, 0), "{ledger:?}");
    let stored: u64 = n("folded") + ledger.iter().filter(|(name, _)| name.starts_with("stored_only.")).map(|(_, value)| value).sum::<u64>();
    assert_eq!(n("journaled"), stored + n("duplicates"), "{ledger:?}");
    let (mut counted, mut versions) = (HashSet::new(), BTreeMap::new());
    let unclear: HashMap<&str, usize> = sent.unclear.iter().enumerate().flat_map(|(request, ids)| ids.iter().map(move |id| (id.as_str(), request))).collect();
    let mut is_there = vec![false; sent.unclear.len()];
    for alert in view::alerts(server) {
        let own = view::counted_events(server, &view::text(&alert, "id"));
        assert_eq!(alert["event_count"], own.len(), "{alert}");
        for event in own {
            if !sent.acknowledged.contains(&event.id) {
                let request = unclear.get(event.id.as_str()).unwrap_or_else(|| panic!("{} was never sent", event.id));
                is_there[*request] = true;
            }
            *versions.entry(event.version).or_insert(0u64) += 1;
            assert!(counted.insert(event.id.clone()), "{} counts twice", event.id);
        }
    }
    assert_eq!(counted.len() as u64, n("folded"), "{ledger:?}");
    // Of a request of which nothing is in a list, all may be stored without being listed, or none.
    let mut possible = HashSet::from([sent.acknowledged.len() as u64]);
    for (ids, is_there) in sent.unclear.iter().zip(is_there) {
        let with: Vec<u64> = possible.iter().map(|sum| sum + ids.len() as u64).collect();
        if is_there { possible = with.into_iter().collect() } else { possible.extend(with) }
    }
    let least = possible.iter().copied().min().unwrap_or(0);
    assert!(stored < least || possible.contains(&stored), "{stored} events are stored, but whole requests make {possible:?}: {ledger:?}");
    Counted { lost: least.saturating_sub(stored), versions, ledger }
}

/// The documents of all alerts, as one number each: what many kills leave does not fit a test's memory twice.
#[track_caller]
pub fn digests(server: &mut Server) -> BTreeMap<String, u64> {
    let digest = |text: String| {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        hasher.finish()
    };
    view::documents(server).into_iter().map(|(id, text)| (id, digest(text))).collect()
}

/// I8: a server in `fresh` that is given only journal and modules of `site`, and is left alone, makes the same documents.
/// No server may be running in `site`.
#[track_caller]
pub fn never_killed(site: &Site, fresh: &Site, killed: &BTreeMap<String, u64>) {
    for part in ["journal", "modules"] {
        copy(&site.data_dir().join(part), &fresh.data_dir().join(part));
    }
    copy(&site.rules_dir(), &fresh.rules_dir());
    let mut server = fresh.start();
    server.wait_folded();
    let again = digests(&mut server);
    assert_eq!(killed.len(), again.len());
    let differing: Vec<_> = killed.iter().filter(|(id, digest)| again.get(*id) != Some(digest)).map(|(id, _)| id.clone()).collect();
    if let Some(id) = differing.first() {
        let expected = view::documents(&mut server).remove(id);
        drop(server);
        let mut server = site.start();
        let found = view::documents(&mut server).remove(id);
        panic!("{} of {} documents differ, first {id}:\nkilled:       {found:?}\nnever killed: {expected:?}", differing.len(), killed.len());
    }
}
