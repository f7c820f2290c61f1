//! A sealed segment that is made in memory and written at once: the whole parts of a damaged file, and the records of a backup.

use super::Segment;
use super::segment::{self, FrameHead};
use crate::disk::UNFINISHED;
use crate::durable::{self, StoreError};
use std::io::{self, Write};
use std::path::Path;

pub(super) struct SealedSegment {
    id: u64,
    first: u64,
    last: FrameHead,
    content: Vec<u8>,
}

impl SealedSegment {
    /// One without records says with which ordinal the journal goes on.
    pub fn new(id: u64, first: u64) -> SealedSegment {
        let last = FrameHead { ordinal: first - 1, received_at_ms: 0, group_first: first - 1 };
        SealedSegment { id, first, last, content: segment::encode_header(id, first).to_vec() }
    }

    /// The next record.
    pub fn take(&mut self, head: FrameHead, payload: &[u8]) {
        segment::encode_frame(&mut self.content, self.id, head, payload);
        self.last = head;
    }

    pub fn id(&self) -> u64 {
        self.id
    }

    /// The last record; one before the first when there is none.
    pub fn last(&self) -> u64 {
        self.last.ordinal
    }

    pub fn bytes(&self) -> usize {
        self.content.len()
    }

    /// Writes it into `dir`. The name appears only when all of it is durable.
    pub fn write(mut self, dir: &Path) -> Result<Segment, StoreError> {
        self.content.extend(segment::encode_footer(self.id, self.last.ordinal, self.last.received_at_ms));
        let segment = Segment { first: self.first, id: self.id, bytes: self.content.len() as u64 };
        let path = dir.join(segment.name());
        let unfinished = path.with_extension(UNFINISHED);
        let write = || -> io::Result<()> {
            let mut file = durable::create_new(&unfinished)?;
            file.write_all(&self.content)?;
            file.sync_all()?;
            std::fs::rename(&unfinished, &path)
        };
        write().map_err(StoreError::io("write", &path))?;
        durable::sync_dir(dir)?;
        Ok(segment)
    }
}
