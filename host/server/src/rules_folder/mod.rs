//! `rules.d/`: what the operator put there becomes a rule-set generation, or a problem that names file, cause and remedy.
//!
//! A look ([`RulesFolder::look`]) reads what changed since the last one, checks every module as activating it would, and
//! keeps modules and tables by digest in the data folder. What it finds are [`Offers`]; the [`RuleKeeper`](crate::rules::RuleKeeper)
//! makes a generation of them.
//! A file that became bad leaves the last good version of its rule in force, with the tables that it needs; a folder that
//! a start does not find leaves all of them ([`source_gone`]).
//!
//! Files should be written beside and then renamed. One that is written in place is taken once it has stopped changing
//! ([`settling`]).

mod kept;
pub(crate) mod options;
pub(crate) mod settling;
pub mod shipped;
#[cfg(test)]
mod signed_tests;
mod source_gone;
#[cfg(test)]
pub(crate) mod tests;

use self::kept::Kept;
use self::settling::{Settling, Stamp, stamp};
use crate::config::Config;
use crate::rules::slots::{self, Offer, Offers};
use crate::rules::version;
use crate::signature::{self, Publishers};
use crate::tables::{TableSet, Tables};
use alertmill_core::record::{RuleEntry, RuleSet};
use alertmill_core::value::Text;
use alertmill_core::version_change::VersionSignature;
use alertmill_engine::{Engine, RuleInfo, RuleOptions};
use alertmill_stores::modules::ModuleFiles;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A look so long after one that found files being written finds them old enough, if nobody writes on.
pub const SETTLED_AFTER: Duration = settling::OLD_ENOUGH;

/// Something in the folder, or a table, that is not used, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// Name of the rule or table, as far as it is known.
    pub name: String,
    /// Stable code.
    pub code: String,
    /// What is wrong, where, what to do.
    pub message: String,
}

impl Problem {
    /// Whether it may be gone at the next look although the file is the same: the system refused, not what the file holds.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self.code.as_str(), UNREADABLE | NOT_KEPT | NOT_COMPILED)
    }
}

/// A file or the folder cannot be read.
pub(crate) const UNREADABLE: &str = "unreadable";
/// The data folder does not take the content.
pub(crate) const NOT_KEPT: &str = "not-kept";
/// The compiler cannot be asked; a code of the engine's.
const NOT_COMPILED: &str = "compile-unavailable";
/// A file is never at rest.
pub(crate) const CHANGING: &str = "changing";
/// A rule cannot run with a table's new content.
pub(crate) const TABLE_HELD_BACK: &str = "table-held-back";
/// Of a file that never comes to rest.
pub(crate) const NOT_AT_REST: &str = "each of the last looks found the file being written, so it is not taken; write it beside and rename it into place, \
                                      and leave it as it is for two seconds at least";

/// What a look found: the rules to run, in order, their tables, and what is wrong.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// What the files ask for.
    pub offers: Offers,
    /// What the set that the look was held against becomes by them, in the order in which they run.
    pub rules: Vec<RuleEntry>,
    /// What each of them is.
    pub infos: Vec<RuleInfo>,
    /// Table name and digest.
    pub tables: Vec<(Text, Text)>,
    /// Everything that is not used.
    pub problems: Vec<Problem>,
    /// Whether a file was left out because it is being written, so that another look is worth it.
    pub is_unsettled: bool,
}

impl Look {
    /// All goes on as it is.
    fn keeping(in_force: &RuleSet, problems: Vec<Problem>) -> Look {
        let offers = Offers { keeps_all: true, ..Offers::default() };
        Look { offers, rules: in_force.rules.clone(), tables: in_force.tables.clone(), problems, ..Look::default() }
    }
}

/// The folder and everything that a look needs.
pub struct RulesFolder {
    dir: PathBuf,
    tables: Tables,
    engine: Engine,
    modules: ModuleFiles,
    publishers: Publishers,
    settling: Settling,
    seen: BTreeMap<PathBuf, Seen>,
    kept: Vec<kept::Checked>,
    source: source_gone::Source,
    /// See [`Look::is_unsettled`].
    is_unsettled: bool,
}

/// What was read of one module, until its file or its options change.
struct Seen {
    /// Of module, options and signature.
    stamps: Option<(Stamp, Stamp, Stamp)>,
    outcomes: Vec<Judged>,
}

