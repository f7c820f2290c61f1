//! Signatures of rule modules: who made one, checked before it is taken.
//!
//! A signature lies beside its module, in `NAME.wasm.sig` ([`file::SignatureFile`]). What is signed is not that file but a few
//! lines that the checker writes itself, of what the module says of itself and of its own digest ([`Statement`]). So a signature
//! holds for one module under one name, version and tenant, and for nothing else.
//!
//! Signing is pure Ed25519 (RFC 8032). It tells a wrong or exchanged file from the publisher's; it is no access control: who may
//! change the configuration may name another publisher.

pub mod file;
pub mod keys;
mod publishers;
#[cfg(test)]
mod tests;

pub use file::SignatureFile;
pub use keys::{PublicKey, SecretKey};
pub use publishers::{Publisher, Publishers};

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// First line of what is signed, and the format of signature files. The number rises when either changes.
pub const FORMAT: &str = "alertmill-rule-signature/1";
/// Bytes of a signature file at most.
pub const FILE_MAX: usize = 4 << 10;
/// The tenant of all rules of this version.
pub const TENANT: &str = "system";

/// What a signature is a signature of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement<'a> {
    /// Whose rules it is for: [`TENANT`].
    pub tenant: &'a str,
    /// The module's own name.
    pub name: &'a str,
    /// The module's own version.
    pub version: &'a str,
    /// SHA-256 of the module, 64 lower-case hexadecimal digits.
    pub digest: &'a str,
}

impl Statement<'_> {
    /// The bytes that are signed. None for a statement that could be read as another: an empty field, a line break, a digest that is none.
    pub fn signed_bytes(&self) -> Option<Vec<u8>> {
        let Statement { tenant, name, version, digest } = self;
        let is_sound = [tenant, name, version].iter().all(|field| !field.is_empty() && !field.contains(char::is_control));
        let is_digest = digest.len() == 64 && digest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        (is_sound && is_digest).then(|| format!("{FORMAT}\ntenant={tenant}\nname={name}\nversion={version}\ndigest=sha256:{digest}\n").into_bytes())
    }
}

/// Who signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// The publisher's name in our configuration.
    pub publisher: String,
    /// The key.
    pub key_id: String,
}

/// Why a module is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is none.
    #[error("rule `{name}` has no signature, and publishers are configured; sign it with `alertmill rule sign`, and put NAME.wasm.sig beside it")]
    Missing {
        /// The rule.
        name: String,
    },
    /// It is no signature of this module.
    #[error("the signature is not one of rule `{name}`: {why}")]
    Invalid {
        /// The rule.
        name: String,
        /// Why.
        why: String,
    },
    /// Nobody known made it.
    #[error("the signature of rule `{name}` is of {key_ids}: {why}")]
    Unknown {
        /// The rule.
        name: String,
        /// The keys that the file names.
        key_ids: String,
        /// Why they do not count.
        why: String,
    },
    /// Its key no longer counts.
    #[error("the signature of rule `{name}` is of publisher `{publisher}`, whose key is revoked; have it signed with another key")]
    Revoked {
        /// The rule.
        name: String,
        /// The publisher.
        publisher: String,
    },
}

impl Refusal {
    /// Stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::Missing { .. } => "signature-missing",
            Refusal::Invalid { .. } => "signature-invalid",
            Refusal::Unknown { .. } => "publisher-unknown",
            Refusal::Revoked { .. } => "publisher-revoked",
        }
    }
}

/// Where a module's signature lies: `NAME.wasm.sig` beside `NAME.wasm`.
pub fn beside(module: &Path) -> PathBuf {
    let mut name = module.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

/// The bytes of a signature file for [`Publishers::verify`], and never many more than it takes; None when there is no such file.
pub fn read(file: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    match File::open(file).and_then(|found| found.take(FILE_MAX as u64 + 1).read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
