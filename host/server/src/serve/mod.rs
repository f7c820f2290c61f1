//! Everything put together, in the order of the way of an event: journal, prepare half, fold half, store; then what stands
//! around them: rules folder, clock, maintenance, doors and API on one listener.
//!
//! [`start`] gives a running server (the demo and the bench use it too); [`run`] is `alertmill serve`.

mod between;
mod clock;
mod commands;
mod decisions;
mod halted;
mod halves;
mod health;
mod in_flight;
mod looks;
mod maintenance;
mod options;
mod progress;
mod report;
mod stop_signals;
mod storage;
mod unused;

pub use halted::{HaltedRow, HaltedRows};
pub use halves::Generations;
pub use in_flight::InFlightJournal;
pub use progress::Progress;
pub use storage::{FamilyUse, Storage, StorageReport};

use crate::api::rules_write::{self, RulesApi, Turns};
use crate::api::{self, Api, CommandCounters, Operating, WatchedRules};
use crate::compile;
use crate::config::Config;
use crate::config::types::FingerprintAlgorithm;
use crate::doors::{self, Doors};
use crate::http::{Budget, HostPolicy, Listener, spool};
use crate::rules::{RuleKeeper, quarantine};
use crate::rules_folder::RulesFolder;
use crate::telemetry::{AlertsSnapshot, EngineSnapshot, JournalSnapshot, ListenerSnapshot, Metrics, PipelineSnapshot, Sources, handle};
use alertmill_core::alert::LifecycleConfig;
use alertmill_core::identity::Algorithm;
use alertmill_core::pipeline::fold::{Fold, FoldConfig};
use alertmill_core::pipeline::understand::UnderstandConfig;
use alertmill_core::ports::{Journal, Restored};
use alertmill_core::record::RecordBody;
use alertmill_core::value::Text;
use alertmill_core::verdict::Verdicts;
use alertmill_engine::Engine;
use alertmill_stores::embedded::Checkpointer;
use alertmill_stores::folder::DataFolder;
use alertmill_stores::journal::JournalReport;
use anyhow::{Context, anyhow};
use commands::JournaledCommands;
use looks::Looks;
use options::{door_config, folder_options, listener_limits};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use stop_signals::StopSignals;
use tokio::net::TcpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

/// Threads that are to leave what they have not begun end within this, unless the disk holds them.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);

/// Serves until SIGTERM or SIGINT.
pub fn run(config: Config) -> anyhow::Result<()> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if config.pipeline.workers > 0 {
        builder.worker_threads(config.pipeline.workers as usize);
    }
    let runtime = builder.enable_all().build().context("the runtime cannot start")?;
    allow_files(u64::from(config.limits.connections));
    let ended = runtime.block_on(async {
        let running = start(config).await?;
        eprintln!("alertmill is listening on http://{}", running.address());
        let mut asked = StopSignals::listen();
        tokio::select! {
            () = asked.next() => {}
            why = running.failed() => tracing::error!(%why, "the pipeline has stopped; what was acknowledged is in the journal"),
        }
        tokio::select! {
            ended = running.stop() => ended,
            () = asked.next() => {
                tracing::warn!("asked to stop again, so nothing is waited for; what is not folded waits in the journal");
                Ok(())
            }
        }
    });
    // Threads that still read for a request must not hold up the end.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

/// Every connection is an open file, and many systems start with 1,024 of them: asks for as many as the configuration allows.
fn allow_files(connections: u64) {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let wanted = connections + 512;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    limit.current = Some(limit.maximum.map_or(wanted, |most| most.min(wanted)));
    if setrlimit(Resource::Nofile, limit).is_err() || limit.current < Some(wanted) {
        tracing::warn!(allowed = limit.current, wanted, "fewer open files are allowed than limits.connections asks for; raise `ulimit -Hn`");
    }
}

