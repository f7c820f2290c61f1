//! The one place that begins generations.
//!
//! A change is *checked* outside of any lock: that its module compiles and takes its options may last seconds. It is *decided*
//! under one lock, in milliseconds: is the slot still as the caller saw it, what is the next set, can it be opened. Then it is
//! one record. Decisions rest on the last set that was begun; while the records of the last process are read nobody knows
//! which one that is, so nothing is decided.

use super::slots::{self, Offers, What};
use super::version;
use crate::doors::refused_by_journal;
use crate::http::{Problem, ProblemCode};
use crate::rules_folder::{Look, RulesFolder, is_enabled};
use alertmill_core::ports::{Appended, Journal, PortError};
use alertmill_core::record::RecordBody;
use alertmill_core::rule_set::{Change, RuleEntry, RuleSet};
use alertmill_core::rules::Generation;
use alertmill_core::value::Text;
use alertmill_core::version_change::{VersionChange, VersionSignature};
use alertmill_engine::{Engine, LoadedRule, RuleInfo};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// What one set may have, so that its record stays small enough for any journal.
const RULES_MAX: usize = 256;
const SET_BYTES_MAX: usize = 4 << 20;
/// Where versions come from that the rules folder brought.
const FOLDER: &str = "folder";

/// What the API shows of the rules.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// The last generation that was begun.
    pub set: RuleSet,
    /// What its modules are, as far as this process has read them.
    pub infos: Vec<RuleInfo>,
    /// What of the folder is not used, and why.
    pub problems: Vec<crate::rules_folder::Problem>,
    /// Whether the last look left out what is being written.
    pub is_unsettled: bool,
    /// What the files ask for: name, version, digest.
    pub offers: Vec<(Text, Text, Text)>,
    /// The generation in which each slot last changed.
    changed_in: BTreeMap<Text, Generation>,
}

impl Shown {
    /// The slot's tag: another one after each change of it.
    pub fn etag(&self, name: &str) -> Option<String> {
        self.changed_in.get(name).map(|generation| format!("\"g{generation}\""))
    }

    fn put(&mut self, set: RuleSet) {
        for slot in &set.rules {
            if !self.set.rules.contains(slot) || !self.changed_in.contains_key(&slot.name) {
                self.changed_in.insert(slot.name.clone(), set.generation);
            }
        }
        self.changed_in.retain(|name, _| set.rules.iter().any(|slot| slot.name == *name));
        self.set = set;
    }
}

/// What is asked of the keeper.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Of which rule.
    pub rule: Text,
    /// What.
    pub what: What,
    /// Only if.
    pub only_if: Condition,
    /// By whom.
    pub who: Who,
}

/// Who asks, for the audit. The name is what the caller says.
#[derive(Clone, Debug, Default)]
pub struct Who {
    /// Name; empty for what the server does by itself.
    pub operator: Text,
    /// Address; empty for what the server does by itself.
    pub address: Text,
    /// Why.
    pub comment: Text,
}

/// How the slot must be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// As it is.
    #[default]
    Any,
    /// It has one of these tags.
    Tags(Vec<String>),
    /// It is there.
    Exists,
    /// It is not there.
    Missing,
}

/// What came of a change.
#[derive(Clone, Debug)]
pub struct Changed {
    /// The set in force, or, of what was only tried, the one that would be.
    pub set: RuleSet,
    /// Whether it is another one than before.
    pub is_changed: bool,
    /// The slot before.
    pub before: Option<RuleEntry>,
    /// The slot after.
    pub after: Option<RuleEntry>,
    /// What the version after is, if it was loaded for this.
    pub info: Option<RuleInfo>,
}

/// Begins generations, and knows the last one. See the module.
pub struct RuleKeeper {
    /// Held for a whole look. Taken before `deciding`.
    looking: tokio::sync::Mutex<RulesFolder>,
    deciding: tokio::sync::Mutex<Deciding>,
    engine: Engine,
    /// Whoever reads it keeps it as it was.
    shown: Mutex<Arc<Shown>>,
    is_replayed: AtomicBool,
    /// Versions that have a record, by name and digest, with the digest of the file of their signature; empty without one.
    known: Mutex<BTreeMap<(Text, Text), Text>>,
    opened: watch::Sender<Generation>,
}

/// What is decided under the lock.
#[derive(Default)]
struct Deciding {
    /// The last number under which a record was written, or may have been.
    spent: Generation,
    /// What such records named, as long as the state is not known to have them.
    begun: Vec<RuleSet>,
}

