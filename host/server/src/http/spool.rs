//! Bodies that are too large for memory: received into a file, within the same bounds of time, size and compression.

use super::body::{BodyLimits, RATIO_FREE_BYTES, bad_gzip, is_gzip, receive, too_large, write_all};
use super::code::ProblemCode;
use super::problem::Problem;
use axum::body::Body;
use axum::http::HeaderMap;
use flate2::write::GzDecoder;
use std::io::{self, Write};
use std::path::Path;
use tempfile::NamedTempFile;
use tokio::task::block_in_place;

/// End of the names of files that are being received.
const SUFFIX: &str = ".part";

/// Receives a body into a new file of `dir`, which only this process may read and which goes with the value. The disk may be slow, so
/// what else waits for this thread goes to another one meanwhile: call it on a runtime that has more than one.
pub async fn spool(headers: &HeaderMap, body: Body, limits: &BodyLimits, dir: &Path) -> Result<NamedTempFile, Problem> {
    let gzip = is_gzip(headers)?;
    let file = tempfile::Builder::new().suffix(SUFFIX).tempfile_in(dir).map_err(|error| refused(&error))?;
    let mut sink = Sink { file, bytes: 0, sent: 0, limits: *limits, full: None };
    if !gzip {
        receive(body, limits, |chunk, sent| {
            sink.sent = sent;
            block_in_place(|| sink.write_all(chunk)).map_err(|error| sink.full.take().unwrap_or_else(|| refused(&error)))
        })
        .await?;
        return Ok(sink.file);
    }
    let mut decoder = GzDecoder::new(sink);
    receive(body, limits, |chunk, sent| {
        decoder.get_mut().sent = sent;
        let written = block_in_place(|| write_all(&mut decoder, chunk));
        written.map_err(|error| decoder.get_mut().full.take().unwrap_or_else(|| bad_gzip(&error)))
    })
    .await?;
    let ended = block_in_place(|| decoder.try_finish());
    let problem = decoder.get_mut().full.take();
    ended.map_err(|error| problem.unwrap_or_else(|| bad_gzip(&error)))?;
    decoder.finish().map(|sink| sink.file).map_err(|error| bad_gzip(&error))
}

/// Removes what a process that was killed was receiving, and makes the folder.
pub fn clear(dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.to_str().is_some_and(|path| path.ends_with(SUFFIX)) {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn refused(error: &io::Error) -> Problem {
    ProblemCode::Unavailable.problem(format!("the data folder does not take the body: {error}")).closing()
}

/// Where decoded bytes go. Says no before the disk fills.
struct Sink {
    file: NamedTempFile,
    bytes: usize,
    sent: usize,
    limits: BodyLimits,
    full: Option<Problem>,
}

impl Write for Sink {
    fn write(&mut self, chunk: &[u8]) -> io::Result<usize> {
        let size = self.bytes + chunk.len();
        let problem = if size > self.limits.decoded_max {
            Some(too_large(format!("the body has more than {} bytes after decompression", self.limits.decoded_max)))
        } else if size > RATIO_FREE_BYTES && size / self.limits.ratio_max > self.sent {
            Some(too_large(format!("the body is compressed by more than {}:1", self.limits.ratio_max)))
        } else {
            None
        };
        if problem.is_some() {
            self.full = problem;
            return Err(io::Error::other("full"));
        }
        let written = self.file.as_file_mut().write(chunk).inspect_err(|error| self.full = Some(refused(error)))?;
        self.bytes += written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderValue, header};
    use flate2::write::GzEncoder;

    fn gzip(bytes: &[u8]) -> (HeaderMap, Body) {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        let headers = HeaderMap::from_iter([(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))]);
        (headers, Body::from(encoder.finish().unwrap()))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_body_becomes_a_file_that_goes_with_the_value() {
        let dir = tempfile::tempdir().unwrap();
        let limits = BodyLimits { decoded_max: 1_000, sent_max: 1_000, ..BodyLimits::default() };
        let left = || std::fs::read_dir(dir.path()).unwrap().count();
        let file = spool(&HeaderMap::new(), Body::from("plain"), &limits, dir.path()).await.unwrap();
        assert_eq!((std::fs::read(file.path()).unwrap(), left()), (b"plain".to_vec(), 1));
        drop(file);
        let (headers, body) = gzip(&[7; 1_000]);
        let file = spool(&headers, body, &limits, dir.path()).await.unwrap();
        assert_eq!(std::fs::read(file.path()).unwrap(), [7; 1_000]);
        drop(file);
        let (headers, body) = gzip(&[7; 1_001]);
        assert_eq!(spool(&headers, body, &limits, dir.path()).await.unwrap_err().code, "body-too-large");
        assert_eq!(spool(&HeaderMap::new(), Body::from(vec![0; 1_001]), &limits, dir.path()).await.unwrap_err().code, "body-too-large");
        assert_eq!(spool(&headers, Body::from("no gzip"), &limits, dir.path()).await.unwrap_err().code, "body");
        assert_eq!(left(), 0);
    }

    #[tokio::test]
    async fn what_a_killed_process_received_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let uploads = dir.path().join("uploads");
        clear(&uploads).unwrap();
        std::fs::write(uploads.join("x.part"), "half").unwrap();
        std::fs::write(uploads.join("other"), "not ours").unwrap();
        clear(&uploads).unwrap();
        let left: Vec<_> = std::fs::read_dir(&uploads).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["other"]);
    }
}
