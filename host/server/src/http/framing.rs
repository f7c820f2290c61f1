//! Tabs in the values of `Content-Length` and `Transfer-Encoding`.
//!
//! hyper trims them before anyone can look, and other parsers do not; two that disagree on where a body ends let one request
//! hide another. So a tab there becomes a NUL on its way in, and hyper refuses the head. Only lines that begin with one of
//! the two names are touched: no JSON has them, and gzip has a checksum.

const NAMES: [&[u8]; 2] = [b"content-length:", b"transfer-encoding:"];
const LONGEST: usize = NAMES[1].len();

/// Follows the lines of one connection, across reads.
#[derive(Debug)]
pub struct FramingFilter {
    state: State,
    name: [u8; LONGEST],
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// So many bytes of the line, in lower case, are the beginning of a name.
    Name(usize),
    /// Behind the colon of one of the names.
    Value,
    /// Any other line.
    Other,
}

impl Default for FramingFilter {
    fn default() -> FramingFilter {
        FramingFilter { state: State::Name(0), name: [0; LONGEST] }
    }
}

impl FramingFilter {
    /// Looks at bytes as they come in.
    pub fn filter(&mut self, bytes: &mut [u8]) {
        let mut at = 0;
        while at < bytes.len() {
            if let State::Other = self.state {
                match bytes[at..].iter().position(|b| *b == b'\n') {
                    Some(n) => at += n,
                    None => return,
                }
            }
            self.state = match (self.state, bytes[at]) {
                (_, b'\n') => State::Name(0),
                (State::Name(n), byte) => self.named(n, byte.to_ascii_lowercase()),
                (State::Value, b'\t') => {
                    bytes[at] = 0;
                    State::Value
                }
                (state, _) => state,
            };
            at += 1;
        }
    }

    fn named(&mut self, n: usize, byte: u8) -> State {
        self.name[n] = byte;
        let begun = &self.name[..=n];
        if NAMES.contains(&begun) {
            State::Value
        } else if NAMES.iter().any(|name| name.starts_with(begun)) {
            State::Name(n + 1)
        } else {
            State::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tabs_of_framing_headers_change_however_the_bytes_are_cut() {
        let sent = b"POST /\t HTTP/1.1\r\nX: \tContent-Length:\t1\r\nCONTENT-length: \t2\t\r\nTransfer-Encoding:\tchunked\r\nX-Content-Length:\t3\r\n\r\n{\t}\ncontent\t:\t";
        let wanted = b"POST /\t HTTP/1.1\r\nX: \tContent-Length:\t1\r\nCONTENT-length: \x002\0\r\nTransfer-Encoding:\0chunked\r\nX-Content-Length:\t3\r\n\r\n{\t}\ncontent\t:\t";
        for step in 1..sent.len() {
            let (mut filter, mut bytes) = (FramingFilter::default(), sent.to_vec());
            bytes.chunks_mut(step).for_each(|chunk| filter.filter(chunk));
            assert_eq!(bytes, wanted, "in steps of {step}");
        }
    }
}
