//! The two threads that run core's loops on the real ports: prepare and fold, with a short queue between them.

use super::between::{self, Receiver, Sender};
use super::clock::wall_ms;
use super::halted::{HaltedRows, Operators, VerdictJournal};
use super::maintenance::Retaining;
use super::progress::{Part, Progress};
use crate::rules::RuleKeeper;
use alertmill_core::ledger::DEDUPE_OVERFLOW;
use alertmill_core::pipeline::conductor::{Committed, HandOver, Incoming, Judging, Patience, fold_half, prepare_half};
use alertmill_core::pipeline::fold::Fold;
use alertmill_core::pipeline::prepare::Prepared;
use alertmill_core::pipeline::understand::UnderstandConfig;
use alertmill_core::ports::{Commit, PortError, Records};
use alertmill_core::record::{Journaled, RuleSet};
use alertmill_core::rules::{AlertChain, Generation, RuleChain, RuleSetUnavailable, RuleSets};
use alertmill_core::verdict::Verdicts;
use alertmill_engine::Engine;
use alertmill_stores::durable::FolderLock;
use alertmill_stores::{JournalHandle, JournalReader};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

/// What the halves work with.
pub struct Parts {
    /// The journal's reading side.
    pub records: JournalReader,
    /// The journal, to ask why it ended.
    pub journal: JournalHandle,
    /// Rule sets by generation.
    pub generations: Generations,
    /// The generation at the store's position.
    pub in_force: RuleSet,
    /// Uid key and algorithm.
    pub understand: UnderstandConfig,
    /// The fold as it was restored.
    pub fold: Fold,
    /// The store.
    pub store: Retaining,
    /// Where progress is written.
    pub progress: Arc<Progress>,
    /// Turns true before the journal is closed on purpose.
    pub stop: watch::Receiver<bool>,
    /// Turns true when what the journal holds is left to the next start.
    pub leave: Arc<AtomicBool>,
    /// Verdicts that earlier processes came to.
    pub known: Arc<[Verdicts]>,
    /// Where rows wait at which a rule halted.
    pub halted: HaltedRows,
    /// Held until both have ended.
    pub lock: FolderLock,
}

/// Starts both.
pub fn spawn(parts: Parts) -> std::io::Result<Vec<JoinHandle<()>>> {
    let Parts { records, journal, generations, in_force, understand, mut fold, mut store, progress, stop, leave, known, halted, lock } = parts;
    let (sender, receiver) = between::queue();
    store.pace_with(receiver.pacer());
    let runtime = tokio::runtime::Handle::current();
    let generations = Arc::new(generations);
    let fold_generations = generations.clone();
    let mut records = Watched { records, progress: progress.clone(), last: Instant::now() };
    let mut out = Out { sender, progress: progress.clone(), leave: leave.clone() };
    let (prepare_runtime, prepare_progress, prepare_stop) = (runtime.clone(), progress.clone(), stop.clone());
    let around =
        |half| Around { half, progress: progress.clone(), stop: stop.clone(), journal: journal.clone(), halted: halted.clone(), gave_up: Arc::default() };
    let (prepare_around, fold_around, fold_known) = (around(Part::Prepare), around(Part::Fold), known.clone());
    let prepare = std::thread::Builder::new().name("prepare".into()).spawn(move || {
        let _panics = Panics("prepare", prepare_progress.clone());
        let (gave_up, verdicts) = (prepare_around.gave_up.clone(), prepare_around.verdicts());
        let mut judging = prepare_around.judging(&verdicts, &known);
        let ended = prepare_runtime.block_on(async {
            tokio::select! {
                ended = prepare_half(&mut records, &*generations, &in_force, &understand, &mut out, &mut judging) => ended,
                () = gave_up.notified() => PortError::Fatal("it was refused what it needs while the process stops".to_owned()),
            }
        });
        tracing::debug!(why = %ended, "the prepare half has ended");
        // A journal that was closed on purpose ends here too; anything else is a failure of the process.
        match journal.failure() {
            Some(why) => prepare_progress.fail(why.to_owned()),
            None if !*prepare_stop.borrow() => prepare_progress.fail(ended.to_string()),
            None => {}
        }
    })?;
    let fold = std::thread::Builder::new().name("fold".into()).spawn(move || {
        let _lock = lock;
        let _panics = Panics("fold", progress.clone());
        let mut incoming = In { receiver, leave };
        let mut watcher = Watcher { progress: progress.clone(), engine: fold_generations.engine.clone() };
        let (gave_up, verdicts) = (fold_around.gave_up.clone(), fold_around.verdicts());
        let mut judging = fold_around.judging(&verdicts, &fold_known);
        let ended = runtime.block_on(async {
            tokio::select! {
                ended = fold_half(&mut fold, &*fold_generations, &mut store, &mut incoming, &mut watcher, &mut judging) => ended,
                () = gave_up.notified() => Ok(()),
            }
        });
        if let Err(error) = ended {
            progress.fail(error.to_string());
        }
        store.settle();
        // Before the lock of its folder, which the next process takes.
        drop(store);
    })?;
    Ok(vec![prepare, fold])
}