/// A running server.
pub struct Running {
    address: SocketAddr,
    journal: InFlightJournal,
    progress: Arc<Progress>,
    keeper: Arc<RuleKeeper>,
    engine: Engine,
    checkpointer: Checkpointer,
    stop_grace: Duration,
    leave: Arc<AtomicBool>,
    stopping: watch::Sender<bool>,
    listener: JoinHandle<()>,
    helpers: Vec<JoinHandle<()>>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How far both halves are.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// The journal behind the doors.
    pub fn journal(&self) -> &InFlightJournal {
        &self.journal
    }

    /// The rule engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Takes over what is in the rules folder now, instead of at the next intervals. Gives the generation in force after it.
    pub async fn look_at_rules(&self) -> anyhow::Result<u64> {
        // What changed is taken by the second look that sees it.
        for _ in 0..2 {
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(self.keeper.look(&self.journal))).map_err(|e| anyhow!("{e}"))?;
        }
        Ok(self.keeper.shown().set.generation)
    }

    /// Comes back when all records so far are folded and committed.
    pub async fn all_folded(&self) {
        self.progress.reached(self.journal.handle().counts().last_ordinal).await;
    }

    /// Syncs the state, as a thread does by itself shortly after each commit.
    pub async fn sync(&self) -> anyhow::Result<()> {
        let checkpointer = self.checkpointer.clone();
        tokio::task::spawn_blocking(move || checkpointer.checkpoint()).await??;
        Ok(())
    }

    /// Comes back, with the reason, when the pipeline cannot go on.
    pub async fn failed(&self) -> String {
        self.progress.failed().await
    }

    /// Answers running requests, folds what is journaled, syncs and ends. After `server.stop_grace_s` in all, and as soon as
    /// the store refuses, the rest waits in the journal for the next start.
    pub async fn stop(self) -> anyhow::Result<()> {
        let until = Instant::now() + self.stop_grace;
        let _ = self.stopping.send(true);
        let _ = self.listener.await;
        for helper in self.helpers {
            let _ = timeout_at(until.max(Instant::now() + LEAVE_WITHIN), helper).await;
        }
        let (journal, threads) = (self.journal.clone(), self.threads);
        let mut ended = tokio::task::spawn_blocking(move || {
            journal.handle().close();
            for thread in threads {
                let _ = thread.join();
            }
        });
        // Requests may have used up the grace; the halves get a moment nevertheless.
        if timeout_at(until.max(Instant::now() + LEAVE_WITHIN), &mut ended).await.is_err() {
            self.leave.store(true, Relaxed);
            if timeout(LEAVE_WITHIN, &mut ended).await.is_err() {
                tracing::warn!("the halves did not end in time and are cut off, as by a kill");
            }
        }
        let left = self.journal.handle().counts().last_ordinal.saturating_sub(self.progress.position());
        if left > 0 {
            tracing::warn!(records = left, "journaled and not folded; the next start goes on with them");
        }
        match self.progress.failure() {
            Some(why) => Err(anyhow!("the pipeline stopped before the end: {why}")),
            None => Ok(()),
        }
    }
}

