//! The socket under hyper: a peer that does not take our answer for a while, or does not finish a head that it began, loses
//! the connection; heads pass the [`FramingFilter`], and an answer that ends the connection reaches a peer that is still
//! sending.

use super::framing::FramingFilter;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// How far a connection is: even while it waits for a head, odd while a request is handled. Shared by the guard and whoever
/// handles requests, since hyper has one timer for heads and for the silence before them.
#[derive(Clone, Debug, Default)]
pub struct Stage(Arc<AtomicU64>);

impl Stage {
    /// A head was read, or its request was answered.
    pub fn advance(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Wraps a stream; a write or flush that makes no progress for `stall` fails with `TimedOut`, and so does reading when a
/// head does not end within `head` after its first byte, the first one after the connection began. Bytes of a head that came
/// together with the request before it are in hyper's buffer by then: its time begins with the first byte read after that
/// request's answer, and until one comes hyper's own time-out for silence bounds it.
#[derive(Debug)]
pub struct SocketGuard<S> {
    stream: S,
    stage: Stage,
    head: Duration,
    /// Until when the head of this stage must have come.
    head_deadline: Option<(u64, Pin<Box<Sleep>>)>,
    stall: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
    framing: FramingFilter,
    linger: Option<Linger>,
}

/// Between the end of our side and the end of the peer's. Closing at once would reset the connection, and the reset
/// overtakes the answer at a peer that is still sending its body.
#[derive(Debug)]
struct Linger {
    until: Pin<Box<Sleep>>,
    bytes_left: usize,
}

const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 32 << 20;

impl<S> SocketGuard<S> {
    /// Guards `stream`.
    pub fn new(stream: S, stall: Duration, head: Duration, stage: Stage) -> SocketGuard<S> {
        let head_deadline = Some((stage.now(), Box::pin(sleep(head))));
        SocketGuard { stream, stage, head, head_deadline, stall, deadline: None, framing: FramingFilter::default(), linger: None }
    }

    /// Keeps the deadline of the head that is being read.
    fn watch_head(&mut self, is_pending: bool, bytes: usize, cx: &mut Context<'_>) -> io::Result<()> {
        let stage = self.stage.now();
        self.head_deadline.take_if(|(of, _)| *of != stage);
        if bytes > 0 && stage.is_multiple_of(2) && self.head_deadline.is_none() {
            self.head_deadline = Some((stage, Box::pin(sleep(self.head))));
        }
        let Some((_, deadline)) = self.head_deadline.as_mut().filter(|_| is_pending) else { return Ok(()) };
        match deadline.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::Error::new(io::ErrorKind::TimedOut, "the head does not come to an end")),
            Poll::Pending => Ok(()),
        }
    }

    fn watch<T>(&mut self, progress: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            self.deadline = None;
            return progress;
        }
        let stall = self.stall;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(stall)));
        ready!(deadline.as_mut().poll(cx));
        deadline.as_mut().reset(Instant::now() + stall);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read the answer")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for SocketGuard<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.framing.filter(&mut buf.filled_mut()[before..]);
        let bytes = buf.filled().len() - before;
        self.watch_head(read.is_pending(), bytes, cx)?;
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for SocketGuard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(progress, cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.watch(progress, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(progress, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            let progress = Pin::new(&mut this.stream).poll_shutdown(cx);
            ready!(this.watch(progress, cx))?;
        }
        let linger = this.linger.get_or_insert_with(|| Linger { until: Box::pin(sleep(LINGER)), bytes_left: LINGER_BYTES });
        let mut scratch = [0; 8 * 1024];
        while linger.bytes_left > 0 && linger.until.as_mut().poll(cx).is_pending() {
            let mut buf = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => linger.bytes_left = linger.bytes_left.saturating_sub(buf.filled().len()),
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
