//! A registry in this process, and what it may do wrong.

use super::credentials::Sources;
use super::manifest::{INDEX_TYPE, MANIFEST_TYPE};
use super::*;
use crate::outgoing::double::{Asked, Double, answer, ca_file};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::Response;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

const USER: &str = "amy";
const PASSWORD: &str = "s3cret";
const TOKEN: &str = "t0ken";

/// Whom the registry lets in.
#[derive(Clone, Copy, PartialEq)]
enum Auth {
    Nobody,
    Basic,
    /// With a token, which needs user and password.
    Token,
    /// With a token that anybody gets.
    AnonymousToken,
}

/// What becomes of bytes on their way.
type Spoil = fn(&Bytes) -> Bytes;

/// What the registry holds and does.
#[derive(Default)]
struct State {
    blobs: BTreeMap<String, Bytes>,
    manifests: BTreeMap<String, Bytes>,
    auth: Option<Auth>,
    /// `realm`, when it is not the registry's own.
    realm: Option<String>,
    /// Where blobs are sent on to.
    blobs_at: Option<String>,
    /// Where uploads are sent to.
    uploads_at: Option<String>,
    /// What it says that a manifest's digest is.
    lies_about: Option<String>,
    /// What is done to blobs before they go out.
    spoil: Option<Spoil>,
    requests: Vec<String>,
}

#[derive(Clone)]
struct Registry {
    double: Double,
    state: Arc<Mutex<State>>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no test panics with it")
}

impl Registry {
    async fn start() -> Registry {
        let state = Arc::new(Mutex::new(State::default()));
        let own = state.clone();
        let double = Double::https(move |asked| lock(&own).answer(asked)).await;
        let registry = Registry { double, state };
        registry.state().realm = Some(format!("{}/token", registry.double.base));
        registry
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn host(&self) -> String {
        format!("localhost:{}", self.double.port)
    }

    fn reference(&self, rest: &str) -> Reference {
        Reference::parse(&format!("oci://{}/team/owner{rest}", self.host())).expect("a reference")
    }

    async fn push(&self, access: &Access, tag: &str, artifact: &Artifact) -> Result<Digest, Failure> {
        registry::Repository::new(access, &self.host(), "team/owner").push(Some(tag), artifact).await
    }

    /// A registry that holds [`artifact`] as `1.0.0`.
    async fn filled() -> Registry {
        let registry = Registry::start().await;
        registry.push(&anonymous(), "1.0.0", &artifact()).await.expect("pushed");
        registry
    }

    async fn code(&self, access: &Access, rest: &str) -> &'static str {
        fetch(&self.reference(rest), access).await.map_or_else(|failure| failure.code(), |_| "fetched")
    }
}

