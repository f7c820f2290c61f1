use super::manifest::{INDEX_TYPE, MANIFEST_TYPE};
use super::*;
use serde_json::{Value, json};
use std::path::Path;
use tempfile::TempDir;

const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0 a component";

fn artifact(version: &str, signature: Option<&[u8]>) -> Artifact {
    let module = [COMPONENT, version.as_bytes()].concat();
    Artifact::new(module.into(), "owner", version, &["alertmill:rule/enrich@0.1.0".to_owned()], &[], signature)
}

/// A layout that a test builds by hand, to build it wrong.
struct Layout {
    dir: TempDir,
}

impl Layout {
    fn new() -> Layout {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(dir.path().join("blobs/sha256")).expect("blobs");
        let layout = Layout { dir };
        layout.file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
        layout
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path().join(name), content).expect("written");
    }

    fn blob(&self, content: &[u8], media_type: &str) -> Value {
        self.file(&format!("blobs/sha256/{}", Digest::of(content).hex()), content);
        json!({"mediaType": media_type, "digest": Digest::of(content).to_string(), "size": content.len()})
    }

    fn json(&self, content: &Value, media_type: &str) -> Value {
        self.blob(content.to_string().as_bytes(), media_type)
    }

    fn manifest(&self) -> Value {
        let config = self.blob(b"{}", CONFIG_TYPE);
        json!({"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": [self.blob(COMPONENT, "application/wasm")]})
    }

    fn index(&self, manifests: Value) {
        self.file("index.json", json!({"schemaVersion": 2, "manifests": manifests}).to_string());
    }

    /// A good layout whose manifest was changed so.
    fn with_manifest(change: impl FnOnce(&Layout, &mut Value)) -> Layout {
        let layout = Layout::new();
        let mut manifest = layout.manifest();
        change(&layout, &mut manifest);
        layout.index(json!([layout.json(&manifest, MANIFEST_TYPE)]));
        layout
    }

    /// A good layout whose index was changed so.
    fn with_index(change: impl FnOnce(&Layout, &mut Value)) -> Layout {
        let layout = Layout::new();
        let mut index = json!({"schemaVersion": 2, "manifests": [layout.json(&layout.manifest(), MANIFEST_TYPE)]});
        change(&layout, &mut index);
        layout.file("index.json", index.to_string());
        layout
    }

    fn code(&self) -> &'static str {
        layout::read(self.path(), None).map_or_else(|failure| failure.code(), |_| "read")
    }
}

#[test]
fn what_is_written_is_read_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path().join("new/layout");
    let digest = layout::write(&dir, Some("1.0.0"), &artifact("1.0.0", Some(b"a signature"))).expect("written");
    let fetched = layout::read(&dir, Some("1.0.0")).expect("read");
    assert_eq!(fetched.module, artifact("1.0.0", None).module);
    assert_eq!(fetched.signature.as_deref(), Some(&b"a signature"[..]));
    assert_eq!(fetched.source, format!("oci:{}:1.0.0@{digest}", dir.display()));
    assert_eq!(layout::read(&dir, None).expect("the only one").module, fetched.module);

    // The same module is the same manifest, whenever it is written, and another tag leaves it there.
    assert_eq!(layout::write(&dir, Some("1.0.0"), &artifact("1.0.0", Some(b"a signature"))).expect("written"), digest);
    layout::write(&dir, Some("1.1.0"), &artifact("1.1.0", None)).expect("written");
    assert_eq!(layout::read(&dir, Some("1.0.0")).expect("read").source, fetched.source);
    let newer = layout::read(&dir, Some("1.1.0")).expect("read");
    assert_eq!((newer.module, newer.signature), (artifact("1.1.0", None).module, None));
    let ambiguous = layout::read(&dir, None).expect_err("two");
    assert!(ambiguous.to_string().contains("1.0.0, 1.1.0"), "{ambiguous}");
    let missing = layout::read(&dir, Some("2.0.0")).expect_err("none");
    assert!(missing.code() == "not-found" && missing.to_string().contains("1.0.0, 1.1.0"), "{missing}");

    // A tag names one manifest.
    layout::write(&dir, Some("1.0.0"), &artifact("1.0.1", None)).expect("written");
    assert_eq!(layout::read(&dir, Some("1.0.0")).expect("read").module, artifact("1.0.1", None).module);
}

