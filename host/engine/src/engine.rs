//! The engine as the rest of the process sees it: look at a module, load it, register generations, open chains.

use crate::cache::{CodeCache, LoadStats, Loader};
use crate::chain::{Alerts, Chain, Placed};
use crate::compile::{Compile, InProcess};
use crate::failure::{CallFailure, FailureKind};
use crate::limits::Limits;
use crate::manifest::RuleInfo;
use crate::options::RuleOptions;
use crate::refusal::Refusal;
use crate::rule::{Compiled, Rule, digest_of};
use crate::runtime::Runtime;
use crate::standing::{Standing, Standings, Struck};
use crate::stats::RuleStatsSnapshot;
use crate::tables::{Granted, LookUps, Table, TableRefusal};
use alertmill_core::rule_set::{RuleEntry, RuleSet, RuleVersion};
use alertmill_core::rules::{AlertChain, Generation, RuleChain, RuleSetUnavailable, RuleSets};
use alertmill_core::value::Text;
use alertmill_core::verdict::Policy;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

/// Compiled modules kept although no rule uses them, a few megabytes each.
const COMPILED_MAX: usize = 64;

/// Files of modules and tables by digest, as the data folder keeps them.
pub trait Contents: Send + Sync {
    /// The bytes whose SHA-256 is `digest`, 64 hex digits. `Err` says what is wrong with the file.
    fn read(&self, digest: &str) -> Result<Vec<u8>, String>;
}

impl<F: Fn(&str) -> Result<Vec<u8>, String> + Send + Sync> Contents for F {
    fn read(&self, digest: &str) -> Result<Vec<u8>, String> {
        self(digest)
    }
}

/// The engine could not be set up on this machine.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the rule engine cannot start: {0}")]
pub struct EngineUnavailable(String);

/// Runs rules. Cheap to clone; all clones, and all engines of the process, share one compiler and one clock.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    runtime: Runtime,
    contents: Box<dyn Contents>,
    loader: Loader,
    generations: Mutex<BTreeMap<Generation, Arc<Slot>>>,
    /// What is in use, and what was lately looked at: a module is inspected, then loaded, then perhaps in the next
    /// generation too, and is compiled once.
    compiled: Mutex<HashMap<Text, Arc<Compiled>>>,
    /// Who compiles what: at a start the rules folder and the prepare half want the same modules at the same moment.
    compiling: Mutex<HashMap<Text, Arc<Mutex<()>>>>,
    /// What some generation still holds.
    rules: Mutex<HashMap<RuleKey, Weak<Rule>>>,
    standings: Standings,
    tables: Mutex<HashMap<Text, Weak<Table>>>,
    /// By name of the table: a content that takes another's place goes on counting.
    look_ups: Mutex<BTreeMap<Text, Arc<LookUps>>>,
}

/// All that a loaded rule depends on.
#[derive(Clone, PartialEq, Eq, Hash)]
struct RuleKey {
    name: Text,
    digest: Text,
    config: Text,
    options: Text,
    /// Those that its manifest names, with their digests: what others read may change beside it.
    tables: Vec<(Text, Text)>,
}

/// A generation: its record, and its rules once somebody needed them.
struct Slot {
    set: RuleSet,
    rules: Mutex<Option<Arc<[Placed]>>>,
}

/// What a rule is loaded for.
enum Use {
    /// To be called: it is tried first.
    Called,
    /// Perhaps never to be called: a version that stands in, or a rule in quarantine. What is wrong with it shows at a call, and
    /// stops no generation.
    Spare,
}

impl Use {
    fn of(entry: &RuleEntry) -> Use {
        if entry.quarantine.is_none() { Use::Called } else { Use::Spare }
    }
}

/// Whoever compiles a module, or waits until another has.
struct Turn<'a> {
    compiling: &'a Mutex<HashMap<Text, Arc<Mutex<()>>>>,
    digest: Text,
    turn: Arc<Mutex<()>>,
}

/// The last one takes the turn out: others may wait on it, and who comes then must meet the same one. A panic is an end too.
impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut compiling = lock(self.compiling);
        // Ours and the map's: more are made only under this lock.
        if Arc::strong_count(&self.turn) == 2 {
            compiling.remove(&self.digest);
        }
    }
}

/// A rule that passed all checks, with what it is.
#[derive(Clone)]
pub struct LoadedRule(Arc<Rule>);

