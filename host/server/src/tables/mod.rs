//! Look-up tables: each has a source, a file or a URL, and what the source says becomes content by digest in the data folder. It is
//! swapped by a generation, like a rule.
//!
//! The way of a content: a source is read ([`file`] in a look, [`url`] by [`refreshing`] at intervals) and checked against the
//! table's limits; what it says is its *offer*. A look asks [`Tables::now`] for the tables that rules are to run with, and says
//! with [`Tables::looked`] what came of it. Between two looks nothing changes, so all tables that changed are one generation.
//! What cannot be had, is no table, is too large, or no rule can run with, changes nothing: the last good content stays.
//!
//! Only a look puts content among the modules, so that nothing is removed there meanwhile ([`Tables::held`]).

mod file;
mod refreshing;
mod shown;
#[cfg(test)]
mod tests;
mod url;

pub use refreshing::{NotRefreshed, Refreshed};
pub use shown::TableRow;

use crate::config::types::TableFormat as Wanted;
use crate::config::{self, Config};
use crate::rules_folder::settling::Settling;
use crate::rules_folder::{CHANGING, NOT_KEPT, Problem, TABLE_HELD_BACK};
use alertmill_core::record::RuleSet;
use alertmill_core::value::Text;
use alertmill_engine::{Engine, Table, TableFormat, TableLimits, TableRefusal};
use alertmill_stores::modules::{ModuleFiles, digest};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{Notify, mpsc, oneshot, watch};

/// Between two generations that only tables asked for.
const SWAP_EVERY: Duration = Duration::from_secs(1);

/// The tables that rules are checked with, sorted by name.
#[derive(Clone, Default)]
pub struct TableSet {
    /// Name and digest.
    pub digests: Vec<(Text, Text)>,
    /// The same tables, to be read.
    pub loaded: Vec<(Text, Arc<Table>)>,
}

impl TableSet {
    /// Puts a table in, in the place of the one of its name.
    pub fn put(&mut self, name: &Text, digest: &Text, table: Arc<Table>) {
        self.digests.retain(|(known, _)| known != name);
        self.loaded.retain(|(known, _)| known != name);
        let at = self.digests.partition_point(|(known, _)| known.as_str() < name.as_str());
        self.digests.insert(at, (name.clone(), digest.clone()));
        self.loaded.push((name.clone(), table));
    }
}

/// What a look is to go by.
#[derive(Default)]
pub struct Now {
    /// The tables.
    pub set: TableSet,
    /// Contents that are not among them, and why.
    pub problems: Vec<Problem>,
    /// Whether another look may find more: a file is being written, or tables were swapped a moment ago.
    pub is_unsettled: bool,
}

/// All tables of the configuration. Cheap to clone; clones are the same tables.
#[derive(Clone)]
pub struct Tables(Arc<Inner>);

struct Inner {
    /// By name.
    sources: Vec<Source>,
    engine: Engine,
    modules: ModuleFiles,
    /// `limits.tables_size`.
    bytes_max: usize,
    swap_every: Duration,
    looks: Mutex<Looks>,
    /// Looks that were begun.
    begun: AtomicU64,
    /// The last one that came to its end.
    ended: watch::Sender<u64>,
    /// Something is to be looked at.
    wake: Notify,
}

/// What passes from look to look.
#[derive(Default)]
struct Looks {
    settling: Settling,
    /// The generation that the last look began with.
    generation: u64,
    /// Tables of the generation in force by digest, once somebody asked for them.
    in_force: BTreeMap<Text, Arc<Table>>,
    last_swap: Option<Instant>,
    /// When what was put off may come.
    due: Option<Instant>,
}

/// One table's source, and what is known of it.
struct Source {
    name: Text,
    config: config::Table,
    /// The path, or the URL without its query.
    shown: String,
    asks: mpsc::Sender<Ask>,
    /// Taken by whoever fetches; a file is not fetched.
    asked: Mutex<Option<mpsc::Receiver<Ask>>>,
    /// Whether a URL was fetched once, whatever came of it.
    tried: watch::Sender<bool>,
    state: Mutex<State>,
}

/// Whoever wants a fetch now, and to hear what came of it.
type Ask = oneshot::Sender<Result<(), Problem>>;

#[derive(Default)]
struct State {
    /// The last good content that the source had since the process started.
    offer: Option<Offer>,
    /// What was wrong with the source the last time.
    problem: Option<Problem>,
    /// Why the last look did not take the offer.
    standing: Standing,
    in_force: Option<InForce>,
    /// Of a file: what it was when it was last read.
    stamp: Option<file::Stamp>,
    /// Of a URL: what to ask with whether the offer is still good.
    validators: url::Validators,
    /// When the source was last heard, whatever it said.
    checked_at: Option<SystemTime>,
    /// When it last gave other content.
    fetched_at: Option<SystemTime>,
    next_at: Option<SystemTime>,
    outcomes: [u64; Outcome::ALL.len()],
}

