//! What a rule prints: runtimes say there why they crash.

use crate::contracts::LogLevel;
use crate::log::one_line;

/// Of what was printed last in a call, what its failure repeats.
const SAID_BYTES_MAX: usize = 1 << 10;
/// A longer line becomes several.
const LINE_BYTES_MAX: usize = 4 << 10;

/// Where a rule prints to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Standard,
    Error,
}

impl Output {
    pub fn of(number: u32) -> Output {
        if number == Output::Error.number() { Output::Error } else { Output::Standard }
    }

    pub const fn number(self) -> u32 {
        self as u32
    }

    const fn level(self) -> LogLevel {
        match self {
            Output::Standard => LogLevel::Info,
            Output::Error => LogLevel::Warn,
        }
    }
}

/// What one instance printed during one call.
#[derive(Default)]
pub(crate) struct Printed {
    /// The end of all of it.
    last: Vec<u8>,
    /// Lines that have no end yet, of each output.
    lines: [Vec<u8>; 2],
}

impl Printed {
    /// Takes what is printed, and hands over each line that is whole.
    pub fn add(&mut self, to: Output, text: &[u8], mut write: impl FnMut(LogLevel, &str)) {
        self.last.extend_from_slice(&text[text.len().saturating_sub(SAID_BYTES_MAX)..]);
        let over = self.last.len().saturating_sub(SAID_BYTES_MAX);
        self.last.drain(..over);
        let line = &mut self.lines[to.number() as usize];
        for piece in text.split_inclusive(|byte| *byte == b'\n').flat_map(|piece| piece.chunks(LINE_BYTES_MAX)) {
            if line.len() + piece.len() > LINE_BYTES_MAX {
                hand_over(line, to, &mut write);
            }
            line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                hand_over(line, to, &mut write);
            }
        }
    }

    /// The call is over: lines that have no end are whole too.
    pub fn end(&mut self, mut write: impl FnMut(LogLevel, &str)) {
        for to in [Output::Standard, Output::Error] {
            hand_over(&mut self.lines[to.number() as usize], to, &mut write);
        }
    }

    /// The end of what was printed in this call, as one harmless line.
    pub fn said(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.last);
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        (!lines.is_empty()).then(|| one_line(&lines.join(" ")))
    }

    /// A new call has said nothing.
    pub fn forget(&mut self) {
        self.last.clear();
    }
}

fn hand_over(line: &mut Vec<u8>, to: Output, write: &mut impl FnMut(LogLevel, &str)) {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end();
    if !text.is_empty() {
        write(to.level(), text);
    }
    line.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(texts: &[(Output, &str)]) -> (Printed, Vec<String>) {
        let (mut printed, mut lines) = (Printed::default(), Vec::new());
        let mut write = |level: LogLevel, line: &str| lines.push(format!("{level:?} {line}"));
        texts.iter().for_each(|(to, text)| printed.add(*to, text.as_bytes(), &mut write));
        printed.end(&mut write);
        (printed, lines)
    }

    #[test]
    fn pieces_become_lines_of_their_output() {
        use Output::{Error, Standard};
        let (printed, lines) = lines_of(&[(Standard, "a"), (Error, "x\ny"), (Standard, "b\n\n"), (Error, "z"), (Standard, "no end")]);
        assert_eq!(lines, ["Warn x", "Info ab", "Info no end", "Warn yz"]);
        assert_eq!(printed.said().as_deref(), Some("ax yb zno end"));
        assert_eq!(Printed::default().said(), None);
        let (printed, lines) = lines_of(&[(Error, "\n \r\n")]);
        assert!(printed.said().is_none() && lines.is_empty(), "{lines:?}");
    }

    #[test]
    fn however_much_is_printed_little_is_kept() {
        let flood = format!("{}\u{1b}[31mthe cause\n", "x".repeat(1 << 20));
        let (printed, lines) = lines_of(&[(Output::Error, flood.as_str()), (Output::Error, flood.as_str())]);
        assert!(lines.iter().all(|line| line.len() <= LINE_BYTES_MAX + 8), "a long line is several");
        assert_eq!(lines.iter().map(|line| line.len() - "Warn ".len()).sum::<usize>(), 2 * (flood.len() - 1));
        let said = printed.said().expect("something");
        assert!(said.len() <= SAID_BYTES_MAX + 16 && said.ends_with("x\\u{1b}[31mthe cause"), "{said}");
        assert!(printed.last.len() <= SAID_BYTES_MAX && printed.last.capacity() <= 4 * SAID_BYTES_MAX);
        assert!(printed.lines.iter().all(|line| line.capacity() <= 2 * LINE_BYTES_MAX));
    }
}