/// Opens the data folder and starts everything. When it comes back, the address is bound and acknowledged events are safe;
/// `/readyz` turns green once what the last process left in the journal is folded.
pub async fn start(config: Config) -> anyhow::Result<Running> {
    // First of all: what cannot listen must not write a start into the journal.
    let socket = bind(&config.server.listen)?;
    let address = socket.local_addr()?;
    let options = folder_options(&config);
    let dir = config.data.dir.clone();
    let folder = tokio::task::spawn_blocking(move || DataFolder::open(&dir, options)).await?.context("the data folder cannot be opened")?;
    report::opened(&folder.journal_report, &folder.store_report);
    folder.fenced.iter().for_each(report::fenced);
    let losses = health::Losses::of(&config.data.dir);
    let backlog_end = folder.journal_report.last_ordinal;

    let contents = folder.modules.clone();
    let contents = move |digest: &str| match contents.get(digest) {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(format!("sha256:{digest} is not among the modules of the data folder")),
        Err(e) => Err(e.to_string()),
    };
    let engine = Engine::with(contents, compile::compiler(&config.rules), compile::cache(&config))?;
    engine.register(folder.restored.rule_set.clone());
    let algorithm = match config.alerts.fingerprint {
        FingerprintAlgorithm::Keyed => Algorithm::Keyed,
        FingerprintAlgorithm::BkMonitor => Algorithm::BkMonitor,
    };
    let fold_config = FoldConfig {
        lifecycle: LifecycleConfig { close_after_s: config.alerts.third_party_close_after_s as i64, ..LifecycleConfig::default() },
        converge_each: false,
        algorithm,
    };
    let fold = Fold::restore(&folder.restored, fold_config).map_err(|e| anyhow!("{e}"))?;
    let progress = Arc::new(Progress::new(&folder.restored, fold.open_alerts(), fold.next_due_ms(), backlog_end));
    let journal = InFlightJournal::new(folder.journal.clone(), config.limits.queue.as_usize(), progress.clone());
    let publishers = config.rules.signers().map_err(|why| anyhow!(why))?;
    let rules = RulesFolder::new(&config, engine.clone(), folder.modules.clone()).signed_by(publishers.clone());
    let tables = rules.tables().clone();
    let keeper = Arc::new(RuleKeeper::new(rules, engine.clone(), folder.restored.rule_set.clone()));

    let understand = UnderstandConfig { uid_key: folder.journal.uid_key(), algorithm };
    let reader = folder.store.reader();
    let uids = folder.store.known_uids();
    let removals = Arc::new(storage::Removals::default());
    let measured = Arc::new(Storage::new(config.clone(), reader.clone(), folder.journal.clone(), uids.clone(), removals.clone()));
    let checkpointer = folder.store.checkpointer();
    let generations = Generations::new(engine.clone(), keeper.clone());
    let halted = HaltedRows::default();
    let (stopping, stop) = watch::channel(false);
    let leave = Arc::new(AtomicBool::new(false));
    let threads = halves::spawn(halves::Parts {
        stop: stop.clone(),
        leave: leave.clone(),
        records: folder.records,
        journal: folder.journal.clone(),
        generations,
        in_force: folder.restored.rule_set.clone(),
        understand,
        fold,
        store: maintenance::Retaining::new(folder.store, config.retention.clone(), removals.clone(), {
            let journal = folder.journal.clone();
            move || journal.oldest_ordinal()
        }),
        progress: progress.clone(),
        known: known_verdicts(&folder.restored, &folder.journal_report),
        halted: halted.clone(),
        lock: folder.lock,
    })?;

    // A start is a record: time-outs of re-sending sources wait for a while after it.
    let started = RecordBody::Start { version: Text::new_static(env!("CARGO_PKG_VERSION")) };
    journal.append(started, None).await.map_err(|e| anyhow!("the journal does not take the first record: {e}"))?;
    let fetching = tables.fetch(&stop);
    let looks =
        Looks { keeper: keeper.clone(), tables: tables.clone(), reader: reader.clone(), journal: journal.clone(), progress: progress.clone(), backlog_end };
    if folder.restored.rule_set.generation == 0 {
        tables.tried(FIRST_TABLES_WITHIN).await;
        looks.begin_first_generation().await?;
    }
    let unused = unused::UnusedModules {
        modules: folder.modules.clone(),
        reader: reader.clone(),
        checkpointer: checkpointer.clone(),
        removals: removals.clone(),
        young: unused::YOUNG_MODULES,
        versions_kept: config.retention.rule_versions as usize,
        tables_kept: config.retention.table_versions as usize,
    };
    let mut helpers = vec![
        tokio::spawn(looks.keep_looking(config.rules.poll_ms, stop.clone())),
        tokio::spawn(unused::bound_modules(unused, keeper.clone(), journal.clone(), progress.clone(), stop.clone())),
        tokio::spawn(quarantine::keep(keeper.clone(), engine.clone(), journal.clone(), stop.clone())),
        tokio::spawn(clock::run(journal.clone(), progress.clone(), stop.clone())),
        tokio::spawn(maintenance::release_journal(folder.journal.clone(), checkpointer.clone(), config.data.clone(), removals.clone(), stop.clone())),
        tokio::spawn(maintenance::bound_quarantine(folder.dir.clone(), config.retention.clone(), removals, stop.clone())),
        tokio::spawn(storage::keep_looking(measured.clone(), stop.clone())),
    ];
    helpers.extend(fetching);

    let budget = Budget::new(config.limits.queue.as_usize());
    let resuming = api::resume::Resuming { rows: halted.clone(), budget: budget.clone() };
    let doors = Doors::new(journal.clone(), budget.clone(), door_config(&config));
    let commands = Arc::new(JournaledCommands::new(journal.clone(), progress.clone()));
    let counters = Arc::new(CommandCounters::default());
    let health = Arc::new(health::ProcessHealth::new(folder.journal.clone(), checkpointer.clone(), progress.clone(), losses.clone()));
    let listener = Listener { hosts: HostPolicy::new(config.server.allowed_hosts.clone()), limits: listener_limits(&config), ..Listener::default() };
    let metrics = Arc::new(Metrics::new(Sources {
        doors: {
            let doors = doors.clone();
            handle(move || doors.snapshot())
        },
        ledger: {
            let progress = progress.clone();
            handle(move || progress.ledger())
        },
        listener: {
            let stats = listener.stats.clone();
            handle(move || ListenerSnapshot::of(&stats))
        },
        journal: {
            let journal = folder.journal.clone();
            let segment_bytes_max = config.data.journal_max.0;
            handle(move || JournalSnapshot::of(&journal, segment_bytes_max))
        },
        pipeline: {
            let (progress, doors, journal, halted) = (progress.clone(), doors.clone(), journal.clone(), halted.clone());
            handle(move || {
                let received: u64 = doors.snapshot().iter().map(|door| door.received).sum();
                PipelineSnapshot {
                    items: received + progress.replayed_items(),
                    item_parses: alertmill_core::item::parses(),
                    in_flight_bytes: journal.bytes() as u64,
                    in_flight_bytes_max: journal.bytes_max() as u64,
                    unanswered_bytes: doors.bytes_in_flight() as u64,
                    halted_by: halted.all().into_iter().map(|row| row.halted.rule).collect(),
                    ..progress.pipeline()
                }
            })
        },
        engine: {
            let (engine, keeper) = (engine.clone(), keeper.clone());
            handle(move || EngineSnapshot::of(keeper.shown().set.generation, &engine.stats(), engine.load_stats()))
        },
        tables: {
            let tables = tables.clone();
            handle(move || tables.rows())
        },
        commands: {
            let counters = counters.clone();
            handle(move || counters.snapshot())
        },
        storage: {
            let measured = measured.clone();
            handle(move || measured.last())
        },
        alerts: {
            let progress = progress.clone();
            handle(move || AlertsSnapshot {
                open: progress.open_alerts(),
                losses: losses.standing().len() as u64,
                known_uids: {
                    let counts = uids.counts();
                    counts.in_memory as u64 + counts.in_files as u64
                },
            })
        },
    }));
    let uploads = config.data.dir.join("uploads");
    spool::clear(&uploads).with_context(|| format!("{} cannot be used", uploads.display()))?;
    let versions = reader.clone();
    let api = Api::new(
        Arc::new(reader),
        Arc::new(WatchedRules::new(keeper.clone(), engine.clone(), tables.clone(), publishers.are_configured())),
        health,
        metrics,
        Operating { commands, counters, budget: budget.clone() },
    );
    let rules = RulesApi {
        keeper: keeper.clone(),
        journal: journal.clone(),
        progress: progress.clone(),
        reader: versions,
        modules: folder.modules.clone(),
        engine: engine.clone(),
        budget,
        uploads,
        resuming: resuming.clone(),
        publishers: Arc::new(publishers),
        algorithm,
        turns: Turns::default(),
    };
    let backups = api::backups::Backups::new(folder.dir.clone(), folder.journal.clone());
    let app = api::finish(
        api::router(api)
            .merge(doors::router(&doors))
            .merge(rules_write::router(rules))
            .merge(api::backups::router(backups))
            .merge(api::storage::router(measured))
            .merge(api::tables::router(tables))
            .merge(api::resume::router(resuming)),
    );

    let socket = socket.listen(BACKLOG).map_err(|e| cannot_be_bound(&config.server.listen, &e))?;
    let mut until = stop;
    let listener = tokio::spawn(async move {
        let stop = async move {
            let _ = until.wait_for(|stop| *stop).await.map(|_| ());
        };
        listener.serve(socket, app, stop).await;
    });
    let stop_grace = Duration::from_secs(config.server.stop_grace_s);
    Ok(Running { address, journal, progress, keeper, engine, checkpointer, stop_grace, leave, stopping, listener, helpers, threads })
}

