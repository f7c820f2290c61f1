//! A start that does not find what the last process ran: `rules.d` is not mounted, or somebody moved it. What is not there
//! must not look like rules that were removed, so the last set goes on until the folder holds modules again. A module that
//! goes while a process runs, or beside others that are there, was removed.

use super::{Problem, RulesFolder};
use alertmill_core::record::RuleSet;
use alertmill_core::rule_set::{Origin, RuleEntry};
use std::path::PathBuf;

/// The folder cannot say which rules are to run.
const SOURCE_GONE: &str = "source-gone";

/// Whether the folder was ever seen with modules in it.
#[derive(Default)]
pub(super) struct Source {
    state: State,
}

#[derive(Default)]
enum State {
    /// No look yet.
    #[default]
    Unknown,
    /// What the last look found, while that was nothing to go by.
    Gone(Vec<PathBuf>),
    /// From here on what is not there was removed.
    There,
}

impl Source {
    /// A look could not list the folder.
    pub fn is_unreadable(&mut self, in_force: &RuleSet) {
        self.is_gone(&[], in_force);
    }

    /// A look found these modules: whether the folder says nothing, and the last set goes on. Modules that come back count
    /// when two looks in a row found the same ones: they may be copied into place one by one.
    pub fn is_gone(&mut self, files: &[PathBuf], in_force: &RuleSet) -> bool {
        let is_back = match &self.state {
            State::Unknown => !files.is_empty() || !in_force.rules.iter().any(has_file),
            State::Gone(before) => !files.is_empty() && before == files,
            State::There => true,
        };
        self.state = if is_back { State::There } else { State::Gone(files.to_vec()) };
        !is_back
    }
}

/// Whether the folder had a file of the rule when the last process looked; one that was uploaded has none to be missed.
fn has_file(entry: &RuleEntry) -> bool {
    entry.origin == Origin::Folder || !entry.offered.is_empty()
}

impl RulesFolder {
    pub(super) fn source_gone(&self, in_force: &RuleSet) -> Problem {
        let names = in_force.rules.iter().filter(|entry| has_file(entry)).map(|entry| format!("`{}`", entry.name)).collect::<Vec<_>>().join(", ");
        let message = format!(
            "this start found no module in the folder, so the rules of generation {} go on without their files: {names}; mount it or put the files back. \
             To remove a rule, put its file there and take it away again while this process runs",
            in_force.generation
        );
        self.problem(&self.dir, "", SOURCE_GONE, message)
    }
}
