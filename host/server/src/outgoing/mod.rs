//! HTTP calls that this program makes of itself: tables, registries. One client, so that all of them keep the same rules.
//!
//! - TLS by rustls, with the system's certificate authorities and those of [`Settings::ca_file`]. Plain `http://` reaches loopback
//!   only, unless [`Settings::allow_http`].
//! - A request has a deadline for everything, and its answer a size that is held while it is read.
//! - Redirects are followed only if asked for; what is secret stays with the origin that it was meant for.
//! - Addresses that no such call has business with ([`addresses`]) are refused after the name is resolved, on the very address
//!   that is connected to. A name that answers otherwise the second time gains nothing.
//! - No proxy, whatever the environment says; no cookies; no decompression.

mod addresses;
mod connect;
mod failure;
mod tls;
mod url;

#[cfg(test)]
pub(crate) mod double;
#[cfg(test)]
mod tests;

pub use failure::Failure;
pub use url::{join, parse as parse_url, shown};

use self::connect::{Connector, Resolve};
use self::url::is_same_origin;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{HeaderMap, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use hyper::{Method, StatusCode, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::path::PathBuf;
use std::time::Duration;

/// A whole exchange may take so long, unless the request says otherwise.
const DEADLINE: Duration = Duration::from_secs(60);
/// Bytes of an answer's body at most, unless the request says otherwise.
const ANSWER_MAX: usize = 1 << 20;
/// Bytes of an answer's head at most.
const HEAD_MAX: usize = 64 << 10;
/// Connections that wait for the next request, for each origin.
const IDLE_MAX: usize = 2;
/// How long they wait.
const IDLE: Duration = Duration::from_secs(30);

/// What holds for all requests of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// PEM file of certificate authorities that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Whether `http://` may leave this machine.
    pub allow_http: bool,
}

/// Makes requests. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: HyperClient<HttpsConnector<Connector>, Full<Bytes>>,
}

/// A request. Its `Debug` shows no header's value and no query.
#[derive(Clone)]
pub struct Request {
    method: Method,
    url: Uri,
    headers: HeaderMap,
    body: Bytes,
    deadline: Duration,
    answer_max: usize,
    redirects: u8,
}

/// An answer with its whole body. Any status: what a 404 means is the caller's to say.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status; 3xx too, unless redirects were asked for.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body as it was sent.
    pub body: Bytes,
    /// Where it came from in the end.
    pub url: Uri,
}

impl Request {
    /// A request of a URL: `http://` or `https://`, with a host and without user and password.
    pub fn new(method: Method, url: &str) -> Result<Request, Failure> {
        Ok(Request::of(method, url::parse(url)?))
    }

    /// GET.
    pub fn get(url: &str) -> Result<Request, Failure> {
        Request::new(Method::GET, url)
    }

    /// A request of what [`parse_url`] or [`join`] made.
    pub fn of(method: Method, url: Uri) -> Request {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("alertmill/", env!("CARGO_PKG_VERSION"))));
        Request { method, url, headers, body: Bytes::new(), deadline: DEADLINE, answer_max: ANSWER_MAX, redirects: 0 }
    }

    /// With a header. It goes wherever the request goes.
    pub fn header(self, name: HeaderName, value: &str) -> Result<Request, Failure> {
        self.with(name, value, false)
    }

    /// With a header that is a secret: never shown, and sent to no other origin than the first.
    pub fn secret(self, name: HeaderName, value: &str) -> Result<Request, Failure> {
        self.with(name, value, true)
    }

    fn with(mut self, name: HeaderName, value: &str, is_secret: bool) -> Result<Request, Failure> {
        let mut value = HeaderValue::from_str(value).map_err(|_| Failure::Header(name.as_str().to_owned()))?;
        value.set_sensitive(is_secret);
        self.headers.insert(name, value);
        Ok(self)
    }

    /// With a body.
    pub fn body(mut self, body: Bytes) -> Request {
        self.body = body;
        self
    }

    /// How long everything may take: name, connection, redirects, the whole body.
    pub fn deadline(mut self, deadline: Duration) -> Request {
        self.deadline = deadline;
        self
    }

    /// Bytes of the answer's body at most.
    pub fn answer_max(mut self, answer_max: usize) -> Request {
        self.answer_max = answer_max;
        self
    }

    /// Follows so many redirects of a GET or HEAD, and none from https to http.
    pub fn redirects(mut self, redirects: u8) -> Request {
        self.redirects = redirects;
        self
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let headers: Vec<&str> = self.headers.keys().map(HeaderName::as_str).collect();
        f.debug_struct("Request").field("method", &self.method).field("url", &shown(&self.url)).field("headers", &headers).finish_non_exhaustive()
    }
}

