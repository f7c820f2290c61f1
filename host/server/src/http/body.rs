//! Reading a body within bounds: bytes sent, bytes decoded, their ratio, time, rate, and the budget that all requests share.

use super::budget::{Budget, Lease};
use super::code::ProblemCode;
use super::problem::Problem;
use axum::body::Body;
use axum::http::{HeaderMap, header};
use flate2::write::GzDecoder;
use http_body_util::BodyExt;
use std::io::{self, Write};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Bounds of one body.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Bytes as sent.
    pub sent_max: usize,
    /// Bytes after decompression.
    pub decoded_max: usize,
    /// Decoded bytes to one sent, once a MiB is decoded.
    pub ratio_max: usize,
    /// Longest pause.
    pub idle: Duration,
    /// Longest time in all.
    pub total: Duration,
    /// Bytes a second, on average, that a body must come with after `rate_after`.
    pub rate_min: usize,
    /// See `rate_min`.
    pub rate_after: Duration,
}

impl Default for BodyLimits {
    fn default() -> BodyLimits {
        BodyLimits {
            sent_max: 16 << 20,
            decoded_max: 64 << 20,
            ratio_max: 100,
            idle: Duration::from_secs(10),
            total: Duration::from_secs(60),
            rate_min: 1024,
            rate_after: Duration::from_secs(5),
        }
    }
}

/// Below it a high ratio is harmless.
pub(super) const RATIO_FREE_BYTES: usize = 1 << 20;
/// How finely the budget is taken.
const STEP_BYTES: usize = 16 * 1024;

/// A body that was read.
#[derive(Debug)]
pub struct ReadBody {
    /// Decoded bytes.
    pub bytes: Vec<u8>,
    /// Bytes as sent.
    pub sent: usize,
    /// Holds the bytes' share of the budget until the request is answered.
    pub lease: Lease,
}

/// Reads a whole body. On any error nothing of it is used; problems whose rest of the body is not wanted end the connection.
pub async fn read_body(headers: &HeaderMap, body: Body, limits: &BodyLimits, budget: &Budget) -> Result<ReadBody, Problem> {
    let gzip = is_gzip(headers)?;
    // Before the body is polled, so that no `100 Continue` is sent for what will be refused.
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limits.sent_max as u64) {
        return Err(too_large(format!("the body has more than {} bytes; send it in parts or with Content-Encoding: gzip", limits.sent_max)));
    }
    let lease = budget.lease();
    if announced.is_some_and(|length| length > lease.total() as u64) {
        return Err(over_queue(lease.total()));
    }
    let mut sink = Sink { bytes: Vec::new(), lease, announced: announced.filter(|_| !gzip), sent: 0, limits: *limits, full: None };
    if gzip {
        let mut decoder = GzDecoder::new(sink);
        receive(body, limits, |chunk, sent| {
            decoder.get_mut().sent = sent;
            let written = write_all(&mut decoder, chunk);
            written.map_err(|error| decoder.get_mut().full.take().unwrap_or_else(|| bad_gzip(&error)))
        })
        .await?;
        let ended = decoder.try_finish();
        let problem = decoder.get_mut().full.take();
        ended.map_err(|error| problem.unwrap_or_else(|| bad_gzip(&error)))?;
        sink = decoder.finish().map_err(|error| bad_gzip(&error))?;
    } else {
        receive(body, limits, |chunk, sent| {
            sink.sent = sent;
            sink.take(chunk)
        })
        .await?;
    }
    Ok(ReadBody { bytes: sink.bytes, sent: sink.sent, lease: sink.lease })
}

pub(super) fn is_gzip(headers: &HeaderMap) -> Result<bool, Problem> {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let one = encodings.next().map(|encoding| encoding.as_bytes().trim_ascii());
    match one {
        _ if encodings.next().is_some() => {}
        None => return Ok(false),
        Some(encoding) if encoding.eq_ignore_ascii_case(b"identity") => return Ok(false),
        Some(encoding) if encoding.eq_ignore_ascii_case(b"gzip") => return Ok(true),
        Some(_) => {}
    }
    Err(ProblemCode::ContentEncoding.problem("Content-Encoding is `gzip`, once, or `identity`").closing())
}

