//! The bytes of a segment file: header, frames, footer, and how a file that met a crash is read again. No I/O here.
//!
//! Little endian, everything at multiples of 8:
//! - header, 64 bytes: magic, format u32, crc u32, segment id u64, first ordinal u64, zeros;
//! - frame: length u32, crc u32, ordinal u64, received_at i64 (ms), first ordinal of its group u64, payload, zeros to 8;
//! - footer, as large as a frame's head: length `u32::MAX`, crc, last ordinal u64, received_at i64, zeros.
//!
//! Every crc covers the segment id, so that bytes of another file never pass. A group was written only after all groups
//! before it were synced: so a frame tells, by the first ordinal of its group, that everything before that was durable.
//! That is how a torn tail (never acknowledged, cut) is told from damage (acknowledged, fenced and reported). Of the last
//! group no frame can tell; its watermark (`watermark.rs`) does.

use std::collections::BTreeMap;
use std::ops::Range;

pub(super) const MAGIC: &[u8; 8] = b"ALRTJRNL";
pub(super) const FORMAT: u32 = 1;
pub(super) const HEADER_BYTES: usize = 64;
pub(super) const FRAME_HEAD_BYTES: usize = 32;
const FOOTER_MARK: u32 = u32::MAX;

/// A frame's head without length and crc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHead {
    pub ordinal: u64,
    pub received_at_ms: i64,
    pub group_first: u64,
}

/// One frame in a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub head: FrameHead,
    pub payload: Range<usize>,
    /// Where the next frame begins.
    pub end: usize,
}

/// What lies at a place of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Frame(Frame),
    /// The segment was sealed; its last ordinal.
    Footer(u64),
    /// Nothing readable: never written, torn or damaged.
    Nothing,
    /// The buffer ends before the piece does; so many bytes from its begin are needed.
    Short(usize),
}

pub(super) const fn padded(bytes: usize) -> usize {
    bytes.div_ceil(8) * 8
}

/// Bytes of a frame with a payload of that length.
pub(super) const fn frame_bytes(payload: usize) -> usize {
    FRAME_HEAD_BYTES + padded(payload)
}

pub(super) fn encode_header(id: u64, first: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    header[16..24].copy_from_slice(&id.to_le_bytes());
    header[24..32].copy_from_slice(&first.to_le_bytes());
    let crc = header_crc(&header);
    header[12..16].copy_from_slice(&crc.to_le_bytes());
    header
}

fn header_crc(header: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&header[..12]), &header[16..HEADER_BYTES])
}

/// Makes a header say another format, as a version to come would.
#[cfg(test)]
pub(super) fn set_format(header: &mut [u8], format: u32) {
    header[8..12].copy_from_slice(&format.to_le_bytes());
    let crc = header_crc(header);
    header[12..16].copy_from_slice(&crc.to_le_bytes());
}

/// What a header says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Header {
    Good { id: u64, first: u64 },
    Newer(u32),
    Damaged,
}

pub(super) fn decode_header(bytes: &[u8]) -> Header {
    if bytes.len() < HEADER_BYTES || &bytes[..8] != MAGIC || u32_at(bytes, 12) != header_crc(bytes) {
        return Header::Damaged;
    }
    match u32_at(bytes, 8) {
        FORMAT => Header::Good { id: u64_at(bytes, 16), first: u64_at(bytes, 24) },
        newer => Header::Newer(newer),
    }
}

fn frame_crc(id: u64, length: u32, rest_of_head: &[u8], payload: &[u8]) -> u32 {
    let mut start = [0; 12];
    start[..4].copy_from_slice(&length.to_le_bytes());
    start[4..].copy_from_slice(&id.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(&start), rest_of_head), payload)
}

fn put(out: &mut Vec<u8>, id: u64, length: u32, head: FrameHead, payload: &[u8]) {
    let at = out.len();
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&head.ordinal.to_le_bytes());
    out.extend_from_slice(&head.received_at_ms.to_le_bytes());
    out.extend_from_slice(&head.group_first.to_le_bytes());
    let crc = frame_crc(id, length, &out[at + 8..], payload);
    out[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(payload);
    out.resize(at + frame_bytes(payload.len()), 0);
}

/// Appends a frame to a buffer whose length is a multiple of 8.
pub(super) fn encode_frame(out: &mut Vec<u8>, id: u64, head: FrameHead, payload: &[u8]) {
    put(out, id, payload.len() as u32, head, payload);
}

/// The footer behind the last frame.
pub(super) fn encode_footer(id: u64, last: u64, received_at_ms: i64) -> Vec<u8> {
    let mut out = Vec::with_capacity(FRAME_HEAD_BYTES);
    put(&mut out, id, FOOTER_MARK, FrameHead { ordinal: last, received_at_ms, group_first: 0 }, &[]);
    out
}