impl Client {
    /// A client. Fails when its CA file cannot be used.
    pub fn new(settings: &Settings) -> Result<Client, Failure> {
        Client::with_resolver(settings, Resolve::System)
    }

    fn with_resolver(settings: &Settings, resolve: Resolve) -> Result<Client, Failure> {
        let connector = Connector { allow_http: settings.allow_http, resolve };
        let https = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls::config(settings.ca_file.as_deref())?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let http = HyperClient::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_MAX)
            .http1_max_buf_size(HEAD_MAX)
            .build(https);
        Ok(Client { http })
    }

    /// Sends a request and reads its answer to the end.
    pub async fn send(&self, request: Request) -> Result<Answer, Failure> {
        let (deadline, host) = (request.deadline, shown(&request.url));
        match tokio::time::timeout(deadline, self.follow(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(Failure::DeadlinePassed { url: host, after: deadline }),
        }
    }

    async fn follow(&self, mut request: Request) -> Result<Answer, Failure> {
        let mut redirects = if matches!(request.method, Method::GET | Method::HEAD) { request.redirects } else { 0 };
        let may_follow = redirects > 0;
        loop {
            let answer = self.once(&request).await?;
            let Some(location) = redirect(&answer).filter(|_| may_follow) else {
                return Ok(answer);
            };
            let next = join(&request.url, location)?;
            let refused = |why: &str| Err(Failure::Redirect { url: shown(&request.url), to: shown(&next), why: why.to_owned() });
            if redirects == 0 {
                return refused("that is one redirect too many");
            }
            if request.url.scheme_str() == Some("https") && next.scheme_str() != Some("https") {
                return refused("https does not give way to http");
            }
            if !is_same_origin(&request.url, &next) {
                request.headers = request.headers.iter().filter(|(_, value)| !value.is_sensitive()).map(|(n, v)| (n.clone(), v.clone())).collect();
            }
            request.url = next;
            redirects -= 1;
        }
    }

    async fn once(&self, request: &Request) -> Result<Answer, Failure> {
        let url = &request.url;
        let mut sent = hyper::Request::new(Full::new(request.body.clone()));
        *sent.method_mut() = request.method.clone();
        *sent.uri_mut() = url.clone();
        *sent.headers_mut() = request.headers.clone();
        let response = self.http.request(sent).await.map_err(|e| failure::of_exchange(&e, url))?;
        let (head, body) = response.into_parts();
        let body = read(body, request.answer_max, url).await?;
        Ok(Answer { status: head.status, headers: head.headers, body, url: url.clone() })
    }
}

/// Reads a body, and no byte beyond `max`.
async fn read(mut body: Incoming, max: usize, url: &Uri) -> Result<Bytes, Failure> {
    let too_large = || Failure::TooLarge { url: shown(url), max };
    if body.size_hint().lower() > max as u64 {
        return Err(too_large());
    }
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| failure::of_body(&e, url))?;
        if let Ok(data) = frame.into_data() {
            if data.len() > max - whole.len() {
                return Err(too_large());
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole.freeze())
}

/// Where an answer sends on to.
fn redirect(answer: &Answer) -> Option<&str> {
    matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308).then(|| answer.headers.get(LOCATION)?.to_str().ok()).flatten()
}