/// What a half waits with.
struct Around {
    half: Part,
    progress: Arc<Progress>,
    stop: watch::Receiver<bool>,
    journal: JournalHandle,
    halted: HaltedRows,
    /// Told when the half comes no further because the process stops.
    gave_up: Arc<Notify>,
}

impl Around {
    fn verdicts(&self) -> VerdictJournal {
        VerdictJournal { journal: self.journal.clone(), progress: self.progress.clone(), stop: self.stop.clone(), gave_up: self.gave_up.clone() }
    }

    fn judging<'j>(self, journal: &'j VerdictJournal, known: &'j [Verdicts]) -> Judging<'j, VerdictJournal, Operators, Backoff> {
        let Around { half, progress, stop, halted, gave_up, .. } = self;
        let halts = Operators { half, rows: halted, progress: progress.clone(), stop: stop.clone(), gave_up: gave_up.clone(), last: None };
        Judging { journal, known, halts, patience: Backoff { half, progress, stop, gave_up } }
    }
}

/// A half that panics has stopped for good, and the process must not look well without it.
struct Panics(&'static str, Arc<Progress>);

impl Drop for Panics {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.1.fail(format!("the {} half panicked; this is a bug, and a restart goes on where it was", self.0));
        }
    }
}

/// The engine as core's port, for both halves; the keeper learns of generations that an earlier process journaled.
pub struct Generations {
    engine: Engine,
    keeper: Arc<RuleKeeper>,
    opened: Mutex<Opened>,
}

/// The newest generation that each half has opened.
#[derive(Default)]
struct Opened {
    by_prepare: Generation,
    by_fold: Generation,
}

impl Generations {
    /// Over this engine.
    pub fn new(engine: Engine, keeper: Arc<RuleKeeper>) -> Generations {
        Generations { engine, keeper, opened: Mutex::default() }
    }

    /// What neither half will open again need not be kept: the fold is behind, and comes to everything that prepare has left.
    fn opened(&self, note: impl FnOnce(&mut Opened)) {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        note(&mut opened);
        self.engine.retire_before(opened.by_prepare.min(opened.by_fold));
    }
}

impl RuleSets for Generations {
    fn open_alerts(&self, generation: Generation) -> Result<Option<Box<dyn AlertChain>>, RuleSetUnavailable> {
        let rules = self.engine.open_alerts(generation)?;
        self.opened(|opened| opened.by_fold = generation);
        Ok(rules)
    }
    fn begins(&self, set: &RuleSet) {
        self.engine.register(set.clone());
        self.keeper.begins(set);
    }
    fn open(&self, generation: Generation) -> Result<Box<dyn RuleChain>, RuleSetUnavailable> {
        let chain = self.engine.open(generation)?;
        self.opened(|opened| opened.by_prepare = generation);
        self.keeper.has_opened(generation);
        Ok(chain)
    }
}

/// The journal's reader, with a count of what an earlier process left.
struct Watched {
    records: JournalReader,
    progress: Arc<Progress>,
    /// When the last batch went on.
    last: Instant,
}

/// Rows that a batch waits for in a steady stream: a call into a rule costs nearly the same for one row as for many.
const ROWS_WANTED: usize = 128;
/// How long it waits at most, and only when the batch before went on less than this ago: a lone event never waits. Senders
/// never wait for it, they are answered when the record is durable.
const LINGER: Duration = Duration::from_millis(20);

fn items(journaled: &Journaled) -> u64 {
    journaled.record.body.items() as u64
}

impl Records for Watched {
    async fn next_records(&mut self, rows_max: usize) -> Result<Vec<Journaled>, PortError> {
        // Whoever reads on has opened its rules.
        self.progress.works(Part::Prepare);
        let mut records = self.records.next_blocking(rows_max)?;
        if self.last.elapsed() < LINGER {
            self.records.linger(&mut records, rows_max, ROWS_WANTED, LINGER);
        }
        self.last = Instant::now();
        let rows = records.iter().map(items).sum();
        // Records of this process that were read from the files, because memory was full, are counted already.
        let replayed = records.iter().filter(|journaled| self.progress.is_backlog(journaled.record.ordinal)).map(items).sum();
        self.progress.prepared(rows, replayed);
        Ok(records)
    }
}

