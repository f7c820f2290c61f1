//! Why an item or a body was refused.

use std::fmt;

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $variant:ident $name:literal)*) => {
        /// The closed list of decode codes. They are part of the API: in `rejected[].code`, in problem bodies, in metrics.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Code { $($(#[doc = $doc])* $variant),* }

        impl Code {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [Code] = &[$(Code::$variant),*];

            /// The text in answers and metrics.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $name),* }
            }
        }
    };
}

codes! {
    /// Not an object where one is wanted: an array, a scalar, an empty body.
    Shape "shape"
    /// Not JSON: bad escapes, encodings other than UTF-8, raw control characters, trailing bytes, comments.
    Syntax "syntax"
    /// More than 32 containers inside each other.
    Depth "depth"
    /// The same key twice in one object, however it is spelt.
    DuplicateKey "duplicate-key"
    /// Not a JSON number, an integer that does not fit 64 bits, or no exact integer where one is wanted.
    Number "number"
    /// `alert_name` is missing, empty, no text, or has a NUL.
    Name "name"
    /// `event_id` or `plugin_id` is empty or has a NUL.
    Id "id"
    /// `severity` is none of 1, 2, 3.
    Severity "severity"
    /// A time that is no integer of Unix seconds from 0 to 253402300799, or ends before it starts.
    Time "time"
    /// Longer than its cap: item, text, key, or number of entries.
    Size "size"
    /// A tag's key that events may not have.
    TagKey "tag-key"
    /// `tags` is neither a list of `{key, value}` nor an object, or a tag lacks a part.
    Tags "tags"
    /// `status` is none of abnormal, recovered, closed.
    Status "status"
    /// A field of another type than it takes.
    Type "type"
    /// A key of an object has a NUL.
    Key "key"
    /// `bk_tenant_id` names another tenant than the sender's token.
    Tenant "tenant"
    /// More items than one request may hold.
    TooManyItems "too-many-items"
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A refused item or body: what, where, what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Refusal {
    /// Stable code.
    pub code: Code,
    /// JSON pointer inside the item, empty when it is the item itself.
    pub pointer: String,
    /// One sentence for the sender, with the remedy; at most a few hundred bytes, never more of what was sent than 64.
    pub detail: String,
}

impl Refusal {
    /// A refusal of the field at `pointer`.
    pub fn new(code: Code, pointer: impl Into<String>, detail: impl Into<String>) -> Refusal {
        Refusal { code, pointer: pointer.into(), detail: detail.into() }
    }

    /// A refusal of the item or body as a whole.
    pub(super) fn whole(code: Code, detail: impl Into<String>) -> Refusal {
        Refusal::new(code, "", detail)
    }

    pub(super) fn item_too_large(bytes: usize) -> Refusal {
        Refusal::whole(Code::Size, format!("the item has {bytes} bytes, at most {}; send less in `extra_info`", super::ITEM_BYTES_MAX))
    }
}

/// What was sent, shortened to 64 bytes and quoted so that it cannot break a log line.
pub(super) fn quoted(text: &str) -> String {
    let mut end = text.len().min(64);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let more = if end < text.len() { "..." } else { "" };
    format!("`{}{more}`", text[..end].escape_debug())
}
