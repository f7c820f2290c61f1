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
    free: AtomicUsize,
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
        Budget { inner: Arc::new(Inner { free: AtomicUsize::new(bytes), total: bytes }) }
    }

    /// A lease of nothing yet.
    pub fn lease(&self) -> Lease {
        Lease { inner: self.inner.clone(), bytes: 0 }
    }

    /// Bytes in flight.
    pub fn used(&self) -> usize {
        self.inner.total - self.inner.free.load(Ordering::Relaxed)
    }
}

impl Lease {
    /// Takes more, up to `bytes` in all; false when the budget does not have it, and nothing changes then.
    #[must_use]
    pub fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let taken = self.inner.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| free.checked_sub(more)).is_ok();
        if taken {
            self.bytes += more;
        }
        taken
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.inner.free.fetch_add(self.bytes, Ordering::Relaxed);
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
}
