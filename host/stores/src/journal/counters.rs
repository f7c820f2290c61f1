//! What the journal counts, for `/metrics` and health; absolute values since the process started, except the ordinals.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Upper bounds of the buckets of [`JournalCounts::group_sizes`]; a last bucket holds what is larger.
pub const GROUP_SIZE_BOUNDS: [u64; 12] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096];

#[derive(Default)]
pub(super) struct Counters {
    pub fdatasyncs: AtomicU64,
    pub failed_syncs: AtomicU64,
    pub groups: AtomicU64,
    pub records: AtomicU64,
    pub bytes: AtomicU64,
    pub refused: AtomicU64,
    pub refuses: AtomicBool,
    pub append_queue_bytes: AtomicU64,
    pub live_queue_bytes: AtomicU64,
    pub last_ordinal: AtomicU64,
    pub handed_over: AtomicU64,
    pub segment_bytes: AtomicU64,
    pub sync_nanos: AtomicU64,
    pub watermark_syncs: AtomicU64,
    pub watermark_nanos: AtomicU64,
    pub group_sizes: [AtomicU64; GROUP_SIZE_BOUNDS.len() + 1],
}

/// The journal's numbers at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalCounts {
    /// Successful fdatasyncs of records.
    pub fdatasyncs: u64,
    /// Writes or fdatasyncs that failed; each ended its file.
    pub failed_syncs: u64,
    /// Groups made durable, each by one fdatasync.
    pub groups: u64,
    /// Records made durable.
    pub records: u64,
    /// Bytes of their frames.
    pub bytes: u64,
    /// Appends refused because the queue was full.
    pub refused: u64,
    /// The last group was refused, by the disk or by the journal's own bound; nothing has become durable since.
    pub refuses: bool,
    /// Bytes that wait to be written.
    pub append_queue_bytes: u64,
    /// Bytes that are durable and wait in memory for the prepare half.
    pub live_queue_bytes: u64,
    /// Ordinal of the last durable record; nothing is numbered before it is durable.
    pub last_ordinal: u64,
    /// Ordinal of the last record that the reader gave out.
    pub handed_over: u64,
    /// Bytes of all segment files.
    pub segment_bytes: u64,
    /// Nanoseconds spent in writes and fdatasyncs.
    pub sync_nanos: u64,
    /// Fdatasyncs of the watermark, as of the last group.
    pub watermark_syncs: u64,
    /// Nanoseconds spent in writes and fdatasyncs of the watermark, as of the last group.
    pub watermark_nanos: u64,
    /// How many groups had up to [`GROUP_SIZE_BOUNDS`] records.
    pub group_sizes: [u64; GROUP_SIZE_BOUNDS.len() + 1],
}

impl Counters {
    pub fn group_of(&self, records: u64, bytes: u64, nanos: u64) {
        self.fdatasyncs.fetch_add(1, Relaxed);
        self.groups.fetch_add(1, Relaxed);
        self.records.fetch_add(records, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
        self.sync_nanos.fetch_add(nanos, Relaxed);
        let bucket = GROUP_SIZE_BOUNDS.iter().position(|bound| records <= *bound).unwrap_or(GROUP_SIZE_BOUNDS.len());
        self.group_sizes[bucket].fetch_add(1, Relaxed);
    }

    pub fn read(&self) -> JournalCounts {
        JournalCounts {
            fdatasyncs: self.fdatasyncs.load(Relaxed),
            failed_syncs: self.failed_syncs.load(Relaxed),
            groups: self.groups.load(Relaxed),
            records: self.records.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            refused: self.refused.load(Relaxed),
            refuses: self.refuses.load(Relaxed),
            append_queue_bytes: self.append_queue_bytes.load(Relaxed),
            live_queue_bytes: self.live_queue_bytes.load(Relaxed),
            last_ordinal: self.last_ordinal.load(Relaxed),
            handed_over: self.handed_over.load(Relaxed),
            segment_bytes: self.segment_bytes.load(Relaxed),
            sync_nanos: self.sync_nanos.load(Relaxed),
            watermark_syncs: self.watermark_syncs.load(Relaxed),
            watermark_nanos: self.watermark_nanos.load(Relaxed),
            group_sizes: std::array::from_fn(|i| self.group_sizes[i].load(Relaxed)),
        }
    }
}