impl RuleKeeper {
    /// Goes on from `latest`, the last generation in the state.
    pub fn new(folder: RulesFolder, engine: Engine, latest: RuleSet) -> RuleKeeper {
        folder.tables().looked(&latest);
        let mut shown = Shown::default();
        shown.put(latest);
        RuleKeeper {
            looking: tokio::sync::Mutex::new(folder),
            deciding: tokio::sync::Mutex::default(),
            engine,
            shown: Mutex::new(Arc::new(shown)),
            is_replayed: AtomicBool::new(false),
            known: Mutex::default(),
            opened: watch::Sender::new(0),
        }
    }

    /// The journal has a generation: one of the last process, or one whose append was not answered.
    pub fn begins(&self, set: &RuleSet) {
        let mut shown = self.lock();
        if set.generation > shown.set.generation {
            Arc::make_mut(&mut shown).put(set.clone());
        }
    }

    /// The records of the last process are read, and these versions are known by them: from here on changes are taken.
    pub fn is_replayed<'v>(&self, known: impl IntoIterator<Item = &'v VersionChange>) {
        known.into_iter().for_each(|version| self.knows(version));
        self.is_replayed.store(true, Relaxed);
    }

    /// Whether it was told.
    pub fn has_versions(&self) -> bool {
        self.is_replayed.load(Relaxed)
    }

    /// Whether a version came with a signature that was good; none of one that has no record.
    pub fn is_signed(&self, name: &Text, digest: &Text) -> Option<bool> {
        self.versions().get(&(name.clone(), digest.clone())).map(|signature| !signature.is_empty())
    }

    /// A version has a record that it came.
    pub fn knows(&self, change: &VersionChange) {
        self.versions().insert((change.name.clone(), change.digest.clone()), signature_of(change.signature.as_ref()));
    }

    /// Writes the record that a version goes, if it [may](RuleKeeper::may_go); from then on nobody lets it run.
    pub async fn remove_version(&self, journal: &impl Journal, change: VersionChange) -> Result<Appended, Problem> {
        // Nobody who saw it there decides meanwhile.
        let _deciding = self.deciding.lock().await;
        self.may_go(&change)?;
        let version = (change.name.clone(), change.digest.clone());
        let appended = journal.append(RecordBody::RuleVersion(change), None).await.map_err(refused_by_journal)?;
        self.versions().remove(&version);
        Ok(appended)
    }

    /// Refuses that a version goes which runs or is the one to roll back to.
    pub fn may_go(&self, change: &VersionChange) -> Result<(), Problem> {
        self.knows_the_last()?;
        let VersionChange { name, version, digest, .. } = change;
        match self.lock().set.rules.iter().any(|slot| slot.name == *name && slot.digests().any(|used| used == digest)) {
            true => Err(ProblemCode::InUse.problem(format!("version {version} (sha256:{digest}) runs or is the one to roll back to; activate others first"))),
            false => Ok(()),
        }
    }

    /// Refuses while nobody knows which set is the last.
    fn knows_the_last(&self) -> Result<(), Problem> {
        let replaying = || ProblemCode::Replaying.problem("the records of the last process are being read; try again in a moment");
        if self.has_versions() { Ok(()) } else { Err(replaying()) }
    }

    /// What to show.
    pub fn shown(&self) -> Arc<Shown> {
        self.lock().clone()
    }

    /// The first half has opened a generation: what it reads from here on is judged by it.
    pub fn has_opened(&self, generation: Generation) {
        self.opened.send_if_modified(|newest| std::mem::replace(newest, generation.max(*newest)) < generation);
    }

    /// Comes back when a generation is opened.
    pub async fn opened(&self, generation: Generation) {
        let _ = self.opened.subscribe().wait_for(|newest| *newest >= generation).await;
    }

    /// Looks at folder and tables, and begins a generation if they ask for other rules or tables than the last one has. Gives its
    /// number. Reads files and compiles: call it where waiting is fine.
    pub async fn look(&self, journal: &impl Journal) -> Result<Option<Generation>, PortError> {
        let mut folder = self.looking.lock().await;
        let latest = self.lock().set.clone();
        let (offers, tables) = self.say(folder.look(&latest));
        self.record_versions(journal, &offers).await?;
        let mut deciding = self.deciding.lock().await;
        // Somebody may have changed it while the look compiled.
        let before = self.lock().set.clone();
        let rules = slots::with_offers(&before.rules, &offers);
        // The very first generation is begun even when it is empty: every event then has one.
        if rules == before.rules && tables == before.tables && before.generation > 0 {
            folder.tables().looked(&before);
            return Ok(None);
        }
        let change = slots::change_by_look(&before, &rules);
        let set = self.begin(&mut deciding, journal, RuleSet { generation: 0, change, rules, tables }).await?;
        folder.tables().looked(&set);
        Ok(Some(set.generation))
    }

    /// What the folder offers is a version like any other: it can be activated again when the file is gone.
    async fn record_versions(&self, journal: &impl Journal, offers: &Offers) -> Result<(), PortError> {
        let shown = self.shown();
        for offer in &offers.files {
            let slots::Offer::Whole(entry) = offer else { continue };
            let info = shown.infos.iter().find(|info| info.digest == entry.digest);
            let signature = offers.signatures.iter().find(|(digest, _)| *digest == entry.digest).map(|(_, signature)| signature.clone());
            let known = self.versions().get(&(entry.name.clone(), entry.digest.clone())).cloned();
            // What was there before anybody signed it, or what a key signed that counts no more, may be signed anew.
            let is_known = known.is_some_and(|known| signature.is_none() || known == signature_of(signature.as_ref()));
            if let Some(info) = info.filter(|_| !is_known) {
                let change = version::came(info, Who::default(), FOLDER, signature);
                journal.append(RecordBody::RuleVersion(change.clone()), None).await?;
                self.knows(&change);
            }
        }
        Ok(())
    }

    /// Changes a slot. Compiles, and runs the rule's `init`: call it where waiting is fine, and see it through.
    pub async fn change(&self, journal: &impl Journal, ask: &Ask) -> Result<Changed, Problem> {
        // Until it is in the set, so that nothing is compiled under the lock.
        let loaded = self.check(ask)?;
        let mut deciding = self.deciding.lock().await;
        let mut changed = self.decide(ask)?;
        changed.info = loaded.map(|rule| rule.info().clone());
        if changed.is_changed {
            let operator = ask.who.operator.as_str();
            changed.set = self.begin(&mut deciding, journal, changed.set).await.map_err(refused_by_journal)?;
            tracing::info!(rule = %ask.rule, action = ask.what.action().as_str(), operator, "a rule was changed");
            let mut shown = self.lock();
            let is_new = |info: &RuleInfo| shown.infos.iter().all(|known| known.digest != info.digest);
            if let Some(info) = changed.info.clone().filter(is_new) {
                Arc::make_mut(&mut shown).infos.push(info);
            }
        }
        Ok(changed)
    }

    /// What [`change`](RuleKeeper::change) would do; nothing is begun.
    pub fn try_change(&self, ask: &Ask) -> Result<Changed, Problem> {
        let loaded = self.check(ask)?;
        let mut changed = self.decide(ask)?;
        changed.info = loaded.map(|rule| rule.info().clone());
        changed.set.generation = self.lock().set.generation + u64::from(changed.is_changed);
        Ok(changed)
    }

    /// That what is to run can run.
    fn check(&self, ask: &Ask) -> Result<Option<LoadedRule>, Problem> {
        let Changed { set, after: Some(after), before, .. } = self.decide(ask)? else { return Ok(None) };
        let runs_already = before.is_some_and(|before| before.running() == after.running() && is_enabled(&before));
        if runs_already || !is_enabled(&after) {
            return Ok(None);
        }
        self.engine.bind(&set, &after).map(Some).map_err(|why| ProblemCode::Rule(why.code()).problem(format!("rule `{}`: {why}", ask.rule)))
    }

    /// What the set in force becomes.
    fn decide(&self, ask: &Ask) -> Result<Changed, Problem> {
        self.knows_the_last()?;
        // It was there when the caller looked for it.
        if let Some(named) = ask.what.names().filter(|named| !self.versions().contains_key(&(ask.rule.clone(), named.digest.clone()))) {
            let why = format!("version {} (sha256:{}) of rule `{}` is removed; upload it again", named.version, named.digest, ask.rule);
            return Err(ProblemCode::NotFound.problem(why));
        }
        let shown = self.shown();
        let of = |rules: &[RuleEntry]| rules.iter().find(|slot| slot.name == ask.rule).cloned();
        let before = of(&shown.set.rules);
        holds(ask, shown.etag(&ask.rule))?;
        let rules = slots::changed(&shown.set.rules, &ask.rule, &ask.what)?;
        let (is_changed, after) = (rules != shown.set.rules, of(&rules));
        let digest = |slot: &Option<RuleEntry>| slot.as_ref().map(|slot| slot.digest.clone()).unwrap_or_default();
        let Who { operator, address, comment } = ask.who.clone();
        let (from, to) = (digest(&before), digest(&after));
        let change = Change { action: ask.what.action(), object: ask.rule.clone(), from, to, operator, address, comment };
        let set = RuleSet { generation: 0, change, rules, tables: shown.set.tables.clone() };
        if set.rules.len() > RULES_MAX || set.size_bytes() > SET_BYTES_MAX {
            let why = format!("all rules together may be {RULES_MAX} with {SET_BYTES_MAX} bytes of options; remove some");
            return Err(ProblemCode::Rule("rule-set-too-large").problem(why));
        }
        Ok(Changed { set, is_changed, before, after, info: None })
    }

    /// Writes the record of the next generation. Gives the set with its number.
    async fn begin(&self, deciding: &mut Deciding, journal: &impl Journal, mut set: RuleSet) -> Result<RuleSet, PortError> {
        let generation = self.lock().set.generation.max(deciding.spent) + 1;
        set.generation = generation;
        self.engine.register(set.clone());
        self.engine.prepare(generation).map_err(|e| PortError::Unavailable(e.to_string()))?;
        // Spent before it is known: when the answer is lost the record may be there, and one number is one set. A gap harms nobody.
        deciding.spent = generation;
        deciding.begun.push(set.clone());
        if let Err(error) = journal.append(RecordBody::RuleSet(set.clone()), None).await {
            if error.changed_nothing() {
                deciding.spent = generation - 1;
                deciding.begun.pop();
            }
            return Err(error);
        }
        tracing::info!(generation, rules = set.rules.len(), "rule-set generation begun");
        self.begins(&set);
        Ok(set)
    }

    /// Calls `work` while nothing is put among the modules, with the digests that looks and the generations behind the state's
    /// newest one name. Blocks; not for async code.
    pub fn between_looks<T>(&self, newest_in_state: Generation, work: impl FnOnce(&BTreeSet<Text>) -> T) -> T {
        let folder = self.looking.blocking_lock();
        let mut deciding = self.deciding.blocking_lock();
        deciding.begun.retain(|set| set.generation > newest_in_state);
        let mut held = folder.held();
        let shown = self.shown();
        for set in deciding.begun.iter().chain([&shown.set]) {
            held.extend(set.rules.iter().flat_map(RuleEntry::digests).chain(set.tables.iter().map(|(_, digest)| digest)).cloned());
        }
        work(&held)
    }

    /// Logs problems that are new and keeps what the look found for the API. Gives what it asks for.
    fn say(&self, look: Look) -> (Offers, Vec<(Text, Text)>) {
        let mut shown = self.lock();
        let shown = Arc::make_mut(&mut shown);
        for problem in &look.problems {
            if !shown.problems.contains(problem) {
                tracing::error!(file = %problem.file.display(), rule = problem.name, code = problem.code, "{}", problem.message);
            }
        }
        shown.is_unsettled = look.is_unsettled;
        shown.problems = look.problems;
        shown.infos = look.infos;
        let whole = |offer: &slots::Offer| match offer {
            slots::Offer::Whole(entry) => Some((entry.name.clone(), entry.version.clone(), entry.digest.clone())),
            slots::Offer::Kept(_) => None,
        };
        shown.offers = look.offers.files.iter().filter_map(whole).collect();
        (look.offers, look.tables)
    }

    fn versions(&self) -> MutexGuard<'_, BTreeMap<(Text, Text), Text>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Shown>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn signature_of(signature: Option<&VersionSignature>) -> Text {
    signature.map(|signature| signature.digest.clone()).unwrap_or_default()
}

/// Whether the slot is as the caller wants it to be.
fn holds(ask: &Ask, etag: Option<String>) -> Result<(), Problem> {
    let stale = |why: String| Err(ProblemCode::Stale.problem(why));
    match (&ask.only_if, etag) {
        (Condition::Any, _) | (Condition::Exists, Some(_)) | (Condition::Missing, None) => Ok(()),
        (Condition::Tags(tags), Some(etag)) if tags.contains(&etag) => Ok(()),
        (Condition::Tags(_), Some(etag)) => stale(format!("rule `{}` was changed meanwhile: its ETag is {etag} now; look at it, and decide again", ask.rule)),
        (Condition::Missing, Some(_)) => stale(format!("there is a rule `{}` already", ask.rule)),
        (Condition::Tags(_) | Condition::Exists, None) => stale(format!("there is no rule `{}`", ask.rule)),
    }
}
