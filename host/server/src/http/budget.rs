//! Bytes of requests in flight: taken before memory grows, given back when the request is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A bound that all requests share. Clones are the same budget.
#[derive(Clone, Debug)]
pub struct Budget {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    used: AtomicUsize,
    total: usize,
}

/// Bytes taken from a budget; dropping it gives them back.
#[derive(Debug)]
pub struct Lease {
    inner: Arc<Inner>,
    bytes: usize,
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(bytes: usize) -> Budget {
        Budget { inner: Arc::new(Inner { used: AtomicUsize::new(0), total: bytes }) }
    }

    /// A lease of nothing yet.
    pub fn lease(&self) -> Lease {
        Lease { inner: self.inner.clone(), bytes: 0 }
    }

    /// Bytes in flight.
    pub fn used(&self) -> usize {
        self.inner.used.load(Ordering::Relaxed)
    }
}

impl Lease {
    /// Takes more, up to `bytes` in all; false when the budget does not have it, and nothing changes then.
    #[must_use]
    pub fn grow_to(&mut self, bytes: usize) -> bool {
        let total = self.inner.total;
        self.grow(bytes, |used, more| used + more <= total)
    }

    /// As [`grow_to`](Lease::grow_to) for bytes that are in memory already. What the whole budget could never hold is let in
    /// on top of it, one at a time: it would wait for ever otherwise. Until it goes, nobody else gets anything.
    #[must_use]
    pub fn grow_over(&mut self, bytes: usize) -> bool {
        let total = self.inner.total;
        self.grow(bytes, |used, more| used + more <= total || (bytes > total && used <= total))
    }

    fn grow(&mut self, bytes: usize, allows: impl Fn(usize, usize) -> bool) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        // Who asks for no more than it holds is never put off, also while another one's request lies on top of the budget.
        if more == 0 {
            return true;
        }
        let taken = self.inner.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| allows(used, more).then_some(used + more)).is_ok();
        if taken {
            self.bytes += more;
        }
        taken
    }

    /// Bytes that may be in flight, of all requests together.
    pub fn total(&self) -> usize {
        self.inner.total
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.inner.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_comes_back() {
        let budget = Budget::new(100);
        let mut a = budget.lease();
        assert!(a.grow_to(60) && a.grow_to(40));
        assert_eq!(budget.used(), 60);
        let mut b = budget.lease();
        assert!(!b.grow_to(41) && b.grow_to(40));
        drop(a);
        assert!(b.grow_to(100));
        drop(b);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn what_never_fits_goes_on_top_one_at_a_time() {
        let budget = Budget::new(100);
        let (mut a, mut b, mut small) = (budget.lease(), budget.lease(), budget.lease());
        assert!(a.grow_to(40) && b.grow_to(40) && small.grow_to(10));
        assert!(!small.grow_over(21), "what could fit waits until it does");
        assert!(a.grow_over(150));
        assert_eq!(budget.used(), 200);
        assert!(!b.grow_over(150) && !small.grow_to(11));
        assert!(small.grow_to(10) && small.grow_over(10), "what is held already is no more");
        drop(a);
        assert!(b.grow_over(150));
        assert_eq!((b.bytes(), budget.used()), (150, 160));
    }
}
