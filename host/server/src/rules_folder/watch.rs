//! The switch: a look that asks for other rules becomes the next generation's record. Between two looks nothing changes.

use super::{Look, Problem, RulesFolder};
use alertmill_core::ports::{Journal, PortError};
use alertmill_core::record::{RecordBody, RuleSet};
use alertmill_core::rules::Generation;
use alertmill_core::value::Text;
use alertmill_engine::{Engine, RuleInfo};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the API shows of the rules.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// The last generation that was begun.
    pub set: RuleSet,
    /// What its modules are, as far as this process has read them.
    pub infos: Vec<RuleInfo>,
    /// What is not used, and why.
    pub problems: Vec<Problem>,
    /// Whether the last look left out what is being written.
    pub is_unsettled: bool,
}

/// Looks at the folder and begins generations.
pub struct RulesWatch {
    /// Held for a whole look: two at once would begin two generations of one number.
    looking: tokio::sync::Mutex<Looking>,
    engine: Engine,
    shown: Arc<Mutex<Shown>>,
}

/// What a look needs.
struct Looking {
    folder: RulesFolder,
    /// The last number under which a record was written, or may have been.
    spent: Generation,
    /// What such records named, as long as the state is not known to have them.
    begun: Vec<RuleSet>,
}

impl RulesWatch {
    /// A watch that goes on from `latest`, the last generation in the journal.
    pub fn new(folder: RulesFolder, engine: Engine, latest: RuleSet) -> RulesWatch {
        let shown = Shown { set: latest, ..Shown::default() };
        RulesWatch { looking: tokio::sync::Mutex::new(Looking { folder, spent: 0, begun: Vec::new() }), engine, shown: Arc::new(Mutex::new(shown)) }
    }

    /// The journal began a generation that an earlier process wrote.
    pub fn begins(&self, set: &RuleSet) {
        let mut shown = self.lock();
        if set.generation > shown.set.generation {
            shown.set = set.clone();
        }
    }

    /// What to show.
    pub fn shown(&self) -> Shown {
        self.lock().clone()
    }

    /// Looks once, and begins a generation if rules or tables differ from the last one. Gives its number. Reads files and
    /// compiles: call it where waiting is fine.
    pub async fn look(&self, journal: &impl Journal) -> Result<Option<Generation>, PortError> {
        let mut looking = self.looking.lock().await;
        let before = self.lock().set.clone();
        let look = looking.folder.look(&before);
        let differs = look.differs_from(&before);
        let generation = before.generation.max(looking.spent) + 1;
        // The very first generation is begun even when it is empty: every event then has one.
        let next =
            (differs || before.generation == 0).then(|| RuleSet { generation, rules: look.rules.clone(), tables: look.tables.clone(), ..RuleSet::default() });
        self.say(look);
        let Some(set) = next else { return Ok(None) };
        self.engine.register(set.clone());
        self.engine.prepare(set.generation).map_err(|e| PortError::Unavailable(e.to_string()))?;
        // Spent before it is known: when the answer is lost the record may be there, and one number is one set. A gap harms nobody.
        looking.spent = generation;
        looking.begun.push(set.clone());
        if let Err(error) = journal.append(RecordBody::RuleSet(set.clone()), None).await {
            if error.changed_nothing() {
                looking.spent = generation - 1;
                looking.begun.pop();
            }
            return Err(error);
        }
        tracing::info!(generation, rules = set.rules.len(), "rule-set generation begun");
        self.lock().set = set;
        Ok(Some(generation))
    }

    /// Calls `work` while no look runs, so that nothing is put among the modules meanwhile, with the digests that looks and the
    /// generations behind the state's newest one name. Blocks; not for async code.
    pub fn between_looks<T>(&self, newest_in_state: Generation, work: impl FnOnce(&BTreeSet<Text>) -> T) -> T {
        let mut looking = self.looking.blocking_lock();
        looking.begun.retain(|set| set.generation > newest_in_state);
        let mut held = looking.folder.held();
        let shown = self.lock().set.clone();
        for set in looking.begun.iter().chain([&shown]) {
            held.extend(set.rules.iter().map(|rule| &rule.digest).chain(set.tables.iter().map(|(_, digest)| digest)).cloned());
        }
        work(&held)
    }

    /// Logs problems that are new and keeps what the look found for the API.
    fn say(&self, look: Look) {
        let mut shown = self.lock();
        for problem in &look.problems {
            if !shown.problems.contains(problem) {
                tracing::error!(file = %problem.file.display(), rule = problem.name, code = problem.code, "{}", problem.message);
            }
        }
        shown.is_unsettled = look.is_unsettled;
        shown.problems = look.problems;
        shown.infos = look.infos;
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