/// Hands each chunk and the number of bytes sent so far to `take`, within the limits of time and of bytes sent.
pub(super) async fn receive(mut body: Body, limits: &BodyLimits, mut take: impl FnMut(&[u8], usize) -> Result<(), Problem>) -> Result<(), Problem> {
    let start = Instant::now();
    let (end, mut sent) = (start + limits.total, 0);
    loop {
        let until = end.min(Instant::now() + limits.idle);
        let late = |why: String| Err(ProblemCode::BodyTimeout.problem(why).closing());
        let frame = match timeout_at(until, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => return Ok(()),
            Ok(Some(Err(_))) => return Err(ProblemCode::Body.problem("the body broke off or its chunks are malformed").closing()),
            Err(_) if until == end => return late(format!("a body has {} s", limits.total.as_secs())),
            Err(_) => return late(format!("nothing of the body came for {} s", limits.idle.as_secs())),
        };
        let Ok(chunk) = frame.into_data() else { continue };
        sent += chunk.len();
        if sent > limits.sent_max {
            return Err(too_large(format!("the body has more than {} bytes; send it in parts or with Content-Encoding: gzip", limits.sent_max)));
        }
        let passed = start.elapsed();
        if passed > limits.rate_after && (sent as f64) < limits.rate_min as f64 * passed.as_secs_f64() {
            return late(format!("the body comes slower than {} bytes a second", limits.rate_min));
        }
        take(&chunk, sent)?;
    }
}

pub(super) fn too_large(why: String) -> Problem {
    ProblemCode::BodyTooLarge.problem(why).closing()
}

/// A body that no waiting would make fit.
fn over_queue(total: usize) -> Problem {
    too_large(format!("the body has more than {total} bytes, which is all that limits.queue allows for all requests; send it in parts"))
}

pub(super) fn bad_gzip(error: &io::Error) -> Problem {
    ProblemCode::Body.problem(format!("the gzip is damaged, cut off, or has something behind its end: {error}")).closing()
}

/// `Write::write_all`, which takes a write of nothing, as the decoder does behind its end, for an error.
pub(super) fn write_all(decoder: &mut GzDecoder<impl Write>, mut chunk: &[u8]) -> io::Result<()> {
    while !chunk.is_empty() {
        match decoder.write(chunk)? {
            0 => return Err(io::Error::other("a second member")),
            n => chunk = &chunk[n..],
        }
    }
    Ok(())
}

/// Where decoded bytes go. Says no before memory grows.
struct Sink {
    bytes: Vec<u8>,
    lease: Lease,
    announced: Option<u64>,
    sent: usize,
    limits: BodyLimits,
    full: Option<Problem>,
}

impl Sink {
    fn take(&mut self, chunk: &[u8]) -> Result<(), Problem> {
        let size = self.bytes.len() + chunk.len();
        if size > self.limits.decoded_max {
            return Err(too_large(format!("the body has more than {} bytes after decompression", self.limits.decoded_max)));
        }
        if size > RATIO_FREE_BYTES && size / self.limits.ratio_max > self.sent {
            return Err(too_large(format!("the body is compressed by more than {}:1", self.limits.ratio_max)));
        }
        if size > self.bytes.capacity() {
            let announced = self.announced.map_or(usize::MAX, |length| usize::try_from(length).unwrap_or(usize::MAX));
            let total = self.lease.total();
            if size > total {
                return Err(over_queue(total));
            }
            let room = (size + size / 2).min(self.limits.decoded_max).min(announced.max(size)).next_multiple_of(STEP_BYTES).min(total);
            if !self.lease.grow_to(room) {
                return Err(ProblemCode::Overloaded.problem("too many bytes are in flight; send it again a little later").closing());
            }
            self.bytes.reserve_exact(room - self.bytes.len());
        }
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }
}

impl Write for Sink {
    fn write(&mut self, chunk: &[u8]) -> io::Result<usize> {
        match self.take(chunk) {
            Ok(()) => Ok(chunk.len()),
            Err(problem) => {
                self.full = Some(problem);
                Err(io::Error::other("full"))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
