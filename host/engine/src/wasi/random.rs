//! `wasi:random`: whoever asks gets what everybody gets, each time. A stream would tell a rule how many rows of its batch it
//! had judged before, and the answer for a row must not rest on that. Hash maps want a seed and get one; a rule that wants to
//! choose at random has `seed`, on its row.

use super::{Cx, Misuse, instance};
use crate::host::Host;
use wasmtime::component::Linker;

pub(super) const RANDOM: &[(&str, &str)] = &[("get-random-bytes", "(u64) -> list<u8>"), ("get-random-u64", "() -> u64")];
pub(super) const INSECURE: &[(&str, &str)] = &[("get-insecure-random-bytes", "(u64) -> list<u8>"), ("get-insecure-random-u64", "() -> u64")];
pub(super) const INSECURE_SEED: &[(&str, &str)] = &[("insecure-seed", "() -> tuple<u64, u64>")];

/// What may be asked for at once.
pub(super) const BYTES_MAX: u64 = 64 << 10;

/// The n-th number of SplitMix64 from 0: evenly spread, and known to everybody.
const fn number(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn bytes(count: u64) -> Result<Vec<u8>, Misuse> {
    if count > BYTES_MAX {
        return Err(Misuse::Random(count));
    }
    let mut bytes: Vec<u8> = (0..count.div_ceil(8)).flat_map(|n| number(n).to_le_bytes()).collect();
    bytes.truncate(count as usize);
    Ok(bytes)
}

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    for (interface, get_bytes, get_number) in
        [("wasi:random/random", "get-random-bytes", "get-random-u64"), ("wasi:random/insecure", "get-insecure-random-bytes", "get-insecure-random-u64")]
    {
        let mut random = instance(linker, interface)?;
        random.func_wrap(get_bytes, |_: Cx<'_>, (count,): (u64,)| Ok((bytes(count)?,)))?;
        random.func_wrap(get_number, |_: Cx<'_>, (): ()| Ok((number(0),)))?;
    }
    instance(linker, "wasi:random/insecure-seed")?.func_wrap("insecure-seed", |_: Cx<'_>, (): ()| Ok(((number(0), number(1)),)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_a_beginning_of_one_text_and_bounded() {
        assert_eq!(bytes(8).expect("few"), 0xe220_a839_7b1d_cdaf_u64.to_le_bytes());
        let most = bytes(BYTES_MAX).expect("as many as there may be");
        for count in [0, 1, 7, 9, 1_000] {
            assert_eq!(bytes(count).expect("few"), most[..count as usize]);
        }
        assert!(bytes(BYTES_MAX + 1).is_err_and(|misuse| misuse.to_string().contains("65537 random bytes")));
        assert!(bytes(u64::MAX).is_err());
    }
}
