//! A table that is fetched: one GET, and with what the last answer said of itself, so that a server can answer that nothing changed.

use super::{Offer, Source};
use crate::config::types::TableFormat as Wanted;
use crate::outgoing::{self, Client, Failure, Request, Settings, parse_url};
use crate::rules_folder::Problem;
use alertmill_engine::TableRefusal;
use axum::http::header::{ACCEPT, CONTENT_ENCODING, DATE, ETAG, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use axum::http::{HeaderMap, StatusCode};
use jiff::fmt::rfc2822::DateTimeParser;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

/// A table could not be fetched.
pub(super) const TABLE_FETCH: &str = "table-fetch";
/// From the first look-up of the name to the last byte.
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);
/// Of a header file, its line.
const HEADER_BYTES_MAX: u64 = 64 << 10;

/// What a server said with content, to ask with whether it is still good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Validators {
    etag: Option<String>,
    last_modified: Option<String>,
}

impl Validators {
    /// A time tells seconds: content that changed in the second of its answer may have changed again within it, and would be
    /// called unchanged for ever. So a time counts only when the answer is of a later second, by the clock that both are of.
    fn of(headers: &HeaderMap) -> Validators {
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let second = |name: HeaderName| DateTimeParser::new().parse_timestamp(text(name)?).ok().map(|at| at.as_second());
        let is_over = second(LAST_MODIFIED).zip(second(DATE)).is_some_and(|(modified, answered)| modified < answered);
        Validators { etag: text(ETAG).map(str::to_owned), last_modified: text(LAST_MODIFIED).filter(|_| is_over).map(str::to_owned) }
    }
}

/// A URL as it may be shown: without its query.
pub(super) fn shown(url: &str) -> String {
    parse_url(url).map_or_else(|_| "a URL that cannot be used".to_owned(), |url| outgoing::shown(&url))
}

impl Source {
    /// Fetches the table; `None` when the server says that it has not changed.
    pub(super) async fn fetch(&self) -> Result<Option<(Offer, Validators)>, Problem> {
        let failed = |failure: Failure| match failure {
            Failure::TooLarge { .. } => {
                self.problem(TableRefusal::TooLarge(String::new()).code(), &format!("the answer has more than {} (size_max)", self.config.size_max))
            }
            other => self.problem(TABLE_FETCH, &other.to_string()),
        };
        let settings = Settings { ca_file: Some(self.config.ca_file.clone()).filter(|file| !file.as_os_str().is_empty()), allow_http: self.config.allow_http };
        let header_file = self.config.header_file.clone();
        // Both files are read anew for each fetch: secrets and authorities are renewed while we run.
        let prepared = tokio::task::spawn_blocking(move || (Client::new(&settings), secret(&header_file))).await;
        let (client, secret) = prepared.map_err(|e| self.problem(TABLE_FETCH, &e.to_string()))?;
        let mut request = Request::get(&self.config.url).map_err(failed)?.deadline(FETCH_TIMEOUT).answer_max(self.config.size_max.as_usize());
        let accept = match self.config.format {
            Wanted::Auto => "*/*",
            Wanted::Csv => "text/csv",
            Wanted::Json => "application/json",
            Wanted::Ndjson => "application/x-ndjson",
        };
        request = request.header(ACCEPT, accept).map_err(failed)?;
        if let Some((name, value)) = secret.map_err(|why| self.problem(TABLE_FETCH, &why))? {
            request = request.secret(name, &value).map_err(failed)?;
        }
        let known = {
            let state = self.state();
            if state.offer.is_some() { state.validators.clone() } else { Validators::default() }
        };
        let is_conditional = known != Validators::default();
        for (name, value) in [(IF_NONE_MATCH, known.etag), (IF_MODIFIED_SINCE, known.last_modified)] {
            if let Some(value) = value {
                request = request.header(name, &value).map_err(failed)?;
            }
        }
        let answer = client.map_err(failed)?.send(request).await.map_err(failed)?;
        let unusable = |why: String| Err(self.problem(TABLE_FETCH, &format!("{} {why}", self.shown)));
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if is_conditional => return Ok(None),
            status if status.is_redirection() && status != StatusCode::NOT_MODIFIED => {
                return unusable(format!("answered HTTP {}: redirects are not followed; write the URL that it leads to", status.as_u16()));
            }
            status => return unusable(format!("answered HTTP {}", status.as_u16())),
        }
        if let Some(encoding) = answer.headers.get(CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
            return unusable(format!("answered in the encoding {encoding:?}, which was not asked for"));
        }
        let validators = Validators::of(&answer.headers);
        Ok(Some((self.parse(&answer.body)?, validators)))
    }
}

/// The header of a file with one line `Name: value`.
fn secret(file: &Path) -> Result<Option<(HeaderName, String)>, String> {
    if file.as_os_str().is_empty() {
        return Ok(None);
    }
    let wrong = |why: &str| format!("the header file {} {why}", file.display());
    let mut text = String::new();
    let read = std::fs::File::open(file).and_then(|opened| opened.take(HEADER_BYTES_MAX).read_to_string(&mut text));
    read.map_err(|e| wrong(&format!("cannot be read: {e}")))?;
    // Its content is never repeated.
    let shape = || wrong("does not hold one line `Name: value`");
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let (name, value) = lines.next().and_then(|line| line.split_once(':')).ok_or_else(shape)?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| shape())?;
    if lines.next().is_some() || value.trim().is_empty() {
        return Err(shape());
    }
    Ok(Some((name, value.trim().to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn a_time_counts_only_when_the_answer_is_of_a_later_second() {
        let (at, next) = ("Mon, 23 Nov 2020 10:00:00 GMT", "Mon, 23 Nov 2020 10:00:01 GMT");
        for (modified, answered, expected) in [
            (at, Some(next), true),
            (at, Some(at), false),
            (next, Some(at), false),
            (at, None, false),
            (at, Some("now"), false),
            ("now", Some(next), false),
            ("Monday, 23-Nov-20 10:00:00 GMT", Some(next), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ETAG, "\"one\"".parse().expect("a tag"));
            headers.insert(LAST_MODIFIED, modified.parse().expect("a value"));
            answered.map(|answered| headers.insert(DATE, answered.parse().expect("a value")));
            let expected = Validators { etag: Some("\"one\"".to_owned()), last_modified: expected.then(|| modified.to_owned()) };
            assert_eq!(Validators::of(&headers), expected, "{modified}, {answered:?}");
        }
    }

    #[test]
    fn a_header_file_holds_one_line_and_its_content_is_never_repeated() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("header");
        let read = |text: &str| {
            std::fs::write(&file, text).expect("written");
            secret(&file)
        };
        let good = read("\nAuthorization:  Bearer hunter2 \n").expect("good").expect("a header");
        assert_eq!((good.0.as_str(), good.1.as_str()), ("authorization", "Bearer hunter2"));
        for text in ["", "hunter2", "a b: hunter2", "x:", "x: hunter2\ny: hunter2\n", "\u{0}: hunter2"] {
            let why = read(text).expect_err(text);
            assert!(why.contains("one line") && !why.contains("hunter2"), "{why}");
        }
        assert_eq!(secret(&PathBuf::new()), Ok(None));
        assert!(secret(&dir.path().join("none")).expect_err("none").contains("cannot be read"));
        assert_eq!(shown("https://cmdb:8443/hosts?token=hunter2"), "https://cmdb:8443/hosts");
    }
}
