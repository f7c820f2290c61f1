//! The documents of an artifact: what is read of them, and what is written.

use super::reference::is_tag;
use super::{CONFIG_TYPE, Digest, Failure, MANIFEST_MAX, MODULE_MAX};
use crate::signature::FILE_MAX as SIGNATURE_MAX;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Media type of a manifest.
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an index, a list of manifests.
pub const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of the component.
const MODULE_TYPE: &str = "application/wasm";
/// What tools before that form called it.
const OLD_MODULE_TYPE: &str = "application/vnd.wasm.content.layer.v1+wasm";

/// Annotation with the tag, in a layout's index.
const TAG: &str = "org.opencontainers.image.ref.name";
const NAME: &str = "dev.alertmill.rule.name";
const VERSION: &str = "dev.alertmill.rule.version";
/// The signature file, as base64.
const SIGNATURE: &str = "dev.alertmill.rule.signature";
const TITLE: &str = "org.opencontainers.image.title";
const IMAGE_VERSION: &str = "org.opencontainers.image.version";

/// Names a blob.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Platform {
    architecture: String,
    #[serde(default)]
    os: String,
}

/// What a descriptor points to, once its words are sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
}

impl Pointer {
    /// Whether these are the bytes.
    pub fn check(&self, bytes: &[u8]) -> Result<(), Failure> {
        let changed = |why: String| Err(Failure::Changed { what: self.digest.to_string(), why });
        if bytes.len() as u64 != self.size {
            return changed(format!("it has {} bytes, and {} were announced", bytes.len(), self.size));
        }
        let found = Digest::of(bytes);
        if found == self.digest { Ok(()) } else { changed(format!("it is {found}")) }
    }
}

impl Descriptor {
    fn new(media_type: &str, bytes: &[u8]) -> Descriptor {
        Descriptor {
            media_type: media_type.to_owned(),
            digest: Digest::of(bytes).to_string(),
            size: bytes.len() as u64,
            artifact_type: None,
            platform: None,
            annotations: BTreeMap::new(),
        }
    }

    /// Where it points, if that is at most `max` bytes.
    pub fn pointer(&self, max: u64) -> Result<Pointer, Failure> {
        let what = || self.digest.chars().take(80).collect::<String>();
        let Some(digest) = Digest::parse(&self.digest) else {
            return Err(Failure::Malformed { what: what(), why: "blobs are named sha256: and 64 lower-case hexadecimal digits".to_owned() });
        };
        if self.size > max {
            return Err(Failure::TooLarge { what: what(), size: self.size, max });
        }
        Ok(Pointer { digest, size: self.size })
    }

    fn is_of_a_module(&self) -> bool {
        self.artifact_type.as_deref() == Some(CONFIG_TYPE) || self.platform.as_ref().is_some_and(|platform| platform.architecture == "wasm")
    }
}

/// A manifest or an index: everything that may stand in either, so that a document which is both is seen to be.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: u32,
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// What a document is.
pub enum Found {
    /// A module's manifest.
    Module(Module),
    /// A list, of which [`Index::only_module`] or [`Index::tagged`] chooses.
    Index(Index),
}

/// What a manifest says of a module.
pub struct Module {
    /// The component.
    pub layer: Pointer,
    /// Its signature file.
    pub signature: Option<Vec<u8>>,
}

/// A list of manifests.
pub struct Index {
    what: String,
    manifests: Vec<Descriptor>,
}

impl Found {
    /// Reads a document; `what` names it in words of errors.
    pub fn parse(bytes: &[u8], what: &str) -> Result<Found, Failure> {
        let malformed = |why: String| Failure::Malformed { what: what.to_owned(), why };
        let document: Document = serde_json::from_slice(bytes).map_err(|e| malformed(format!("it is neither a manifest nor an index: {e}")))?;
        if document.schema_version != 2 {
            return Err(malformed(format!("its schemaVersion is {}, and 2 is what is read", document.schema_version)));
        }
        let says = |expected: &str| document.media_type.as_deref().is_none_or(|said| said == expected);
        match (document.layers, document.manifests) {
            (Some(layers), None) if says(MANIFEST_TYPE) && document.config.is_some() => {
                let [layer] = &layers[..] else {
                    return Err(malformed(format!("it has {} layers, and a module's has one", layers.len())));
                };
                if layer.media_type != MODULE_TYPE && layer.media_type != OLD_MODULE_TYPE {
                    return Err(malformed(format!("its layer is {:?}, and {MODULE_TYPE} is what is run", layer.media_type)));
                }
                let signature = document
                    .annotations
                    .get(SIGNATURE)
                    .map(|text| decode(text).ok_or_else(|| malformed("its signature is no base64 of a signature file".to_owned())));
                Ok(Found::Module(Module { layer: layer.pointer(MODULE_MAX)?, signature: signature.transpose()? }))
            }
            (None, Some(manifests)) if says(INDEX_TYPE) && document.config.is_none() => Ok(Found::Index(Index { what: what.to_owned(), manifests })),
            _ => Err(malformed("it is neither a manifest nor an index, or says to be both".to_owned())),
        }
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    // Base64 is a third longer, and no decoding of what is too long anyway.
    (text.len() <= SIGNATURE_MAX * 2).then(|| BASE64.decode(text).ok()).flatten().filter(|bytes| bytes.len() <= SIGNATURE_MAX)
}

impl Index {
    /// An index of a layout, for reading and for writing on.
    pub fn of_layout(bytes: &[u8], what: &str) -> Result<Index, Failure> {
        match Found::parse(bytes, what)? {
            Found::Index(index) => Ok(index),
            Found::Module(_) => Err(Failure::Malformed { what: what.to_owned(), why: "it is a manifest, and an index is what stands there".to_owned() }),
        }
    }

