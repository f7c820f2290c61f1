//! Types of values in the config file.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::path::PathBuf;

/// A type that a key may have: what the reference calls it.
pub trait Described {
    /// Words for the reference and for error messages.
    const KIND: &'static str;
}

impl Described for String {
    const KIND: &'static str = "text";
}
impl Described for PathBuf {
    const KIND: &'static str = "path";
}
impl Described for bool {
    const KIND: &'static str = "`true` or `false`";
}
impl Described for u32 {
    const KIND: &'static str = "whole number";
}
impl Described for u64 {
    const KIND: &'static str = "whole number";
}
impl Described for Vec<String> {
    const KIND: &'static str = "list of texts";
}

/// A number of bytes: a whole number, or text such as `"64 MiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

const UNITS: [(&str, u32); 4] = [("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)];

impl ByteSize {
    /// So many mebibytes.
    pub const fn mib(n: u64) -> Self {
        ByteSize(n << 20)
    }

    /// So many kibibytes.
    pub const fn kib(n: u64) -> Self {
        ByteSize(n << 10)
    }

    /// As `usize`; sizes beyond the address space become the largest one.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let number: u64 = number.parse().ok()?;
        let unit = unit.trim();
        let (_, shift) = UNITS.iter().find(|(name, _)| *name == unit || (unit.is_empty() && *name == "B"))?;
        number.checked_mul(1 << shift).map(ByteSize)
    }
}

impl Described for ByteSize {
    const KIND: &'static str = "size";
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |(_, shift): &&(&str, u32)| self.0 >> shift << shift == self.0 && self.0 >> shift > 0;
        let (name, shift) = UNITS.iter().find(whole).unwrap_or(&UNITS[3]);
        write!(f, "{} {name}", self.0 >> shift)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = ByteSize;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of bytes or a size such as \"64 MiB\"")
            }
            fn visit_i64<E: serde::de::Error>(self, n: i64) -> Result<ByteSize, E> {
                u64::try_from(n).map(ByteSize).map_err(|_| E::custom("a size cannot be negative"))
            }
            fn visit_u64<E>(self, n: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(n))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ByteSize, E> {
                ByteSize::parse(text).ok_or_else(|| E::custom(format!("{text:?} is no size; write a number and B, KiB, MiB or GiB, such as \"64 MiB\"")))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Text that is never printed.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "Secret()" } else { "Secret(***)" })
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.0.is_empty() { "" } else { "***" })
    }
}

impl Described for Secret {
    const KIND: &'static str = "secret text";
}

macro_rules! choice {
    ($(#[doc = $doc:literal])* $name:ident $kind:literal { $($(#[doc = $vdoc:literal])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name { $($(#[doc = $vdoc])* #[serde(rename = $text)] $variant),* }
        impl Described for $name {
            const KIND: &'static str = $kind;
        }
        impl $name {
            /// As it is written in the config.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text),* }
            }
        }
    };
}

choice! {
    /// How the process writes its log.
    LogFormat "`\"text\"` or `\"json\"`" {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

choice! {
    /// Which hash makes fingerprint and uid (`alertmill_core::identity::Algorithm`).
    FingerprintAlgorithm "`\"keyed\"` or `\"bk-monitor\"`" {
        /// Key names bound to typed values.
        Keyed = "keyed",
        /// Upstream's md5, for drop-in use.
        BkMonitor = "bk-monitor",
    }
}

choice! {
    /// Who makes events of the bodies of a source.
    Decoder "`\"rules\"` or `\"events\"`" {
        /// Normalize rules, once the body is taken.
        Rules = "rules",
        /// The decoder of `POST /api/v1/events`, before it is taken.
        Events = "events",
    }
}

choice! {
    /// What a lookup table's file is.
    TableFormat "`\"auto\"`, `\"csv\"`, `\"json\"` or `\"ndjson\"`" {
        /// Whatever it looks like.
        Auto = "auto",
        /// First line names the columns.
        Csv = "csv",
        /// An array of objects.
        Json = "json",
        /// One object a line.
        Ndjson = "ndjson",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_and_print() {
        for (text, bytes, shown) in [
            ("64 MiB", 64 << 20, "64 MiB"),
            ("1024", 1024, "1 KiB"),
            ("10B", 10, "10 B"),
            ("3 GiB", 3 << 30, "3 GiB"),
            ("0", 0, "0 B"),
            ("1025", 1025, "1025 B"),
        ] {
            let size = ByteSize::parse(text).expect(text);
            assert_eq!((size.0, size.to_string().as_str()), (bytes, shown));
            assert_eq!(ByteSize::parse(shown), Some(size));
        }
        for text in ["", "MiB", "-1", "1 MB", "1.5 MiB", "99999999999999 GiB"] {
            assert_eq!(ByteSize::parse(text), None, "{text}");
        }
    }

    #[test]
    fn secrets_do_not_print() {
        let secret = Secret("hunter2".into());
        assert_eq!(format!("{secret:?}"), "Secret(***)");
        assert_eq!(serde_json::to_string(&secret).expect("json"), "\"***\"");
    }
}
