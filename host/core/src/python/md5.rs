//! Upstream's hash of a value (docs/semantics.md, Identity): blind to the order of lists and to the kind of scalars.

use super::text::text_of;
use crate::event::hex_digits;
use crate::value::Value;
use md5::{Digest, Md5};

/// Lists of up to this many elements are hashed without an allocation.
const INLINE: usize = 12;

/// The hash of a list whose elements are added one by one.
pub struct Md5Of {
    inline: [[u8; 16]; INLINE],
    len: usize,
    /// All digests, once there are more than `INLINE`.
    more: Vec<[u8; 16]>,
}

impl Default for Md5Of {
    fn default() -> Md5Of {
        Md5Of { inline: [[0; 16]; INLINE], len: 0, more: Vec::new() }
    }
}

impl Md5Of {
    /// Adds a value.
    pub fn value(&mut self, value: &Value) {
        self.digest(count_md5(value));
    }

    /// Adds a text.
    pub fn text(&mut self, text: &str) {
        self.digest(of_text(text));
    }

    fn digest(&mut self, digest: [u8; 16]) {
        if self.len < INLINE {
            self.inline[self.len] = digest;
        } else {
            if self.more.is_empty() {
                self.more.extend_from_slice(&self.inline);
            }
            self.more.push(digest);
        }
        self.len += 1;
    }

    /// The hash of the list.
    pub fn finish(mut self) -> [u8; 16] {
        // Hex digits sort as their bytes do.
        let digests = if self.more.is_empty() { &mut self.inline[..self.len] } else { &mut self.more[..] };
        digests.sort_unstable();
        let mut hash = Md5::new();
        hash.update(b"[");
        for (i, digest) in digests.iter().enumerate() {
            hash.update(if i == 0 { "'" } else { ", '" });
            hash.update(hex_digits(digest));
            hash.update(b"'");
        }
        hash.update(b"]");
        hash.finalize().into()
    }
}

/// Upstream's hash of any value.
pub fn count_md5(value: &Value) -> [u8; 16] {
    match value {
        Value::List(list) => {
            let mut hash = Md5Of::default();
            for element in list {
                hash.value(element);
            }
            hash.finish()
        }
        Value::Object(fields) => {
            let mut hash = Md5Of::default();
            for (key, element) in fields {
                let mut pair = Md5Of::default();
                pair.text(key);
                pair.digest(Md5::digest(hex_digits(&count_md5(element))).into());
                hash.digest(pair.finish());
            }
            hash.finish()
        }
        Value::Int(n) => of_int(*n),
        Value::Text(text) => of_text(text),
        scalar => of_text(&text_of(scalar)),
    }
}

fn of_text(text: &str) -> [u8; 16] {
    Md5::digest(text.as_bytes()).into()
}

fn of_int(n: i64) -> [u8; 16] {
    // 19 digits and a sign.
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut left = n.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    if n < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    Md5::digest(&digits[at..]).into()
}