/// Reads what lies at `at`.
pub(super) fn piece_at(bytes: &[u8], at: usize, id: u64) -> Piece {
    if at + FRAME_HEAD_BYTES > bytes.len() {
        return Piece::Short(FRAME_HEAD_BYTES);
    }
    let length = u32_at(bytes, at);
    let payload = at + FRAME_HEAD_BYTES..match length {
        0 => return Piece::Nothing,
        FOOTER_MARK => at + FRAME_HEAD_BYTES,
        n => at + FRAME_HEAD_BYTES + n as usize,
    };
    if payload.end > bytes.len() {
        return Piece::Short(payload.end - at);
    }
    if u32_at(bytes, at + 4) != frame_crc(id, length, &bytes[at + 8..at + FRAME_HEAD_BYTES], &bytes[payload.clone()]) {
        return Piece::Nothing;
    }
    let head = FrameHead { ordinal: u64_at(bytes, at + 8), received_at_ms: u64_at(bytes, at + 16) as i64, group_first: u64_at(bytes, at + 24) };
    if length == FOOTER_MARK {
        return Piece::Footer(head.ordinal);
    }
    let end = at + frame_bytes(payload.len());
    Piece::Frame(Frame { head, payload, end })
}

/// The time in the bytes of a footer, milliseconds; `None` when they are none.
pub(super) fn footer_ms(bytes: &[u8], id: u64) -> Option<i64> {
    match piece_at(bytes, 0, id) {
        Piece::Footer(_) => Some(u64_at(bytes, 16) as i64),
        _ => None,
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap_or_default())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap_or_default())
}

/// Ordinals that cannot be read although they were durable once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// First missing ordinal.
    pub first: u64,
    /// Last missing ordinal.
    pub last: u64,
}

/// A whole segment file, read after a start.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Readable frames, in order, all with rising ordinals.
    pub frames: Vec<Frame>,
    /// Behind the last frame that counts.
    pub end: usize,
    /// A footer says that all of it was synced.
    pub sealed: bool,
    /// What was durable and cannot be read.
    pub gaps: Vec<Gap>,
    /// Some of the frames lie behind bytes that cannot be read: nobody can read this file from front to back.
    pub holed: bool,
    /// Bytes that are not zero behind `end`: a write that the crash cut.
    pub torn_bytes: u64,
}

/// Reads a segment. `first` is its first ordinal, `limit` the first ordinal of the segment behind it: frames from there
/// on were written again there and do not count here. `acked` is the last ordinal that was acknowledged for certain.
pub(super) fn scan(bytes: &[u8], id: u64, first: u64, limit: Option<u64>, acked: u64) -> Scan {
    let mut scan = Scan { end: HEADER_BYTES, ..Scan::default() };
    let mut next = first;
    let counts = |ordinal: u64| limit.is_none_or(|limit| ordinal < limit);
    while counts(next) {
        match piece_at(bytes, scan.end, id) {
            Piece::Frame(frame) if frame.head.ordinal == next => {
                scan.end = frame.end;
                next += 1;
                scan.frames.push(frame);
            }
            Piece::Footer(last) if last + 1 == next => {
                scan.sealed = true;
                scan.end += FRAME_HEAD_BYTES;
                return scan;
            }
            _ => {
                scan.look_behind_the_hole(bytes, id, next, limit, acked);
                break;
            }
        }
    }
    scan
}

impl Scan {
    /// `next` is not where it belongs. What lies behind it is taken whole wherever it is, since id and crc say that it is
    /// ours; what was durable once and is nowhere is a gap.
    fn look_behind_the_hole(&mut self, bytes: &[u8], id: u64, mut next: u64, limit: Option<u64>, acked: u64) {
        let rest = Rest::of(bytes, self.end, id, next);
        self.sealed = rest.footer.is_some();
        let last = limit.map_or(u64::MAX, |limit| limit - 1);
        // A sealed file holds all it ever held; what is missing behind it is not its damage.
        let durable = rest.footer.unwrap_or_else(|| limit.map_or(rest.durable.max(acked), |_| last)).min(last);
        for frame in rest.frames.into_values().take_while(|frame| frame.head.ordinal <= last) {
            let found = frame.head.ordinal;
            if found > next {
                // Nothing proves that this hole was ever synced: it is the tail of a write that a crash cut.
                if next > durable {
                    break;
                }
                self.gaps.push(Gap { first: next, last: found - 1 });
            }
            next = found + 1;
            self.end = self.end.max(frame.end);
            self.holed = true;
            self.frames.push(frame);
        }
        if next <= durable {
            self.gaps.push(Gap { first: next, last: durable });
        }
        if limit.is_none() && !self.sealed {
            self.torn_bytes = bytes.get(self.end..).unwrap_or_default().iter().filter(|byte| **byte != 0).count() as u64;
        }
    }
}

/// What can be read behind a hole.
#[derive(Default)]
struct Rest {
    /// By ordinal, from the missing one on.
    frames: BTreeMap<u64, Frame>,
    /// The last ordinal of which a frame says that it was durable before.
    durable: u64,
    /// The last ordinal that a footer names.
    footer: Option<u64>,
}

