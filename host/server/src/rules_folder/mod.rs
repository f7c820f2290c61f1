//! `rules.d/`: what the operator put there becomes a rule-set generation, or a problem that names file, cause and remedy.
//!
//! A look ([`RulesFolder::look`]) reads what changed since the last one, checks every module as activating it would, and
//! keeps modules and tables by digest in the data folder. Only then does [`switch`](watch) write the generation's record.
//! A file that became bad leaves the last good version of its rule in force.

mod options;
pub mod shipped;
mod tables;
mod watch;

pub use watch::{RulesWatch, Shown};

use crate::config::Config;
use alertmill_core::record::{RuleEntry, RuleSet};
use alertmill_core::value::Text;
use alertmill_engine::{Engine, RuleInfo, RuleOptions, Table};
use alertmill_stores::modules::ModuleFiles;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

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
    /// Whether it may be gone at the next look although the file is the same: the disk refused, not what the file holds.
    fn may_pass(&self) -> bool {
        matches!(self.code.as_str(), UNREADABLE | NOT_KEPT)
    }
}

/// A file or the folder cannot be read.
const UNREADABLE: &str = "unreadable";
/// The data folder does not take the content.
const NOT_KEPT: &str = "not-kept";

/// What a look found: the rules to run, in order, their tables, and what is wrong.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Entries in the order of the file names.
    pub rules: Vec<RuleEntry>,
    /// What each of them is.
    pub infos: Vec<RuleInfo>,
    /// Table name and digest.
    pub tables: Vec<(Text, Text)>,
    /// Everything that is not used.
    pub problems: Vec<Problem>,
}

impl Look {
    /// Whether it asks for other rules or tables than `set` runs.
    pub fn differs_from(&self, set: &RuleSet) -> bool {
        self.rules != set.rules || self.tables != set.tables
    }
}

/// The folder and everything that a look needs.
pub struct RulesFolder {
    dir: PathBuf,
    tables: BTreeMap<String, crate::config::Table>,
    engine: Engine,
    modules: ModuleFiles,
    seen: BTreeMap<PathBuf, Seen>,
    table_cache: BTreeMap<String, tables::Kept>,
}

/// What was read of one module, until its file, its options or a table change.
struct Seen {
    stamp: (Stamp, Stamp, Vec<(Text, Text)>),
    outcome: Result<(RuleEntry, RuleInfo), Problem>,
}

/// Size and time of a file; `None` when it is not there.
type Stamp = Option<(u64, SystemTime)>;

fn stamp(path: &Path) -> Stamp {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.len(), meta.modified().ok()?))
}

impl RulesFolder {
    /// A folder that may not exist yet.
    pub fn new(config: &Config, engine: Engine, modules: ModuleFiles) -> RulesFolder {
        RulesFolder { dir: config.rules.dir.clone(), tables: config.tables.clone(), engine, modules, seen: BTreeMap::new(), table_cache: BTreeMap::new() }
    }

    /// Looks once. `in_force` gives the last good version of a rule whose file has become bad.
    pub fn look(&mut self, in_force: &RuleSet) -> Look {
        let mut look = Look::default();
        let tables = self.look_at_tables(in_force, &mut look);
        let files = match self.files() {
            Ok(files) => files,
            Err(problem) => {
                look.problems.push(problem);
                look.rules = in_force.rules.clone();
                return look;
            }
        };
        self.seen.retain(|path, _| files.contains(path));
        let mut names: BTreeMap<Text, PathBuf> = BTreeMap::new();
        for path in files {
            match self.module(&path, &tables, &look.tables) {
                Ok((entry, _)) if names.contains_key(&entry.name) => {
                    let message = format!("{} already holds rule `{}`; remove one of the two", names[&entry.name].display(), entry.name);
                    look.problems.push(Problem { file: path, name: entry.name.to_string(), code: "name-taken".to_owned(), message });
                }
                Ok((entry, info)) => {
                    names.insert(entry.name.clone(), path);
                    look.rules.push(entry);
                    look.infos.push(info);
                }
                Err(problem) => {
                    let last_good = in_force.rules.iter().find(|entry| entry.name == problem.name && !names.contains_key(&entry.name));
                    if let Some(entry) = last_good {
                        names.insert(entry.name.clone(), path);
                        look.rules.push(entry.clone());
                    }
                    look.problems.push(problem);
                }
            }
        }
        look
    }

    /// Module files in the order of their names; a folder that is not there holds none.
    fn files(&self) -> Result<Vec<PathBuf>, Problem> {
        let listing = match std::fs::read_dir(&self.dir) {
            Ok(listing) => listing,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(self.problem(&self.dir, "", UNREADABLE, format!("the folder cannot be read: {e}"))),
        };
        let mut files = Vec::new();
        for entry in listing {
            // A listing that breaks off must not look like rules that were removed.
            let entry = entry.map_err(|e| self.problem(&self.dir, "", UNREADABLE, format!("the folder cannot be listed: {e}")))?;
            files.extend(Some(entry.path()).filter(|path| path.extension().is_some_and(|e| e == "wasm")));
        }
        files.sort();
        Ok(files)
    }

