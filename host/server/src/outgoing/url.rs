//! URLs: which are taken, what a relative one means, and how they are shown.

use super::Failure;
use hyper::Uri;
use hyper::http::uri::Scheme;

/// A URL that this program may be told to ask: `http://` or `https://`, with a host and without user and password.
pub fn parse(text: &str) -> Result<Uri, Failure> {
    // Of a text that is no URL nobody knows which part is a secret, so it is not shown.
    let wrong = |why: &str| Err(Failure::Url(why.to_owned()));
    let url: Uri = match text.parse() {
        Ok(url) => url,
        Err(e) => return wrong(&e.to_string()),
    };
    let Some(authority) = url.authority().filter(|_| url.scheme() == Some(&Scheme::HTTP) || url.scheme() == Some(&Scheme::HTTPS)) else {
        return wrong("it begins with neither http:// nor https://");
    };
    if authority.as_str().contains('@') {
        return wrong("it holds a user or a password; a header is the place for them");
    }
    if authority.host().is_empty() || authority.as_str().contains('%') {
        return wrong("it has no host that can be looked up");
    }
    if authority.as_str().len() > authority.host().len() && authority.port_u16().is_none() {
        return wrong("its port is no number from 1 to 65535");
    }
    Ok(url)
}

/// What `reference`, such as the value of a `Location`, means in an answer of `base`.
pub fn join(base: &Uri, reference: &str) -> Result<Uri, Failure> {
    let scheme = base.scheme_str().unwrap_or("https");
    let authority = base.authority().map_or("", |authority| authority.as_str());
    let is_absolute = reference.find(':').is_some_and(|colon| reference[..colon].bytes().all(|b| b.is_ascii_alphanumeric()));
    let whole = if is_absolute {
        reference.to_owned()
    } else if reference.starts_with("//") {
        format!("{scheme}:{reference}")
    } else if reference.starts_with('/') {
        format!("{scheme}://{authority}{reference}")
    } else if reference.starts_with('?') {
        format!("{scheme}://{authority}{}{reference}", base.path())
    } else {
        let folder = &base.path()[..base.path().rfind('/').map_or(0, |slash| slash + 1)];
        format!("{scheme}://{authority}{folder}{reference}")
    };
    parse(&whole)
}

/// A URL as it may be logged: without its query, which may hold a signature or a key.
pub fn shown(url: &Uri) -> String {
    let (scheme, authority) = (url.scheme_str().unwrap_or(""), url.authority().map_or("", |a| a.as_str()));
    format!("{scheme}://{authority}{}", url.path())
}

/// Whether two URLs have scheme, host and port in common.
pub fn is_same_origin(a: &Uri, b: &Uri) -> bool {
    let origin = |url: &Uri| (url.scheme().cloned(), url.host().map(str::to_ascii_lowercase), port(url));
    origin(a) == origin(b)
}

/// The port that a URL means.
pub fn port(url: &Uri) -> u16 {
    url.port_u16().unwrap_or(if url.scheme() == Some(&Scheme::HTTP) { 80 } else { 443 })
}
