//! The records behind a position, copied out of the files of a journal into sealed segments of their own.

use super::BackupError;
use crate::durable::StoreError;
use crate::journal::{self, Gap};
use std::path::Path;

pub(super) use crate::journal::copy::{IDENTITY, WATERMARK, acknowledged, hold, holder_of, is_identity, names};

/// What was copied.
pub(super) struct Tail {
    /// The last record; the position when there is none behind it.
    pub last: u64,
    /// The first records that cannot be read although later ones can, or should be there.
    pub missing: Option<Gap>,
    /// CRC of the records up to the ordinal that was asked for.
    pub crc_until: u32,
}

/// Copies the records behind `position`, up to `until` when it is given.
pub(super) fn copy(from: &Path, position: u64, until: Option<u64>, to: &Path) -> Result<Tail, BackupError> {
    copy_comparing(from, position, until, to, u64::MAX)
}

/// As [`copy`]; the CRC covers records up to `compare_until`.
pub(super) fn copy_comparing(from: &Path, position: u64, until: Option<u64>, to: &Path, compare_until: u64) -> Result<Tail, BackupError> {
    let mut writer = journal::copy::TailWriter::new(to, position, journal::copy::next_id(from)?);
    let mut crc = 0;
    let missing = journal::copy::read(from, position, until, |head, payload| {
        if head.ordinal <= compare_until {
            crc = crc32c::crc32c_append(crc, &head.ordinal.to_le_bytes());
            crc = crc32c::crc32c_append(crc, &head.received_at_ms.to_le_bytes());
            crc = crc32c::crc32c_append(crc, payload);
        }
        writer.take(head, payload)
    })?;
    let last = writer.finish()?;
    Ok(Tail { last, missing, crc_until: crc })
}

/// Gives every encoded record behind `position` to `take`.
pub(super) fn each(from: &Path, position: u64, mut take: impl FnMut(&[u8])) -> Result<(), BackupError> {
    journal::copy::read(from, position, None, |_, payload| {
        take(payload);
        Ok(())
    })?;
    Ok(())
}

impl From<StoreError> for BackupError {
    fn from(error: StoreError) -> BackupError {
        BackupError::Store(error)
    }
}
