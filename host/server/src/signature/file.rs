//! `NAME.wasm.sig`: JSON with one or more signatures, for when a key takes the place of another.

use super::{FILE_MAX, FORMAT, SecretKey, Statement};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

/// Signatures of one file at most.
const SIGNATURES_MAX: usize = 8;

/// A signature file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignatureFile {
    format: String,
    signatures: Vec<Signature>,
    statement: Stated,
}

/// One signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// What the signer calls itself, for people; whose key it is says the configuration.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub publisher: String,
    /// Name of the key.
    pub key_id: String,
    /// 64 bytes as base64.
    signature: String,
}

/// What the signer meant to sign, for people and for words of errors. It is compared, and nothing is checked *with* it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stated {
    tenant: String,
    name: String,
    version: String,
    digest: String,
}

impl Stated {
    fn of(statement: &Statement<'_>) -> Stated {
        let Statement { tenant, name, version, digest } = *statement;
        Stated { tenant: tenant.into(), name: name.into(), version: version.into(), digest: format!("sha256:{digest}") }
    }

    fn words(&self) -> String {
        format!("rule {:?} {:?} of tenant {:?}, {}", self.name, self.version, self.tenant, self.digest)
    }
}

impl Signature {
    /// Its bytes, if it has the form of one.
    pub fn bytes(&self) -> Option<[u8; 64]> {
        BASE64.decode(&self.signature).ok()?.try_into().ok()
    }
}

impl SignatureFile {
    /// Signs `statement`. Signatures of the same by other keys, in the file that was there, stay. None if nothing can be signed so
    /// ([`Statement::signed_bytes`]).
    pub fn sign(statement: &Statement<'_>, key: &SecretKey, publisher: &str, before: Option<SignatureFile>) -> Option<SignatureFile> {
        let (stated, key_id) = (Stated::of(statement), key.public().id());
        let mut signatures = before.filter(|file| file.statement == stated).map_or_else(Vec::new, |file| file.signatures);
        signatures.retain(|signature| signature.key_id != key_id);
        let signature = BASE64.encode(key.sign(&statement.signed_bytes()?));
        signatures.push(Signature { publisher: publisher.to_owned(), key_id, signature });
        let first = signatures.len().saturating_sub(SIGNATURES_MAX);
        Some(SignatureFile { format: FORMAT.to_owned(), signatures: signatures.split_off(first), statement: stated })
    }

    /// Reads a file's bytes.
    pub fn parse(bytes: &[u8]) -> Result<SignatureFile, String> {
        if bytes.len() > FILE_MAX {
            return Err(format!("the signature file has {} bytes, and {FILE_MAX} at most are taken", bytes.len()));
        }
        let file: SignatureFile = serde_json::from_slice(bytes).map_err(|e| format!("it is no signature file: {e}"))?;
        if file.format != FORMAT {
            return Err(format!("its format is {:?}, and {FORMAT:?} is what is taken", file.format));
        }
        if file.signatures.is_empty() || file.signatures.len() > SIGNATURES_MAX {
            return Err(format!("it holds {} signatures; 1 to {SIGNATURES_MAX} are taken", file.signatures.len()));
        }
        Ok(file)
    }

    /// The file's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Its signatures.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// In what it says to be of something else than `statement`.
    pub fn is_of_another(&self, statement: &Statement<'_>) -> Option<String> {
        let wanted = Stated::of(statement);
        (self.statement != wanted).then(|| format!("it is for {}, and this is {}", self.statement.words(), wanted.words()))
    }
}
