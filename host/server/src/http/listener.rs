//! The listener: accepts within caps, gives each connection to hyper with every time-out set, checks each head, and drains
//! when asked to stop.

use super::guard::{SocketGuard, Stage};
use super::strict::{HostPolicy, request_id};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tower::ServiceExt;

/// Connections that a cap closes are counted each and logged so often: a flood of them must not become one of lines.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// Bounds of connections and heads.
#[derive(Clone, Copy, Debug)]
pub struct ListenerLimits {
    /// For a whole head, the first one counted from the beginning of the connection.
    pub header_timeout: Duration,
    /// For an idle connection to send the next head.
    pub keep_alive: Duration,
    /// Headers of a request.
    pub headers_max: usize,
    /// Bytes of a head.
    pub head_bytes_max: usize,
    /// A peer that takes nothing of its answer for so long is cut off.
    pub write_stall: Duration,
    /// Connections at the same time.
    pub connections_max: usize,
    /// Connections of one address at the same time; loopback is exempt.
    pub connections_per_ip_max: usize,
    /// What running requests get when asked to stop.
    pub stop_grace: Duration,
}

impl Default for ListenerLimits {
    fn default() -> ListenerLimits {
        ListenerLimits {
            header_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            headers_max: 64,
            head_bytes_max: 16 * 1024,
            write_stall: Duration::from_secs(30),
            connections_max: 10_000,
            connections_per_ip_max: 100,
            stop_grace: Duration::from_secs(10),
        }
    }
}

/// What the listener counted since it started.
#[derive(Debug, Default)]
pub struct ListenerStats {
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Connections open now.
    pub open: AtomicU64,
    /// Connections closed at once because of a cap.
    pub refused: AtomicU64,
    /// Requests whose head passed the strict check.
    pub handled: AtomicU64,
    /// Requests that the strict check refused.
    pub strict_refusals: AtomicU64,
    /// Connections that ended with an error: bad heads, time-outs, resets.
    pub errors: AtomicU64,
}

/// A listener with its rules. `serve` runs it.
#[derive(Clone, Debug, Default)]
pub struct Listener {
    /// Whom it answers for.
    pub hosts: HostPolicy,
    /// Bounds.
    pub limits: ListenerLimits,
    /// Counters.
    pub stats: Arc<ListenerStats>,
}

impl Listener {
    /// Serves until `stop` is ready, then lets running requests end within the grace.
    pub async fn serve(&self, socket: TcpListener, app: Router, stop: impl Future<Output = ()>) {
        let (stopping, _) = watch::channel(false);
        let per_ip = Arc::new(PerIp::default());
        let mut connections = JoinSet::new();
        let mut said = None::<Instant>;
        let mut stop = pin!(stop);
        loop {
            let (stream, peer) = tokio::select! {
                () = &mut stop => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                accepted = socket.accept() => match accepted {
                    Ok(accepted) => accepted,
                    // Out of descriptors, or a connection that is gone again: the next one may do better.
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
            };
            let slot = match connections.len() < self.limits.connections_max {
                true => PerIp::take(&per_ip, peer.ip(), self.limits.connections_per_ip_max).ok_or("limits.connections_per_address"),
                false => Err("limits.connections"),
            };
            let slot = match slot {
                Ok(slot) => slot,
                Err(limit) => {
                    let refused = self.stats.refused.fetch_add(1, Ordering::Relaxed) + 1;
                    if said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
                        said = Some(Instant::now());
                        tracing::warn!(%peer, limit, refused, open = connections.len(), "a connection was closed at once; not said again for a while");
                    }
                    continue;
                }
            };
            let connection = self.clone().connection(stream, peer, app.clone(), stopping.subscribe());
            connections.spawn(async move {
                connection.await;
                drop(slot);
            });
        }
        drop(socket);
        let _ = stopping.send(true);
        let drained = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(self.limits.stop_grace, drained).await.is_err() {
            tracing::warn!(open = connections.len(), "requests did not end in time and were cut off");
            connections.shutdown().await;
        }
    }

