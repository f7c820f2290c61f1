//! The bound of what is in flight (I9): bytes that are journaled, or on their way to it, and not yet folded. Arithmetic
//! only; whoever appends asks it for room before the first record of a request.

use crate::ports::PortError;
use std::collections::VecDeque;

/// Bytes of records that are not folded yet, in order, and of those whose ordinal is not known yet.
#[derive(Debug)]
pub struct InFlight {
    bytes_max: usize,
    bytes: usize,
    records: VecDeque<(u64, usize)>,
}

/// What one request holds of the bound. Parsed items leave it with their record, the body that all records share with the
/// last.
#[derive(Debug)]
pub struct Held {
    left: usize,
    last: Option<u64>,
}

impl InFlight {
    /// Nothing is in flight, and `bytes_max` may be.
    pub fn new(bytes_max: usize) -> InFlight {
        InFlight { bytes_max, bytes: 0, records: VecDeque::new() }
    }

    /// The bound.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Bytes in flight.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives back what commits up to `position` have passed.
    pub fn settle(&mut self, position: u64) {
        while let Some((_, bytes)) = self.records.front().copied().filter(|(ordinal, _)| *ordinal <= position) {
            self.records.pop_front();
            self.bytes -= bytes;
        }
    }

    /// Room for `bytes`, or [`PortError::Unavailable`]. What the bound could never hold is let in on top of it, one request
    /// at a time: it would be put off for ever otherwise. Until it is folded everyone else waits, so memory stays below the
    /// bound and one request. Records of time and of rules hold nothing that is counted, and the time must go on while
    /// everyone waits: 0 bytes always have room.
    pub fn take(&mut self, bytes: usize) -> Result<Held, PortError> {
        let over = bytes > self.bytes_max && self.bytes <= self.bytes_max;
        if bytes > 0 && !over && self.bytes + bytes > self.bytes_max {
            let why = format!("{} bytes wait to be folded, limits.queue allows {}; send it again a little later", self.bytes, self.bytes_max);
            return Err(PortError::Unavailable(why));
        }
        self.bytes += bytes;
        Ok(Held { left: bytes, last: None })
    }

    /// A record of the request is in the journal; so many of its bytes go when it is folded.
    pub fn appended(&mut self, held: &mut Held, ordinal: u64, bytes: usize) {
        let bytes = bytes.min(held.left);
        held.left -= bytes;
        held.last = Some(ordinal);
        self.until(ordinal, bytes);
    }

    /// The request is at its end: what it still holds goes with its last record, or now if it has none.
    pub fn ended(&mut self, held: &Held) {
        match held.last {
            Some(ordinal) => self.until(ordinal, held.left),
            None => self.bytes -= held.left,
        }
    }

    fn until(&mut self, ordinal: u64, bytes: usize) {
        if bytes > 0 {
            // Answers of one group arrive in any order; the queue is sorted so that its front is the oldest.
            let at = self.records.partition_point(|(other, _)| *other <= ordinal);
            self.records.insert(at, (ordinal, bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_never_fit_is_let_in_alone() {
        let mut in_flight = InFlight::new(1_000);
        let small = in_flight.take(600).unwrap();
        assert!(in_flight.take(401).is_err(), "what could fit waits");
        let large = in_flight.take(5_000).expect("what never fits is let in on top");
        assert!(in_flight.take(5_000).is_err() && in_flight.take(1).is_err(), "one at a time, and nobody beside it");
        assert!(in_flight.take(0).is_ok(), "time goes on");
        in_flight.ended(&large);
        in_flight.ended(&small);
        assert_eq!(in_flight.bytes(), 0);
    }

    #[test]
    fn bytes_leave_in_the_order_of_records_however_answers_arrive() {
        let mut in_flight = InFlight::new(1_000);
        let (mut first, mut second) = (in_flight.take(500).unwrap(), in_flight.take(400).unwrap());
        in_flight.appended(&mut second, 2, 100);
        in_flight.appended(&mut first, 1, 200);
        in_flight.ended(&second);
        in_flight.settle(1);
        assert_eq!(in_flight.bytes(), 700, "the first request's body is still held");
        in_flight.ended(&first);
        in_flight.settle(1);
        assert_eq!(in_flight.bytes(), 400);
        in_flight.settle(2);
        assert_eq!(in_flight.bytes(), 0);
    }
}