#[test]
fn the_documents_are_those_that_other_tools_expect() {
    let artifact = artifact("1.0.0", None);
    let manifest: Value = serde_json::from_slice(&artifact.manifest).expect("JSON");
    assert_eq!((&manifest["schemaVersion"], &manifest["mediaType"]), (&json!(2), &json!("application/vnd.oci.image.manifest.v1+json")));
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.wasm.config.v0+json");
    assert_eq!(manifest["config"]["digest"], Digest::of(&artifact.config).to_string());
    assert_eq!(manifest["layers"].as_array().map(Vec::len), Some(1));
    let layer = &manifest["layers"][0];
    assert_eq!((&layer["mediaType"], &layer["size"]), (&json!("application/wasm"), &json!(artifact.module.len())));
    assert_eq!(manifest["annotations"]["dev.alertmill.rule.name"], "owner");
    let config: Value = serde_json::from_slice(&artifact.config).expect("JSON");
    assert_eq!((&config["architecture"], &config["os"], &config["layerDigests"][0]), (&json!("wasm"), &json!("wasip2"), &layer["digest"]));
    assert_eq!(config["component"]["exports"], json!(["alertmill:rule/enrich@0.1.0"]));
}

#[test]
fn layouts_of_other_tools_are_read() {
    let good = [
        ("as it is", Layout::with_manifest(|_, _| {})),
        ("members nobody knows", Layout::with_manifest(|_, manifest| manifest["subject"] = json!({"x": 1}))),
        (
            "the old layer type",
            Layout::with_manifest(|layout, manifest| manifest["layers"] = json!([layout.blob(COMPONENT, "application/vnd.wasm.content.layer.v1+wasm")])),
        ),
        ("without a media type", Layout::with_manifest(|_, manifest| drop(manifest.as_object_mut().map(|members| members.remove("mediaType"))))),
        (
            "an index inside",
            Layout::with_index(|layout, index| {
                let inner = json!({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": index["manifests"]});
                index["manifests"] = json!([layout.json(&inner, INDEX_TYPE)]);
            }),
        ),
        (
            "an index inside, for several platforms",
            Layout::with_index(|layout, index| {
                let mut module = index["manifests"][0].clone();
                module["platform"] = json!({"architecture": "wasm", "os": "wasip2"});
                let mut other = layout.blob(b"{}", MANIFEST_TYPE);
                other["platform"] = json!({"architecture": "amd64", "os": "linux"});
                let inner = json!({"schemaVersion": 2, "manifests": [other, module]});
                index["manifests"] = json!([layout.json(&inner, INDEX_TYPE)]);
            }),
        ),
    ];
    for (what, layout) in good {
        assert_eq!(layout::read(layout.path(), None).expect(what).module, COMPONENT, "{what}");
    }
}

/// Sets one member of the first manifest's descriptor in the index.
fn in_index(member: &'static str, value: Value) -> Layout {
    Layout::with_index(|_, index| index["manifests"][0][member] = value)
}

/// Sets one member of the layer's descriptor.
fn in_layer(member: &'static str, value: Value) -> Layout {
    Layout::with_manifest(|_, manifest| manifest["layers"][0][member] = value)
}

fn replaced(name: &str, by: impl FnOnce(&Path)) -> Layout {
    let layout = Layout::with_manifest(|_, _| {});
    let path = layout.path().join(name);
    match std::fs::symlink_metadata(&path).expect("there").is_dir() {
        true => std::fs::remove_dir_all(&path).expect("removed"),
        false => std::fs::remove_file(&path).expect("removed"),
    }
    by(&path);
    layout
}

fn linked(to: &'static str) -> impl FnOnce(&Path) {
    move |path| std::os::unix::fs::symlink(to, path).expect("linked")
}

fn module_blob() -> String {
    format!("blobs/sha256/{}", Digest::of(COMPONENT).hex())
}

fn fifo(path: &Path) {
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).expect("a pipe");
}

/// Row M42: names that climb, links, sizes that lie, loops, doubled and missing parts.
#[test]
fn m42_a_layout_with_names_that_climb_is_refused() {
    let hex = Digest::of(COMPONENT).hex().to_owned();
    let padded = |hex: &str| format!("sha256:{hex}");
    let corpus: Vec<(&str, &str, Layout)> = vec![
        ("a digest that climbs", "not-a-module", in_layer("digest", json!("sha256:../../../../../../../../etc/passwd"))),
        ("a digest that is a path", "not-a-module", in_layer("digest", json!("sha256:/etc/passwd"))),
        ("a digest that climbs, of the right length", "not-a-module", in_layer("digest", json!(format!("sha256:{}", "../".repeat(21) + "x")))),
        ("a digest with a NUL", "not-a-module", in_layer("digest", json!(format!("sha256:{}\0", &hex[1..])))),
        ("a digest in capitals", "not-a-module", in_layer("digest", json!(padded(&hex.to_uppercase())))),
        ("a digest that is short", "not-a-module", in_layer("digest", json!(padded(&hex[1..])))),
        ("a digest that is long", "not-a-module", in_layer("digest", json!(padded(&format!("{hex}0"))))),
        ("a digest without its algorithm", "not-a-module", in_layer("digest", json!(hex))),
        ("another algorithm", "not-a-module", in_layer("digest", json!(format!("sha512:{hex}{hex}")))),
        ("an algorithm that climbs", "not-a-module", in_layer("digest", json!(format!("../sha256:{hex}")))),
        ("an empty digest", "not-a-module", in_layer("digest", json!(""))),
        ("a digest that is a list", "not-a-module", in_layer("digest", json!([hex]))),
        ("a digest with white space", "not-a-module", in_layer("digest", json!(format!(" sha256:{hex}")))),
        ("a digest in wide digits", "not-a-module", in_layer("digest", json!(padded(&"０".repeat(64))))),
        ("a climbing digest in the index", "not-a-module", in_index("digest", json!("sha256:../../index.json"))),
        ("a digest of nothing that is there", "not-found", in_layer("digest", json!(padded(&"0".repeat(64))))),
        ("a size that is too small", "digest-differs", in_layer("size", json!(COMPONENT.len() - 1))),
        ("a size that is too large", "digest-differs", in_layer("size", json!(COMPONENT.len() + 1))),
        ("a size of nothing", "digest-differs", in_layer("size", json!(0))),
        ("a negative size", "not-a-module", in_layer("size", json!(-1))),
        ("a size in text", "not-a-module", in_layer("size", json!("21"))),
        ("a size that is no whole number", "not-a-module", in_layer("size", json!(1.5e300))),
        ("a size beyond what is run", "too-large", in_layer("size", json!(MODULE_MAX + 1))),
        ("the largest size", "too-large", in_layer("size", json!(u64::MAX))),
        ("a manifest beyond what is read", "too-large", in_index("size", json!(MANIFEST_MAX + 1))),
        ("a blob of another content", "digest-differs", replaced(&module_blob(), |path| std::fs::write(path, vec![b'x'; COMPONENT.len()]).expect("written"))),
        ("a blob that is a link out", "unreadable", replaced(&module_blob(), linked("/etc/passwd"))),
        ("a blob that is a link to itself", "unreadable", replaced(&module_blob(), |path| std::os::unix::fs::symlink(path, path).expect("linked"))),
        ("a blob that never ends", "unreadable", replaced(&module_blob(), linked("/dev/zero"))),
        ("a blob that nobody writes to", "unreadable", replaced(&module_blob(), fifo)),
        ("a blob that is a folder", "unreadable", replaced(&module_blob(), |path| std::fs::create_dir(path).expect("made"))),
        ("a folder of blobs that is a link", "unreadable", replaced("blobs/sha256", linked("/tmp"))),
        ("blobs that are a link", "unreadable", replaced("blobs", linked("/"))),
        ("an index that is a link", "unreadable", replaced("index.json", linked("/etc/passwd"))),
        ("an index that nobody writes to", "unreadable", replaced("index.json", fifo)),
        ("a mark that is a link", "unreadable", replaced("oci-layout", linked("/dev/zero"))),
        (
            "an index that is a hole of a terabyte",
            "too-large",
            replaced("index.json", |path| {
                std::fs::File::create(path).and_then(|file| file.set_len(1 << 40)).expect("a hole");
            }),
        ),
        (
            "a blob that is a hole of a terabyte",
            "digest-differs",
            replaced(&module_blob(), |path| {
                std::fs::File::create(path).and_then(|file| file.set_len(1 << 40)).expect("a hole");
            }),
        ),
        ("no mark", "not-found", replaced("oci-layout", |_| {})),
        ("no index", "not-found", replaced("index.json", |_| {})),
        ("no blobs", "not-found", replaced("blobs", |_| {})),
        (
            "a mark of another version",
            "not-a-module",
            replaced("oci-layout", |path| std::fs::write(path, r#"{"imageLayoutVersion":"2.0.0"}"#).expect("written")),
        ),
        ("a mark that is large", "too-large", replaced("oci-layout", |path| std::fs::write(path, " ".repeat(2_000)).expect("written"))),
        ("an index that is none", "not-a-module", replaced("index.json", |path| std::fs::write(path, "[]").expect("written"))),
        ("an index a million brackets deep", "not-a-module", replaced("index.json", |path| std::fs::write(path, "[".repeat(1_000_000)).expect("written"))),
        ("no manifests", "not-found", Layout::with_index(|_, index| index["manifests"] = json!([]))),
        (
            "ten thousand manifests",
            "not-a-module",
            Layout::with_index(|_, index| index["manifests"] = vec![json!({"mediaType": "", "digest": "", "size": 0}); 10_000].into()),
        ),
        ("the same manifest twice", "not-a-module", Layout::with_index(|_, index| index["manifests"] = vec![index["manifests"][0].clone(); 2].into())),
        ("two layers", "not-a-module", Layout::with_manifest(|_, manifest| manifest["layers"] = vec![manifest["layers"][0].clone(); 2].into())),
        ("no layer", "not-a-module", Layout::with_manifest(|_, manifest| manifest["layers"] = json!([]))),
        ("a layer that is an archive", "not-a-module", in_layer("mediaType", json!("application/vnd.oci.image.layer.v1.tar+gzip"))),
        ("a manifest that is an index too", "not-a-module", Layout::with_manifest(|_, manifest| manifest["manifests"] = json!([]))),
        ("a manifest that says to be an index", "not-a-module", Layout::with_manifest(|_, manifest| manifest["mediaType"] = json!(INDEX_TYPE))),
        ("a manifest of another schema", "not-a-module", Layout::with_manifest(|_, manifest| manifest["schemaVersion"] = json!(1))),
        (
            "a signature that is no base64",
            "not-a-module",
            Layout::with_manifest(|_, manifest| {
                manifest["annotations"] = json!({"dev.alertmill.rule.signature": "%%%"});
            }),
        ),
        (
            "a signature without end",
            "not-a-module",
            Layout::with_manifest(|_, manifest| {
                manifest["annotations"] = json!({"dev.alertmill.rule.signature": "AAAA".repeat(100_000)});
            }),
        ),
        (
            "layers that are doubled in the text",
            "not-a-module",
            Layout::with_index(|layout, index| {
                let text = layout.manifest().to_string().replacen("\"layers\":", "\"layers\":[],\"layers\":", 1);
                index["manifests"] = json!([layout.blob(text.as_bytes(), MANIFEST_TYPE)]);
            }),
        ),
        (
            "indexes in indexes",
            "not-a-module",
            Layout::with_index(|layout, index| {
                for _ in 0..2 {
                    let inner = json!({"schemaVersion": 2, "manifests": index["manifests"]});
                    index["manifests"] = json!([layout.json(&inner, INDEX_TYPE)]);
                }
            }),
        ),
        (
            "an index that names the layout's own",
            "not-a-module",
            Layout::with_index(|layout, index| {
                let own = index.to_string();
                index["manifests"] =
                    json!(
                        [layout.blob(json!({"schemaVersion": 2, "manifests": [layout.blob(own.as_bytes(), INDEX_TYPE)]}).to_string().as_bytes(), INDEX_TYPE)]
                    );
            }),
        ),
        (
            "an index inside of two modules",
            "not-a-module",
            Layout::with_index(|layout, index| {
                index["manifests"][0]["platform"] = json!({"architecture": "wasm", "os": "wasip2"});
                let inner = json!({"schemaVersion": 2, "manifests": vec![index["manifests"][0].clone(); 2]});
                index["manifests"] = json!([layout.json(&inner, INDEX_TYPE)]);
            }),
        ),
        (
            "an index inside without a module",
            "not-a-module",
            Layout::with_index(|layout, index| {
                index["manifests"][0]["platform"] = json!({"architecture": "amd64", "os": "linux"});
                let inner = json!({"schemaVersion": 2, "manifests": index["manifests"]});
                index["manifests"] = json!([layout.json(&inner, INDEX_TYPE)]);
            }),
        ),
    ];
    assert!(corpus.len() >= 40);
    for (what, code, layout) in &corpus {
        assert_eq!(layout.code(), *code, "{what}");
    }
    println!("{} layouts refused, none read", corpus.len());
}

#[test]
fn a_layout_that_is_not_sound_is_not_written_to() {
    let layout = Layout::new();
    layout.file("index.json", "rubbish");
    assert_eq!(layout::write(layout.path(), None, &artifact("1.0.0", None)).expect_err("rubbish").code(), "not-a-module");
    assert_eq!(std::fs::read(layout.path().join("index.json")).expect("there"), b"rubbish");
    assert_eq!(std::fs::read_dir(layout.path().join("blobs/sha256")).expect("there").count(), 0);
}

#[tokio::test]
async fn a_reference_to_a_layout_is_fetched() {
    let layout = Layout::with_manifest(|_, _| {});
    let access = Access::new(None, false, Vec::new(), credentials::Sources::default()).expect("access");
    let reference = Reference::parse(&format!("oci:{}", layout.path().display())).expect("a reference");
    assert_eq!(fetch(&reference, &access).await.expect("fetched").module, COMPONENT);
}
