//! What a backup says of itself: versions, positions, and every file with its digest.

use super::BackupError;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io::{self, Read};

/// Format of the layout.
pub const FORMAT: u32 = 1;
/// The manifest's name in a backup; the last file but one.
pub const MANIFEST: &str = "manifest.json";
/// Holds the digest of the manifest; the last file.
pub const MANIFEST_DIGEST: &str = "manifest.sha256";

/// `manifest.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Format of the layout.
    pub format: u32,
    /// The version that made it.
    pub alertmill: String,
    /// When it was made, milliseconds since 1970.
    pub taken_at_ms: i64,
    /// The last record that the state covers.
    pub position: u64,
    /// Time of that record, milliseconds since 1970.
    pub received_at_ms: i64,
    /// The last record in it; those behind `position` are replayed by the first start.
    pub journal_last: u64,
    /// Alerts, open and ended.
    pub alerts: u64,
    /// Open alerts.
    pub open_alerts: u64,
    /// Event documents.
    pub events: u64,
    /// For whoever ships documents to services from a restored folder.
    pub shipped_versions: String,
    /// All other files, by name.
    pub files: Vec<FileEntry>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its place in the data folder, such as `events/0000000001.events`.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

/// What [`Manifest::shipped_versions`] says.
pub(super) const SHIPPED_VERSIONS: &str = "services may hold newer versions of these documents; a restored folder goes on above all that were shipped before";

impl Manifest {
    /// Reads the bytes of `manifest.json`, whose digest is `digest`.
    pub fn parse(bytes: &[u8], digest: &[u8]) -> Result<Manifest, BackupError> {
        let found = hex(&Sha256::digest(bytes));
        if digest.trim_ascii_end() != found.as_bytes() {
            return Err(BackupError::Refused(format!("{MANIFEST} or {MANIFEST_DIGEST} is damaged: its SHA-256 is {found}, not what {MANIFEST_DIGEST} says")));
        }
        let manifest: Manifest = serde_json::from_slice(bytes).map_err(|e| BackupError::Refused(format!("{MANIFEST} cannot be read: {e}")))?;
        if manifest.format != FORMAT {
            return Err(BackupError::Refused(format!("the backup has format {}; this version knows {FORMAT}", manifest.format)));
        }
        if let Some(file) = manifest.files.iter().find(|file| !is_data_file(&file.name)) {
            return Err(BackupError::Refused(format!("{:?} is no file of a data folder", file.name)));
        }
        Ok(manifest)
    }

    /// The bytes of both files.
    pub(super) fn to_bytes(&self) -> (Vec<u8>, Vec<u8>) {
        let bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        let digest = format!("{}\n", hex(&Sha256::digest(&bytes))).into_bytes();
        (bytes, digest)
    }
}

/// Names that a backup may hold: nothing that leads elsewhere.
pub(super) fn is_data_file(name: &str) -> bool {
    let is_plain = |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    match name.split_once('/') {
        None => name == "state.sqlite",
        Some((folder, file)) => ["events", "uids", "modules", "journal"].contains(&folder) && is_plain(file),
    }
}

pub(super) fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads all of `from` into `out`; gives size and digest.
pub(super) fn copy_hashing(from: &mut dyn Read, out: &mut dyn io::Write) -> io::Result<(u64, String)> {
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    let mut buffer = vec![0; 256 << 10];
    loop {
        let n = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hash.update(&buffer[..n]);
        out.write_all(&buffer[..n])?;
        bytes += n as u64;
    }
    Ok((bytes, hex(&hash.finalize())))
}
