//! What hyper lets through and we do not. One check of the head before any routing; a request that fails it never reaches a
//! handler, and its connection ends, because what follows may not be what the sender meant.
//!
//! Rules: methods of a closed list, none by header; an ASCII path in its plain form, so that what is authorised is what is
//! routed; exactly one `Host`, which must be ours (a malformed one is 400, a foreign one 421); at most one
//! `Transfer-Encoding`, `chunked`; no foreign `Origin` on requests that change something. Line ends of a bare LF pass, as in
//! hyper: a proxy in front must do the same or refuse them.

use super::code::ProblemCode;
use super::problem::Problem;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Uri, header, uri::Authority};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Longest path and query, bytes.
pub const URI_BYTES_MAX: usize = 8 * 1024;
const METHOD_BYTES_MAX: usize = 16;

/// The `X-Request-Id` of an answer and of what is logged of its request: the sender's own when it is `[A-Za-z0-9-]{1,64}`,
/// else a new one.
pub fn request_id(headers: &HeaderMap) -> HeaderValue {
    let is_plain = |id: &&HeaderValue| (1..=64).contains(&id.len()) && id.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-');
    headers.get("x-request-id").filter(is_plain).cloned().unwrap_or_else(fresh_id)
}

fn fresh_id() -> HeaderValue {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(std::process::id()));
    let id = format!("{:016x}-{:x}", *PROCESS, NEXT.fetch_add(1, Ordering::Relaxed));
    HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("0"))
}

/// Which hosts this server answers for: loopback names, the address that the connection came in on, and those configured.
/// Ports are not compared: they are often mapped.
#[derive(Clone, Debug, Default)]
pub struct HostPolicy {
    allowed: Vec<String>,
}

impl HostPolicy {
    /// `allowed_hosts` of the config, without ports; `*` allows any.
    pub fn new(allowed: impl IntoIterator<Item = impl Into<String>>) -> HostPolicy {
        HostPolicy { allowed: allowed.into_iter().map(|host| plain(&host.into()).to_owned()).collect() }
    }

    fn allows(&self, host: &str, local: IpAddr) -> bool {
        let host = plain(host);
        if host.eq_ignore_ascii_case("localhost") || self.allowed.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(host)) {
            return true;
        }
        host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip.to_canonical() == local.to_canonical())
    }

    /// Checks a request's head. `local` is our end of the connection.
    pub fn check<B>(&self, request: &Request<B>, local: IpAddr) -> Result<(), Problem> {
        method(request.method(), request.headers())?;
        path(request.uri())?;
        framing(request.headers())?;
        let authority = authority(request.uri(), request.headers())?;
        if !self.allows(authority.host(), local) {
            let why = "Host names another server; if it is right, add it to `server.allowed_hosts`";
            return Err(ProblemCode::HostNotAllowed.problem(why));
        }
        if matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH | Method::DELETE) {
            same_site(request.headers(), &authority)?;
        }
        Ok(())
    }
}

/// A host without brackets.
fn plain(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn method(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    if method.as_str().len() > METHOD_BYTES_MAX {
        return Err(ProblemCode::Http.problem("no method is that long"));
    }
    let known = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];
    let overrides = ["x-http-method-override", "x-http-method", "x-method-override"];
    if !known.contains(method) {
        return Err(ProblemCode::Method.problem("methods are GET, HEAD, POST, PUT, PATCH, DELETE and OPTIONS"));
    }
    if overrides.iter().any(|name| headers.contains_key(*name)) {
        return Err(ProblemCode::Method.problem("a method is not changed by a header"));
    }
    Ok(())
}

fn path(uri: &Uri) -> Result<(), Problem> {
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    if target.len() > URI_BYTES_MAX {
        return Err(ProblemCode::UriTooLong.problem(format!("path and query have at most {URI_BYTES_MAX} bytes; put filters in a body")));
    }
    let refuse = |why: &str| Err(ProblemCode::Path.problem(why));
    if !target.is_ascii() {
        return refuse("a path is ASCII; other characters are percent-encoded");
    }
    let path = uri.path();
    if !path.starts_with('/') || path.contains("//") || path.contains('\\') {
        return refuse("a path begins with one slash and has no doubled ones");
    }
    if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return refuse("a path has no `.` or `..` segments");
    }
    for (i, _) in path.match_indices('%') {
        let digits = path.get(i + 1..i + 3).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        match digits.map(|digits| u8::from_str_radix(digits, 16)) {
            Some(Ok(0..=0x1f | 0x7f | b'.' | b'/' | b'\\' | b'%')) => return refuse("a path does not escape dots, slashes or controls"),
            Some(Ok(_)) => {}
            _ => return refuse("`%` in a path is followed by two hex digits"),
        }
    }
    Ok(())
}

