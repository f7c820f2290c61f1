//! Rule sets: which rules and tables a generation runs, and what an operator or a publisher said of them that a restart must
//! not forget. A set is one journal record, so that every event is judged by exactly one of them.

use crate::rules::Generation;
use crate::value::Text;
use serde::{Deserialize, Serialize};

/// The rules and tables that a generation runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSet {
    /// The number that begins here.
    #[serde(default)]
    pub generation: Generation,
    /// Why it began, and who began it.
    #[serde(default, skip_serializing_if = "Change::is_unknown")]
    pub change: Change,
    /// In the order in which they run; those that do not run now are among them.
    pub rules: Vec<RuleEntry>,
    /// Table name and SHA-256 of its content in the data folder.
    pub tables: Vec<(Text, Text)>,
}

/// One rule of a generation: what runs under its name, and what stands beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleEntry {
    /// Name, from the manifest.
    pub name: Text,
    /// Version, from the manifest.
    pub version: Text,
    /// SHA-256 of the component, 64 hex digits; its file in the data folder.
    pub digest: Text,
    /// The rule's JSON config.
    pub config: Text,
    /// Everything else of its configuration, as JSON: grants, limits, policy.
    pub options: Text,
    /// Its place among the others: a number of any length, compared as numbers are; equal ones by name.
    #[serde(default, skip_serializing_if = "Text::is_empty")]
    pub order: Text,
    /// Where what runs came from.
    #[serde(default, skip_serializing_if = "Origin::is_folder")]
    pub origin: Origin,
    /// Version and options stay until it is unpinned.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pinned: bool,
    /// An operator switched it off.
    #[serde(default, skip_serializing_if = "is_false")]
    pub disabled: bool,
    /// SHA-256 over digest and options of what the folder last offered under this name; empty when it offers nothing. An offer that did not
    /// change undoes nothing.
    #[serde(default, skip_serializing_if = "Text::is_empty")]
    pub offered: Text,
    /// What ran before; what a rollback goes back to, and what the policy `previous-version` asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<RuleVersion>,
    /// It is not called, its policy decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<Quarantine>,
    /// How this version last came out of quarantine by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released: Option<Released>,
    /// The highest version text that ran under this name, while a lower one runs; empty otherwise. What is below it is activated only
    /// when it is said that this is meant.
    #[serde(default, skip_serializing_if = "Text::is_empty")]
    pub highest: Text,
}

/// A version of a rule with the options that it ran with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleVersion {
    /// From the manifest.
    pub version: Text,
    /// SHA-256 of the component, 64 hex digits.
    pub digest: Text,
    /// The rule's JSON config.
    pub config: Text,
    /// Everything else, as JSON.
    pub options: Text,
}

/// A rule that failed too often or too long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quarantine {
    /// Kind of the last failure.
    pub kind: Text,
    /// In words.
    pub message: Text,
    /// How often in a row it went in: the pause before the next try doubles with it.
    pub times: u32,
    /// Since when, milliseconds.
    pub since_ms: i64,
    /// When it is tried again by itself, milliseconds; only an operator ends it when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at_ms: Option<i64>,
}

/// A quarantine that ended by itself: the next one is in a row with it when the rule did not even run for as long as it was out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Released {
    /// [`Quarantine::times`] of it.
    pub times: u32,
    /// When it ended, milliseconds.
    pub at_ms: i64,
    /// How long it was to last, milliseconds.
    pub pause_ms: i64,
}

/// Where the version that runs came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// A file of the rules folder.
    #[default]
    Folder,
    /// The API.
    Upload,
}

impl Origin {
    fn is_folder(&self) -> bool {
        *self == Origin::Folder
    }
}

/// Why a generation began, and who began it: the audit's row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// What was done.
    pub action: ChangeAction,
    /// Name of the rule or table; empty when several changed at once.
    #[serde(default, skip_serializing_if = "Text::is_empty")]
    pub object: Text,
    /// Digest before.
    #[serde(default, skip_serializing_if = "Text::is_empty")]
    pub from: Text,
    /// Digest after.
    #[serde(default, skip_serializing_if = "Text::is_empty")]
    pub to: Text,
    /// Who, as the caller says; empty for what the server does by itself.
    #[serde(default, skip_serializing_if = "Text::is_empty")]
    pub operator: Text,
    /// The caller's address.
    #[serde(default, skip_serializing_if = "Text::is_empty")]
    pub address: Text,
    /// In words.
    #[serde(default, skip_serializing_if = "Text::is_empty")]
    pub comment: Text,
}

impl Change {
    fn is_unknown(&self) -> bool {
        *self == Change::default()
    }
}

/// What began a generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeAction {
    /// Written by a version that did not say.
    #[default]
    Unknown,
    /// The rules folder changed.
    Folder,
    /// A version was made the one that runs.
    Activate,
    /// The version before runs again.
    Rollback,
    /// A rule was pinned.
    Pin,
    /// A rule was unpinned.
    Unpin,
    /// A rule was switched off.
    Deactivate,
    /// Options or order of a rule changed.
    Configure,
    /// A rule was taken out.
    Remove,
    /// Tables changed.
    Tables,
    /// A rule went into quarantine.
    Quarantine,
    /// A rule came out of quarantine.
    Release,
}

impl ChangeAction {
    /// The word in documents and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            ChangeAction::Unknown => "unknown",
            ChangeAction::Folder => "folder",
            ChangeAction::Activate => "activate",
            ChangeAction::Rollback => "rollback",
            ChangeAction::Pin => "pin",
            ChangeAction::Unpin => "unpin",
            ChangeAction::Deactivate => "deactivate",
            ChangeAction::Configure => "configure",
            ChangeAction::Remove => "remove",
            ChangeAction::Tables => "tables",
            ChangeAction::Quarantine => "quarantine",
            ChangeAction::Release => "release",
        }
    }
}

impl RuleSet {
    /// Rough bytes held, for the bound of queues.
    pub fn size_bytes(&self) -> usize {
        let table = |(name, digest): &(Text, Text)| 2 * size_of::<Text>() + name.len() + digest.len();
        self.rules.iter().map(RuleEntry::size_bytes).sum::<usize>() + self.tables.iter().map(table).sum::<usize>()
    }
}

impl RuleEntry {
    /// The version that it names.
    pub fn running(&self) -> RuleVersion {
        RuleVersion { version: self.version.clone(), digest: self.digest.clone(), config: self.config.clone(), options: self.options.clone() }
    }

    /// The digests that it needs: of what runs, and of what ran before.
    pub fn digests(&self) -> impl Iterator<Item = &Text> {
        [&self.digest].into_iter().chain(self.previous.as_ref().map(|previous| &previous.digest))
    }

    fn size_bytes(&self) -> usize {
        let previous = self.previous.as_ref().map_or(0, |previous| previous.digest.len() + previous.config.len() + previous.options.len());
        size_of::<RuleEntry>() + self.digest.len() + self.config.len() + self.options.len() + self.offered.len() + previous
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}