impl LoadedRule {
    /// What it is.
    pub fn info(&self) -> &RuleInfo {
        &self.0.info
    }

    pub(crate) fn into_rule(self) -> Arc<Rule> {
        self.0
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    /// An engine that finds modules and tables in `contents`, compiles in this process and keeps no code.
    pub fn new(contents: impl Contents + 'static) -> Result<Engine, EngineUnavailable> {
        Engine::with(contents, Box::new(InProcess), None)
    }

    /// An engine whose code comes from elsewhere.
    pub fn with(contents: impl Contents + 'static, compile: Box<dyn Compile>, cache: Option<Box<dyn CodeCache>>) -> Result<Engine, EngineUnavailable> {
        Ok(Engine(Arc::new(Inner {
            runtime: Runtime::get().map_err(EngineUnavailable)?,
            contents: Box::new(contents),
            loader: Loader::new(compile, cache),
            generations: Mutex::default(),
            compiled: Mutex::default(),
            compiling: Mutex::default(),
            rules: Mutex::default(),
            standings: Standings::default(),
            tables: Mutex::default(),
            look_ups: Mutex::default(),
        })))
    }

    /// What a module is, without config, grants or tables: for `rule inspect` and scanning `rules.d/`.
    pub fn inspect(&self, bytes: &[u8]) -> Result<RuleInfo, Refusal> {
        let limits = Limits::default();
        let compiled = self.compile(bytes, limits.memory_bytes)?;
        compiled.info(&limits).map(|(info, _)| info)
    }

    /// What a module is that is not to run: as [`Engine::inspect`], within its own limits and under the name that its file has.
    pub fn inspect_named(&self, bytes: &[u8], wanted_name: &str, options: &RuleOptions) -> Result<RuleInfo, Refusal> {
        self.named(bytes, wanted_name, options).inspect_err(|refusal| self.0.loader.refused(refusal))
    }

    fn named(&self, bytes: &[u8], wanted_name: &str, options: &RuleOptions) -> Result<RuleInfo, Refusal> {
        let compiled = self.compile(bytes, options.limits.memory_bytes)?;
        let (info, _) = compiled.info(&options.limits)?;
        if info.name != wanted_name {
            return Err(Refusal::NameDiffers { wanted: wanted_name.to_owned(), found: info.name.to_string() });
        }
        Ok(info)
    }

    /// What a module is, held against the grants and the config that it is to have: no table is looked for, and `init` is not called.
    pub fn inspect_with(&self, bytes: &[u8], options: &RuleOptions) -> Result<RuleInfo, Refusal> {
        let compiled = self.compile(bytes, options.limits.memory_bytes)?;
        compiled.fits(options).map(|(info, _)| info)
    }

    /// Checks a module as activating it would, and keeps it compiled for as long as the answer lives. `wanted_name` comes
    /// from the file name; `tables` are those configured.
    pub fn load(&self, bytes: &[u8], wanted_name: Option<&str>, options: &RuleOptions, tables: &[(Text, Arc<Table>)]) -> Result<LoadedRule, Refusal> {
        self.bound(bytes, wanted_name, options, tables).inspect_err(|refusal| self.0.loader.refused(refusal))
    }

    fn bound(&self, bytes: &[u8], wanted_name: Option<&str>, options: &RuleOptions, tables: &[(Text, Arc<Table>)]) -> Result<LoadedRule, Refusal> {
        let compiled = self.compile(bytes, options.limits.memory_bytes)?;
        // What a check looks up is nobody's.
        let granted = |(name, table): &(Text, Arc<Table>)| (name.clone(), Granted { table: table.clone(), look_ups: Arc::default() });
        let tables: HashMap<Text, Granted> = tables.iter().map(granted).collect();
        // A look at a module that runs has no log share of its own, and a look at any other leaves nothing behind.
        let standing = |info: &RuleInfo| self.0.standings.known(info).unwrap_or_else(|| Arc::new(Standing::new(info)));
        Rule::bind(compiled, wanted_name, options.clone(), &tables, standing).map(|rule| LoadedRule(Arc::new(rule)))
    }

    /// Binds one rule of a set that is not begun yet, with the set's tables. As long as the answer lives, the generation that
    /// names it finds it bound.
    pub fn bind(&self, set: &RuleSet, entry: &RuleEntry) -> Result<LoadedRule, Refusal> {
        let tables = self.tables_of(set)?;
        self.rule(set, &entry.name, &entry.running(), RuleOptions::from_entry(entry)?, &tables, Use::of(entry)).map(LoadedRule)
    }

    /// Makes a generation known; [`Engine::prepare`] or the first `open` loads it.
    pub fn register(&self, set: RuleSet) {
        let mut generations = lock(&self.0.generations);
        // Said again, as a replay does, it keeps what is loaded.
        if generations.get(&set.generation).is_none_or(|known| known.set != set) {
            generations.insert(set.generation, Arc::new(Slot { rules: Mutex::default(), set }));
        }
    }

    /// Loads a registered generation, so that opening it takes microseconds. The first refusal names its rule.
    pub fn prepare(&self, generation: Generation) -> Result<(), RuleSetUnavailable> {
        self.rules_of(generation).map(|_| ())
    }

    /// The rules of a set that is not begun, for a trial: what they do there counts nowhere and is held against nobody.
    pub fn trial(&self, set: &RuleSet) -> Result<Box<dyn RuleChain>, RuleSetUnavailable> {
        let rules = self.load_set(set).map_err(|why| RuleSetUnavailable { generation: set.generation, why })?;
        let apart: Vec<Placed> = rules.iter().map(Placed::apart).collect();
        Ok(Box::new(Chain::new(&apart)))
    }

    /// Forgets generations before this one. Chains that are open go on.
    pub fn retire_before(&self, generation: Generation) {
        let mut generations = lock(&self.0.generations);
        *generations = generations.split_off(&generation);
        let kept: Vec<Arc<Slot>> = generations.values().cloned().collect();
        drop(generations);
        lock(&self.0.rules).retain(|_, rule| rule.strong_count() > 0);
        let entries: HashSet<(&str, &str)> =
            kept.iter().flat_map(|slot| &slot.set.rules).flat_map(|entry| entry.digests().map(|digest| (entry.name.as_str(), digest.as_str()))).collect();
        self.0.standings.retain(Instant::now(), |name, digest| entries.contains(&(name, digest)));
        lock(&self.0.compiled).retain(|_, compiled| Arc::strong_count(compiled) > 1);
        lock(&self.0.tables).retain(|_, table| table.strong_count() > 0);
    }

    /// Counters of every module that some generation holds, one entry for each name that it has there.
    pub fn stats(&self) -> Vec<RuleStatsSnapshot> {
        let now = Instant::now();
        let rules: Vec<Arc<Rule>> = lock(&self.0.rules).values().filter_map(Weak::upgrade).collect();
        let mut all: Vec<RuleStatsSnapshot> = rules.iter().map(|rule| rule.standing.snapshot(now)).collect();
        all.sort_by(|a, b| (&a.rule, &a.digest).cmp(&(&b.rule, &b.digest)));
        // Several bindings of one module are counted together.
        all.dedup_by(|a, b| (&a.rule, &a.digest) == (&b.rule, &b.digest));
        all
    }

    /// Hits and misses of every table that a generation had since the process started, by name: one for each key that a rule
    /// looked up, also in a call that failed later.
    pub fn look_ups(&self) -> Vec<(Text, u64, u64)> {
        let count = |(name, look_ups): (&Text, &Arc<LookUps>)| {
            let (hits, misses) = look_ups.counts();
            (name.clone(), hits, misses)
        };
        lock(&self.0.look_ups).iter().map(count).collect()
    }

    /// What loading cost, and what was refused.
    pub fn load_stats(&self) -> LoadStats {
        self.0.loader.stats()
    }

    /// The fold had no room for a dedupe key of this rule: `limits.open_keys`.
    pub fn overflowed(&self, rule: &str) {
        self.0.standings.overflowed(rule, Instant::now());
    }

    /// Versions of rules that were put out for their failures and that no generation holds in quarantine yet. Asked again, it names
    /// them again until one does.
    pub fn struck(&self) -> Vec<Struck> {
        self.0.standings.struck(Instant::now())
    }

    pub(crate) fn compile(&self, bytes: &[u8], memory_bytes: u64) -> Result<Arc<Compiled>, Refusal> {
        let digest = digest_of(bytes);
        let turn = self.turn(digest.clone());
        // Whoever comes second waits, and finds it compiled.
        let _turn = lock(&turn.turn);
        self.compile_alone(digest, bytes, memory_bytes)
    }

    fn turn(&self, digest: Text) -> Turn<'_> {
        let turn = lock(&self.0.compiling).entry(digest.clone()).or_default().clone();
        Turn { compiling: &self.0.compiling, digest, turn }
    }

