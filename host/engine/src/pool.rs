//! The instances of one rule at one worker, one for each tenant: whatever a rule keeps of the rows that it saw, another tenant
//! never meets it.

use crate::instance::Warm;
use crate::stats::Began;
use alertmill_core::value::Text;

/// Tenants that have an instance at the same time. Of more, the one that had no batch for longest gives its memory back.
const TENANTS_MAX: usize = 4;

/// The seat that was used last comes last.
#[derive(Default)]
pub(crate) struct Pool(Vec<Seat>);

/// Where the instance of a tenant is between two calls.
pub(crate) struct Seat {
    tenant: Text,
    pub warm: Option<Warm>,
    /// Why the next instance is to be made.
    pub next: Began,
}

impl Pool {
    /// The seat of this tenant.
    pub fn seat(&mut self, tenant: &Text) -> &mut Seat {
        let at = self.0.iter().position(|seat| seat.tenant == *tenant).unwrap_or_else(|| {
            if self.0.len() == TENANTS_MAX {
                self.0.remove(0);
            }
            self.0.push(Seat { tenant: tenant.clone(), warm: None, next: Began::Start });
            self.0.len() - 1
        });
        self.0[at..].rotate_left(1);
        let last = self.0.len() - 1;
        &mut self.0[last]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_finds_its_own_seat_until_others_have_taken_all() {
        let mut pool = Pool::default();
        let tenant = |n: usize| Text::from(format!("t{n}"));
        for n in 0..TENANTS_MAX {
            pool.seat(&tenant(n)).next = Began::Failed;
        }
        for n in [2, 0, 3, 0] {
            let seat = pool.seat(&tenant(n));
            assert_eq!((seat.tenant.as_str(), seat.next), (tenant(n).as_str(), Began::Failed), "it is the one that it left");
        }
        // The first tenant was here since; the second waited longest.
        assert_eq!(pool.seat(&tenant(9)).next, Began::Start);
        assert_eq!(pool.0.len(), TENANTS_MAX);
        assert_eq!(pool.seat(&tenant(0)).next, Began::Failed);
        assert_eq!(pool.seat(&tenant(1)).next, Began::Start, "its seat was taken");
    }
}