    /// One that names nothing.
    pub fn empty() -> Index {
        Index { what: String::new(), manifests: Vec::new() }
    }

    /// The manifest with a tag, or the only one.
    pub fn tagged(&self, tag: Option<&str>) -> Result<Pointer, Failure> {
        let found: Vec<&Descriptor> = match tag {
            Some(tag) => self.manifests.iter().filter(|manifest| manifest.annotations.get(TAG).is_some_and(|own| own == tag)).collect(),
            None => self.manifests.iter().collect(),
        };
        match (&found[..], tag) {
            ([one], _) => one.pointer(MANIFEST_MAX),
            ([], Some(tag)) => Err(Failure::NotFound(format!("tag {tag} in {} (it has {})", self.what, self.tags()))),
            ([], None) => Err(Failure::NotFound(format!("a manifest in {}", self.what))),
            (several, Some(tag)) => Err(self.malformed(format!("{} manifests have tag {tag}", several.len()))),
            (several, None) => Err(self.malformed(format!("it names {} manifests; say which: {}", several.len(), self.tags()))),
        }
    }

    /// The only manifest in it that is a module's.
    pub fn only_module(&self) -> Result<Pointer, Failure> {
        let modules: Vec<&Descriptor> = self.manifests.iter().filter(|manifest| manifest.is_of_a_module()).collect();
        match (&modules[..], &self.manifests[..]) {
            ([one], _) => one.pointer(MANIFEST_MAX),
            // Where nothing is said of platforms, the only one is meant.
            ([], [one]) if one.platform.is_none() => one.pointer(MANIFEST_MAX),
            _ => Err(self.malformed(format!("it names {} manifests, of which {} are of a module; exactly one is read", self.manifests.len(), modules.len()))),
        }
    }

    /// With a manifest under a tag, which no other has then.
    pub fn with(mut self, manifest: &[u8], tag: Option<&str>) -> Index {
        let mut one = Descriptor::new(MANIFEST_TYPE, manifest);
        one.artifact_type = Some(CONFIG_TYPE.to_owned());
        one.annotations.extend(tag.map(|tag| (TAG.to_owned(), tag.to_owned())));
        self.manifests.retain(|other| other.annotations.get(TAG).map(String::as_str) != tag || (tag.is_none() && other.digest != one.digest));
        self.manifests.push(one);
        self
    }

    /// As JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(&serde_json::json!({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": self.manifests})).unwrap_or_default()
    }

    fn tags(&self) -> String {
        let tags: Vec<&str> =
            self.manifests.iter().filter_map(|manifest| manifest.annotations.get(TAG)).map(String::as_str).filter(|tag| is_tag(tag)).collect();
        if tags.is_empty() { "no tags".to_owned() } else { tags.join(", ") }
    }

    fn malformed(&self, why: String) -> Failure {
        Failure::Malformed { what: self.what.clone(), why }
    }
}

/// A module with what goes with it, ready to be written. The same module gives the same bytes, whenever that is.
pub struct Artifact {
    /// The manifest.
    pub manifest: Vec<u8>,
    /// The config that it names.
    pub config: Vec<u8>,
    /// The component.
    pub module: Bytes,
}

impl Artifact {
    /// Of a module that says to be rule `name`, `version`, with these exports and imports.
    pub fn new(module: Bytes, name: &str, version: &str, exports: &[String], imports: &[String], signature: Option<&[u8]>) -> Artifact {
        let layer = Descriptor::new(MODULE_TYPE, &module);
        // Readers of this form want a time; one that is always the same keeps the digest the same.
        let config = serde_json::json!({
            "created": "1970-01-01T00:00:00Z",
            "architecture": "wasm",
            "os": "wasip2",
            "layerDigests": [layer.digest],
            "component": { "exports": exports, "imports": imports, "target": null },
        });
        let config = serde_json::to_vec(&config).unwrap_or_default();
        let mut annotations: BTreeMap<&str, String> =
            [(NAME, name), (VERSION, version), (TITLE, name), (IMAGE_VERSION, version)].map(|(key, value)| (key, value.to_owned())).into();
        annotations.extend(signature.map(|bytes| (SIGNATURE, BASE64.encode(bytes))));
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": Descriptor::new(CONFIG_TYPE, &config),
            "layers": [layer],
            "annotations": annotations,
        });
        Artifact { manifest: serde_json::to_vec(&manifest).unwrap_or_default(), config, module }
    }
}
