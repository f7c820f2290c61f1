//! Changes that a rule makes to a row: the macro [`writes!`](crate::writes) and the fields that it can hold.
//!
//! A field collects the values of the whole batch; what is set for the present row counts only once the row is kept, so
//! that a row whose rule says `Err` leaves nothing behind.

use crate::bindings::alertmill::rules::types::{Column, IntegerColumn, Patches, TextColumn};
use std::fmt;

/// The changes to one row, made by [`writes!`](crate::writes).
pub trait Change: Default {
    /// The fields, in the order of their columns.
    const FIELDS: &'static [&'static str];
    /// Whether anything was set for this row.
    fn is_set(&self) -> bool;
    #[doc(hidden)]
    fn keep(&mut self, position: u32, row: u32);
    #[doc(hidden)]
    fn undo(&mut self);
    #[doc(hidden)]
    fn take(&mut self, patches: &mut Patches);
}

/// What every field of a [`Change`] can do.
pub trait Field: Default {
    #[doc(hidden)]
    fn is_set(&self) -> bool;
    /// Ends the row: `position` is its place among the patched rows, `row` its place in the batch.
    #[doc(hidden)]
    fn keep(&mut self, position: u32, row: u32);
    /// Forgets what was set for this row.
    #[doc(hidden)]
    fn undo(&mut self);
    /// Hands over what the batch gathered.
    #[doc(hidden)]
    fn take(&mut self, patches: &mut Patches);
}

/// Leaves an empty vector as large as the last batch needed: the next one is likely to be alike.
fn take_vec<T>(values: &mut Vec<T>) -> Vec<T> {
    let next = Vec::with_capacity(values.len());
    std::mem::replace(values, next)
}

/// A text field: `description`, `tags.owner` and the like.
#[derive(Debug, Default)]
pub struct Text {
    ends: Vec<u32>,
    missing: Vec<u32>,
    heap: Vec<u8>,
    start: usize,
    set: bool,
}

impl Text {
    /// Sets the field of this row; a second call replaces the first.
    #[inline]
    pub fn set(&mut self, value: impl AsRef<str>) {
        self.begin();
        self.heap.extend_from_slice(value.as_ref().as_bytes());
    }

    /// Sets the field without a string in between: `change.note.format(format_args!("{host} is down"))`.
    pub fn format(&mut self, value: fmt::Arguments) {
        self.begin();
        // Writing to a vector cannot fail; a value whose `Display` fails leaves what it had written.
        let _ = std::io::Write::write_fmt(&mut self.heap, value);
    }

    /// Takes back what was set for this row.
    pub fn leave(&mut self) {
        self.heap.truncate(self.start);
        self.set = false;
    }

    /// What was set for this row, for tests.
    pub fn get(&self) -> Option<&str> {
        self.set.then(|| std::str::from_utf8(&self.heap[self.start..]).unwrap_or_default())
    }

    #[inline]
    fn begin(&mut self) {
        self.heap.truncate(self.start);
        self.set = true;
    }
}

impl Field for Text {
    #[inline]
    fn is_set(&self) -> bool {
        self.set
    }
    #[inline]
    fn keep(&mut self, position: u32, _row: u32) {
        if !self.set {
            self.missing.push(position);
        }
        self.set = false;
        self.start = self.heap.len();
        self.ends.push(self.start as u32);
    }
    fn undo(&mut self) {
        self.leave();
    }
    fn take(&mut self, patches: &mut Patches) {
        self.start = 0;
        self.set = false;
        patches.columns.push(Column::Text(TextColumn { ends: take_vec(&mut self.ends), missing: take_vec(&mut self.missing), heap: take_vec(&mut self.heap) }));
    }
}

/// A whole number: `severity`, `bk_biz_id`.
#[derive(Debug, Default)]
pub struct Integer {
    values: Vec<i64>,
    missing: Vec<u32>,
    value: Option<i64>,
}

impl Integer {
    /// Sets the field of this row; a second call replaces the first.
    #[inline]
    pub fn set(&mut self, value: i64) {
        self.value = Some(value);
    }

    /// Takes back what was set for this row.
    pub fn leave(&mut self) {
        self.value = None;
    }

    /// What was set for this row, for tests.
    pub fn get(&self) -> Option<i64> {
        self.value
    }
}

impl Field for Integer {
    #[inline]
    fn is_set(&self) -> bool {
        self.value.is_some()
    }
    #[inline]
    fn keep(&mut self, position: u32, _row: u32) {
        if self.value.is_none() {
            self.missing.push(position);
        }
        self.values.push(self.value.take().unwrap_or(0));
    }
    fn undo(&mut self) {
        self.leave();
    }
    fn take(&mut self, patches: &mut Patches) {
        self.value = None;
        patches.columns.push(Column::Integer(IntegerColumn { values: take_vec(&mut self.values), missing: take_vec(&mut self.missing) }));
    }
}