/// What came of a module with certain tables.
struct Judged {
    /// Names and digests.
    tables: Vec<(Text, Text)>,
    /// The look that last asked.
    asked: u64,
    outcome: Outcome,
}

/// What a module file says.
#[derive(Clone)]
#[allow(clippy::large_enum_variant, reason = "one for each file of the folder")]
enum Outcome {
    /// It may run, or is to be listed as disabled.
    Good { entry: RuleEntry, info: RuleInfo, is_enabled: bool, signature: Option<VersionSignature> },
    /// It is not used.
    Refused(Problem),
    /// It is being written, or was taken away a moment ago; with what was wrong before.
    Unsettled(Option<Problem>),
}

/// Who has a name, in this order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Claim {
    /// A good file that is to run.
    Runs,
    /// A file that is not used, for what runs.
    Kept,
    /// A good file that is not to run.
    Off,
}

/// A look is to be made again with these tables, by name and digest, as they are in force.
struct HoldBack(Vec<(Text, Text)>, Problem);

impl RulesFolder {
    /// A folder that may not exist yet.
    pub fn new(config: &Config, engine: Engine, modules: ModuleFiles) -> RulesFolder {
        RulesFolder {
            dir: config.rules.dir.clone(),
            tables: Tables::new(config, engine.clone(), modules.clone()),
            engine,
            modules,
            publishers: Publishers::default(),
            settling: Settling::default(),
            seen: BTreeMap::new(),
            kept: Vec::new(),
            source: source_gone::Source::default(),
            is_unsettled: false,
        }
    }

    /// With publishers, of whom one must have signed what is taken from here on.
    pub fn signed_by(mut self, publishers: Publishers) -> RulesFolder {
        self.publishers = publishers;
        self
    }

    /// Where modules and tables are kept.
    pub fn modules(&self) -> &ModuleFiles {
        &self.modules
    }

    /// With tables that are swapped as fast as looks come.
    #[cfg(test)]
    pub(crate) fn swapping_at_once(mut self) -> RulesFolder {
        self.tables = self.tables.swapping_at_once();
        self
    }

    /// Its tables.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Looks once. `in_force` gives the last good version of a rule whose file has become bad.
    pub fn look(&mut self, in_force: &RuleSet) -> Look {
        self.look_at(in_force, SystemTime::now())
    }

    /// As [`look`](RulesFolder::look) at a time, which says how old files are.
    fn look_at(&mut self, in_force: &RuleSet, now: SystemTime) -> Look {
        self.settling.begin(now, in_force.generation == 0);
        self.is_unsettled = false;
        let mut look = self.compose(in_force, now);
        look.problems.extend(self.settling.restless().map(|path| self.changing(path)));
        look.is_unsettled = self.is_unsettled;
        look
    }

    fn compose(&mut self, in_force: &RuleSet, at: SystemTime) -> Look {
        let now = self.tables.now(in_force, at);
        let (mut tables, mut problems) = (now.set, now.problems);
        self.is_unsettled |= now.is_unsettled;
        let files = match self.files() {
            Ok(files) => files,
            Err(problem) => {
                self.source.is_unreadable(in_force);
                problems.push(problem);
                return Look::keeping(in_force, problems);
            }
        };
        let is_gone = self.source.is_gone(&files, in_force);
        if is_gone {
            // Files that come back one after the other must be looked at again.
            self.is_unsettled |= !files.is_empty();
            problems.push(self.source_gone(in_force));
        }
        // Ends: with each turn at least one more table is as it is in force.
        let mut look = loop {
            let mut look = Look { tables: tables.digests.clone(), ..Look::default() };
            if is_gone {
                look.offers.keeps_all = true;
            } else {
                self.judge(&files, &tables, &mut look);
            }
            match self.hold(&files, &tables, in_force, &mut look) {
                Ok(()) => break look,
                Err(HoldBack(needed, problem)) => {
                    problems.push(problem);
                    for (name, digest) in &needed {
                        match self.tables.in_force(digest) {
                            Some(table) => tables.put(name, digest, table),
                            None => return Look::keeping(in_force, problems),
                        }
                    }
                }
            }
        };
        self.forget(in_force);
        look.problems.splice(..0, problems);
        look
    }