/// Before the very first generation tables that are fetched get so long, so that the first events are judged with them.
const FIRST_TABLES_WITHIN: Duration = Duration::from_secs(10);

/// What earlier processes came to: the state has what holds to the end of the generation, the journal the rest.
fn known_verdicts(restored: &Restored, journal: &JournalReport) -> Arc<[Verdicts]> {
    let open = Verdicts { generation: restored.rule_set.generation, verdicts: restored.open_verdicts.clone() };
    [open].into_iter().chain(journal.verdicts.iter().cloned()).collect()
}

/// Connections that the system holds until they are accepted.
const BACKLOG: u32 = 1_024;

/// Takes the address; whoever connects is refused by the system until it listens.
fn bind(listen: &str) -> anyhow::Result<TcpSocket> {
    let address: SocketAddr = listen.parse().with_context(|| format!("server.listen = {listen:?} is no address and port"))?;
    let bound = || {
        let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
        // Connections of the process before, which the system still remembers, do not hold the address.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(socket)
    };
    bound().map_err(|e| cannot_be_bound(listen, &e))
}

fn cannot_be_bound(listen: &str, why: &std::io::Error) -> anyhow::Error {
    anyhow!("server.listen = {listen:?} cannot be bound: {why}; stop what listens there, or set server.listen / ALERTMILL__SERVER__LISTEN")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_is_taken_ends_the_start_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut config = Config::default();
        config.server.listen = taken.local_addr().unwrap().to_string();
        (config.data.dir, config.rules.dir) = (dir.path().join("data"), dir.path().join("rules.d"));
        let words = start(config.clone()).await.err().expect("the address is taken").to_string();
        let (begin, remedy) = (format!("server.listen = {:?} cannot be bound: ", config.server.listen), "or set server.listen / ALERTMILL__SERVER__LISTEN");
        assert!(words.starts_with(&begin) && words.ends_with(remedy), "{words}");
        assert!(!config.data.dir.exists());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn no_door_opens_before_the_first_generation() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.server.listen = "127.0.0.1:0".to_owned();
        (config.data.dir, config.rules.dir) = (dir.path().join("data"), dir.path().join("rules.d"));
        // What a process leaves that is killed between its first record and its first look.
        {
            let folder = DataFolder::open(&config.data.dir, folder_options(&config)).unwrap();
            let started = RecordBody::Start { version: "0".into() };
            assert_eq!(folder.journal.append(started, None).await.unwrap().ordinal, 1);
        }
        for expected in [3, 4] {
            let running = start(config.clone()).await.unwrap();
            // Both starts and the generation between them; the next start begins no other.
            assert_eq!((running.keeper.shown().set.generation, running.journal.handle().counts().last_ordinal), (1, expected));
            running.all_folded().await;
            running.stop().await.unwrap();
        }
    }
}
