//! Rule modules as OCI artifacts: in a layout directory, or in a registry.
//!
//! The form is that of the WebAssembly artifacts that other tools write and read: a manifest with a config of
//! [`CONFIG_TYPE`] and exactly one layer, the component. What is ours are annotations: the rule's name, its version and its signature
//! ([`manifest`]).
//!
//! [`fetch`] gives a module's bytes from either place ([`Reference`]). Everything is bounded before it is read, and what was read is
//! held to its size and SHA-256; nothing that a JSON document says becomes a file name but 64 hexadecimal digits. The command line is
//! what talks to registries: a server makes no call for a rule.

pub mod credentials;
mod failure;
pub mod layout;
#[cfg(test)]
mod layout_tests;
mod manifest;
mod reference;
pub mod registry;
#[cfg(test)]
mod registry_tests;

pub use failure::Failure;
pub use manifest::Artifact;
pub use reference::{Digest, Reference, is_tag};
pub use registry::Access;

use bytes::Bytes;

/// Media type of an artifact's config.
pub const CONFIG_TYPE: &str = "application/vnd.wasm.config.v0+json";
/// Bytes of a module at most.
pub const MODULE_MAX: u64 = 64 << 20;
/// Bytes of a manifest or an index at most.
pub const MANIFEST_MAX: u64 = 1 << 20;

/// A module that came from somewhere else.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The component.
    pub module: Bytes,
    /// Its signature file, if one came with it.
    pub signature: Option<Vec<u8>>,
    /// Where from, for the history: the reference with the digest of the manifest, `oci://HOST/REPO:TAG@sha256:..`.
    pub source: String,
}

/// Gets a module from `oci:DIR[:TAG]` or `oci://HOST/REPO[:TAG][@sha256:..]`. The digest and the size of everything were checked;
/// whether it is a component, and who signed it, was not.
pub async fn fetch(reference: &Reference, access: &Access) -> Result<Fetched, Failure> {
    match reference {
        Reference::Layout { dir, tag } => layout::read(dir, tag.as_deref()),
        Reference::Registry { host, repository, tag, digest } => {
            registry::Repository::new(access, host, repository).pull(tag.as_deref(), digest.as_ref()).await
        }
    }
}
