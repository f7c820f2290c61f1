//! External versions: base + revision. The base is one number of the local state, 0 in a state that was never restored from an
//! older copy and never met a stranger's document. It rises in steps that no revision reaches, so that one conflict lifts all
//! alerts above whatever the future that was lost had written.

/// Between two bases.
const STEP: u64 = 1 << 32;

/// No document of ours gets a higher version; what is found with a higher one is a stranger's, and cannot be outdone.
/// Elasticsearch holds 63 bits.
pub const VERSION_MAX: u64 = 1 << 62;

/// The lowest base whose every version is above `version`; none when that is out of reach.
pub fn base_above(version: u64) -> Option<u64> {
    (version < VERSION_MAX - 2 * STEP).then(|| (version / STEP + 1) * STEP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_above_every_version_before() {
        for version in [0, 1, STEP - 1, STEP, STEP + 1, 1_700_000_000_000, VERSION_MAX - 2 * STEP - 1] {
            let base = base_above(version).unwrap();
            assert!(base > version && base <= version + STEP && base + STEP < VERSION_MAX + STEP, "{version} {base}");
            assert!(base_above(base).is_none_or(|next| next > base));
        }
        for version in [VERSION_MAX - 2 * STEP, VERSION_MAX, u64::MAX] {
            assert_eq!(base_above(version), None);
        }
    }
}
