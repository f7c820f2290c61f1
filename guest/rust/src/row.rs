//! Rows that a rule reads: the macro [`reads!`](crate::reads) and what stands behind each kind of field.

use crate::Tag;
use crate::bindings::alertmill::rules::types::Column;
use crate::columns::{IntegerReader, TagsReader, TextReader};

/// One row of a batch, made by [`reads!`](crate::reads).
pub trait Row<'a>: Sized {
    /// The fields, in the order in which their columns come.
    const FIELDS: &'static [&'static str];
    /// Where the columns are read.
    type Columns;
    /// Takes the batch's columns; `Err` if they are not those of [`Row::FIELDS`].
    fn open(columns: &'a [Column]) -> Result<Self::Columns, String>;
    /// The next row. Rows are read from the first to the last, none left out.
    fn next(columns: &mut Self::Columns, row: u32) -> Self;
}

/// A kind of field that can be read.
pub trait Kind {
    /// What a row holds of it.
    type Value<'a>;
    #[doc(hidden)]
    type Reader<'a>;
    #[doc(hidden)]
    fn open<'a>(column: Option<&'a Column>, field: &str) -> Result<Self::Reader<'a>, String>;
    #[doc(hidden)]
    fn next<'a>(reader: &mut Self::Reader<'a>, row: u32) -> Self::Value<'a>;
}

/// Text, as `Option<&str>`.
pub struct Text;
/// A whole number, as `Option<i64>`.
pub struct Integer;
/// All tags of the row, as `&[Tag]`: for the field `tags` only, and many times as dear as naming the tags one by one.
pub struct AllTags;

fn mismatch(field: &str) -> String {
    format!("the host sent no fitting column for the field {field}")
}

impl Kind for Text {
    type Value<'a> = Option<&'a str>;
    type Reader<'a> = TextReader<'a>;
    fn open<'a>(column: Option<&'a Column>, field: &str) -> Result<TextReader<'a>, String> {
        match column {
            Some(Column::Text(column)) => Ok(TextReader::new(column)),
            _ => Err(mismatch(field)),
        }
    }
    #[inline]
    fn next<'a>(reader: &mut Self::Reader<'a>, row: u32) -> Self::Value<'a> {
        reader.next(row)
    }
}

impl Kind for Integer {
    type Value<'a> = Option<i64>;
    type Reader<'a> = IntegerReader<'a>;
    fn open<'a>(column: Option<&'a Column>, field: &str) -> Result<IntegerReader<'a>, String> {
        match column {
            Some(Column::Integer(column)) => Ok(IntegerReader::new(column)),
            _ => Err(mismatch(field)),
        }
    }
    #[inline]
    fn next<'a>(reader: &mut Self::Reader<'a>, row: u32) -> Self::Value<'a> {
        reader.next(row)
    }
}

impl Kind for AllTags {
    type Value<'a> = &'a [Tag];
    type Reader<'a> = TagsReader<'a>;
    fn open<'a>(column: Option<&'a Column>, field: &str) -> Result<TagsReader<'a>, String> {
        match column {
            Some(Column::Tags(column)) => Ok(TagsReader::new(column)),
            _ => Err(mismatch(field)),
        }
    }
    #[inline]
    fn next<'a>(reader: &mut Self::Reader<'a>, _row: u32) -> Self::Value<'a> {
        reader.next()
    }
}

/// Declares the fields that a rule reads, as a struct whose values are those of one row.
///
/// ```
/// use alertmill_rule::prelude::*;
/// reads! {
///     struct Event {
///         name: Text = "alert_name",     // Option<&str>
///         severity: Integer = "severity", // Option<i64>
///     }
/// }
/// let in_a_test = Event { name: Some("Disk full"), ..Event::default() };
/// assert_eq!(in_a_test.severity, None);
/// ```
#[macro_export]
macro_rules! reads {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[$field_meta:meta])* $field:ident : $kind:ident = $path:literal),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default)]
        $vis struct $name<'a> {
            $($(#[$field_meta])* #[doc = concat!("`", $path, "`")]
            pub $field: <$crate::row::$kind as $crate::row::Kind>::Value<'a>,)*
            #[doc(hidden)]
            pub batch: ::core::marker::PhantomData<&'a ()>,
        }
        const _: () = {
            pub struct Columns<'a> {
                $($field: <$crate::row::$kind as $crate::row::Kind>::Reader<'a>,)*
                batch: ::core::marker::PhantomData<&'a ()>,
            }
            impl<'a> $crate::row::Row<'a> for $name<'a> {
                const FIELDS: &'static [&'static str] = &[$($path),*];
                type Columns = Columns<'a>;
                #[allow(unused_mut, unused_variables)]
                fn open(columns: &'a [$crate::glue::Column]) -> ::core::result::Result<Columns<'a>, String> {
                    let mut columns = columns.iter();
                    Ok(Columns {
                        $($field: <$crate::row::$kind as $crate::row::Kind>::open(columns.next(), $path)?,)*
                        batch: ::core::marker::PhantomData,
                    })
                }
                #[inline]
                #[allow(unused_variables)]
                fn next(columns: &mut Columns<'a>, row: u32) -> Self {
                    $name {
                        $($field: <$crate::row::$kind as $crate::row::Kind>::next(&mut columns.$field, row),)*
                        batch: ::core::marker::PhantomData,
                    }
                }
            }
        };
    };
}