    fn module(&mut self, path: &Path, tables: &[(Text, Arc<Table>)], digests: &[(Text, Text)]) -> Result<(RuleEntry, RuleInfo), Problem> {
        let now = (stamp(path), stamp(&path.with_extension("toml")), digests.to_vec());
        if let Some(seen) = self.seen.get(path).filter(|seen| seen.stamp == now) {
            return seen.outcome.clone();
        }
        let outcome = self.read(path, tables);
        if outcome.as_ref().is_err_and(Problem::may_pass) {
            self.seen.remove(path);
        } else {
            self.seen.insert(path.to_path_buf(), Seen { stamp: now, outcome: outcome.clone() });
        }
        outcome
    }

    fn read(&self, path: &Path, tables: &[(Text, Arc<Table>)]) -> Result<(RuleEntry, RuleInfo), Problem> {
        let name = rule_name(path)
            .ok_or_else(|| self.problem(path, "", "file-name", "module files are named NN-name.wasm, such as 10-owner-from-table.wasm".to_owned()))?;
        let options =
            options::read(&path.with_extension("toml")).map_err(|(code, message)| self.problem(&path.with_extension("toml"), &name, code, message))?;
        let bytes = std::fs::read(path).map_err(|e| self.problem(path, &name, UNREADABLE, e.to_string()))?;
        let info = self.check(path, &name, &bytes, &options, tables)?;
        let digest = self.modules.put(&bytes).map_err(|e| self.problem(path, &name, NOT_KEPT, e.to_string()))?;
        debug_assert_eq!(digest, info.digest.as_str());
        Ok((options.to_entry(&info), info))
    }

    fn check(&self, path: &Path, name: &str, bytes: &[u8], options: &RuleOptions, tables: &[(Text, Arc<Table>)]) -> Result<RuleInfo, Problem> {
        let refused = |refusal: alertmill_engine::Refusal| self.problem(path, name, refusal.code(), refusal.to_string());
        if !options.enabled {
            return self.engine.inspect(bytes).map_err(refused);
        }
        self.engine.load(bytes, Some(name), options, tables).map(|rule| rule.info().clone()).map_err(refused)
    }

    fn problem(&self, file: &Path, name: &str, code: &str, message: String) -> Problem {
        Problem { file: file.to_path_buf(), name: name.to_owned(), code: code.to_owned(), message }
    }
}

/// `NN-name.wasm` -> `name`.
fn rule_name(path: &Path) -> Option<String> {
    let stem = path.file_stem()?.to_str()?;
    let (number, name) = stem.split_once('-')?;
    (!number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) && !name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_give_rule_names() {
        let of = |name: &str| rule_name(Path::new(name));
        assert_eq!(of("rules.d/10-owner-from-table.wasm").as_deref(), Some("owner-from-table"));
        assert_eq!(of("1-a.wasm").as_deref(), Some("a"));
        assert_eq!([of("owner.wasm"), of("x-owner.wasm"), of("10-.wasm")], [None, None, None]);
    }

    #[test]
    fn what_the_disk_refused_is_tried_again_although_no_file_changed() {
        let dir = tempfile::tempdir().unwrap();
        let (rules, kept, table) = (dir.path().join("rules.d"), dir.path().join("modules"), dir.path().join("owners.csv"));
        std::fs::create_dir(&rules).unwrap();
        std::fs::write(&table, "key,owner\na,b\n").unwrap();
        let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rules/dist/test/says.wasm");
        std::fs::copy(module, rules.join("10-says.wasm")).unwrap();
        let mut config = Config::default();
        config.rules.dir = rules.clone();
        config.tables.insert("owners".to_owned(), crate::config::Table { file: table, ..crate::config::Table::default() });
        let engine = Engine::new(|_: &str| Err("nothing is kept".to_owned())).unwrap();
        let mut folder = RulesFolder::new(&config, engine, ModuleFiles::open(&kept).unwrap());

        std::fs::remove_dir(&kept).unwrap();
        std::fs::write(&kept, "in the way").unwrap();
        let look = folder.look(&RuleSet::default());
        let codes: Vec<_> = look.problems.iter().map(|problem| (problem.name.as_str(), problem.code.as_str())).collect();
        assert_eq!((codes, look.rules.len()), (vec![("owners", NOT_KEPT), ("says", NOT_KEPT)], 0));
        std::fs::remove_file(&kept).unwrap();
        std::fs::create_dir(&kept).unwrap();
        let look = folder.look(&RuleSet::default());
        assert_eq!((look.problems, look.rules.len(), look.tables.len()), (Vec::new(), 1, 1));

        // A folder that cannot be listed is a problem, and no rule goes.
        std::fs::rename(&rules, dir.path().join("aside")).unwrap();
        std::fs::write(&rules, "no folder").unwrap();
        let in_force = RuleSet { generation: 1, rules: look.rules, tables: look.tables };
        let look = folder.look(&in_force);
        assert_eq!((look.problems[0].code.as_str(), &look.rules), (UNREADABLE, &in_force.rules));
    }
}