    /// What each file asks for with these tables.
    fn judge(&mut self, files: &[PathBuf], tables: &TableSet, look: &mut Look) {
        let found: Vec<(&PathBuf, Outcome)> = files.iter().map(|path| (path, self.module(path, tables))).collect();
        // A name is a running rule's: neither a file that is not used nor a disabled one keeps a good one out, and of what
        // runs a disabled one takes nothing away.
        let mut names: BTreeMap<Text, &Path> = BTreeMap::new();
        for claim in [Claim::Runs, Claim::Kept, Claim::Off] {
            for (path, outcome) in &found {
                let name = match outcome {
                    Outcome::Good { entry, is_enabled, .. } if (claim == Claim::Runs) == *is_enabled && claim != Claim::Kept => Some(entry.name.clone()),
                    Outcome::Refused(_) | Outcome::Unsettled(_) if claim == Claim::Kept => rule_name(path).map(Text::from),
                    _ => None,
                };
                if let Some(name) = name {
                    names.entry(name).or_insert(path);
                }
            }
        }
        for (path, outcome) in found {
            let problem = match outcome {
                Outcome::Good { entry, info, signature, .. } if names[&entry.name] == path => {
                    look.offers.signatures.extend(signature.map(|signature| (entry.digest.clone(), signature)));
                    look.offers.files.push(Offer::Whole(entry));
                    look.infos.push(info);
                    continue;
                }
                // It says that it is not to run, and it does not.
                Outcome::Good { is_enabled: false, .. } => None,
                Outcome::Good { entry, .. } => {
                    let message = format!("{} already holds rule `{}`; remove one of the two", names[&entry.name].display(), entry.name);
                    Some(self.problem(path, &entry.name, "name-taken", message))
                }
                Outcome::Refused(problem) => Some(problem),
                Outcome::Unsettled(problem) => problem,
            };
            look.problems.extend(problem);
            if let Some(name) = rule_name(path).map(Text::from).filter(|name| names.get(name).is_some_and(|holder| *holder == path)) {
                look.offers.files.push(Offer::Kept(name));
            }
        }
    }

    /// What goes on beside the offers: versions that came by the API or were pinned, and those whose files are not used. They
    /// need tables that they can run with.
    fn hold(&mut self, files: &[PathBuf], tables: &TableSet, in_force: &RuleSet, look: &mut Look) -> Result<(), HoldBack> {
        let judged = |entry: &RuleEntry, offers: &Offers| {
            offers.files.iter().any(|offer| matches!(offer, Offer::Whole(file) if file.name == entry.name && file.running() == entry.running()))
        };
        for entry in slots::with_offers(&in_force.rules, &look.offers) {
            if !is_enabled(&entry) || judged(&entry, &look.offers) {
                continue;
            }
            let path = files.iter().find(|path| rule_name(path).is_some_and(|name| entry.name == name.as_str()));
            let path = path.map_or_else(|| self.dir.clone(), Clone::clone);
            match self.last_good(&path, &entry, in_force, tables) {
                Kept::Runs(info) => look.infos.extend(info),
                Kept::Needs(tables, problem) => return Err(HoldBack(tables, problem)),
                Kept::Not(problem) => {
                    look.problems.push(problem);
                    look.offers.unfit.push((entry.name, entry.digest));
                }
            }
        }
        look.rules = slots::with_offers(&in_force.rules, &look.offers);
        Ok(())
    }

    /// Forgets what this look did not ask for.
    fn forget(&mut self, in_force: &RuleSet) {
        let look = self.settling.looks();
        for seen in self.seen.values_mut() {
            seen.outcomes.retain(|judged| judged.asked == look);
        }
        self.forget_checks(in_force);
    }

    /// Module files in the order in which their rules run; a folder that is not there holds none.
    fn files(&mut self) -> Result<Vec<PathBuf>, Problem> {
        let listing = match std::fs::read_dir(&self.dir) {
            Ok(listing) => Some(listing),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(self.problem(&self.dir, "", UNREADABLE, format!("the folder cannot be read: {e}"))),
        };
        let mut files = Vec::new();
        for entry in listing.into_iter().flatten() {
            // A listing that breaks off must not look like rules that were removed.
            let entry = entry.map_err(|e| self.problem(&self.dir, "", UNREADABLE, format!("the folder cannot be listed: {e}")))?;
            files.extend(Some(entry.path()).filter(|path| path.extension().is_some_and(|e| e == "wasm")));
        }
        // One that is gone may be about to come back, as when an editor writes it anew.
        let settling = &mut self.settling;
        self.seen.retain(|path, _| files.contains(path) || !settling.stamp(path).1);
        files.extend(self.seen.keys().filter(|path| !files.contains(path)).cloned().collect::<Vec<_>>());
        files.sort_by(|a, b| run_order(a).cmp(&run_order(b)));
        Ok(files)
    }

