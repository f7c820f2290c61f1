use super::*;
use crate::prescan::prescan;
use alertmill_proof::Tier;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const MODULES: [&str; 4] = [
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../rules/dist/test/says.wasm"),
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../rules/dist/owner-from-table.wasm"),
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/all-imports.wasm"),
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/wasip2.wasm"),
];

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// A byte of code changes nothing here: most of the damage is to what is around it.
fn damaged(good: &[u8], framing: &[std::ops::Range<usize>], random: &mut Random) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..=random.below(3) {
        let at = if random.below(4) == 0 {
            random.below(good.len())
        } else {
            let range = &framing[random.below(framing.len())];
            range.start + random.below(range.len())
        };
        let at = at.min(bytes.len() - 1);
        match random.below(6) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.next() as u8,
            2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
            3 => bytes.truncate(at.max(8)),
            // A number that is larger than it may be, as the format writes it.
            4 => bytes.splice(at..at, [0xff; 4]).for_each(drop),
            _ => {
                let end = (at + 1 + random.below(64)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece).for_each(drop);
            }
        }
    }
    bytes
}

/// All of a module but code and data: heads of sections, types, imports, exports, aliases, canonical options.
fn framing(good: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut all = Vec::new();
    let mut end = 8;
    for payload in Parser::new(0).parse_all(good) {
        let payload = payload.expect("a good module");
        let Some((_, range)) = payload.as_section() else { continue };
        if !matches!(payload, Payload::DataSection(_) | Payload::CustomSection(_) | Payload::CodeSectionStart { .. }) && range.len() < 8 << 10 {
            all.push(range.start.saturating_sub(4).max(end)..range.end);
        } else {
            all.push(range.start.saturating_sub(4).max(end)..range.start + 2.min(range.len()));
        }
        end = end.max(range.start);
    }
    all.retain(|range| !range.is_empty());
    all
}

/// What looks at a module before any compiler does: no bytes make it panic, or take long.
#[test]
fn m39_a_hundred_thousand_damaged_modules_are_judged_and_none_panics() {
    const MUTATIONS: u32 = 100_000;
    let modules: Vec<Vec<u8>> = MODULES.iter().map(|path| std::fs::read(path).unwrap_or_else(|e| panic!("{path}: {e}"))).collect();
    let framings: Vec<_> = modules.iter().map(|good| framing(good)).collect();
    let mut random = Random(39);
    let mut codes: BTreeMap<&str, u32> = BTreeMap::new();
    let (started, mut longest) = (Instant::now(), Duration::ZERO);
    for _ in 0..MUTATIONS {
        let which = random.below(modules.len());
        let bytes = damaged(&modules[which], &framings[which], &mut random);
        let before = Instant::now();
        let judged = prescan(&bytes).and_then(|_| Interface::of(&bytes));
        longest = longest.max(before.elapsed());
        match judged {
            Ok(_) => *codes.entry("taken").or_default() += 1,
            Err(refusal) => {
                assert!(refusal.to_string().len() < 16 << 10, "{}", refusal.code());
                *codes.entry(refusal.code()).or_default() += 1;
            }
        }
    }
    println!("m39: {codes:?} in {:?}, the longest {longest:?}", started.elapsed());
    let taken = codes.get("taken").copied().unwrap_or(0);
    assert!(taken <= MUTATIONS / 3, "damage is mostly refused: {codes:?}");
    for code in ["not-a-component", "compile", "import-refused", "export-missing", "too-complex", "string-encoding"] {
        assert!(codes.contains_key(code), "no damage led to {code}: {codes:?}");
    }
    let figures: [(&str, &dyn std::fmt::Display); 3] = [("mutations", &MUTATIONS), ("refused", &(MUTATIONS - taken)), ("panics", &0)];
    alertmill_proof::record("rule-bytes", Tier::Ci, &figures);
}