/// A content that passed the checks.
#[derive(Clone)]
struct Offer {
    digest: Text,
    table: Arc<Table>,
    /// Whether it was put among the modules.
    is_kept: bool,
}

/// What is in force under a table's name.
struct InForce {
    digest: Text,
    /// The generation since which it is; after a start, the one that was found.
    generation: u64,
    table: Option<Arc<Table>>,
    /// When the source last said that it is right.
    confirmed_at: Option<SystemTime>,
}

/// Where the last look left an offer.
#[derive(Clone, Default, PartialEq)]
enum Standing {
    /// It was given to the rules, or there is none.
    #[default]
    Given,
    /// A later look takes it.
    Waits,
    /// It may not be taken.
    Refused(Problem),
}

/// What came of asking a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Other content.
    Changed,
    /// The same content.
    Unchanged,
    /// No content.
    Failed,
    /// Content that is no table, or too large.
    Refused,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Outcome; 4] = [Outcome::Changed, Outcome::Unchanged, Outcome::Failed, Outcome::Refused];

    /// As a label.
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Changed => "changed",
            Outcome::Unchanged => "unchanged",
            Outcome::Failed => "failed",
            Outcome::Refused => "refused",
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tables {
    /// Those of the configuration. Contents are put among `modules`, from which `engine` reads.
    pub fn new(config: &Config, engine: Engine, modules: ModuleFiles) -> Tables {
        let sources = config.tables.iter().map(|(name, table)| Source::new(Text::new(name), table.clone())).collect();
        Tables(Arc::new(Inner {
            sources,
            engine,
            modules,
            bytes_max: config.limits.tables_size.as_usize(),
            swap_every: SWAP_EVERY,
            looks: Mutex::default(),
            begun: AtomicU64::new(0),
            ended: watch::Sender::new(0),
            wake: Notify::new(),
        }))
    }

    /// As fast as looks come.
    #[cfg(test)]
    pub fn swapping_at_once(self) -> Tables {
        let mut inner = Arc::try_unwrap(self.0).unwrap_or_else(|_| panic!("no clone yet"));
        inner.swap_every = Duration::ZERO;
        Tables(Arc::new(inner))
    }

    /// A look begins: the tables to check and run rules with. What cannot be taken now is as it is in `in_force`. `at` says how old
    /// files are. Reads and writes files.
    pub fn now(&self, in_force: &RuleSet, at: SystemTime) -> Now {
        let mut looks = lock(&self.0.looks);
        self.0.begun.fetch_add(1, Relaxed);
        looks.settling.begin(at, in_force.generation == 0);
        looks.generation = in_force.generation;
        looks.due = looks.last_swap.map(|swap| swap + self.0.swap_every).filter(|due| *due > Instant::now());
        let mut now = Now::default();
        let mut standing: Vec<Option<Offer>> = Vec::with_capacity(self.0.sources.len());
        for source in &self.0.sources {
            let is_unsettled = source.is_file() && self.look_at_file(source, &mut looks.settling, at);
            now.is_unsettled |= is_unsettled;
            standing.push(self.standing(source, in_force, &mut looks));
            source.state().standing = if is_unsettled { Standing::Waits } else { Standing::Given };
        }
        let mut is_put_off = false;
        for (at, source) in self.0.sources.iter().enumerate() {
            let offer = source.state().offer.clone().filter(|offer| standing[at].as_ref().is_none_or(|stands| stands.digest != offer.digest));
            match offer {
                None => {}
                Some(_) if looks.due.is_some() => {
                    is_put_off = true;
                    source.state().standing = Standing::Waits;
                }
                Some(offer) => match self.take(source, offer, at, &standing) {
                    Ok(taken) => standing[at] = Some(taken),
                    Err(problem) => {
                        source.state().standing = Standing::Refused(problem.clone());
                        now.problems.push(problem);
                    }
                },
            }
            let state = source.state();
            match &standing[at] {
                Some(offer) => now.set.put(&source.name, &offer.digest, offer.table.clone()),
                // One that is being written is nothing to speak of as long as its last version stands in.
                None if state.standing == Standing::Waits && state.problem.is_none() && looks.due.is_none() => {
                    now.problems.push(source.problem(CHANGING, "the file is being written; it is taken when it is at rest"));
                }
                None => {}
            }
            now.problems.extend(state.problem.clone());
        }
        now.problems.extend(looks.settling.restless().filter_map(|path| {
            let source = self.0.sources.iter().find(|source| source.config.file == path)?;
            Some(source.problem(CHANGING, crate::rules_folder::NOT_AT_REST))
        }));
        if !is_put_off {
            looks.due = None;
        }
        now.is_unsettled |= is_put_off;
        now
    }

    /// A look came to its end, and `in_force` is what is in force now.
    pub fn looked(&self, in_force: &RuleSet) {
        let mut looks = lock(&self.0.looks);
        looks.in_force.retain(|known, _| in_force.tables.iter().any(|(_, digest)| digest == known));
        let mut is_swap = false;
        for source in &self.0.sources {
            is_swap |= self.in_force_now(source, in_force, None);
            let mut state = source.state();
            let held_back = state.standing == Standing::Given
                && state.offer.as_ref().is_some_and(|offer| in_force.tables.iter().all(|(name, digest)| *name != source.name || *digest != offer.digest));
            if held_back {
                let why = "what changed is not used yet: a rule cannot run with it; the list of rules says which and why";
                state.standing = Standing::Refused(source.problem(TABLE_HELD_BACK, why));
            }
        }
        // What a start finds is no swap.
        if is_swap && looks.settling.looks() > 0 && in_force.generation > looks.generation {
            looks.last_swap = Some(Instant::now());
        }
        self.0.ended.send_replace(looks.settling.looks());
    }

    /// Comes back when a look is worth it, because a table has changed or may be swapped now.
    pub async fn changed(&self) {
        let due = lock(&self.0.looks).due;
        let is_due = async {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.0.wake.notified() => {}
            () = is_due => {}
        }
    }

    /// A table of the generation in force; read once.
    pub fn in_force(&self, digest: &Text) -> Option<Arc<Table>> {
        self.of_generation(digest, &mut lock(&self.0.looks))
    }

    /// Digests that a later look may ask for without putting their content among the modules again.
    pub fn held(&self) -> BTreeSet<Text> {
        let offers = self.0.sources.iter().filter_map(|source| source.state().offer.clone()).filter(|offer| offer.is_kept).map(|offer| offer.digest);
        let mut held: BTreeSet<Text> = offers.collect();
        held.extend(lock(&self.0.looks).in_force.keys().cloned());
        held
    }

    fn of_generation(&self, digest: &Text, looks: &mut Looks) -> Option<Arc<Table>> {
        if let Some(table) = looks.in_force.get(digest) {
            return Some(table.clone());
        }
        let table = self.0.engine.table(digest).ok()?;
        looks.in_force.insert(digest.clone(), table.clone());
        Some(table)
    }

    /// What is in force under a table's name, and can be read.
    fn standing(&self, source: &Source, in_force: &RuleSet, looks: &mut Looks) -> Option<Offer> {
        let (_, digest) = in_force.tables.iter().find(|(name, _)| *name == source.name)?;
        let offer = source.state().offer.clone().filter(|offer| offer.digest == *digest);
        let found = match offer {
            Some(offer) => Some(offer),
            None => self.of_generation(digest, looks).map(|table| Offer { digest: digest.clone(), table, is_kept: true }),
        };
        self.in_force_now(source, in_force, found.as_ref().map(|offer| &offer.table));
        found
    }

    /// Notes what is in force under a table's name; whether that is another content than before.
    fn in_force_now(&self, source: &Source, in_force: &RuleSet, table: Option<&Arc<Table>>) -> bool {
        let digest = in_force.tables.iter().find(|(name, _)| *name == source.name).map(|(_, digest)| digest);
        let mut state = source.state();
        let offer = state.offer.clone().filter(|offer| Some(&offer.digest) == digest);
        let table = table.or(offer.as_ref().map(|offer| &offer.table)).cloned();
        if let Some(known) = state.in_force.as_mut().filter(|known| Some(&known.digest) == digest) {
            known.table = table.or(known.table.take());
            return false;
        }
        let Some(digest) = digest.cloned() else { return state.in_force.take().is_some() };
        // Who has not asked since the start knows that it was right when it was kept.
        let confirmed_at = if offer.is_some() { state.checked_at } else { self.0.modules.kept_at(&digest) };
        state.in_force = Some(InForce { digest, generation: in_force.generation, table, confirmed_at });
        true
    }

    /// Puts an offer among the modules, if all tables together have room for it.
    fn take(&self, source: &Source, offer: Offer, at: usize, standing: &[Option<Offer>]) -> Result<Offer, Problem> {
        let others = standing.iter().enumerate().filter(|(other, _)| *other != at).filter_map(|(_, stands)| Some(stands.as_ref()?.table.bytes()));
        let (sum, largest) = others.fold((0, 0), |(sum, largest): (usize, usize), bytes| (sum + bytes, largest.max(bytes)));
        let bytes = offer.table.bytes();
        let needed = sum + bytes + largest.max(bytes);
        if needed > self.0.bytes_max {
            let why = format!("all tables would take {needed} bytes, the largest one counted twice; limits.tables_size is {}", self.0.bytes_max);
            return Err(source.problem(TableRefusal::TooLarge(String::new()).code(), &why));
        }
        if !offer.is_kept {
            self.0.modules.put(&offer.table.to_csv()).map_err(|e| source.problem(NOT_KEPT, &e.to_string()))?;
        }
        self.0.engine.share_table(&offer.digest, &offer.table);
        // Another one may have come meanwhile.
        if let Some(known) = source.state().offer.as_mut().filter(|known| known.digest == offer.digest) {
            known.is_kept = true;
        }
        Ok(Offer { is_kept: true, ..offer })
    }
}