/// hyper refuses most of these, and drops `Content-Length` beside `chunked` and ends the connection; this is the rest.
fn framing(headers: &HeaderMap) -> Result<(), Problem> {
    let refuse = |why: &str| Err(ProblemCode::Http.problem(why));
    let mut encodings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let encoding = encodings.next();
    if encodings.next().is_some() || encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        return refuse("Transfer-Encoding is sent at most once and is `chunked`");
    }
    let lengths = headers.get_all(header::CONTENT_LENGTH).iter().count();
    if lengths > 1 || (lengths == 1 && encoding.is_some()) {
        return refuse("Content-Length is sent at most once and never beside Transfer-Encoding");
    }
    if headers.get(header::EXPECT).is_some_and(|expect| !expect.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(ProblemCode::Expect.problem("only `100-continue` can be expected"));
    }
    Ok(())
}

/// The authority that the request is for. An absolute URI must agree with `Host`.
fn authority(uri: &Uri, headers: &HeaderMap) -> Result<Authority, Problem> {
    let refuse = |why: &str| ProblemCode::Host.problem(why);
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next().ok_or_else(|| refuse("Host is missing"))?;
    if hosts.next().is_some() {
        return Err(refuse("Host is sent once"));
    }
    let host: Authority = host.to_str().ok().and_then(|host| host.parse().ok()).ok_or_else(|| refuse("Host is a name or an address, and a port"))?;
    if host.as_str().contains('@') || host.host().is_empty() {
        return Err(refuse("Host is a name or an address, and a port"));
    }
    match uri.authority() {
        Some(named) if !named.as_str().eq_ignore_ascii_case(host.as_str()) => Err(refuse("Host differs from the absolute URI")),
        _ => Ok(host),
    }
}