    /// Digests that a later look may ask for without putting their content among the modules again.
    pub(crate) fn held(&self) -> BTreeSet<Text> {
        let of_files = self.seen.values().flat_map(|seen| &seen.outcomes).filter_map(|judged| match &judged.outcome {
            Outcome::Good { entry, .. } => Some(&entry.digest),
            _ => None,
        });
        of_files.cloned().chain(self.tables.held()).collect()
    }

    fn module(&mut self, path: &Path, tables: &TableSet) -> Outcome {
        let (options, signature) = (path.with_extension("toml"), signature::beside(path));
        let (module, module_is_whole) = self.settling.stamp(path);
        let (beside, options_are_whole) = self.settling.stamp(&options);
        let (signed, signature_is_whole) = self.settling.stamp(&signature);
        let (now, look) = (Some((module, beside, signed)), self.settling.looks());
        let seen = self.seen.entry(path.to_path_buf()).or_insert_with(|| Seen { stamps: None, outcomes: Vec::new() });
        if seen.stamps != now && !(module_is_whole && options_are_whole && signature_is_whole) {
            return self.unsettled(path, module.is_some(), tables);
        }
        if seen.stamps == now
            && let Some(judged) = seen.outcomes.iter_mut().find(|judged| judged.tables == tables.digests)
        {
            judged.asked = look;
            return judged.outcome.clone();
        }
        let outcome = self.read(path, tables).unwrap_or_else(Outcome::Refused);
        if Some((stamp(path), stamp(&options), stamp(&signature))) != now {
            return self.unsettled(path, module.is_some(), tables);
        }
        let may_pass = matches!(&outcome, Outcome::Refused(problem) if problem.may_pass());
        if let Some(seen) = self.seen.get_mut(path).filter(|_| !may_pass) {
            if seen.stamps != now {
                *seen = Seen { stamps: now, outcomes: Vec::new() };
            }
            seen.outcomes.push(Judged { tables: tables.digests.clone(), asked: look, outcome: outcome.clone() });
        }
        outcome
    }

    /// What is said of a file while it is being written: what it said when it was whole, if that holds with these tables.
    /// Otherwise the generation in force is asked by name, where a disabled twin cannot be found.
    fn unsettled(&mut self, path: &Path, is_there: bool, tables: &TableSet) -> Outcome {
        self.is_unsettled = true;
        let look = self.settling.looks();
        let Some(seen) = self.seen.get_mut(path) else { return Outcome::Unsettled(None) };
        seen.outcomes.iter_mut().for_each(|judged| judged.asked = look);
        let outcomes = seen.outcomes.iter();
        // What is gone must not keep its name from the file that it was renamed to.
        let good = outcomes.clone().filter(|_| is_there).find(|judged| match &judged.outcome {
            Outcome::Good { is_enabled, .. } => !is_enabled || judged.tables == tables.digests,
            _ => false,
        });
        if let Some(good) = good {
            return good.outcome.clone();
        }
        Outcome::Unsettled(outcomes.into_iter().find_map(|judged| if let Outcome::Refused(problem) = &judged.outcome { Some(problem.clone()) } else { None }))
    }

    fn changing(&self, path: &Path) -> Problem {
        self.problem(path, &rule_name(path).unwrap_or_default(), CHANGING, NOT_AT_REST.to_owned())
    }

