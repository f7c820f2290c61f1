//! What a run found wrong: a promise of ARCHITECTURE.md, or that the simulation itself could not go on.

use std::fmt;

/// Names each promise and what it says, once.
macro_rules! promises {
    ($($promise:ident $says:literal)*) => {
        /// The promises that the simulator can see broken; I10 is the engine's, with tests there.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Promise {
            $(#[doc = $says] $promise,)*
        }

        impl Promise {
            /// All of them.
            pub const ALL: [Promise; [$($says),*].len()] = [$(Promise::$promise),*];

            /// As in ARCHITECTURE.md.
            pub const fn name(self) -> &'static str {
                match self { $(Promise::$promise => stringify!($promise),)* }
            }
        }
    };
}

promises! {
    I1 "What was acknowledged is durable."
    I2 "An event counts once."
    I3 "One open alert a fingerprint."
    I4 "Events apply in journal order."
    I5 "Services come to hold what the state holds."
    I6 "Every item is accounted for."
    I7 "A batch is judged by one generation of rules."
    I8 "The same journal gives the same tables, and time-outs fire when they are due."
    I9 "What waits is bounded in bytes."
}

/// How often each promise was looked after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked([u64; Promise::ALL.len()]);

impl Checked {
    /// One look.
    pub fn count(&mut self, promise: Promise) {
        self.add(promise, 1);
    }

    /// Several at once.
    pub fn add(&mut self, promise: Promise, n: u64) {
        self.0[promise as usize] += n;
    }

    /// How often.
    pub fn of(&self, promise: Promise) -> u64 {
        self.0[promise as usize]
    }

    /// Adds those of another run.
    pub fn add_all(&mut self, other: &Checked) {
        Promise::ALL.into_iter().for_each(|promise| self.add(promise, other.of(promise)));
    }
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