impl Rest {
    fn of(bytes: &[u8], mut at: usize, id: u64, next: u64) -> Rest {
        let mut rest = Rest::default();
        while at + FRAME_HEAD_BYTES <= bytes.len() {
            // No segment holds more records than bytes, so most accidental heads fall out before their crc is computed.
            let plausible = match u32_at(bytes, at) {
                0 => false,
                FOOTER_MARK => true,
                _ => next.abs_diff(u64_at(bytes, at + 8)) <= bytes.len() as u64,
            };
            match plausible.then(|| piece_at(bytes, at, id)) {
                Some(Piece::Frame(frame)) => {
                    at = frame.end;
                    rest.durable = rest.durable.max(frame.head.group_first.saturating_sub(1));
                    if frame.head.ordinal >= next {
                        rest.frames.entry(frame.head.ordinal).or_insert(frame);
                    }
                }
                Some(Piece::Footer(last)) => {
                    at += FRAME_HEAD_BYTES;
                    rest.footer = rest.footer.max(Some(last));
                }
                _ => at += 8,
            }
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: u64 = 77;

    /// Groups of two records: 5 6 | 7 8 | 9.
    fn sample(sealed: bool) -> Vec<u8> {
        let mut bytes = encode_header(ID, 5).to_vec();
        for ordinal in 5..10u64 {
            let head = FrameHead { ordinal, received_at_ms: 1_000 + ordinal as i64, group_first: (ordinal - 5) / 2 * 2 + 5 };
            encode_frame(&mut bytes, ID, head, format!("record {ordinal}").as_bytes());
        }
        if sealed {
            bytes.extend(encode_footer(ID, 9, 1_009));
        }
        bytes
    }

    fn ordinals(scan: &Scan) -> Vec<u64> {
        scan.frames.iter().map(|frame| frame.head.ordinal).collect()
    }

    #[test]
    fn a_whole_segment_is_read_back() {
        for sealed in [false, true] {
            let bytes = sample(sealed);
            assert_eq!(decode_header(&bytes), Header::Good { id: ID, first: 5 });
            let scan = scan(&bytes, ID, 5, None, 0);
            assert_eq!(ordinals(&scan), [5, 6, 7, 8, 9]);
            assert_eq!((scan.sealed, scan.gaps.len(), scan.torn_bytes, scan.end), (sealed, 0, 0, bytes.len()));
            assert_eq!(&bytes[scan.frames[2].payload.clone()], b"record 7");
        }
    }

    #[test]
    fn a_cut_at_any_byte_leaves_the_frames_before_it() {
        let bytes = sample(false);
        let ends: Vec<usize> = scan(&bytes, ID, 5, None, 0).frames.iter().map(|f| f.payload.end).collect();
        for cut in HEADER_BYTES..bytes.len() {
            let mut torn = bytes[..cut].to_vec();
            torn.resize(bytes.len() + 64, 0);
            let scan = scan(&torn, ID, 5, None, 0);
            let whole = ends.iter().filter(|end| **end <= cut).count();
            assert!(scan.frames.len() >= whole && scan.gaps.is_empty(), "cut at {cut}: {scan:?}");
            // A cut inside trailing zeros or zero bytes of the payload loses nothing; else the frame is gone.
            assert_eq!(ordinals(&scan), (5..5 + scan.frames.len() as u64).collect::<Vec<_>>());
        }
    }

    #[test]
    fn every_flipped_bit_is_seen_or_harmless() {
        let bytes = sample(true);
        for bit in HEADER_BYTES * 8..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let scan = scan(&flipped, ID, 5, None, 0);
            let lost: u64 = scan.gaps.iter().map(|gap| gap.last - gap.first + 1).sum();
            for frame in &scan.frames {
                assert_eq!(&flipped[frame.payload.clone()], format!("record {}", frame.head.ordinal).as_bytes(), "bit {bit}");
            }
            assert_eq!(scan.frames.len() as u64 + lost, 5, "bit {bit}: {scan:?}");
        }
    }

    #[test]
    fn without_a_later_group_a_hole_is_a_torn_tail() {
        let mut bytes = sample(false);
        let frames = scan(&bytes, ID, 5, None, 0).frames;
        bytes[frames[4].payload.start] ^= 1;
        let scan_last = scan(&bytes, ID, 5, None, 0);
        assert_eq!((ordinals(&scan_last), scan_last.gaps.len()), (vec![5, 6, 7, 8], 0));
        assert!(scan_last.torn_bytes > 0);
        // 7 was durable before 9's group was written.
        bytes = sample(false);
        bytes[frames[2].payload.start] ^= 1;
        let scan = scan(&bytes, ID, 5, None, 0);
        assert_eq!((ordinals(&scan), scan.gaps), (vec![5, 6, 8, 9], vec![Gap { first: 7, last: 7 }]));
    }

    #[test]
    fn what_the_next_segment_holds_does_not_count_here() {
        let mut bytes = sample(false);
        let scan_limited = scan(&bytes, ID, 5, Some(9), 0);
        assert_eq!((ordinals(&scan_limited), scan_limited.gaps.len()), (vec![5, 6, 7, 8], 0));
        let last = scan_limited.frames[3].payload.start;
        bytes[last] ^= 1;
        assert_eq!(scan(&bytes, ID, 5, Some(9), 0).gaps, [Gap { first: 8, last: 8 }]);
    }
}