    fn compile_alone(&self, digest: Text, bytes: &[u8], memory_bytes: u64) -> Result<Arc<Compiled>, Refusal> {
        if let Some(known) = lock(&self.0.compiled).get(&digest) {
            return Ok(known.clone());
        }
        let compiled = Arc::new(Compiled::new(&self.0.runtime, &self.0.loader, digest.clone(), bytes, memory_bytes)?);
        let mut all = lock(&self.0.compiled);
        if all.len() >= COMPILED_MAX {
            all.retain(|_, compiled| Arc::strong_count(compiled) > 1);
        }
        all.insert(digest, compiled.clone());
        Ok(compiled)
    }

    fn rules_of(&self, generation: Generation) -> Result<Arc<[Placed]>, RuleSetUnavailable> {
        let unavailable = |why: String| RuleSetUnavailable { generation, why };
        let slot = lock(&self.0.generations).get(&generation).cloned();
        let slot = slot.ok_or_else(|| unavailable("no record of it was seen".to_owned()))?;
        // Held while it loads: workers that open the same generation wait for one compilation instead of doing their own.
        let mut rules = lock(&slot.rules);
        if let Some(rules) = &*rules {
            return Ok(rules.clone());
        }
        let loaded = self.load_set(&slot.set).map_err(unavailable)?;
        for Placed { rule, quarantine, .. } in loaded.iter() {
            rule.standing.strikes.quarantined(generation, quarantine.is_some());
        }
        Ok(rules.insert(loaded).clone())
    }

