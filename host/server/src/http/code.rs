//! Why the listener and the doors refuse a request: a closed list.

use super::problem::Problem;
use alertmill_core::decode::{Code, Refusal};
use axum::http::StatusCode;

macro_rules! problems {
    ($($(#[doc = $doc:literal])* $variant:ident $name:literal $status:literal $retry:literal $title:literal)*) => {
        /// Why a request as a whole was refused. Codes are part of the API.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ProblemCode {
            $($(#[doc = $doc])* $variant,)*
            /// The body, or its only item, was refused by `decode`.
            Decode(Code),
            /// A rule, its options or its tables were refused; the code is the refusal's own.
            Rule(&'static str),
            /// Whoever signed a rule, or did not, may not have it run here; the code says why.
            Publisher(&'static str),
        }

        impl ProblemCode {
            /// All codes of this list; those of `decode` are in [`Code::ALL`].
            pub const OWN: &'static [ProblemCode] = &[$(ProblemCode::$variant),*];

            /// The text in `code`.
            pub const fn as_str(self) -> &'static str {
                match self { $(ProblemCode::$variant => $name,)* ProblemCode::Decode(code) => code.as_str(), ProblemCode::Rule(code) | ProblemCode::Publisher(code) => code }
            }

            /// The HTTP status.
            pub const fn status(self) -> StatusCode {
                let code = match self {
                    $(ProblemCode::$variant => $status,)*
                    ProblemCode::Decode(Code::Size | Code::TooManyItems) => 413,
                    ProblemCode::Decode(_) => 400,
                    ProblemCode::Rule(_) => 422,
                    ProblemCode::Publisher(_) => 403,
                };
                match StatusCode::from_u16(code) { Ok(status) => status, Err(_) => StatusCode::INTERNAL_SERVER_ERROR }
            }

            /// Seconds after which the same request may succeed.
            pub const fn retry_after_s(self) -> Option<u64> {
                let seconds = match self { $(ProblemCode::$variant => $retry,)* _ => 0 };
                if seconds == 0 { None } else { Some(seconds) }
            }

            /// One line that does not vary with the request.
            pub const fn title(self) -> &'static str {
                match self { $(ProblemCode::$variant => $title,)* ProblemCode::Decode(_) => "The body was refused", ProblemCode::Rule(_) => "The rule was refused", ProblemCode::Publisher(_) => "The rule's signature was refused" }
            }
        }
    };
}

problems! {
    /// The request line or a header breaks HTTP in a way that hyper lets through.
    Http "http" 400 0 "The request breaks HTTP"
    /// `Host` is missing, doubled, malformed, or differs from an absolute URI.
    Host "host" 400 0 "The Host header is not usable"
    /// `Host` names another server than this one.
    HostNotAllowed "host-not-allowed" 421 0 "This server does not answer for that host"
    /// The path has doubled slashes, dot segments, escapes of those, or is not ASCII.
    Path "path" 400 0 "The path is not in its plain form"
    /// Longer than 8 KiB.
    UriTooLong "uri-too-long" 414 0 "The request target is too long"
    /// A method that no route has, or one in a header.
    Method "method-not-allowed" 405 0 "The method is not allowed"
    /// An `Expect` other than `100-continue`.
    Expect "expect" 417 0 "The expectation cannot be met"
    /// A browser sent it for another site.
    CrossSite "cross-site" 403 0 "Requests from other sites are refused"
    /// No such route or thing.
    NotFound "not-found" 404 0 "There is nothing at this path"
    /// A query parameter that cannot be read.
    Parameter "bad-parameter" 400 0 "A query parameter cannot be read"
    /// A query parameter that the route does not know.
    UnknownParameter "unknown-parameter" 400 0 "A query parameter is not known"
    /// A cursor that was changed on its way, or is none of ours.
    Cursor "cursor" 400 0 "The cursor cannot be read"
    /// A cursor of another list or filter.
    CursorMismatch "cursor-mismatch" 400 0 "The cursor belongs to another filter"
    /// A header of ours that cannot be read: `X-Alertmill-Source`, `Idempotency-Key`.
    Header "header" 400 0 "A header is not usable"
    /// No row waits because of that rule.
    NotHalted "not-halted" 409 0 "The rule has halted nothing"
    /// The body of a command cannot be read, or asks for too much.
    Command "bad-command" 400 0 "The command cannot be read"
    /// Neither `application/json` nor `application/x-ndjson`.
    ContentType "content-type" 415 0 "The content type is not taken"
    /// Neither `identity` nor one `gzip`.
    ContentEncoding "content-encoding" 415 0 "The content encoding is not taken"
    /// The body broke off, or its chunks or its gzip are damaged.
    Body "body" 400 0 "The body cannot be read"
    /// More bytes than the limit, sent or after decompression, or a compression beyond 100:1.
    BodyTooLarge "body-too-large" 413 0 "The body is too large"
    /// The body stalled or came too slowly.
    BodyTimeout "body-timeout" 408 1 "The body did not come in time"
    /// More is in flight than memory or the journal allows.
    Overloaded "overloaded" 429 1 "Too much is in flight"
    /// A look-up table's source gives no content; the last good one goes on.
    TableFetch "table-fetch" 502 0 "The table's source gives no content"
    /// What a look-up table's source gives is no table; the last good one goes on.
    TableInvalid "table-invalid" 422 0 "The content is no table"
    /// What a look-up table's source gives is more than its limits allow; the last good one goes on.
    TableTooLarge "table-too-large" 422 0 "The table is too large"
    /// A rule cannot run with a look-up table's new content; the last good one goes on.
    TableHeldBack "table-held-back" 409 0 "A rule cannot run with the table"
    /// Storage does not work now; nothing was taken.
    Unavailable "unavailable" 503 5 "Storage is not available"
    /// Whether it was stored is not known; repeat it, with the same `Idempotency-Key` or event ids.
    Unclear "unclear" 503 5 "Whether it was stored is not known"
    /// What is stored is damaged; the answer says what and where.
    Damaged "damaged" 409 0 "What is stored is damaged"
    /// The rule is not as the request wants it to be: somebody changed it meanwhile.
    Stale "stale" 412 0 "The rule was changed meanwhile"
    /// A change that must not be repeated blindly says which state it means.
    IfMatchRequired "if-match-required" 428 0 "The header If-Match is missing"
    /// The rule is pinned to another version.
    Pinned "pinned" 409 0 "The rule is pinned"
    /// The version is lower than the highest that ran.
    Downgrade "downgrade" 409 0 "The version is lower than the highest that ran"
    /// Options and place of a rule from the rules folder are its file's.
    OptionsInFile "options-in-file" 409 0 "The rule's file says it otherwise"
    /// The rule's file would bring it back.
    InFolder "in-folder" 409 0 "The rule's file is in the rules folder"
    /// There is nothing to go back to.
    NoPrevious "no-previous" 409 0 "There is no version before"
    /// The version runs, or is the one to go back to.
    InUse "in-use" 409 0 "The version is in use"
    /// Several versions are meant.
    AmbiguousVersion "ambiguous-version" 409 0 "Several versions are meant"
    /// Too many modules wait for their check.
    ChecksBusy "checks-busy" 429 5 "Too many modules are being checked"
    /// Changes wait until the records of the last process are read.
    Replaying "replaying" 503 1 "The records of the last process are being read"
    /// A fault of this program.
    Internal "internal" 500 0 "Internal error"
}

impl ProblemCode {
    /// A problem of this code; `detail` is one sentence for the sender, with the remedy.
    pub fn problem(self, detail: impl Into<String>) -> Problem {
        Problem { retry_after_s: self.retry_after_s(), ..Problem::new(self.status(), self.as_str(), self.title(), detail) }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        let problem = ProblemCode::Decode(refusal.code).problem(refusal.detail);
        if refusal.pointer.is_empty() { problem } else { problem.at(refusal.pointer) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_distinct_and_have_a_status_of_an_error() {
        let all: Vec<_> = ProblemCode::OWN.iter().copied().chain(Code::ALL.iter().map(|code| ProblemCode::Decode(*code))).collect();
        let names: BTreeSet<_> = all.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), all.len());
        for code in all {
            assert!(code.status().as_u16() >= 400, "{code:?}");
            assert!(code.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{code:?}");
        }
    }
}