/// Tags whose names are not known beforehand, and removals; its field is `tags.*`. A tag with a fixed name is cheaper as a
/// [`Text`] field of its own.
#[derive(Debug, Default)]
pub struct Tags {
    added: Vec<(u32, String, String)>,
    removed: Vec<(u32, String)>,
    kept: (usize, usize),
}

impl Tags {
    /// Sets a tag; all tags of that key are replaced.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.added.push((0, key.into(), value.into()));
    }

    /// Removes all tags of that key.
    pub fn remove(&mut self, key: impl Into<String>) {
        self.removed.push((0, key.into()));
    }

    /// What was set for this row, for tests.
    pub fn get(&self, key: &str) -> Option<&str> {
        let of_this_row = &self.added[self.kept.0..];
        of_this_row.iter().rev().find(|(_, k, _)| k == key).map(|(_, _, value)| value.as_str())
    }

    /// Whether the tag was removed from this row, for tests.
    pub fn is_removed(&self, key: &str) -> bool {
        self.removed[self.kept.1..].iter().any(|(_, k)| k == key)
    }
}

impl Field for Tags {
    fn is_set(&self) -> bool {
        (self.added.len(), self.removed.len()) != self.kept
    }
    fn keep(&mut self, _position: u32, row: u32) {
        self.added[self.kept.0..].iter_mut().for_each(|entry| entry.0 = row);
        self.removed[self.kept.1..].iter_mut().for_each(|entry| entry.0 = row);
        self.kept = (self.added.len(), self.removed.len());
    }
    fn undo(&mut self) {
        self.added.truncate(self.kept.0);
        self.removed.truncate(self.kept.1);
    }
    fn take(&mut self, patches: &mut Patches) {
        self.kept = (0, 0);
        patches.more_tags.append(&mut self.added);
        patches.removed_tags.append(&mut self.removed);
    }
}

/// The event is stored but makes no alert; its field is `drop`, for `enrich` only.
#[derive(Debug, Default)]
pub struct Drop {
    reasons: Vec<(u32, String)>,
    reason: Option<String>,
}

impl Drop {
    /// Drops this row. The reason is shown with the event.
    pub fn because(&mut self, reason: impl Into<String>) {
        self.reason = Some(reason.into());
    }

    /// The reason given for this row, for tests.
    pub fn get(&self) -> Option<&str> {
        self.reason.as_deref()
    }
}

impl Field for Drop {
    fn is_set(&self) -> bool {
        self.reason.is_some()
    }
    fn keep(&mut self, _position: u32, row: u32) {
        self.reasons.extend(self.reason.take().map(|reason| (row, reason)));
    }
    fn undo(&mut self) {
        self.reason = None;
    }
    fn take(&mut self, patches: &mut Patches) {
        patches.drops.append(&mut self.reasons);
    }
}

/// Declares the fields that a rule writes, as a struct with one value to set for each. A rule cannot write what is not here.
///
/// ```
/// use alertmill_rule::prelude::*;
/// writes! {
///     struct Change {
///         severity: Integer = "severity",
///         owner: Text = "tags.owner",
///         tags: Tags = "tags.*", // names not known beforehand
///         drop: Drop = "drop",   // stored, but no alert
///     }
/// }
/// let mut change = Change::default();
/// change.owner.set("alice");
/// assert_eq!(change.owner.get(), Some("alice"));
/// ```
#[macro_export]
macro_rules! writes {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[$field_meta:meta])* $field:ident : $kind:ident = $path:literal),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        $vis struct $name {
            $($(#[$field_meta])* #[doc = concat!("`", $path, "`")] pub $field: $crate::patch::$kind,)*
        }
        impl $crate::patch::Change for $name {
            const FIELDS: &'static [&'static str] = &[$($path),*];
            #[inline]
            fn is_set(&self) -> bool {
                false $(|| $crate::patch::Field::is_set(&self.$field))*
            }
            #[inline]
            #[allow(unused_variables)]
            fn keep(&mut self, position: u32, row: u32) {
                $($crate::patch::Field::keep(&mut self.$field, position, row);)*
            }
            fn undo(&mut self) {
                $($crate::patch::Field::undo(&mut self.$field);)*
            }
            #[allow(unused_variables)]
            fn take(&mut self, patches: &mut $crate::glue::Patches) {
                $($crate::patch::Field::take(&mut self.$field, patches);)*
            }
        }
    };
}
