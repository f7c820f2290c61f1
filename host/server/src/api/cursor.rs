//! The opaque cursor: where a list goes on, bound to the list's filter. Its check value finds accidents and tampering; it
//! is no secret, since it gives nobody a row that the filter would not.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use siphasher::sip::SipHasher24;
use std::hash::Hasher;

const VERSION: u8 = 1;
const LENGTH: usize = 1 + 8 + 16 + 8;

/// Why a cursor is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CursorError {
    /// Not one of ours, or changed on its way.
    Invalid,
    /// Made by a request with another filter.
    Mismatch,
}

/// A cursor for the list and filter that `filter` spells out.
pub fn encode(filter: &str, position: u128) -> String {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&hash(1, filter.as_bytes()).to_le_bytes());
    bytes.extend_from_slice(&position.to_le_bytes());
    bytes.extend_from_slice(&hash(2, &bytes).to_le_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The position of a cursor that was made for this filter.
pub fn decode(filter: &str, cursor: &str) -> Result<u128, CursorError> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| CursorError::Invalid)?;
    let (body, check) = bytes.split_at_checked(LENGTH - 8).ok_or(CursorError::Invalid)?;
    if bytes.len() != LENGTH || body[0] != VERSION || check != hash(2, body).to_le_bytes() {
        return Err(CursorError::Invalid);
    }
    if body[1..9] != hash(1, filter.as_bytes()).to_le_bytes() {
        return Err(CursorError::Mismatch);
    }
    let mut position = [0; 16];
    position.copy_from_slice(&body[9..25]);
    Ok(u128::from_le_bytes(position))
}

fn hash(purpose: u64, bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(0x616c_6572_746d_696c, purpose);
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_goes_back_to_its_position() {
        for position in [0, 1, u128::MAX] {
            assert_eq!(decode("f", &encode("f", position)), Ok(position));
        }
    }

    #[test]
    fn no_changed_cursor_is_taken() {
        let cursor = encode("status=ABNORMAL", 42);
        assert_eq!(decode("status=CLOSED", &cursor), Err(CursorError::Mismatch));
        for i in 0..cursor.len() {
            for other in ["A", "b", "_", "~", ""] {
                let changed = format!("{}{other}{}", &cursor[..i], &cursor[i + 1..]);
                if changed != cursor {
                    assert_eq!(decode("status=ABNORMAL", &changed), Err(CursorError::Invalid), "{changed}");
                }
            }
        }
        for text in ["", "AAAA", &format!("{cursor}AA"), &cursor[..cursor.len() - 2]] {
            assert_eq!(decode("status=ABNORMAL", text), Err(CursorError::Invalid), "{text}");
        }
    }
}