    async fn connection(self, stream: TcpStream, peer: SocketAddr, app: Router, mut stopping: watch::Receiver<bool>) {
        let stats = self.stats.clone();
        stats.accepted.fetch_add(1, Ordering::Relaxed);
        stats.open.fetch_add(1, Ordering::Relaxed);
        let _ = stream.set_nodelay(true);
        if let Ok(local) = stream.local_addr() {
            let this = &self;
            let stage = Stage::default();
            let io = TokioIo::new(SocketGuard::new(stream, self.limits.write_stall, self.limits.header_timeout, stage.clone()));
            let stage = &stage;
            let service = service_fn(|request| async {
                stage.advance();
                let answer = this.answer(request, peer, local.ip(), app.clone()).await;
                stage.advance();
                answer
            });
            let connection = http1::Builder::new()
                // Without a timer hyper has no time-outs at all. Its one for heads begins with the silence before them; the guard
                // has that of the heads themselves.
                .timer(TokioTimer::new())
                .header_read_timeout(self.limits.keep_alive)
                .max_headers(self.limits.headers_max)
                .max_header_size(self.limits.head_bytes_max)
                .max_buf_size((64 * 1024).max(self.limits.head_bytes_max))
                // No `pipeline_flush`: with it hyper 1.12 loses the answer that ends a connection on which more was sent.
                // A sender that ends its side after the request still gets its answer.
                .half_close(true)
                .serve_connection(io, service);
            let mut connection = pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = async { drop(stopping.wait_for(|stopping| *stopping).await) } => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                stats.errors.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(%peer, %error, "connection ended");
            }
        }
        stats.open.fetch_sub(1, Ordering::Relaxed);
    }

    async fn answer(&self, mut request: Request<Incoming>, peer: SocketAddr, local: IpAddr, app: Router) -> Result<Response, Infallible> {
        let id = request_id(request.headers());
        request.extensions_mut().insert(Peer(peer.ip().to_canonical()));
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let mut response = match self.hosts.check(&request, local) {
            Ok(()) => {
                self.stats.handled.fetch_add(1, Ordering::Relaxed);
                app.oneshot(request.map(Body::new)).await?
            }
            Err(problem) => {
                self.stats.strict_refusals.fetch_add(1, Ordering::Relaxed);
                problem.closing().into_response()
            }
        };
        let status = response.status();
        if status.is_client_error() || status.is_server_error() {
            tracing::debug!(%peer, ?id, %method, path, status = status.as_u16(), "request refused");
        }
        response.headers_mut().insert("x-request-id", id);
        response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
        Ok(response)
    }
}

/// Who sent a request: an extension of it.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

#[derive(Debug, Default)]
struct PerIp {
    open: Mutex<HashMap<IpAddr, usize>>,
}

struct Slot {
    per_ip: Arc<PerIp>,
    ip: Option<IpAddr>,
}

impl PerIp {
    fn take(per_ip: &Arc<PerIp>, ip: IpAddr, most: usize) -> Option<Slot> {
        let ip = ip.to_canonical();
        if ip.is_loopback() {
            return Some(Slot { per_ip: per_ip.clone(), ip: None });
        }
        let mut open = per_ip.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(ip).or_insert(0);
        if *count >= most {
            return None;
        }
        *count += 1;
        drop(open);
        Some(Slot { per_ip: per_ip.clone(), ip: Some(ip) })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(ip) = self.ip else { return };
        let mut open = self.per_ip.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                open.remove(&ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_a_cap_and_loopback_has_none() {
        let per_ip = Arc::new(PerIp::default());
        let (a, b): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let first = PerIp::take(&per_ip, a, 2).unwrap();
        let _second = PerIp::take(&per_ip, a, 2).unwrap();
        assert!(PerIp::take(&per_ip, a, 2).is_none() && PerIp::take(&per_ip, b, 2).is_some());
        drop(first);
        assert!(PerIp::take(&per_ip, a, 2).is_some());
        let many: Vec<_> = (0..10).map(|_| PerIp::take(&per_ip, [127, 0, 0, 1].into(), 2)).collect();
        assert!(many.iter().all(Option::is_some));
    }
}
