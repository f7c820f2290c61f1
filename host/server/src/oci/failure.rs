//! Why a module cannot be had from an artifact, or put into one.

use crate::outgoing;
use std::path::PathBuf;

/// What went wrong, in words for who typed the command.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The reference says nothing.
    #[error("{text:?} is no reference: {why}; write oci:DIR[:TAG] or oci://HOST/REPO[:TAG][@sha256:..]")]
    Reference {
        /// What was written.
        text: String,
        /// Why not.
        why: String,
    },
    /// There is no such thing.
    #[error("{0} is not there")]
    NotFound(String),
    /// A file cannot be read or written.
    #[error("{} cannot be used: {why}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// It is no artifact of a module.
    #[error("{what} is no rule module: {why}")]
    Malformed {
        /// The manifest, index or file.
        what: String,
        /// Why.
        why: String,
    },
    /// Bytes that are others than was said.
    #[error("{what} is not what was named: {why}; it was changed, or did not come whole")]
    Changed {
        /// The blob or manifest.
        what: String,
        /// Why.
        why: String,
    },
    /// Larger than is read.
    #[error("{what} would have {size} bytes, and {max} at most are taken")]
    TooLarge {
        /// The blob or manifest.
        what: String,
        /// What it would have.
        size: u64,
        /// The limit.
        max: u64,
    },
    /// The registry does not let us.
    #[error("{what}: {why}; give ALERTMILL_OCI_USER and ALERTMILL_OCI_PASSWORD_FILE, or log in with a tool that writes DOCKER_CONFIG/config.json")]
    Denied {
        /// The repository.
        what: String,
        /// Why.
        why: String,
    },
    /// The registry answered something else.
    #[error("{what} answered HTTP {status}{words}")]
    Answered {
        /// What was asked.
        what: String,
        /// The status.
        status: u16,
        /// What the registry said, if anything.
        words: String,
    },
    /// Credentials that cannot be used.
    #[error("credentials: {0}")]
    Credentials(String),
    /// No answer.
    #[error(transparent)]
    Outgoing(#[from] outgoing::Failure),
}

impl Failure {
    /// Stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Failure::Reference { .. } => "bad-reference",
            Failure::NotFound(_) => "not-found",
            Failure::Io { .. } => "unreadable",
            Failure::Malformed { .. } => "not-a-module",
            Failure::Changed { .. } => "digest-differs",
            Failure::TooLarge { .. } => "too-large",
            Failure::Denied { .. } => "denied",
            Failure::Answered { .. } => "registry-answered",
            Failure::Credentials(_) => "bad-credentials",
            Failure::Outgoing(failure) => failure.code(),
        }
    }
}
