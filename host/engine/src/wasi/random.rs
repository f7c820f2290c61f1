//! `wasi:random`: the same numbers in each call of each instance. Hash maps want a seed and get one; nothing else of it is
//! random, or meant to be. A rule that wants to choose at random has `seed`, on its row.

use super::{Cx, Misuse, instance};
use crate::host::Host;
use wasmtime::component::Linker;

pub(super) const RANDOM: &[(&str, &str)] = &[("get-random-bytes", "(u64) -> list<u8>"), ("get-random-u64", "() -> u64")];
pub(super) const INSECURE: &[(&str, &str)] = &[("get-insecure-random-bytes", "(u64) -> list<u8>"), ("get-insecure-random-u64", "() -> u64")];
pub(super) const INSECURE_SEED: &[(&str, &str)] = &[("insecure-seed", "() -> tuple<u64, u64>")];

/// What may be asked for at once.
pub(super) const BYTES_MAX: u64 = 64 << 10;

/// SplitMix64 from 0: evenly spread, and known to everybody.
#[derive(Default)]
pub(super) struct Stream(u64);

impl Stream {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn bytes(&mut self, count: u64) -> Result<Vec<u8>, Misuse> {
        if count > BYTES_MAX {
            return Err(Misuse::Random(count));
        }
        let mut bytes: Vec<u8> = (0..count.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).collect();
        bytes.truncate(count as usize);
        Ok(bytes)
    }
}

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    for (interface, bytes, number) in [
        ("wasi:random/random", "get-random-bytes", "get-random-u64"),
        ("wasi:random/insecure", "get-insecure-random-bytes", "get-insecure-random-u64"),
    ] {
        let mut random = instance(linker, interface)?;
        random.func_wrap(bytes, |mut cx: Cx<'_>, (count,): (u64,)| Ok((cx.data_mut().stand_ins.random.bytes(count)?,)))?;
        random.func_wrap(number, |mut cx: Cx<'_>, (): ()| Ok((cx.data_mut().stand_ins.random.next(),)))?;
    }
    // No state: whoever asks again gets the same.
    let seed = (Stream(1).next(), Stream(2).next());
    instance(linker, "wasi:random/insecure-seed")?.func_wrap("insecure-seed", move |_: Cx<'_>, (): ()| Ok((seed,)))
}
