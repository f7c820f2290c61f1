//! Where an artifact is: `oci:DIR[:TAG]`, `oci://HOST/REPO[:TAG][@sha256:..]`.

use super::Failure;
use std::fmt;
use std::path::PathBuf;

/// A SHA-256, as OCI names blobs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest(String);

impl Digest {
    /// Reads `sha256:` and 64 lower-case hexadecimal digits; no other algorithm.
    pub fn parse(text: &str) -> Option<Digest> {
        let hex = text.strip_prefix("sha256:")?;
        (hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))).then(|| Digest(hex.to_owned()))
    }

    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(alertmill_stores::modules::digest(bytes))
    }

    /// 64 hexadecimal digits, and so a file name that leads nowhere.
    pub fn hex(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

/// Where an artifact is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// In a layout directory.
    Layout {
        /// The directory.
        dir: PathBuf,
        /// Which of it; None takes the only one.
        tag: Option<String>,
    },
    /// In a registry.
    Registry {
        /// Host, perhaps with a port.
        host: String,
        /// The repository, such as `team/rules/owner`.
        repository: String,
        /// Which of it; with neither tag nor digest it is `latest`.
        tag: Option<String>,
        /// The manifest that it must be.
        digest: Option<Digest>,
    },
}

impl Reference {
    /// Whether a text is meant to be one, and not a file.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with("oci:")
    }

    /// Reads a reference.
    pub fn parse(text: &str) -> Result<Reference, Failure> {
        let wrong = |why: &str| Failure::Reference { text: text.to_owned(), why: why.to_owned() };
        match text.strip_prefix("oci:") {
            None => Err(wrong("it does not begin with oci:")),
            Some(rest) => match rest.strip_prefix("//") {
                Some(rest) => Reference::registry(rest, &wrong),
                // Read as `DIR[:TAG]`, the digest would be a tag, and `DIR@sha256` the directory.
                None if rest.contains("@sha256:") => Err(wrong("only what a registry has is named by a digest; name a directory's by its tag")),
                None => Reference::layout(rest).ok_or_else(|| wrong("it names no directory")),
            },
        }
    }

    /// `DIR[:TAG]`. A `:` belongs to the directory unless a tag stands behind it.
    pub fn layout(text: &str) -> Option<Reference> {
        let (dir, tag) = match text.rsplit_once(':') {
            Some((dir, tag)) if is_tag(tag) => (dir, Some(tag.to_owned())),
            _ => (text, None),
        };
        (!dir.is_empty()).then(|| Reference::Layout { dir: dir.into(), tag })
    }

    fn registry(text: &str, wrong: &dyn Fn(&str) -> Failure) -> Result<Reference, Failure> {
        let (host, path) = text.split_once('/').ok_or_else(|| wrong("it names no repository"))?;
        if !is_host(host) {
            return Err(wrong("its host is no host"));
        }
        let (path, digest) = match path.split_once('@') {
            None => (path, None),
            Some((path, digest)) => (path, Some(Digest::parse(digest).ok_or_else(|| wrong("behind the @ stands no sha256: with 64 hexadecimal digits"))?)),
        };
        let (repository, tag) = match path.split_once(':') {
            None => (path, None),
            Some((repository, tag)) if is_tag(tag) => (repository, Some(tag.to_owned())),
            Some(_) => return Err(wrong("behind the : stands no tag (1 to 128 of letters, digits, `_`, `.`, `-`)")),
        };
        if !is_repository(repository) {
            return Err(wrong("its repository is no name (parts of a-z, 0-9 and single separators, with / between)"));
        }
        Ok(Reference::Registry { host: host.to_owned(), repository: repository.to_owned(), tag, digest })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tag = match self {
            Reference::Layout { dir, tag } => {
                write!(f, "oci:{}", dir.display())?;
                tag
            }
            Reference::Registry { host, repository, tag, .. } => {
                write!(f, "oci://{host}/{repository}")?;
                tag
            }
        };
        tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        match self {
            Reference::Registry { digest: Some(digest), .. } => write!(f, "@{digest}"),
            _ => Ok(()),
        }
    }
}

/// Whether a text may be a tag.
pub fn is_tag(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=128).contains(&text.len()) && text.bytes().next().is_some_and(is_word) && text.bytes().all(|b| is_word(b) || matches!(b, b'.' | b'-'))
}

/// A name, an IPv4 address, or an IPv6 address in brackets, each perhaps with a port.
fn is_host(text: &str) -> bool {
    let is_bracketed = text.starts_with('[') && text.bytes().all(|b| b.is_ascii_hexdigit() || matches!(b, b'[' | b']' | b':' | b'.'));
    let is_name = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':'));
    (is_bracketed || is_name) && crate::outgoing::parse_url(&format!("https://{text}/")).is_ok()
}

fn is_repository(text: &str) -> bool {
    let is_sound = |part: &str| {
        let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let (first, last) = (part.bytes().next(), part.bytes().next_back());
        first.is_some_and(is_word) && last.is_some_and(is_word) && part.bytes().all(|b| is_word(b) || matches!(b, b'.' | b'_' | b'-')) && !part.contains("..")
    };
    text.len() <= 255 && text.split('/').all(is_sound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_and_shown() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for text in [
            "oci:dir".to_owned(),
            "oci:./dir/with.dots:1.2.0".to_owned(),
            "oci:/a:b/c".to_owned(),
            "oci://localhost:5000/owner".to_owned(),
            "oci://[::1]:5000/a/b_c/d-e.f:latest".to_owned(),
            format!("oci://registry.example/team/owner@sha256:{hex}"),
            format!("oci://registry.example/team/owner:1.2.0@sha256:{hex}"),
        ] {
            assert_eq!(Reference::parse(&text).expect(&text).to_string(), text);
        }
        let Ok(Reference::Layout { dir, tag }) = Reference::parse("oci:a:b:1.0") else { panic!("a layout") };
        assert_eq!((dir, tag.as_deref()), (PathBuf::from("a:b"), Some("1.0")));
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for text in [
            "owner.wasm",
            "oci:",
            "oci::tag",
            &format!("oci:dir@sha256:{hex}"),
            &format!("oci:dir:1.2.0@sha256:{hex}"),
            "oci:dir@sha256:00",
            "oci://",
            "oci://host",
            "oci://host/",
            "oci:///owner",
            "oci://user@host/owner",
            "oci://user:password@host/owner",
            "oci://host:99999/owner",
            "oci://ho st/owner",
            "oci://host\\x/owner",
            "oci://host?x/owner",
            "oci://host/Owner",
            "oci://host/../owner",
            "oci://host/a//b",
            "oci://host/a/./b",
            "oci://host/a/..",
            "oci://host/a..b",
            "oci://host/-a",
            "oci://host/a:",
            "oci://host/a:b/c",
            "oci://host/a:.b",
            "oci://host/a?x=y",
            "oci://host/a#x",
            "oci://host/a%2fb",
            "oci://host/a@sha256:00",
            "oci://host/a@sha512:00",
            "oci://host/a@",
            &format!("oci://host/a@sha256:{}", hex.to_uppercase()),
            &format!("oci://host/a:{}", "x".repeat(129)),
            &format!("oci://host/{}", "x".repeat(256)),
        ] {
            assert!(matches!(Reference::parse(text), Err(Failure::Reference { .. })), "{text}");
        }
    }
}