struct Out {
    sender: Sender,
    progress: Arc<Progress>,
    leave: Arc<AtomicBool>,
}

impl HandOver for Out {
    async fn hand_over(&mut self, prepared: Prepared) -> bool {
        self.progress.failure().is_none() && !self.leave.load(Relaxed) && self.sender.send(prepared)
    }
}

struct In {
    receiver: Receiver,
    leave: Arc<AtomicBool>,
}

impl Incoming for In {
    async fn next_prepared(&mut self, rows_max: usize) -> Option<Prepared> {
        self.receiver.receive(rows_max).filter(|_| !self.leave.load(Relaxed))
    }

    fn ready_prepared(&mut self, rows_max: usize) -> Option<Prepared> {
        if self.leave.load(Relaxed) { None } else { self.receiver.receive_ready(rows_max) }
    }
}

struct Watcher {
    progress: Arc<Progress>,
    engine: Engine,
}

impl Committed for Watcher {
    fn committed(&mut self, commit: &Commit) {
        self.progress.committed(commit, wall_ms());
        self.progress.works(Part::Fold);
        commit.ledger.iter().filter(|line| line.counter == DEDUPE_OVERFLOW).for_each(|line| self.engine.overflowed(&line.name));
    }
}

/// Waits longer from try to try, up to a second, and says why. When the process is asked to stop, a half that is refused
/// ends: what it has not done is in the journal.
struct Backoff {
    half: Part,
    progress: Arc<Progress>,
    stop: watch::Receiver<bool>,
    gave_up: Arc<Notify>,
}

impl Patience for Backoff {
    async fn pause(&mut self, tries: u32, error: &PortError) {
        self.progress.trouble(self.half, error.to_string());
        let stopping = *self.stop.borrow();
        if stopping {
            tracing::warn!(half = ?self.half, %error, "refused while the process stops; what is not folded waits in the journal");
            self.gave_up.notify_one();
            // The loop is dropped where it waits, which may be anywhere.
            return std::future::pending().await;
        }
        tracing::warn!(half = ?self.half, tries, %error, "trying again");
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(10 << tries.min(7))) => {}
            _ = self.stop.wait_for(|stop| *stop) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::rules_folder::RulesFolder;
    use alertmill_core::ports::Restored;
    use alertmill_stores::modules::ModuleFiles;

    #[test]
    fn what_the_fold_still_opens_is_not_retired() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::new(|_: &str| Err("nothing is kept".to_owned())).unwrap();
        let folder = RulesFolder::new(&Config::default(), engine.clone(), ModuleFiles::open(dir.path()).unwrap());
        let generations = Generations::new(engine.clone(), Arc::new(RuleKeeper::new(folder, engine.clone(), RuleSet::default())));
        for generation in 1..=3 {
            generations.begins(&RuleSet { generation, ..RuleSet::default() });
            generations.open(generation).unwrap();
        }
        let known = |generation| engine.open(generation).is_ok();
        assert_eq!([1, 2, 3].map(known), [true; 3], "prepare is ahead");
        generations.open_alerts(2).unwrap();
        assert_eq!([1, 2, 3].map(known), [false, true, true]);
        generations.open_alerts(3).unwrap();
        assert_eq!([1, 2, 3].map(known), [false, false, true]);
        generations.begins(&RuleSet { generation: 4, ..RuleSet::default() });
        generations.open(4).unwrap();
        assert_eq!([3, 4].map(known), [true; 2]);
    }

    #[tokio::test]
    async fn a_half_that_is_refused_tries_again_until_the_process_stops() {
        let progress = Arc::new(Progress::new(&Restored::default(), 0, None, 0));
        let (stopping, stop) = watch::channel(false);
        let gave_up = Arc::new(Notify::new());
        let mut patience = Backoff { half: Part::Fold, progress: progress.clone(), stop, gave_up: gave_up.clone() };
        let error = PortError::Unavailable("no room".to_owned());
        patience.pause(1, &error).await;
        assert_eq!(progress.troubled(Part::Fold).as_deref(), Some("no room"));
        stopping.send_replace(true);
        tokio::select! {
            () = patience.pause(2, &error) => panic!("it would try for ever"),
            () = gave_up.notified() => {}
        }
        progress.works(Part::Fold);
        assert_eq!(progress.troubled(Part::Fold), None);
    }
}