    fn read(&self, path: &Path, tables: &TableSet) -> Result<Outcome, Problem> {
        let name = rule_name(path)
            .ok_or_else(|| self.problem(path, "", "file-name", "module files are named NN-name.wasm, such as 10-owner-from-table.wasm".to_owned()))?;
        let options =
            options::read(&path.with_extension("toml")).map_err(|(code, message)| self.problem(&path.with_extension("toml"), &name, code, message))?;
        let bytes = std::fs::read(path).map_err(|e| self.problem(path, &name, UNREADABLE, e.to_string()))?;
        let info = self.check(path, &name, &bytes, &options, tables)?;
        let signature = self.signature(path, &info)?;
        let digest = self.modules.put(&bytes).map_err(|e| self.problem(path, &name, NOT_KEPT, e.to_string()))?;
        debug_assert_eq!(digest, info.digest.as_str());
        let entry = options.to_entry(&info);
        let (order, offered) = (order(path), slots::offer(&entry.running()));
        Ok(Outcome::Good { entry: RuleEntry { order, offered, ..entry }, info, is_enabled: options.enabled, signature })
    }

    /// Whose signature lies beside a module; without one that counts, when publishers are configured, it is not used.
    fn signature(&self, path: &Path, info: &RuleInfo) -> Result<Option<VersionSignature>, Problem> {
        let beside = signature::beside(path);
        let file = signature::read(&beside).map_err(|e| self.problem(&beside, &info.name, UNREADABLE, e.to_string()))?;
        let signed = version::signed(&self.publishers, &info.name, &info.version, &info.digest, file.as_deref());
        let signed = signed.map_err(|why| self.problem(path, &info.name, why.code(), why.to_string()))?;
        if let Some(file) = file.filter(|_| signed.is_some()) {
            self.modules.put(&file).map_err(|e| self.problem(&beside, &info.name, NOT_KEPT, e.to_string()))?;
        }
        Ok(signed)
    }

    fn check(&self, path: &Path, name: &str, bytes: &[u8], options: &RuleOptions, tables: &TableSet) -> Result<RuleInfo, Problem> {
        let refused = |refusal: alertmill_engine::Refusal| self.problem(path, name, refusal.code(), refusal.to_string());
        if !options.enabled {
            return self.engine.inspect_named(bytes, name, options).map_err(refused);
        }
        self.engine.load(bytes, Some(name), options, &tables.loaded).map(|rule| rule.info().clone()).map_err(refused)
    }

    fn problem(&self, file: &Path, name: &str, code: &str, message: String) -> Problem {
        Problem { file: file.to_path_buf(), name: name.to_owned(), code: code.to_owned(), message }
    }
}

/// `NN-name.wasm` -> `NN` and `name`.
fn numbered(path: &Path) -> Option<(&str, &str)> {
    let (number, name) = path.file_stem()?.to_str()?.split_once('-')?;
    (!number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) && !name.is_empty()).then_some((number, name))
}

/// `NN-name.wasm` -> `name`.
fn rule_name(path: &Path) -> Option<String> {
    numbered(path).map(|(_, name)| name.to_owned())
}

/// `NN-name.wasm` -> `NN` without zeros in front.
fn order(path: &Path) -> Text {
    let digits = numbered(path).map_or("", |(number, _)| number).trim_start_matches('0');
    Text::new(if digits.is_empty() { "0" } else { digits })
}

/// By the number, as people count and of any length, then by name: `20-y` runs before `100-x`. Files that are not used come last.
fn run_order(path: &Path) -> impl Ord + '_ {
    let counted = numbered(path).map(|(number, name)| {
        let digits = number.trim_start_matches('0');
        (digits.len(), digits, name)
    });
    (counted.is_none(), counted, path)
}

/// Grants that an entry gives and its module does not need; none of one that cannot be read.
pub fn unneeded_grants(entry: &RuleEntry, info: &RuleInfo) -> Vec<&'static str> {
    RuleOptions::from_entry(entry).map_or_else(|_| Vec::new(), |options| info.unneeded_grants(&options.grants))
}

/// The same in words: what to do about them.
pub fn unneeded_in_words(grants: &[&str]) -> Option<String> {
    let quoted: Vec<String> = grants.iter().map(|grant| format!("\"{grant}\"")).collect();
    (!quoted.is_empty()).then(|| format!("it does not need what it is granted: {}; take it out of `grants` in its options", quoted.join(", ")))
}

/// Whether an entry is to run; one that cannot be read is not said to be off.
pub fn is_enabled(entry: &RuleEntry) -> bool {
    !entry.disabled && RuleOptions::from_entry(entry).map_or(true, |options| options.enabled)
}
