//! The events of an alert as one row of the state holds them: 9 bytes each, place and role.

use crate::event_segments::EventPlace;
use alertmill_core::ports::EventRole;

/// Bytes of one entry.
pub(super) const ENTRY_BYTES: usize = 9;

pub(super) fn put(out: &mut Vec<u8>, place: EventPlace, role: EventRole) {
    out.extend_from_slice(&place.segment.to_le_bytes());
    out.extend_from_slice(&place.offset.to_le_bytes());
    out.push(role as u8);
}

/// The entries of a row; an unknown role of a newer version reads as `Updated`.
pub(super) fn entries(refs: &[u8]) -> impl DoubleEndedIterator<Item = (EventPlace, EventRole)> + '_ {
    refs.chunks_exact(ENTRY_BYTES).map(|entry| {
        let segment = u32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]);
        let offset = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
        (EventPlace { segment, offset }, role(entry[8]))
    })
}

const ROLES: [EventRole; 6] = [EventRole::Opened, EventRole::Updated, EventRole::Late, EventRole::Ended, EventRole::Milder, EventRole::RecoveryDelayed];

fn role(byte: u8) -> EventRole {
    ROLES.into_iter().find(|role| *role as u8 == byte).unwrap_or(EventRole::Updated)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_survive_the_round_trip() {
        let place = EventPlace { segment: 3, offset: 70_000 };
        let mut row = Vec::new();
        for role in ROLES {
            put(&mut row, place, role);
        }
        assert_eq!(entries(&row).collect::<Vec<_>>(), ROLES.map(|role| (place, role)));
        // The compiler asks for a new role here; then it belongs into ROLES as well.
        let number = |role| match role {
            EventRole::Opened => 0,
            EventRole::Updated => 1,
            EventRole::Late => 2,
            EventRole::Ended => 3,
            EventRole::Milder => 4,
            EventRole::RecoveryDelayed => 5,
        };
        assert_eq!(ROLES.map(number), [0, 1, 2, 3, 4, 5]);
    }
}
