//! The way to a TCP connection: resolve, judge every address, connect to one that passed.

use super::addresses::{is_loopback, is_refused};
use super::{Failure, url};
use hyper::Uri;
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tower::Service;

/// One address may take so long before the next is tried.
const CONNECT: Duration = Duration::from_secs(5);

/// Who says what addresses a name has.
#[derive(Clone, Debug)]
pub enum Resolve {
    /// The system.
    System,
    /// A test: answers one after another, the last for ever.
    #[cfg(test)]
    Told(std::sync::Arc<std::sync::Mutex<Vec<Vec<SocketAddr>>>>),
}

impl Resolve {
    async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        match self {
            Resolve::System => Ok(tokio::net::lookup_host((host, port)).await?.collect()),
            #[cfg(test)]
            Resolve::Told(answers) => {
                let mut answers = answers.lock().expect("no test panics with it");
                Ok(if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() })
            }
        }
    }
}

/// Makes connections for the HTTP client, which puts TLS over those of `https`.
#[derive(Clone, Debug)]
pub struct Connector {
    /// Whether `http://` may leave this machine.
    pub allow_http: bool,
    /// Who resolves.
    pub resolve: Resolve,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Failure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect(&target).await.map(TokioIo::new) })
    }
}

impl Connector {
    async fn connect(&self, target: &Uri) -> Result<TcpStream, Failure> {
        let shown = url::shown(target);
        let unreachable = |why: String| Failure::Unreachable { url: shown.clone(), why };
        let host = target.host().unwrap_or("").trim_start_matches('[').trim_end_matches(']');
        let found = self.resolve.addresses(host, url::port(target)).await.map_err(|e| unreachable(format!("its name cannot be resolved: {e}")))?;
        let Some(first) = found.first() else {
            return Err(unreachable("its name has no address".to_owned()));
        };
        let allowed: Vec<&SocketAddr> = found.iter().filter(|address| !is_refused(address.ip())).collect();
        if allowed.is_empty() {
            return Err(Failure::AddressRefused { url: shown, address: first.ip() });
        }
        let is_open = target.scheme_str() == Some("https") || self.allow_http;
        let allowed: Vec<&SocketAddr> = allowed.into_iter().filter(|address| is_open || is_loopback(address.ip())).collect();
        let mut why = None;
        for address in allowed {
            match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true).map_err(|e| unreachable(e.to_string()))?;
                    return Ok(stream);
                }
                Ok(Err(e)) => why = Some(format!("{address}: {e}")),
                Err(_) => why = Some(format!("{address}: no answer within {} s", CONNECT.as_secs())),
            }
        }
        Err(why.map_or(Failure::PlainHttp { url: shown.clone() }, unreachable))
    }
}
