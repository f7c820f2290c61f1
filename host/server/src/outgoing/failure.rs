//! Why a call did not come to an answer.

use super::url::shown;
use hyper::Uri;
use std::error::Error;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Why there is no answer. Its words name what and where, and never a header's value or a query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Not a URL that may be asked.
    #[error("the URL cannot be used: {0}; write https://host[:port]/path")]
    Url(String),
    /// A header's value cannot be sent.
    #[error("the value of header {0} holds a line break or another byte that no header may hold")]
    Header(String),
    /// The CA file cannot be used.
    #[error("the CA file {} cannot be used: {why}; it must be PEM", file.display())]
    CaFile {
        /// The file.
        file: PathBuf,
        /// Why.
        why: String,
    },
    /// The host's addresses are all of a kind that is refused.
    #[error("{url} is at {address}: link-local, multicast, reserved, unspecified and metadata addresses are refused")]
    AddressRefused {
        /// What was asked.
        url: String,
        /// The first of its addresses.
        address: IpAddr,
    },
    /// `http://` that would leave this machine.
    #[error("{url} is not encrypted and not on this machine; use https, or allow http for it")]
    PlainHttp {
        /// What was asked.
        url: String,
    },
    /// No connection.
    #[error("{url} cannot be reached: {why}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// Why.
        why: String,
    },
    /// No TLS: above all a certificate that nobody known has signed.
    #[error("{url} is not trusted: {why}; if its certificate is of an own authority, name that in ca_file")]
    Tls {
        /// What was asked.
        url: String,
        /// Why.
        why: String,
    },
    /// The answer broke off, or is no HTTP.
    #[error("{url} gave no whole answer: {why}")]
    Broken {
        /// What was asked.
        url: String,
        /// Why.
        why: String,
    },
    /// The body is larger than the caller takes.
    #[error("{url} answered more than {max} bytes")]
    TooLarge {
        /// What was asked.
        url: String,
        /// The limit, in bytes.
        max: usize,
    },
    /// Not done in time.
    #[error("{url} was not done after {:.1} s", after.as_secs_f64())]
    DeadlinePassed {
        /// What was asked.
        url: String,
        /// The deadline.
        after: Duration,
    },
    /// A redirect that is not followed.
    #[error("{url} sends on to {to}: {why}")]
    Redirect {
        /// What was asked.
        url: String,
        /// Where it leads.
        to: String,
        /// Why not.
        why: String,
    },
}

impl Failure {
    /// Stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Failure::Url(_) => "bad-url",
            Failure::Header(_) => "bad-header",
            Failure::CaFile { .. } => "bad-ca-file",
            Failure::AddressRefused { .. } => "address-refused",
            Failure::PlainHttp { .. } => "plain-http",
            Failure::Unreachable { .. } => "unreachable",
            Failure::Tls { .. } => "untrusted",
            Failure::Broken { .. } => "broken-answer",
            Failure::TooLarge { .. } => "answer-too-large",
            Failure::DeadlinePassed { .. } => "deadline-passed",
            Failure::Redirect { .. } => "redirect-refused",
        }
    }

    /// Whether the same request may succeed later.
    pub fn may_pass(&self) -> bool {
        matches!(self, Failure::Unreachable { .. } | Failure::Broken { .. } | Failure::DeadlinePassed { .. })
    }
}

/// What the HTTP client's error means.
pub fn of_exchange(e: &hyper_util::client::legacy::Error, url: &Uri) -> Failure {
    if let Some(own) = find::<Failure>(e) {
        return own.clone();
    }
    if let Some(tls) = find::<rustls::Error>(e) {
        return Failure::Tls { url: shown(url), why: tls.to_string() };
    }
    let why = words(e);
    if e.is_connect() { Failure::Unreachable { url: shown(url), why } } else { Failure::Broken { url: shown(url), why } }
}

/// What an error of the body means.
pub fn of_body(e: &hyper::Error, url: &Uri) -> Failure {
    Failure::Broken { url: shown(url), why: words(e) }
}

/// The error of a kind in a chain of causes; what an I/O error carries counts as its cause.
fn find<'a, T: Error + 'static>(e: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(e);
    while let Some(e) = next {
        if let Some(found) = e.downcast_ref() {
            return Some(found);
        }
        let carried = e.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match carried {
            Some(carried) => Some(carried as &(dyn Error + 'static)),
            None => e.source(),
        };
    }
    None
}

/// An error with everything below it.
fn words(e: &dyn Error) -> String {
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