impl Source {
    fn new(name: Text, config: config::Table) -> Source {
        let shown = if config.url.is_empty() { config.file.display().to_string() } else { url::shown(&config.url) };
        let (asks, asked) = mpsc::channel(64);
        Source { name, config, shown, asks, asked: Mutex::new(Some(asked)), tried: watch::Sender::new(false), state: Mutex::default() }
    }

    fn is_file(&self) -> bool {
        self.config.url.is_empty()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn problem(&self, code: &str, why: &str) -> Problem {
        Problem { file: PathBuf::from(&self.shown), name: self.name.to_string(), code: code.to_owned(), message: format!("table `{}`: {why}", self.name) }
    }

    /// Whether what a source said is a table within its limits.
    fn parse(&self, content: &[u8]) -> Result<Offer, Problem> {
        let format = match self.config.format {
            Wanted::Auto => None,
            Wanted::Csv => Some(TableFormat::Csv),
            Wanted::Json => Some(TableFormat::Json),
            Wanted::Ndjson => Some(TableFormat::Ndjson),
        };
        let limits = TableLimits { rows_max: self.config.rows_max as usize, bytes_max: self.config.size_max.as_usize() };
        let table = Table::read(content, Some(&self.config.key), format, limits).map_err(|why| self.problem(why.code(), &why.to_string()))?;
        // Kept in a form that says itself which column is the key, so that a replay needs no configuration.
        Ok(Offer { digest: Text::from(digest(&table.to_csv())), table: Arc::new(table), is_kept: false })
    }
}

impl State {
    /// Notes what came of asking the source: `None` is what was there before.
    fn heard(&mut self, said: Result<Option<Offer>, Problem>, at: SystemTime) -> Outcome {
        let outcome = match said {
            Err(problem) => {
                let is_refused = problem.code == TableRefusal::Invalid(String::new()).code() || problem.code == TableRefusal::TooLarge(String::new()).code();
                self.problem = Some(problem);
                if is_refused { Outcome::Refused } else { Outcome::Failed }
            }
            Ok(offer) => {
                self.problem = None;
                let known = self.offer.as_ref().map(|known| &known.digest).or(self.in_force.as_ref().map(|known| &known.digest));
                let is_changed = offer.as_ref().is_some_and(|offer| known != Some(&offer.digest));
                if is_changed {
                    self.fetched_at = Some(at);
                }
                // Of two that are the same the known one stays: it is kept, and shared.
                if let Some(offer) = offer.filter(|offer| self.offer.as_ref().is_none_or(|known| known.digest != offer.digest)) {
                    let shared = self.in_force.as_ref().filter(|known| known.digest == offer.digest).and_then(|known| known.table.clone());
                    self.offer = Some(Offer { table: shared.unwrap_or(offer.table), ..offer });
                }
                self.confirm(at);
                if is_changed { Outcome::Changed } else { Outcome::Unchanged }
            }
        };
        self.checked_at = Some(at);
        self.outcomes[outcome as usize] += 1;
        outcome
    }

    /// The source says what it said before.
    fn confirm(&mut self, at: SystemTime) {
        self.checked_at = Some(at);
        let offer = self.offer.as_ref().map(|offer| &offer.digest);
        if let Some(in_force) = self.in_force.as_mut().filter(|in_force| Some(&in_force.digest) == offer) {
            in_force.confirmed_at = Some(at);
        }
    }
}