    /// The tables of a set, with the counters of their names.
    fn tables_of(&self, set: &RuleSet) -> Result<HashMap<Text, Granted>, Refusal> {
        let granted = |(name, digest): &(Text, Text)| {
            let table = self.table_or(digest, |why| Refusal::TableInvalid { name: name.to_string(), why: why.to_string() })?;
            let look_ups = lock(&self.0.look_ups).entry(name.clone()).or_default().clone();
            Ok((name.clone(), Granted { table, look_ups }))
        };
        set.tables.iter().map(granted).collect()
    }

    fn load_set(&self, set: &RuleSet) -> Result<Arc<[Placed]>, String> {
        let tables = self.tables_of(set).map_err(|e| e.to_string())?;
        let mut rules = Vec::with_capacity(set.rules.len());
        for entry in &set.rules {
            let why = |e: Refusal| format!("rule `{}` {} (sha256:{}): {}: {e}", entry.name, entry.version, entry.digest, e.code());
            let options = RuleOptions::from_entry(entry).map_err(why)?;
            // A disabled entry takes no name, before the one that runs or behind it.
            if entry.disabled || !options.enabled {
                continue;
            }
            if rules.iter().any(|known: &Placed| known.rule.info.name == entry.name) {
                return Err(format!("rule `{}` is there twice; a name stands for one rule", entry.name));
            }
            let previous = match (&entry.previous, options.on_failure) {
                // Of one that stops, an operator may say that it is to judge the row.
                (Some(previous), Policy::PreviousVersion | Policy::Stop) => self.previous(set, entry, previous, &tables).map_err(why)?,
                _ => None,
            };
            let quarantine = entry.quarantine.as_ref().map(|quarantine| {
                let why = format!("not called: it is in quarantine; the last time: {}: {}", quarantine.kind, quarantine.message);
                CallFailure::new(FailureKind::Quarantined, why)
            });
            let rule = self.rule(set, &entry.name, &entry.running(), options, &tables, Use::of(entry));
            let rule = rule.inspect_err(|refusal| self.0.loader.refused(refusal)).map_err(why)?;
            rules.push(Placed { rule, previous, quarantine });
        }
        Ok(rules.into())
    }

    /// The version before. One that cannot be had any more, for reasons that are the same at every try, is as if there were none.
    fn previous(&self, set: &RuleSet, entry: &RuleEntry, version: &RuleVersion, tables: &HashMap<Text, Granted>) -> Result<Option<Arc<Rule>>, Refusal> {
        let bound = RuleOptions::from_version(version).and_then(|options| self.rule(set, &entry.name, version, options, tables, Use::Spare));
        match bound {
            Ok(rule) => Ok(Some(rule)),
            Err(refusal @ Refusal::ContentMissing(_)) => Err(refusal),
            Err(refusal) => {
                let (rule, version) = (entry.name.as_str(), version.version.as_str());
                tracing::warn!(rule, version, "the version before cannot stand in: {refusal}");
                Ok(None)
            }
        }
    }

