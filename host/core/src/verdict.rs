//! What becomes of a row that a rule could not judge: the rule's policy, and the verdicts that a replay must not decide again.
//!
//! Nearly every failure follows from row, module, config and tables, and comes out the same on a replay. Those that rest on
//! time, on the machine or on an operator do not: they are journaled as a [`Verdict`] before anything is built on them, and
//! a replay uses the verdict and does not ask the rule.

use crate::rules::Generation;
use crate::value::Text;
use serde::{Deserialize, Serialize};

/// Where in the pipeline a rule is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hook {
    /// Raw payload to events.
    Normalize,
    /// Changes to events.
    EnrichEvent,
    /// Keys of events.
    Dedupe,
    /// Changes to new alerts.
    EnrichAlert,
}

impl Hook {
    /// All, in the order in which an event meets them.
    pub const ALL: [Hook; 4] = [Hook::Normalize, Hook::EnrichEvent, Hook::Dedupe, Hook::EnrichAlert];

    /// The word in manifests, documents, metrics and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Hook::Normalize => "normalize",
            Hook::EnrichEvent => "enrich-event",
            Hook::Dedupe => "dedupe",
            Hook::EnrichAlert => "enrich-alert",
        }
    }
}

/// What is done with a row that a rule could not judge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// It goes on as it came, with the failure written on it.
    #[default]
    PassThrough,
    /// The rule's previous version judges it; without one, or when that fails too, it goes on as it came.
    PreviousVersion,
    /// It goes no further: a dead letter with the reason. An alert goes on as it came, since its event is counted.
    DeadLetter,
    /// The pipeline waits there for an operator.
    Stop,
}

impl Policy {
    /// All of them.
    pub const ALL: [Policy; 4] = [Policy::PassThrough, Policy::PreviousVersion, Policy::DeadLetter, Policy::Stop];

    /// The word in configuration, documents and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Policy::PassThrough => "pass-through",
            Policy::PreviousVersion => "previous-version",
            Policy::DeadLetter => "dead-letter",
            Policy::Stop => "stop",
        }
    }
}

/// Where a row, a payload or an alert's opening event stands in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// Its record.
    pub ordinal: u64,
    /// Its place in the record.
    pub index: u32,
}

/// A rule did not judge the rows of these places, and what was done with them instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// Which rule.
    pub rule: Text,
    /// Its version as rows name it, `1.2.0@sha256:..`.
    pub version: Text,
    /// Asked what.
    pub hook: Hook,
    /// Kind of the failure, as rows name it.
    pub kind: Text,
    /// In words.
    pub message: Text,
    /// What was done.
    pub policy: Policy,
    /// The first place.
    pub from: Place,
    /// The last place; to the end of the generation when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Place>,
}

impl Verdict {
    /// Whether it speaks of this place, if its rule and hook are meant.
    pub fn covers(&self, place: Place) -> bool {
        self.from <= place && self.until.is_none_or(|until| place <= until)
    }
}

/// Verdicts of one generation, as the journal holds them: before what rests on them is handed on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdicts {
    /// Whose rules.
    pub generation: Generation,
    /// In the order in which they were reached.
    pub verdicts: Vec<Verdict>,
}

impl Verdicts {
    /// Rough bytes held, for the bound of queues.
    pub fn size_bytes(&self) -> usize {
        self.verdicts.iter().map(|verdict| size_of::<Verdict>() + verdict.message.len() + verdict.version.len()).sum()
    }
}

/// A rule with the policy `stop` could not judge a row: nothing of its batch goes on before that is decided.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rule {rule} {version} ({}) could not judge event {}.{}: {kind}: {message}", .hook.name(), .at.ordinal, .at.index)]
pub struct Halted {
    /// Which rule.
    pub rule: Text,
    /// Its version as rows name it, `1.2.0@sha256:..`.
    pub version: Text,
    /// Asked what.
    pub hook: Hook,
    /// The row.
    pub at: Place,
    /// Kind of the failure, as rows name it.
    pub kind: Text,
    /// In words.
    pub message: Text,
    /// The same row may be judged well when it is asked again: the failure rests on time or on the machine.
    pub may_pass: bool,
}
