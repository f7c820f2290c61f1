//! Calls to a running server: plain HTTP, one request at a time, retries where the server asks for them.

use super::exit::{Exit, Failure};
use crate::http::ProblemCode;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, Uri, header};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Bytes of an answer at most.
const ANSWER_MAX: usize = 256 << 20;
/// Without `--timeout`, which bounds the whole command, one request may take so long.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Tries of a request that the server puts off.
const TRIES: u32 = 8;
/// Longest pause between them.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A server.
pub struct Client {
    base: String,
    http: HyperClient<HttpConnector, Full<Bytes>>,
    quiet: bool,
    /// None when the user's own limit runs.
    request_timeout: Option<Duration>,
}

/// An answer.
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Its body.
    pub body: Bytes,
    /// Whether this or an earlier try may have been done although it was not answered so.
    pub may_be_done: bool,
    retry_after: Option<u64>,
}

#[derive(Deserialize)]
struct ProblemBody {
    code: String,
    detail: String,
}

impl Client {
    /// A client of `http://host:port`, perhaps with a path behind it. Whether that is one shows when it is used. `limit` is
    /// what the user allows the whole command.
    pub fn new(server: &str, quiet: bool, limit: Option<Duration>) -> Client {
        let http = HyperClient::builder(TokioExecutor::new()).build_http();
        Client { base: server.trim_end_matches('/').to_owned(), http, quiet, request_timeout: limit.is_none().then_some(REQUEST_TIMEOUT) }
    }

    fn check_address(&self) -> Result<(), Failure> {
        let server = &self.base;
        let wrong = |why: String| Err(Failure::new(Exit::Usage, why));
        let uri: Uri = match server.parse() {
            Ok(uri) => uri,
            Err(e) => return wrong(format!("--server {server:?} is no URL: {e}; write http://host:port")),
        };
        match (uri.scheme_str(), uri.authority()) {
            (Some("http"), Some(_)) => Ok(()),
            (Some("https"), _) => wrong("https is not built in this version; use http://, or a tunnel such as ssh -L 9280:127.0.0.1:9280".to_owned()),
            _ => wrong(format!("--server {server:?} is no URL of a server; write http://host:port")),
        }
    }

    /// GET, which must succeed; tried again as [`post`](Client::post) is.
    pub async fn get(&self, path: &str) -> Result<Bytes, Failure> {
        let answer = self.send(Method::GET, path, &[], Bytes::new()).await?;
        match answer.status {
            200..=299 => Ok(answer.body),
            _ => Err(answer.failure(path)),
        }
    }

    /// GET of JSON.
    pub async fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let body = self.get(path).await?;
        serde_json::from_slice(&body)
            .map_err(|e| Failure::new(Exit::Bug, format!("{}{path} answered something unexpected: {e}; is it an Alertmill server?", self.base)))
    }

    /// POST; answers 429 and 503 are tried again after the time that they name. The caller sees the last answer.
    pub async fn post(&self, path: &str, headers: &[(&str, &str)], body: Bytes) -> Result<Answer, Failure> {
        self.send(Method::POST, path, headers, body).await
    }

    /// One request without a body, whose answer is read as it comes and may take any time. It must succeed.
    pub async fn open(&self, method: Method, path: &str) -> Result<Incoming, Failure> {
        self.check_address()?;
        let url = format!("{}{path}", self.base);
        let request = Request::builder().method(method).uri(&url).header(header::USER_AGENT, concat!("alertmill/", env!("CARGO_PKG_VERSION")));
        let request = request.body(Full::default()).map_err(|e| Failure::new(Exit::Usage, format!("{url:?} cannot be asked: {e}")))?;
        let response = self.http.request(request).await.map_err(|e| self.unreachable(&causes(&e)))?;
        let status = response.status().as_u16();
        if (200..300).contains(&status) {
            return Ok(response.into_body());
        }
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await.map_err(|e| self.unreachable(&format!("the answer broke off: {e}")))?;
        Err(Answer { status, body: body.to_bytes(), may_be_done: false, retry_after: None }.failure(path))
    }

    /// Any request; tried again as [`post`](Client::post) is. The caller sees the last answer.
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Bytes) -> Result<Answer, Failure> {
        self.check_address()?;
        let (mut attempt, mut may_be_done) = (1, false);
        loop {
            let mut answer = self.once(method.clone(), path, headers, body.clone()).await?;
            may_be_done |= answer.is_unclear();
            answer.may_be_done = may_be_done;
            if !matches!(answer.status, 429 | 503) || attempt == TRIES {
                return Ok(answer);
            }
            let growing = Duration::from_millis(250 << attempt.min(6));
            let pause = answer.retry_after.map_or(growing, Duration::from_secs).min(PAUSE_MAX);
            if !self.quiet {
                eprintln!("the server answered {}; trying again in {:.1} s ({attempt} of {TRIES})", answer.status, pause.as_secs_f64());
            }
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    async fn once(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Bytes) -> Result<Answer, Failure> {
        let url = format!("{}{path}", self.base);
        let mut request = Request::builder().method(method).uri(&url).header(header::USER_AGENT, concat!("alertmill/", env!("CARGO_PKG_VERSION")));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).map_err(|e| Failure::new(Exit::Usage, format!("{url:?} cannot be asked: {e}")))?;
        let exchanged = match self.request_timeout {
            Some(limit) => tokio::time::timeout(limit, self.exchange(request)).await,
            None => Ok(self.exchange(request).await),
        };
        match exchanged {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(why)) => Err(self.unreachable(&why)),
            Err(_) => Err(self.unreachable(&format!("no answer within {} s", REQUEST_TIMEOUT.as_secs()))),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, String> {
        let response = self.http.request(request).await.map_err(|e| causes(&e))?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get(header::RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await.map_err(|e| format!("the answer broke off: {e}"))?;
        Ok(Answer { status, body: body.to_bytes(), may_be_done: false, retry_after })
    }

    fn unreachable(&self, why: &str) -> Failure {
        let remedy = "start it with `alertmill serve`, or name another with --server or ALERTMILL_SERVER";
        Failure::new(Exit::Unreachable, format!("the server at {} cannot be reached: {why}; {remedy}", self.base))
    }
}

impl Answer {
    fn is_unclear(&self) -> bool {
        let code = serde_json::from_slice::<ProblemBody>(&self.body).map(|problem| problem.code);
        self.status >= 500 && !code.is_ok_and(|code| code == ProblemCode::Unavailable.as_str())
    }

    /// What the server said is wrong.
    pub fn failure(&self, path: &str) -> Failure {
        let exit = Exit::of_status(self.status);
        match serde_json::from_slice::<ProblemBody>(&self.body) {
            Ok(problem) if problem.code == ProblemCode::Damaged.as_str() => Failure::new(Exit::No, problem.detail),
            Ok(problem) => Failure::new(Exit::of_code(&problem.code).unwrap_or(exit), format!("{} ({}, HTTP {})", problem.detail, problem.code, self.status)),
            Err(_) => Failure::new(exit, format!("{path} answered HTTP {}; is it an Alertmill server?", self.status)),
        }
    }
}

/// An error with everything below it.
fn causes(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut cause = e.source();
    while let Some(e) = cause {
        let words = e.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = e.source();
    }
    text
}