    fn rule(
        &self,
        set: &RuleSet,
        name: &Text,
        version: &RuleVersion,
        options: RuleOptions,
        tables: &HashMap<Text, Granted>,
        use_of_it: Use,
    ) -> Result<Arc<Rule>, Refusal> {
        let known = lock(&self.0.compiled).get(&version.digest).cloned();
        let compiled = match known {
            Some(compiled) => compiled,
            None => self.compile(&self.content(&version.digest)?, options.limits.memory_bytes)?,
        };
        let manifest = compiled.describe(&options.limits)?;
        let mut key = RuleKey {
            name: name.clone(),
            digest: version.digest.clone(),
            config: version.config.clone(),
            options: version.options.clone(),
            tables: set.tables.iter().filter(|(name, _)| manifest.tables.iter().any(|read| read == name.as_str())).cloned().collect(),
        };
        key.tables.sort();
        if let Some(known) = lock(&self.0.rules).get(&key).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let standing = |info: &RuleInfo| self.0.standings.of(info);
        let rule = Arc::new(match use_of_it {
            Use::Called => Rule::bind(compiled, Some(name), options, tables, standing)?,
            Use::Spare => Rule::bind_untried(compiled, Some(name), options, tables, standing)?,
        });
        lock(&self.0.rules).insert(key, Arc::downgrade(&rule));
        Ok(rule)
    }

    /// The table of a digest, read at most once for as long as somebody holds it.
    pub fn table(&self, digest: &Text) -> Result<Arc<Table>, Refusal> {
        self.table_or(digest, |why| Refusal::TableInvalid { name: format!("sha256:{digest}"), why: why.to_string() })
    }

    /// Takes a table whose form ([`Table::to_csv`]) has this digest, so that a generation that names it need not read it again.
    pub fn share_table(&self, digest: &Text, table: &Arc<Table>) {
        lock(&self.0.tables).insert(digest.clone(), Arc::downgrade(table));
    }

    fn table_or(&self, digest: &Text, invalid: impl FnOnce(TableRefusal) -> Refusal) -> Result<Arc<Table>, Refusal> {
        if let Some(known) = lock(&self.0.tables).get(digest).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let bytes = self.content(digest)?;
        let table = Table::parse(&bytes, None).map_err(invalid)?;
        let table = Arc::new(table);
        lock(&self.0.tables).insert(digest.clone(), Arc::downgrade(&table));
        Ok(table)
    }

    fn content(&self, digest: &Text) -> Result<Vec<u8>, Refusal> {
        let bytes = self.0.contents.read(digest).map_err(Refusal::ContentMissing)?;
        let found = digest_of(&bytes);
        if found != *digest {
            return Err(Refusal::ContentMissing(format!("the file of sha256:{digest} was changed: it is sha256:{found} now")));
        }
        Ok(bytes)
    }
}

impl RuleSets for Engine {
    fn begins(&self, set: &RuleSet) {
        self.register(set.clone());
    }

    fn open(&self, generation: Generation) -> Result<Box<dyn RuleChain>, RuleSetUnavailable> {
        self.rules_of(generation).map(|rules| Box::new(Chain::new(&rules)) as Box<dyn RuleChain>)
    }