/// Browsers say where a request comes from; other clients send neither header and pass.
fn same_site(headers: &HeaderMap, authority: &Authority) -> Result<(), Problem> {
    let foreign = || ProblemCode::CrossSite.problem("Origin or Sec-Fetch-Site is of another site");
    if headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site") {
        return Err(foreign());
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok()).ok_or_else(foreign)?;
    let default_port = match origin.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => return Err(foreign()),
    };
    let named = origin.authority().ok_or_else(foreign)?;
    let same_port = named.port_u16().unwrap_or(default_port) == authority.port_u16().unwrap_or(default_port);
    if named.host().eq_ignore_ascii_case(authority.host()) && same_port { Ok(()) } else { Err(foreign()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 5));

    fn code(method: &str, uri: &str, headers: &[(&str, &str)]) -> &'static str {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let policy = HostPolicy::new(["mill.example", "[fd00::1]"]);
        policy.check(&request.body(()).unwrap(), LOCAL).map_or_else(|problem| problem.code, |()| "ok")
    }

    #[test]
    fn hosts() {
        for (host, wanted) in [
            ("localhost", "ok"),
            ("LOCALHOST:9280", "ok"),
            ("127.0.0.1:1", "ok"),
            ("127.8.9.1", "ok"),
            ("[::1]:9280", "ok"),
            ("10.0.0.5:9280", "ok"),
            ("mill.example", "ok"),
            ("Mill.Example:443", "ok"),
            ("[fd00::1]:80", "ok"),
            ("10.0.0.6", "host-not-allowed"),
            ("evil.example", "host-not-allowed"),
            ("localhost.evil.example", "host-not-allowed"),
            ("2130706433", "host-not-allowed"),
            ("user@localhost", "host"),
            ("localhost/x", "host"),
            ("", "host"),
            ("a b", "host"),
        ] {
            assert_eq!(code("GET", "/", &[("host", host)]), wanted, "{host}");
        }
        assert_eq!(code("GET", "/", &[]), "host");
        assert_eq!(code("GET", "/", &[("host", "localhost"), ("host", "localhost")]), "host");
        assert_eq!(code("GET", "http://evil.example/", &[("host", "localhost")]), "host");
        assert_eq!(code("GET", "http://evil.example/", &[("host", "evil.example")]), "host-not-allowed");
        assert_eq!(code("GET", "http://localhost/", &[("host", "localhost")]), "ok");
    }

    #[test]
    fn h33_paths_have_one_form() {
        for (path, wanted) in [
            ("/api/v1/alerts?q=a//b%2F..", "ok"),
            ("/api/v1/rules/x/versions/sha256:a..b", "ok"),
            ("/a%20b", "ok"),
            ("//x", "path"),
            ("/a//b", "path"),
            ("/a/../b", "path"),
            ("/a/./b", "path"),
            ("/a/..", "path"),
            ("/%2e%2e/b", "path"),
            ("/a%2Fb", "path"),
            ("/a%5cb", "path"),
            ("/a%00", "path"),
            ("/a%7f", "path"),
            ("/a%252e", "path"),
            ("/a%zz", "path"),
            ("/a%2", "path"),
        ] {
            assert_eq!(code("GET", path, &[("host", "localhost")]), wanted, "{path}");
        }
        assert_eq!(code("GET", &format!("/{}", "a".repeat(URI_BYTES_MAX)), &[("host", "localhost")]), "uri-too-long");
    }

    #[test]
    fn h34_methods() {
        for (method, wanted) in
            [("GET", "ok"), ("OPTIONS", "ok"), ("TRACE", "method-not-allowed"), ("get", "method-not-allowed"), ("PROPFIND", "method-not-allowed")]
        {
            assert_eq!(code(method, "/", &[("host", "localhost")]), wanted, "{method}");
        }
        assert_eq!(code(&"A".repeat(17), "/", &[("host", "localhost")]), "http");
        assert_eq!(code("POST", "/", &[("host", "localhost"), ("x-http-method-override", "DELETE")]), "method-not-allowed");
    }

    #[test]
    fn h51_requests_of_other_sites_change_nothing() {
        for (name, value, wanted) in [
            ("origin", "http://localhost:9280", "ok"),
            ("origin", "http://LocalHost:9280", "ok"),
            ("origin", "http://localhost", "cross-site"),
            ("origin", "https://evil.example", "cross-site"),
            ("origin", "null", "cross-site"),
            ("origin", "file://localhost:9280", "cross-site"),
            ("sec-fetch-site", "cross-site", "cross-site"),
            ("sec-fetch-site", "same-origin", "ok"),
            ("sec-fetch-site", "none", "ok"),
        ] {
            assert_eq!(code("POST", "/", &[("host", "localhost:9280"), (name, value)]), wanted, "{name}: {value}");
            assert_eq!(code("GET", "/", &[("host", "localhost:9280"), (name, value)]), "ok", "{name}: {value}");
        }
        assert_eq!(code("POST", "/", &[("host", "mill.example"), ("origin", "https://mill.example")]), "ok");
        assert_eq!(code("POST", "/", &[("host", "mill.example"), ("origin", "https://mill.example:443")]), "ok");
    }

    #[test]
    fn framing_that_hyper_takes() {
        for (headers, wanted) in [
            (vec![("transfer-encoding", "chunked")], "ok"),
            (vec![("transfer-encoding", "ChUnKeD")], "ok"),
            (vec![("transfer-encoding", "gzip, chunked")], "http"),
            (vec![("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], "http"),
            (vec![("transfer-encoding", "chunked"), ("content-length", "3")], "http"),
            (vec![("content-length", "3"), ("content-length", "3")], "http"),
            (vec![("expect", "100-continue")], "ok"),
            (vec![("expect", "tea")], "expect"),
        ] {
            let headers: Vec<_> = headers.into_iter().chain([("host", "localhost")]).collect();
            assert_eq!(code("POST", "/", &headers), wanted, "{headers:?}");
        }
    }

    #[test]
    fn h35_request_ids_are_plain() {
        let of = |id: &str| {
            let headers = HeaderMap::from_iter([(header::HeaderName::from_static("x-request-id"), HeaderValue::from_str(id).unwrap())]);
            request_id(&headers)
        };
        assert_eq!(of("abc-123"), "abc-123");
        for bad in ["", "a b", "<script>", "a\u{e9}", &"a".repeat(65)] {
            assert_ne!(of(bad), bad);
        }
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }
}
