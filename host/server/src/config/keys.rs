//! Every key with its words, type and default, taken from the structs themselves: a key that is not documented does not
//! compile.

use super::types::Described;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// One key of a section.
#[derive(Clone, Debug)]
pub struct KeyDoc {
    /// Name in its section.
    pub name: &'static str,
    /// What it does.
    pub doc: String,
    /// What may stand there.
    pub kind: &'static str,
    /// Its default, as TOML.
    pub default: String,
    /// Whether a value fits, and if not, why.
    pub check: fn(toml::Value) -> Result<(), String>,
}

impl KeyDoc {
    pub(super) fn of<T: Described + Serialize + DeserializeOwned>(name: &'static str, doc: &[&str], default: &T) -> Self {
        KeyDoc { name, doc: join(doc), kind: T::KIND, default: as_toml(default), check: fits::<T> }
    }
}

fn fits<T: Described + DeserializeOwned>(value: toml::Value) -> Result<(), String> {
    let given = describe(&value);
    match T::deserialize(value) {
        Ok(_) => Ok(()),
        Err(e) if e.message().starts_with("invalid type") || e.message().starts_with("unknown variant") => Err(format!("expected {}, found {given}", T::KIND)),
        Err(e) => Err(e.message().trim().to_owned()),
    }
}

fn describe(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => format!("text {text:?}"),
        toml::Value::Integer(n) => format!("number {n}"),
        toml::Value::Float(n) => format!("number {n}"),
        toml::Value::Boolean(b) => format!("{b}"),
        toml::Value::Datetime(_) => "a date".to_owned(),
        toml::Value::Array(_) => "a list".to_owned(),
        toml::Value::Table(_) => "a section".to_owned(),
    }
}

fn as_toml(value: &impl Serialize) -> String {
    match toml::Value::try_from(value) {
        Ok(value) => value.to_string(),
        Err(_) => String::new(),
    }
}

/// Doc comments as one line.
pub(super) fn join(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// One section.
#[derive(Clone, Debug)]
pub struct SectionDoc {
    /// Its path, such as `doors.events`; `tables.NAME` stands for any number of them.
    pub path: &'static str,
    /// What it is for.
    pub doc: String,
    /// Its keys.
    pub keys: Vec<KeyDoc>,
}

/// A struct that is one section of the file.
pub trait Section {
    /// Its description.
    fn describe(path: &'static str) -> SectionDoc;
}

/// Declares a section: struct, default, strict reading and documentation from one text. What stands behind `with` are sections
/// inside, which describe themselves.
macro_rules! section {
    (
        $(#[doc = $doc:literal])*
        $name:ident {
            $( $(#[doc = $kdoc:literal])* $key:ident: $type:ty = $default:expr, )*
        }
        $( with { $( $(#[doc = $idoc:literal])* $inner:ident: $itype:ty, )* } )?
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $( $(#[doc = $kdoc])* pub $key: $type, )*
            $( $( $(#[doc = $idoc])* pub $inner: $itype, )* )?
        }
        impl Default for $name {
            fn default() -> Self {
                $name { $( $key: $default, )* $( $( $inner: <$itype>::default(), )* )? }
            }
        }
        impl $crate::config::keys::Section for $name {
            fn describe(path: &'static str) -> $crate::config::keys::SectionDoc {
                let defaults = $name::default();
                $crate::config::keys::SectionDoc {
                    path,
                    doc: $crate::config::keys::join(&[$($doc),*]),
                    keys: vec![ $( $crate::config::keys::KeyDoc::of(stringify!($key), &[$($kdoc),*], &defaults.$key) ),* ],
                }
            }
        }
    };
}
pub(super) use section;
