//! An allocator for the short lives of a batch: each size class (a power of two) has a list of free blocks, so that both
//! taking and giving back are a few instructions.
//!
//! Blocks are never joined or handed back. That suits a rule: a batch is much like the one before it and finds its blocks
//! again, and the memory limit of the module bounds the rest. Nothing is reset between batches, so whatever a rule keeps
//! stays whole.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::ptr;

#[cfg(target_feature = "atomics")]
compile_error!("the SDK's allocator is for one thread: build with default-features = false");

const PAGE: usize = 64 * 1024;
/// Grown at once, so that a warm-up does not ask the host for every page.
const GROW_MIN: usize = 4 * PAGE;
const CLASS_MIN: usize = 16;

struct State {
    free: [*mut u8; usize::BITS as usize],
    unused: usize,
    end: usize,
}

struct Allocator(UnsafeCell<State>);

// SAFETY: a module has one thread (checked above).
unsafe impl Sync for Allocator {}

#[global_allocator]
static ALLOCATOR: Allocator = Allocator(UnsafeCell::new(State { free: [ptr::null_mut(); usize::BITS as usize], unused: 0, end: 0 }));

/// The exponent of the class: blocks of `1 << class` bytes, aligned to their size up to a page.
#[inline]
fn class(size: usize, align: usize) -> usize {
    let bytes = size.max(align).max(CLASS_MIN);
    (usize::BITS - (bytes - 1).leading_zeros()) as usize
}

// SAFETY: a block is on one free list or in use, never both; its class follows from the layout alone, so that it returns to
// the list that it came from; and it is as large and as aligned as its class says.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe {
            let state = &mut *self.0.get();
            let class = class(layout.size(), layout.align());
            if class >= usize::BITS as usize {
                return ptr::null_mut();
            }
            let block = state.free[class];
            if block.is_null() {
                return state.carve(1 << class);
            }
            state.free[class] = *block.cast::<*mut u8>();
            block
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe {
            let state = &mut *self.0.get();
            let class = class(layout.size(), layout.align());
            *block.cast::<*mut u8>() = state.free[class];
            state.free[class] = block;
        }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        unsafe {
            if class(size, layout.align()) == class(layout.size(), layout.align()) {
                return block;
            }
            let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !moved.is_null() {
                ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}

impl State {
    /// A block of memory never used before; null when the host gives no more.
    #[cold]
    fn carve(&mut self, bytes: usize) -> *mut u8 {
        let align = bytes.min(PAGE);
        let start = (self.unused + align - 1) & !(align - 1);
        if let Some(end) = start.checked_add(bytes).filter(|end| *end <= self.end) {
            self.unused = end;
            return start as *mut u8;
        }
        let grown = bytes.max(GROW_MIN);
        let pages = grown.div_ceil(PAGE);
        let before = core::arch::wasm32::memory_grow(0, pages);
        if before == usize::MAX {
            return ptr::null_mut();
        }
        // A page begins every block of a page or more, and fresh pages follow the last ones unless something else grew
        // the memory; what was left of those is given up.
        self.unused = before * PAGE + bytes;
        self.end = (before + pages).saturating_mul(PAGE);
        (before * PAGE) as *mut u8
    }
}
