//! How a command ends: one list of exit codes, documented in `--help`, and the error that carries one.

use std::fmt;
use std::path::Path;

macro_rules! exits {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal $words:literal)*) => {
        /// Exit codes. They are part of the command line's contract.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Exit { $($(#[doc = $doc])* $name = $code),* }

        impl Exit {
            /// All of them with their words, for `--help`.
            pub const ALL: &'static [(Exit, &'static str)] = &[$((Exit::$name, $words)),*];
        }
    };
}

exits! {
    /// Done.
    Done = 0 "done"
    /// The answer is no: a check failed, everything was refused.
    No = 1 "answered no: a check failed, or everything was refused"
    /// The command line is wrong.
    Usage = 2 "wrong usage"
    /// There is no such thing.
    NotFound = 3 "not found"
    /// Not allowed.
    Permission = 4 "permission or authentication"
    /// Another state than expected.
    Conflict = 5 "conflict, stale version"
    /// Some items failed; they are listed on stderr.
    Partial = 6 "partial: some items failed, listed on stderr"
    /// Refused by policy.
    Policy = 7 "rejected by policy"
    /// No answer.
    Unreachable = 69 "server or store unreachable, or the source of a table"
    /// A fault of this program or of the server.
    Bug = 70 "a bug"
    /// 429 or 503 after all retries.
    Later = 75 "try later"
    /// `--timeout` ran out.
    Timeout = 124 "--timeout ran out"
    /// Ctrl-C.
    Interrupted = 130 "interrupted"
}

impl Exit {
    /// For a problem that its code tells better than its status.
    pub fn of_code(code: &str) -> Option<Exit> {
        let is_policy = matches!(code, "grant-missing" | "downgrade") || code.starts_with("signature-") || code.starts_with("publisher-");
        is_policy.then_some(Exit::Policy)
    }

    /// For an answer of the server.
    pub fn of_status(status: u16) -> Exit {
        match status {
            200..=299 => Exit::Done,
            401 | 403 => Exit::Permission,
            404 => Exit::NotFound,
            409 | 412 | 428 => Exit::Conflict,
            429 | 503 => Exit::Later,
            502 => Exit::Unreachable,
            500..=599 => Exit::Bug,
            _ => Exit::No,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        (exit as u8).into()
    }
}

/// A command that ended otherwise than well.
#[derive(Debug)]
pub struct Failure {
    /// Its exit code.
    pub exit: Exit,
    /// What, why and what to do, for stderr; empty when everything is said already.
    pub message: String,
}

impl Failure {
    /// A failure with its words.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Failure { exit, message: message.into() }
    }

    /// A file that the command line names and that cannot be read.
    pub fn of_file(file: &Path, error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::NotFound => Failure::new(Exit::NotFound, format!("there is no file {}", file.display())),
            _ => Failure::new(Exit::Usage, format!("{} cannot be read: {error}", file.display())),
        }
    }

    /// Everything is said; only the code is left.
    pub fn silent(exit: Exit) -> Self {
        Failure::new(exit, "")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// What reads our output has gone away: that is no error of ours.
impl From<std::io::Error> for Failure {
    fn from(e: std::io::Error) -> Self {
        match e.kind() {
            std::io::ErrorKind::BrokenPipe => Failure::silent(Exit::Done),
            _ => Failure::new(Exit::Bug, format!("the output cannot be written: {e}")),
        }
    }
}