impl State {
    fn answer(&mut self, asked: &Asked) -> Response<Bytes> {
        self.requests.push(format!("{} {}", asked.method, asked.path));
        let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
        if path == "/token" {
            return self.token(asked, query);
        }
        if let Some(refused) = self.refuses(asked) {
            return refused;
        }
        let path = path.strip_prefix("/v2/team/owner/").unwrap_or("");
        match (asked.method.as_str(), path.split_once('/')) {
            ("GET", Some(("manifests", name))) => match self.manifests.get(name) {
                Some(bytes) => {
                    let digest = self.lies_about.clone().unwrap_or_else(|| Digest::of(bytes).to_string());
                    answer(200, &[("content-type", MANIFEST_TYPE), ("docker-content-digest", &digest)], bytes.clone())
                }
                None => answer(404, &[], r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#),
            },
            ("PUT", Some(("manifests", name))) => {
                let digest = Digest::of(&asked.body).to_string();
                self.manifests.insert(name.to_owned(), asked.body.clone());
                self.manifests.insert(digest.clone(), asked.body.clone());
                answer(201, &[("docker-content-digest", &self.lies_about.clone().unwrap_or(digest))], "")
            }
            ("POST", Some(("blobs", "uploads/"))) => {
                let place = self.uploads_at.clone().unwrap_or_else(|| "/v2/team/owner/blobs/uploads/7?_state=x".to_owned());
                answer(202, &[("location", &place)], "")
            }
            ("PUT", Some(("blobs", "uploads/7"))) => {
                let digest = Digest::of(&asked.body).to_string();
                if query != format!("_state=x&digest={digest}") {
                    return answer(400, &[], r#"{"errors":[{"code":"DIGEST_INVALID","message":"another digest"}]}"#);
                }
                self.blobs.insert(digest, asked.body.clone());
                answer(201, &[], "")
            }
            (_, Some(("blobs", digest))) => match (self.blobs.get(digest), &self.blobs_at) {
                (None, _) => answer(404, &[], ""),
                (Some(_), Some(place)) => answer(307, &[("location", &format!("{place}/{digest}?sig=x"))], ""),
                (Some(bytes), None) => answer(200, &[], self.spoil.map_or_else(|| bytes.clone(), |spoil| spoil(bytes))),
            },
            _ => answer(404, &[], ""),
        }
    }

    fn basic() -> String {
        format!("Basic {}", BASE64.encode(format!("{USER}:{PASSWORD}")))
    }

    fn refuses(&self, asked: &Asked) -> Option<Response<Bytes>> {
        let (expected, challenge) = match self.auth? {
            Auth::Nobody => return Some(answer(403, &[], r#"{"errors":[{"code":"DENIED","message":"go\u001b[31m away"}]}"#)),
            Auth::Basic => (State::basic(), "Basic realm=\"registry\"".to_owned()),
            Auth::Token | Auth::AnonymousToken => {
                let realm = self.realm.clone().unwrap_or_default();
                (format!("Bearer {TOKEN}"), format!("Bearer realm=\"{realm}\",service=\"the registry\",scope=\"repository:everything:*\""))
            }
        };
        (asked.authorization != expected).then(|| answer(401, &[("www-authenticate", &challenge)], ""))
    }

    fn token(&self, asked: &Asked, query: &str) -> Response<Bytes> {
        if self.auth == Some(Auth::Token) && asked.authorization != State::basic() {
            return answer(401, &[], "");
        }
        let asked_for: BTreeMap<String, String> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let is_sound = asked_for["service"] == "the registry" && asked_for["scope"].starts_with("repository:team/owner:pull");
        if is_sound { answer(200, &[], json!({"token": TOKEN, "expires_in": 60}).to_string()) } else { answer(400, &[], "") }
    }
}

fn artifact() -> Artifact {
    Artifact::new(Bytes::from_static(b"\0asm a component"), "owner", "1.0.0", &[], &[], Some(b"a signature"))
}

fn access_of(sources: Sources, realms: &[&str]) -> Access {
    Access::new(Some(ca_file()), false, realms.iter().map(|realm| (*realm).to_owned()).collect(), sources).expect("access")
}

fn anonymous() -> Access {
    access_of(Sources::default(), &[])
}

fn sources(dir: &Path) -> Sources {
    let file = dir.join("password");
    std::fs::write(&file, format!("{PASSWORD}\n")).expect("written");
    Sources { user: Some(USER.to_owned()), password_file: Some(file), config_file: None }
}

#[tokio::test]
async fn what_is_pushed_is_pulled_by_tag_and_by_digest() {
    let registry = Registry::start().await;
    let digest = registry.push(&anonymous(), "1.0.0", &artifact()).await.expect("pushed");
    registry.push(&anonymous(), "latest", &artifact()).await.expect("pushed again");
    let sent = registry.state().requests.iter().filter(|request| request.starts_with("PUT /v2/team/owner/blobs/")).count();
    assert_eq!(sent, 2, "config and module once: {:?}", registry.state().requests);
    for rest in [":1.0.0".to_owned(), format!("@{digest}"), format!(":1.0.0@{digest}"), String::new()] {
        let fetched = fetch(&registry.reference(&rest), &anonymous()).await.expect("fetched");
        assert_eq!((&fetched.module, fetched.signature.as_deref()), (&artifact().module, Some(&b"a signature"[..])));
        let tag = if rest.is_empty() { ":latest" } else { rest.split('@').next().unwrap_or("") };
        assert_eq!(fetched.source, format!("oci://{}/team/owner{tag}@{digest}", registry.host()));
    }
    assert_eq!(registry.code(&anonymous(), ":2.0.0").await, "not-found");
}

#[tokio::test]
async fn each_kind_of_login_is_met() {
    let dir = tempfile::tempdir().expect("a folder");
    let (amy, wrong) = (sources(dir.path()), Sources { user: Some("eve".into()), ..sources(dir.path()) });
    let config_file = dir.path().join("config.json");
    let registry = Registry::filled().await;
    let auths = json!({"auths": {registry.host(): {"auth": BASE64.encode(format!("{USER}:{PASSWORD}"))}}});
    std::fs::write(&config_file, auths.to_string()).expect("written");
    let by_config = Sources { config_file: Some(config_file), ..Sources::default() };
    for (auth, sources, expected) in [
        (Auth::Basic, &amy, "fetched"),
        (Auth::Basic, &by_config, "fetched"),
        (Auth::Basic, &wrong, "denied"),
        (Auth::Basic, &Sources::default(), "denied"),
        (Auth::Token, &amy, "fetched"),
        (Auth::Token, &by_config, "fetched"),
        (Auth::Token, &wrong, "denied"),
        (Auth::Token, &Sources::default(), "denied"),
        (Auth::AnonymousToken, &Sources::default(), "fetched"),
        (Auth::Nobody, &amy, "denied"),
    ] {
        registry.state().auth = Some(auth);
        assert_eq!(registry.code(&access_of(sources.clone(), &[]), ":1.0.0").await, expected);
    }
    registry.state().auth = Some(Auth::Token);
    registry.state().blobs.clear();
    registry.push(&access_of(amy, &[]), "2.0.0", &artifact()).await.expect("pushed");
    let asked = registry.state().requests.iter().any(|request| request.starts_with("GET /token?") && request.contains("team%2Fowner%3Apull%2Cpush"));
    assert!(asked, "{:?}", registry.state().requests);
    registry.state().auth = Some(Auth::Nobody);
    let words = fetch(&registry.reference(":1.0.0"), &anonymous()).await.expect_err("nobody").to_string();
    assert!(words.contains("DENIED go[31m away") && !words.contains('\u{1b}'), "{words}");
}

#[tokio::test]
async fn credentials_never_reach_another_host() {
    let dir = tempfile::tempdir().expect("a folder");
    let artifact = artifact();
    // By the address it is another host than by the name.
    let module = artifact.module.clone();
    let other = Double::https(move |asked| match asked.method.as_str() {
        "PUT" => answer(201, &[], ""),
        _ if asked.path.starts_with("/asks") => {
            let host = asked.headers["host"].to_str().expect("a host");
            answer(401, &[("www-authenticate", &format!("Bearer realm=\"https://{host}/token\",service=\"the registry\""))], "")
        }
        _ if asked.path.starts_with("/token") => answer(200, &[], json!({"access_token": TOKEN}).to_string()),
        _ => answer(200, &[], module.clone()),
    })
    .await;
    let elsewhere = format!("https://127.0.0.1:{}", other.port);
    let registry = Registry::filled().await;

    // A blob that is elsewhere is got without what the registry was told.
    (registry.state().auth, registry.state().blobs_at) = (Some(Auth::Basic), Some(elsewhere.clone()));
    assert_eq!(registry.code(&access_of(sources(dir.path()), &[]), ":1.0.0").await, "fetched");
    assert_eq!(other.asked().iter().map(|asked| asked.authorization.as_str()).collect::<Vec<_>>(), [""]);
    assert!(registry.double.asked().iter().any(|asked| asked.authorization == State::basic()));
    // Also when that place asks who we are, and sends to itself for a token.
    registry.state().blobs_at = Some(format!("{elsewhere}/asks"));
    assert_eq!(registry.code(&access_of(sources(dir.path()), &[]), ":1.0.0").await, "denied");
    assert_eq!(other.asked().iter().map(|asked| asked.authorization.as_str()).collect::<Vec<_>>(), ["", ""]);

    // So is an upload put there.
    (registry.state().blobs_at, registry.state().uploads_at) = (None, Some(format!("{elsewhere}/upload")));
    registry.state().blobs.clear();
    registry.push(&access_of(sources(dir.path()), &[]), "2.0.0", &artifact).await.expect("pushed");
    let put: Vec<String> = other.asked().iter().filter(|asked| asked.method == "PUT").map(|asked| asked.authorization.clone()).collect();
    assert_eq!(put, ["", ""]);
    assert!(other.asked().iter().any(|asked| asked.path == format!("/upload?digest={}", Digest::of(&artifact.module))));

    // A token of another's host: not for credentials, unless that host is named.
    (registry.state().auth, registry.state().realm) = (Some(Auth::Token), Some(format!("{elsewhere}/token")));
    let before = other.connections();
    let refused = fetch(&registry.reference(":1.0.0"), &access_of(sources(dir.path()), &[])).await.expect_err("another's host");
    assert!(refused.code() == "denied" && refused.to_string().contains("--auth-realm"), "{refused}");
    assert_eq!(other.connections(), before);
    registry.state().blobs.insert(Digest::of(&artifact.module).to_string(), artifact.module.clone());
    assert_eq!(registry.code(&access_of(sources(dir.path()), &["127.0.0.1"]), ":1.0.0").await, "fetched");
    assert_eq!(other.asked().last().map(|asked| asked.authorization.clone()), Some(State::basic()));
    // Anybody's token may come from anywhere.
    registry.state().auth = Some(Auth::AnonymousToken);
    assert_eq!(registry.code(&anonymous(), ":1.0.0").await, "fetched");
    assert_eq!(other.asked().last().map(|asked| asked.authorization.clone()), Some(String::new()));
}

#[tokio::test]
async fn bytes_that_are_not_what_was_named_are_refused() {
    let registry = Registry::filled().await;
    let spoils: [(&str, Spoil, &str); 5] = [
        ("one bit", |bytes| bytes.iter().enumerate().map(|(i, byte)| if i == 5 { byte ^ 1 } else { *byte }).collect(), "digest-differs"),
        ("cut", |bytes| bytes.slice(..bytes.len() - 1), "digest-differs"),
        ("nothing", |_| Bytes::new(), "digest-differs"),
        ("a byte more", |bytes| [bytes, &b"x"[..]].concat().into(), "answer-too-large"),
        ("a megabyte more", |bytes| [bytes, &vec![0; 1 << 20][..]].concat().into(), "answer-too-large"),
    ];
    for (what, spoil, code) in spoils {
        registry.state().spoil = Some(spoil);
        assert_eq!(registry.code(&anonymous(), ":1.0.0").await, code, "{what}");
    }
    registry.state().spoil = None;
    assert_eq!(registry.code(&anonymous(), ":1.0.0").await, "fetched");

    // A registry that says another digest than it gives, or gives another than was named.
    let digest = Digest::of(&artifact().manifest);
    let other = Digest::of(b"other");
    registry.state().lies_about = Some(other.to_string());
    assert_eq!(registry.code(&anonymous(), ":1.0.0").await, "digest-differs");
    assert_eq!(registry.push(&anonymous(), "2.0.0", &artifact()).await.expect_err("a lie").code(), "digest-differs");
    registry.state().lies_about = None;
    let foreign = Artifact::new(Bytes::from_static(b"\0asm another"), "owner", "1.0.0", &[], &[], None);
    registry.state().manifests.insert(digest.to_string(), foreign.manifest.into());
    registry.state().lies_about = Some(digest.to_string());
    assert_eq!(registry.code(&anonymous(), &format!("@{digest}")).await, "digest-differs");
    assert_eq!(registry.code(&anonymous(), &format!(":1.0.0@{other}")).await, "not-found");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_module() {
    let artifact = artifact();
    let (manifest, module) = (artifact.manifest.clone(), artifact.module.clone());
    // The blob's server promises more than it gives.
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", module.len());
    let cut = Double::raw([head.as_bytes(), &module[..module.len() / 2]].concat()).await;
    let place = cut.base.clone();
    let registry = Double::http(move |asked| match asked.path.contains("/manifests/") {
        true => answer(200, &[], manifest.clone()),
        false => answer(302, &[("location", &format!("{place}/blob"))], ""),
    })
    .await;
    let access = Access::new(None, true, Vec::new(), Sources::default()).expect("access");
    let reference = Reference::parse(&format!("oci://127.0.0.1:{}/owner", registry.port)).expect("a reference");
    assert_eq!(fetch(&reference, &access).await.expect_err("cut").code(), "broken-answer");
    assert_eq!(cut.connections(), 1);
}

#[tokio::test]
async fn redirects_are_of_blobs_and_stay_encrypted() {
    let plain = Double::http(|_| answer(200, &[], "")).await;
    let registry = Registry::filled().await;
    for (place, code) in [(plain.base.clone(), "redirect-refused"), ("https://169.254.169.254".to_owned(), "address-refused")] {
        registry.state().blobs_at = Some(place);
        assert_eq!(registry.code(&anonymous(), ":1.0.0").await, code);
    }
    // Round and round.
    registry.state().blobs_at = Some(format!("{}/v2/team/owner/blobs", registry.double.base));
    assert_eq!(registry.code(&anonymous(), ":1.0.0").await, "redirect-refused");
    registry.state().blobs_at = None;
    registry.state().blobs.clear();
    registry.state().uploads_at = Some(format!("{}/upload", plain.base));
    assert_eq!(registry.push(&anonymous(), "2.0.0", &artifact()).await.expect_err("no TLS").code(), "not-a-module");
    registry.state().auth = Some(Auth::AnonymousToken);
    registry.state().realm = Some(format!("{}/token", plain.base));
    assert_eq!(registry.code(&anonymous(), ":1.0.0").await, "denied");
    assert_eq!(plain.connections(), 0);
    let elsewhere = plain.base.clone();
    let moved = Double::https(move |_| answer(302, &[("location", &elsewhere)], "")).await;
    let reference = Reference::parse(&format!("oci://localhost:{}/owner", moved.port)).expect("a reference");
    assert_eq!(fetch(&reference, &anonymous()).await.expect_err("a manifest elsewhere").code(), "registry-answered");
}

#[tokio::test]
async fn manifests_are_bounded_and_indexes_followed_once() {
    let registry = Registry::filled().await;
    let put = |name: &str, bytes: Vec<u8>| {
        let digest = Digest::of(&bytes).to_string();
        let pointer = json!({"mediaType": INDEX_TYPE, "digest": digest, "size": bytes.len()});
        registry.state().manifests.insert(digest, bytes.clone().into());
        registry.state().manifests.insert(name.to_owned(), bytes.into());
        pointer
    };
    let own = put("own", artifact().manifest);
    let once = put("once", json!({"schemaVersion": 2, "manifests": [own]}).to_string().into());
    put("twice", json!({"schemaVersion": 2, "manifests": [once]}).to_string().into());
    let mut short = own.clone();
    short["size"] = json!(1);
    put("short", json!({"schemaVersion": 2, "manifests": [short]}).to_string().into());
    put("large", vec![b' '; MANIFEST_MAX as usize + 1]);
    put("rubbish", b"rubbish".to_vec());
    let mut huge: serde_json::Value = serde_json::from_slice(&artifact().manifest).expect("JSON");
    huge["layers"][0]["size"] = json!(1_u64 << 60);
    put("huge", huge.to_string().into());
    for (tag, code) in [
        ("once", "fetched"),
        ("twice", "not-a-module"),
        ("short", "digest-differs"),
        ("large", "answer-too-large"),
        ("rubbish", "not-a-module"),
        ("huge", "too-large"),
    ] {
        assert_eq!(registry.code(&anonymous(), &format!(":{tag}")).await, code, "{tag}");
    }
}

#[tokio::test]
async fn a_registry_without_tls_is_asked_only_where_that_is_said() {
    let state = Arc::new(Mutex::new(State::default()));
    let own = state.clone();
    let plain = Double::http(move |asked| lock(&own).answer(asked)).await;
    let host = format!("127.0.0.1:{}", plain.port);
    let access = Access::new(None, true, Vec::new(), Sources::default()).expect("access");
    registry::Repository::new(&access, &host, "team/owner").push(Some("1.0.0"), &artifact()).await.expect("pushed");
    let reference = Reference::parse(&format!("oci://{host}/team/owner:1.0.0")).expect("a reference");
    assert_eq!(fetch(&reference, &access).await.expect("fetched").module, artifact().module);
    let asked = plain.asked().len();
    assert!(fetch(&reference, &anonymous()).await.is_err());
    assert_eq!(plain.asked().len(), asked);
}
