//! A dedupe rule without the SDK and without generated bindings: the canonical ABI, as any other language would have to speak it.
//!
//! The tag `shard` is the key; `alone` is never merged, and `unsure` is a row that it cannot judge. `xtask` wraps it twice: as everybody
//! does (`by-hand`), and with an own copy of the contract's types, so that it imports nothing at all (`no-imports`).

// Elsewhere than in a module nothing calls what it exports.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

use std::cell::RefCell;

#[repr(C)]
struct List<T> {
    at: *const T,
    length: usize,
}

type Text = List<u8>;

// SAFETY: what statics name is never written.
unsafe impl<T> Sync for List<T> {}

impl<T> List<T> {
    const fn of(all: &'static [T]) -> List<T> {
        List { at: all.as_ptr(), length: all.len() }
    }
}

const fn text(text: &'static str) -> Text {
    List::of(text.as_bytes())
}

#[repr(C)]
struct HookManifest {
    hook: u8,
    reads: List<Text>,
    writes: List<Text>,
    when: List<Text>,
    max_batch: u32,
}

#[repr(C)]
struct Manifest {
    name: Text,
    version: Text,
    description: Text,
    hooks: List<HookManifest>,
    tables: List<Text>,
    config_schema: Text,
}

#[repr(C)]
struct Initialised {
    is_error: u8,
    why: Text,
}

/// Of the variant `column` the case that is read.
#[repr(C)]
struct TextColumn {
    case: u8,
    ends: List<u32>,
    missing: List<u32>,
    heap: Text,
}

#[repr(C)]
struct Key {
    case: u8,
    text: Text,
}

const DEDUPE: u8 = 2;

static READS: [Text; 1] = [text("tags.shard")];
static HOOKS: [HookManifest; 1] = [HookManifest { hook: DEDUPE, reads: List::of(&READS), writes: List::of(&[]), when: List::of(&[]), max_batch: 0 }];
static MANIFEST: Manifest = Manifest {
    name: text("by-hand"),
    version: text("0.1.0"),
    description: text("Dedupe by the tag `shard`, without an SDK."),
    hooks: List::of(&HOOKS),
    tables: List::of(&[]),
    config_schema: text(""),
};

thread_local! {
    /// What the host put into this module's memory for the call that runs, and the answer: in words, so that each begins at a multiple of 8.
    static HELD: RefCell<Vec<Vec<u64>>> = const { RefCell::new(Vec::new()) };
}

fn room(bytes: usize) -> *mut u8 {
    let mut words = vec![0_u64; bytes.div_ceil(8).max(1)];
    let at = words.as_mut_ptr().cast();
    HELD.with_borrow_mut(|held| held.push(words));
    at
}

#[cfg_attr(target_arch = "wasm32", unsafe(export_name = "cabi_realloc"))]
extern "C" fn cabi_realloc(old: *const u8, old_bytes: usize, _align: usize, bytes: usize) -> *mut u8 {
    let at = room(bytes);
    if old_bytes > 0 {
        // SAFETY: both are blocks of this size or more, and apart.
        unsafe { std::ptr::copy_nonoverlapping(old, at, old_bytes.min(bytes)) };
    }
    at
}

#[cfg_attr(target_arch = "wasm32", unsafe(export_name = "alertmill:rules/lifecycle@0.1.0#describe"))]
extern "C" fn describe() -> *const Manifest {
    &raw const MANIFEST
}

#[cfg_attr(target_arch = "wasm32", unsafe(export_name = "alertmill:rules/lifecycle@0.1.0#init"))]
extern "C" fn init(_config: *const u8, bytes: usize) -> *const Initialised {
    static GOOD: Initialised = Initialised { is_error: 0, why: text("") };
    static BAD: Initialised = Initialised { is_error: 1, why: text("this rule takes no config") };
    if bytes == 0 { &raw const GOOD } else { &raw const BAD }
}

#[cfg_attr(target_arch = "wasm32", unsafe(export_name = "alertmill:rules/dedupe-rule@0.1.0#dedupe"))]
extern "C" fn dedupe(rows: u32, columns: *const TextColumn, _count: usize) -> *const List<Key> {
    // SAFETY: the host lowers one column of texts, as the manifest wants it, with an entry for each row.
    let (ends, missing, heap) = unsafe { (slice(&(*columns).ends), slice(&(*columns).missing), slice(&(*columns).heap)) };
    let keys = room(rows as usize * size_of::<Key>()).cast::<Key>();
    let mut start = 0;
    for row in 0..rows {
        let end = ends[row as usize] as usize;
        let shard = &heap[start..end];
        start = end;
        let key = match shard {
            _ if missing.binary_search(&row).is_ok() => Key { case: 0, text: text("") },
            b"alone" => Key { case: 2, text: text("") },
            b"unsure" => Key { case: 3, text: text("which shard?") },
            shard => Key { case: 1, text: List { at: shard.as_ptr(), length: shard.len() } },
        };
        // SAFETY: there is room for a key of each row.
        unsafe { keys.add(row as usize).write(key) };
    }
    let answer = room(size_of::<List<Key>>()).cast::<List<Key>>();
    // SAFETY: there is room for one.
    unsafe { answer.write(List { at: keys, length: rows as usize }) };
    answer
}

#[cfg_attr(target_arch = "wasm32", unsafe(export_name = "cabi_post_alertmill:rules/dedupe-rule@0.1.0#dedupe"))]
extern "C" fn after_dedupe(_answer: *const List<Key>) {
    HELD.with_borrow_mut(Vec::clear);
}

/// # Safety
/// The list is one that the host lowered for the call that runs.
unsafe fn slice<T>(list: &List<T>) -> &[T] {
    // SAFETY: as said; a list of nothing may be anywhere.
    if list.length == 0 { &[] } else { unsafe { std::slice::from_raw_parts(list.at, list.length) } }
}
