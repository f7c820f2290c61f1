//! What a run found wrong: a promise of ARCHITECTURE.md, or that the simulation itself could not go on.

use std::fmt;

/// The promises that the simulator can see broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// What was acknowledged is durable.
    I1,
    /// An event counts once.
    I2,
    /// One open alert a fingerprint.
    I3,
    /// Events apply in journal order.
    I4,
    /// Every item is accounted for.
    I6,
    /// A batch is judged by one generation of rules.
    I7,
    /// The same journal gives the same tables, and time-outs fire when they are due.
    I8,
}

impl Promise {
    /// All that are checked; I5 needs a second store, I9 and I10 are the server's and the engine's, with tests there.
    pub const CHECKED: &'static str = "I1 to I4 and I6 to I8";
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The promise that broke; none when the run got stuck, a port was misused or two runs differ.
    pub promise: Option<Promise>,
    /// What was seen.
    pub why: String,
}

impl Failure {
    /// A broken promise.
    pub fn broken(promise: Promise, why: impl Into<String>) -> Failure {
        Failure { promise: Some(promise), why: why.into() }
    }

    /// Anything else.
    pub fn other(why: impl Into<String>) -> Failure {
        Failure { promise: None, why: why.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.promise {
            Some(promise) => write!(f, "{promise:?} broke: {}", self.why),
            None => f.write_str(&self.why),
        }
    }
}