    fn open_alerts(&self, generation: Generation) -> Result<Option<Box<dyn AlertChain>>, RuleSetUnavailable> {
        Ok(Alerts::of(&self.rules_of(generation)?).map(|rules| Box::new(rules) as Box<dyn AlertChain>))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn who_wants_a_module_that_is_being_compiled_waits_for_it() {
        let bytes = module("says");
        let engine = Engine::new(|_: &str| Err("nothing is kept".to_owned())).expect("an engine");
        let together = Barrier::new(4);
        let compile = || {
            together.wait();
            engine.compile(&bytes, Limits::default().memory_bytes).expect("a good module")
        };
        let all = std::thread::scope(|scope| [0; 4].map(|_| scope.spawn(compile)).map(|thread| thread.join().expect("no panic")));
        assert!(all.iter().all(|compiled| Arc::ptr_eq(compiled, &all[0])), "it was compiled once");
        assert!(lock(&engine.0.compiling).is_empty());
    }

    #[test]
    fn a_module_is_asked_once_what_it_is() {
        let engine = Engine::new(|_: &str| Err("nothing is kept".to_owned())).expect("an engine");
        let bytes = module("says");
        let compiled = engine.compile(&bytes, Limits::default().memory_bytes).expect("a good module");
        let says = compiled.describe(&Limits::default()).expect("a good module");
        engine.inspect(&bytes).expect("a good module");
        let other_limits = RuleOptions { limits: Limits { batch_rows: 7, ..Limits::default() }, ..RuleOptions::default() };
        let bound = engine.load(&bytes, None, &other_limits, &[]).expect("a good rule");
        assert_eq!(bound.0.plans.enrich.as_ref().map(|plan| plan.batch_rows), Some(7), "what rests on the limits is worked out anew");
        assert!(Arc::ptr_eq(&says, &compiled.describe(&Limits::default()).expect("a good module")), "the answer is the first one's");
    }

    #[test]
    fn a_table_is_only_for_those_who_read_it() {
        let texts = [module("says"), module("owner-from-table"), hosts("alice"), hosts("bob"), b"host,x\na,1\n".to_vec(), b"host,x\na,2\n".to_vec()];
        let digests = texts.each_ref().map(|bytes| digest_of(bytes));
        let [says, owner, alice, bob, one, two] = digests.clone();
        let contents = move |digest: &str| digests.iter().position(|known| known == digest).map(|at| texts[at].clone()).ok_or("not kept".to_owned());
        let engine = Engine::new(contents).expect("an engine");
        let entry = |name: &str, digest: &Text| RuleEntry {
            name: name.into(),
            version: "1".into(),
            digest: digest.clone(),
            config: Text::default(),
            options: r#"{"grants":["tables"]}"#.into(),
            ..RuleEntry::default()
        };
        let mut generation = 0;
        let mut rules = |hosts: &Text, other: &Text| {
            generation += 1;
            let rules = vec![entry("says", &says), entry("owner-from-table", &owner)];
            engine.register(RuleSet {
                generation,
                rules,
                tables: vec![("other".into(), other.clone()), ("hosts".into(), hosts.clone())],
                ..RuleSet::default()
            });
            engine.rules_of(generation).expect("a good generation")
        };
        let (first, second, third) = (rules(&alice, &one), rules(&bob, &one), rules(&bob, &two));
        assert!(Arc::ptr_eq(&first[0].rule, &second[0].rule) && Arc::ptr_eq(&second[0].rule, &third[0].rule), "it reads no table");
        assert!(!Arc::ptr_eq(&first[1].rule, &second[1].rule), "its table is another");
        assert!(Arc::ptr_eq(&second[1].rule, &third[1].rule), "it reads `hosts` only");
        assert!(Arc::ptr_eq(&first[1].rule.standing, &second[1].rule.standing), "counters and strikes are the module's");
        assert_eq!(engine.stats().len(), 2);
    }

    fn module(name: &str) -> Vec<u8> {
        let dist = concat!(env!("CARGO_MANIFEST_DIR"), "/../../rules/dist");
        std::fs::read(format!("{dist}/test/{name}.wasm")).or_else(|_| std::fs::read(format!("{dist}/{name}.wasm"))).expect("a committed module")
    }

    fn hosts(owner: &str) -> Vec<u8> {
        format!("host,owner,team,service,tier\nweb-1,{owner},web,shop,1\n").into_bytes()
    }

    #[test]
    fn a_turn_stays_until_the_last_one_is_through_and_no_longer() {
        let engine = Engine::new(|_: &str| Err("nothing is kept".to_owned())).expect("an engine");
        let (first, second) = (engine.turn("d".into()), engine.turn("d".into()));
        drop(first);
        let late = engine.turn("d".into());
        assert!(Arc::ptr_eq(&second.turn, &late.turn), "the one that came late waits for the second");
        drop((second, late));
        assert!(lock(&engine.0.compiling).is_empty());
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let turn = engine.turn("d".into());
            let _turn = lock(&turn.turn);
            panic!("the compiler did");
        }));
        assert!(panicked.is_err() && lock(&engine.0.compiling).is_empty());
    }
}
