//! Versions of rules that come and go without changing what runs: an upload that passed its checks, or one that was removed.

use crate::value::Text;
use serde::{Deserialize, Serialize};

/// Bytes of [`VersionChange::info`] at most.
pub const INFO_BYTES_MAX: usize = 160 << 10;

/// A version of a rule came or went. It changes no alert; it is a record so that the state has no rows that the journal does
/// not explain. The component is in the data folder by its digest, synced, before the record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionChange {
    /// Which of the two.
    pub action: VersionAction,
    /// Of the rule.
    pub name: Text,
    /// From the manifest: a label, the digest is the identity.
    pub version: Text,
    /// SHA-256 of the component, 64 hex digits.
    pub digest: Text,
    /// Bytes of the component.
    #[serde(default)]
    pub size_bytes: u64,
    /// Who, as the caller says; `retention` for what the server removes by itself.
    #[serde(default, skip_serializing_if = "Text::is_empty")]
    pub operator: Text,
    /// The caller's address.
    #[serde(default, skip_serializing_if = "Text::is_empty")]
    pub address: Text,
    /// In words.
    #[serde(default, skip_serializing_if = "Text::is_empty")]
    pub comment: Text,
    /// Where it came from: `upload`, `oci://registry/repository:tag`, `folder:10-owner.wasm`.
    #[serde(default, skip_serializing_if = "Text::is_empty")]
    pub source: Text,
    /// Who signed it, when somebody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<VersionSignature>,
    /// What the module says of itself, as JSON: hooks, reads, writes, config schema. At most [`INFO_BYTES_MAX`].
    #[serde(default, skip_serializing_if = "Text::is_empty")]
    pub info: Text,
}

/// What happened to a version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VersionAction {
    /// It can be activated from now on.
    #[default]
    Uploaded,
    /// It cannot any more.
    Removed,
}

impl VersionAction {
    /// The word in the audit and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            VersionAction::Uploaded => "upload",
            VersionAction::Removed => "remove-version",
        }
    }
}

/// A signature that was good when the version was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionSignature {
    /// Name of the publisher.
    pub signer: Text,
    /// Which of its keys.
    pub key_id: Text,
    /// SHA-256 of the signature's file, which is in the data folder like a module.
    pub digest: Text,
}

impl VersionChange {
    /// Digests of the files that the version needs.
    pub fn digests(&self) -> impl Iterator<Item = &Text> {
        [&self.digest].into_iter().chain(self.signature.as_ref().map(|signature| &signature.digest))
    }

    /// Rough bytes held, for the bound of queues.
    pub fn size_bytes(&self) -> usize {
        let texts = [&self.name, &self.version, &self.digest, &self.operator, &self.address, &self.comment, &self.source, &self.info];
        size_of::<VersionChange>() + texts.iter().map(|text| text.len()).sum::<usize>()
    }
}
