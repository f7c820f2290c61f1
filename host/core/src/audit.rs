//! Who changed the rules, when, and to what: one entry for each record that did, in a chain of hashes, so that an entry that
//! was changed or taken out later is found.

use crate::rule_set::RuleSet;
use crate::value::Text;
use crate::version_change::VersionChange;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// One change of rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditEntry {
    /// Of its record; rises from entry to entry.
    pub ordinal: u64,
    /// Time of its record, milliseconds since 1970.
    pub at_ms: i64,
    /// What was done, a word.
    pub action: Text,
    /// Name of the rule or table; empty when several changed at once.
    pub object: Text,
    /// Digest before; empty for none.
    pub from: Text,
    /// Digest after; empty for none.
    pub to: Text,
    /// Who, as the caller said; empty for what the server does by itself.
    pub operator: Text,
    /// In words.
    pub comment: Text,
    /// The caller's address.
    pub address: Text,
    /// The generation that it began; 0 when it began none.
    pub generation: u64,
    /// Who signed the version that came.
    pub signer: Text,
}

/// SHA-256 over an entry and the hash before it.
pub type AuditHash = [u8; 32];

/// What stands before the first entry.
pub const AUDIT_BEGIN: AuditHash = [0; 32];

impl AuditEntry {
    /// Of a record that begins a generation.
    pub fn of_rule_set(ordinal: u64, at_ms: i64, set: &RuleSet) -> AuditEntry {
        let change = set.change.clone();
        AuditEntry {
            ordinal,
            at_ms,
            action: Text::new_static(change.action.as_str()),
            object: change.object,
            from: change.from,
            to: change.to,
            operator: change.operator,
            comment: change.comment,
            address: change.address,
            generation: set.generation,
            signer: Text::default(),
        }
    }

    /// Of a record of a version that came or went.
    pub fn of_version(ordinal: u64, at_ms: i64, change: &VersionChange) -> AuditEntry {
        use crate::version_change::VersionAction::{Removed, Uploaded};
        let digest = |wanted| if change.action == wanted { change.digest.clone() } else { Text::default() };
        AuditEntry {
            ordinal,
            at_ms,
            action: Text::new_static(change.action.as_str()),
            object: change.name.clone(),
            from: digest(Removed),
            to: digest(Uploaded),
            operator: change.operator.clone(),
            comment: change.comment.clone(),
            address: change.address.clone(),
            generation: 0,
            signer: change.signature.as_ref().map(|signature| signature.signer.clone()).unwrap_or_default(),
        }
    }

    /// Its hash behind that of the entry before it: SHA-256 over that one and all fields in their order, numbers as 8 bytes
    /// little endian, texts with their length before them.
    pub fn hash(&self, before: &AuditHash) -> AuditHash {
        let mut hash = Sha256::new();
        hash.update(before);
        hash.update(self.ordinal.to_le_bytes());
        hash.update(self.at_ms.to_le_bytes());
        for text in [&self.action, &self.object, &self.from, &self.to, &self.operator, &self.comment, &self.address] {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        }
        hash.update(self.generation.to_le_bytes());
        hash.update((self.signer.len() as u64).to_le_bytes());
        hash.update(self.signer.as_bytes());
        hash.finalize().into()
    }

    /// Rough bytes held, for the bound of queues.
    pub fn size_bytes(&self) -> usize {
        size_of::<AuditEntry>() + self.comment.len() + self.from.len() + self.to.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Anyone who holds a hash must come to the same one later: none of these bytes may ever change.
    #[test]
    fn the_hash_of_an_entry_is_what_it_was() {
        let entry =
            AuditEntry { ordinal: 7, at_ms: 1_790_000_000_000, action: "activate".into(), object: "owner".into(), generation: 3, ..AuditEntry::default() };
        let hex = |hash: AuditHash| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let first = entry.hash(&AUDIT_BEGIN);
        assert_eq!(hex(first), "035b83291dc2a3884c7ecbe553ea86dd851a4647aedd39c96e8c94359f93d95f");
        assert_ne!(first, entry.hash(&first), "what stands before counts");
        for other in [
            AuditEntry { object: "".into(), from: "owner".into(), ..entry.clone() },
            AuditEntry { ordinal: 8, ..entry.clone() },
            AuditEntry { signer: "s".into(), ..entry.clone() },
        ] {
            assert_ne!(first, other.hash(&AUDIT_BEGIN), "{other:?}");
        }
    }
}
