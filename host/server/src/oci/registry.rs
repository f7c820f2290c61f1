//! A registry, over its HTTP API: pull and push of one module, with the tokens that it asks for.

use super::credentials::{Credentials, Sources};
use super::layout::inner_module;
use super::manifest::{Found, INDEX_TYPE, MANIFEST_TYPE, Pointer};
use super::{Artifact, Digest, Failure, Fetched, MANIFEST_MAX, Reference};
use crate::outgoing::{self, Answer, Client, Request, join, parse_url};
use bytes::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, LOCATION, WWW_AUTHENTICATE};
use hyper::{Method, Uri};
use serde::Deserialize;
use std::time::Duration;

/// A blob may take so long.
const BLOB_DEADLINE: Duration = Duration::from_secs(600);
/// Redirects of a blob: to where the registry keeps its bytes, and one more.
const BLOB_REDIRECTS: u8 = 2;
/// Bytes of a registry's own words that are shown.
const WORDS_MAX: usize = 300;

/// How registries are reached.
#[derive(Clone, Debug)]
pub struct Access {
    client: Client,
    sources: Sources,
    plain_http: bool,
    auth_realms: Vec<String>,
}

impl Access {
    /// With `plain_http` registries are asked without TLS. `auth_realms` are hosts that may be told credentials although they are
    /// not the registry's.
    pub fn new(ca_file: Option<std::path::PathBuf>, plain_http: bool, auth_realms: Vec<String>, sources: Sources) -> Result<Access, Failure> {
        let client = Client::new(&outgoing::Settings { ca_file, allow_http: plain_http })?;
        Ok(Access { client, sources, plain_http, auth_realms })
    }
}

/// One repository of a registry.
pub struct Repository<'a> {
    access: &'a Access,
    host: &'a str,
    name: &'a str,
    scheme: &'static str,
    /// The `Authorization` that the registry asked for, once it has.
    authorization: Option<String>,
}

/// What a registry asks for.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl<'a> Repository<'a> {
    /// The repository `name` at `host`.
    pub fn new(access: &'a Access, host: &'a str, name: &'a str) -> Repository<'a> {
        Repository { access, host, name, scheme: if access.plain_http { "http" } else { "https" }, authorization: None }
    }

    /// Gets the module under a tag, a digest, or `latest`.
    pub async fn pull(mut self, tag: Option<&str>, digest: Option<&Digest>) -> Result<Fetched, Failure> {
        let named = digest.map_or_else(|| tag.unwrap_or("latest").to_owned(), Digest::to_string);
        let (manifest, found) = self.manifest(&named, digest).await?;
        let (module, manifest) = match Found::parse(&manifest, &self.shown(&named))? {
            Found::Module(module) => (module, found),
            Found::Index(index) => {
                let inner = index.only_module()?;
                let (bytes, _) = self.manifest(&inner.digest.to_string(), Some(&inner.digest)).await?;
                inner.check(&bytes)?;
                (inner_module(&bytes, &inner.digest)?, inner.digest)
            }
        };
        let bytes = self.blob(&module.layer).await?;
        let tag = tag.map(str::to_owned).or_else(|| digest.is_none().then_some(named));
        let source = Reference::Registry { host: self.host.to_owned(), repository: self.name.to_owned(), tag, digest: Some(manifest) };
        Ok(Fetched { module: bytes, signature: module.signature, source: source.to_string() })
    }

    /// Puts a module there, under a tag or under its digest alone. Gives the manifest's digest. What is there already is not sent.
    pub async fn push(mut self, tag: Option<&str>, artifact: &Artifact) -> Result<Digest, Failure> {
        for blob in [Bytes::from(artifact.config.clone()), artifact.module.clone()] {
            self.put_blob(blob).await?;
        }
        let digest = Digest::of(&artifact.manifest);
        let path = format!("manifests/{}", tag.map_or_else(|| digest.to_string(), str::to_owned));
        let request = self.request(Method::PUT, &path)?.header(CONTENT_TYPE, MANIFEST_TYPE)?.body(artifact.manifest.clone().into());
        let answer = self.send(request, true).await?;
        self.expect(&answer, &path, &[201])?;
        same(&answer.headers, &digest, &self.shown(&path))?;
        Ok(digest)
    }

    async fn manifest(&mut self, named: &str, digest: Option<&Digest>) -> Result<(Bytes, Digest), Failure> {
        let path = format!("manifests/{named}");
        let request = self.request(Method::GET, &path)?.header(ACCEPT, &format!("{MANIFEST_TYPE}, {INDEX_TYPE}"))?.answer_max(MANIFEST_MAX as usize);
        let answer = self.send(request, false).await?;
        self.expect(&answer, &path, &[200])?;
        let found = Digest::of(&answer.body);
        if let Some(digest) = digest.filter(|digest| **digest != found) {
            return Err(Failure::Changed { what: digest.to_string(), why: format!("it is {found}") });
        }
        same(&answer.headers, &found, &self.shown(&path))?;
        Ok((answer.body, found))
    }

    async fn blob(&mut self, pointer: &Pointer) -> Result<Bytes, Failure> {
        let path = format!("blobs/{}", pointer.digest);
        let request = self.request(Method::GET, &path)?.answer_max(pointer.size as usize).deadline(BLOB_DEADLINE).redirects(BLOB_REDIRECTS);
        let answer = self.send(request, false).await?;
        self.expect(&answer, &path, &[200])?;
        pointer.check(&answer.body)?;
        Ok(answer.body)
    }

    async fn put_blob(&mut self, blob: Bytes) -> Result<(), Failure> {
        let digest = Digest::of(&blob);
        let request = self.request(Method::HEAD, &format!("blobs/{digest}"))?.redirects(BLOB_REDIRECTS);
        if self.send(request, true).await?.status == 200 {
            return Ok(());
        }
        let path = "blobs/uploads/";
        let begun = self.request(Method::POST, path)?;
        let begun = self.send(begun, true).await?;
        self.expect(&begun, path, &[202])?;
        let malformed = |why: &str| Failure::Malformed { what: self.shown(path), why: why.to_owned() };
        let location = begun.headers.get(LOCATION).and_then(|location| location.to_str().ok()).ok_or_else(|| malformed("it named no place for the upload"))?;
        let separator = if location.contains('?') { '&' } else { '?' };
        let place = join(&begun.url, &format!("{location}{separator}digest={digest}"))?;
        if self.scheme == "https" && place.scheme_str() != Some("https") {
            return Err(malformed("it sends the upload from https to http"));
        }
        let is_own = place.authority() == begun.url.authority() && place.scheme() == begun.url.scheme();
        let mut request = Request::of(Method::PUT, place).header(CONTENT_TYPE, "application/octet-stream")?.body(blob).deadline(BLOB_DEADLINE);
        if is_own && let Some(authorization) = &self.authorization {
            request = request.secret(AUTHORIZATION, authorization)?;
        }
        let answer = self.access.client.send(request).await?;
        self.expect(&answer, path, &[201])
    }

    fn request(&self, method: Method, path: &str) -> Result<Request, Failure> {
        Ok(Request::new(method, &format!("{}://{}/v2/{}/{path}", self.scheme, self.host, self.name))?)
    }

    /// Sends a request; when the registry asks who we are, says so and sends it again, once.
    async fn send(&mut self, request: Request, is_push: bool) -> Result<Answer, Failure> {
        let with = |authorization: &Option<String>| match authorization {
            Some(authorization) => request.clone().secret(AUTHORIZATION, authorization),
            None => Ok(request.clone()),
        };
        let answer = self.access.client.send(with(&self.authorization)?).await?;
        // Whoever keeps a blob's bytes for the registry may ask as well, and is told nothing.
        if answer.status != 401 || !answer.url.authority().is_some_and(|authority| authority == self.host) {
            return Ok(answer);
        }
        self.authorization = Some(self.authorize(&answer, is_push).await?);
        Ok(self.access.client.send(with(&self.authorization)?).await?)
    }

    async fn authorize(&self, refused: &Answer, is_push: bool) -> Result<String, Failure> {
        let credentials = self.access.sources.of_host(self.host)?;
        let denied = |why: &str| Failure::Denied { what: format!("{}/{}", self.host, self.name), why: why.to_owned() };
        match (challenge(&refused.headers), credentials) {
            (None, _) => Err(denied("it refused, and did not say whom it would not")),
            (Some(Challenge::Basic), None) => Err(denied("it asks for a user and a password")),
            (Some(Challenge::Basic), Some(credentials)) => Ok(credentials.basic()),
            (Some(Challenge::Bearer { realm, service }), credentials) => self.token(&refused.url, &realm, service, is_push, credentials).await,
        }
    }

    async fn token(&self, asked: &Uri, realm: &str, service: Option<String>, is_push: bool, credentials: Option<Credentials>) -> Result<String, Failure> {
        let denied = |why: String| Failure::Denied { what: format!("{}/{}", self.host, self.name), why };
        let place = parse_url(realm)?;
        let realm_host = place.host().unwrap_or("").to_owned();
        if self.scheme == "https" && place.scheme_str() != Some("https") {
            return Err(denied(format!("it sends to {realm_host} for a token without TLS")));
        }
        let is_trusted = is_of_one_owner(asked.host().unwrap_or(""), &realm_host) || self.access.auth_realms.contains(&realm_host);
        if credentials.is_some() && !is_trusted {
            return Err(denied(format!("it sends to {realm_host} for a token, and credentials are not told to another's host; allow it with --auth-realm")));
        }
        // What is asked for is what is needed, whatever the registry named.
        let scope = format!("repository:{}:{}", self.name, if is_push { "pull,push" } else { "pull" });
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(service.iter().map(|service| ("service", service))).append_pair("scope", &scope);
        let separator = if realm.contains('?') { '&' } else { '?' };
        let mut request = Request::get(&format!("{realm}{separator}{}", query.finish()))?;
        if let Some(credentials) = &credentials {
            request = request.secret(AUTHORIZATION, &credentials.basic())?;
        }
        let answer = self.access.client.send(request).await?;
        if answer.status != 200 {
            return Err(denied(format!("{realm_host} gave no token (HTTP {})", answer.status.as_u16())));
        }
        let token = serde_json::from_slice::<Token>(&answer.body).ok().and_then(|token| token.token.or(token.access_token)).filter(|token| !token.is_empty());
        token.map(|token| format!("Bearer {token}")).ok_or_else(|| denied(format!("{realm_host} answered without a token")))
    }

    fn expect(&self, answer: &Answer, path: &str, statuses: &[u16]) -> Result<(), Failure> {
        let (status, what) = (answer.status.as_u16(), self.shown(path));
        match status {
            status if statuses.contains(&status) => Ok(()),
            404 => Err(Failure::NotFound(what)),
            401 | 403 => Err(Failure::Denied { what, why: format!("it refused (HTTP {status}){}", words(&answer.body)) }),
            status => Err(Failure::Answered { what, status, words: words(&answer.body) }),
        }
    }

    fn shown(&self, path: &str) -> String {
        format!("{}/{} ({path})", self.host, self.name)
    }
}

/// What the registry says its answer is, against what it is.
fn same(headers: &HeaderMap, found: &Digest, what: &str) -> Result<(), Failure> {
    let said = headers.get("docker-content-digest").and_then(|said| said.to_str().ok());
    match said.filter(|said| said.starts_with("sha256:") && *said != found.to_string()) {
        Some(said) => Err(Failure::Changed { what: what.to_owned(), why: format!("it is {found}, and the registry says {said:?}") }),
        None => Ok(()),
    }
}

/// The registry's own words, made safe to show.
fn words(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<One>,
    }
    #[derive(Deserialize)]
    struct One {
        code: String,
        #[serde(default)]
        message: String,
    }
    let Ok(Errors { errors }) = serde_json::from_slice(body) else { return String::new() };
    let all = errors.iter().map(|one| format!("{} {}", one.code, one.message)).collect::<Vec<_>>().join("; ");
    let all: String = all.chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect();
    if all.is_empty() { all } else { format!(": {all}") }
}

/// Whether two hosts are the same, or names right below the same domain, such as `registry.example.com` and `auth.example.com`.
fn is_of_one_owner(registry: &str, realm: &str) -> bool {
    let (registry, realm) = (registry.to_ascii_lowercase(), realm.to_ascii_lowercase());
    if registry == realm {
        return true;
    }
    let is_name = |host: &str| host.parse::<std::net::Ipv4Addr>().is_err() && !host.starts_with('[');
    let domain = |host: &str| host.split_once('.').map(|(_, domain)| domain.to_owned()).filter(|domain| domain.contains('.'));
    let (own, other) = (domain(&registry), domain(&realm));
    // The domain itself counts as well: `forge.example` gives tokens for `registry.forge.example`.
    is_name(&registry) && is_name(&realm) && own.is_some() && (own == other || own.as_deref() == Some(realm.as_str()))
}

/// The first challenge that can be met; Bearer before Basic.
fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let texts = || headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let bearer = texts().find_map(|text| {
        let parameters = parameters(behind_scheme(text, "bearer")?);
        let of = |name: &str| parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone());
        Some(Challenge::Bearer { realm: of("realm")?, service: of("service") })
    });
    bearer.or_else(|| texts().find_map(|text| behind_scheme(text, "basic")).map(|_| Challenge::Basic))
}

fn behind_scheme<'t>(text: &'t str, scheme: &str) -> Option<&'t str> {
    let start = text.get(..scheme.len())?;
    start.eq_ignore_ascii_case(scheme).then(|| &text[scheme.len()..]).filter(|rest| rest.is_empty() || rest.starts_with(' '))
}

/// `key="value",key=value`; a backslash in quotes keeps the next character.
fn parameters(text: &str) -> Vec<(String, String)> {
    let (mut found, mut rest) = (Vec::new(), text);
    while let Some((key, behind)) = rest.split_once('=') {
        let key = key.trim_matches(|c: char| c == ',' || c.is_whitespace()).to_owned();
        let mut value = String::new();
        rest = match behind.strip_prefix('"') {
            None => {
                let (plain, behind) = behind.split_once(',').unwrap_or((behind, ""));
                value.push_str(plain.trim());
                behind
            }
            Some(quoted) => {
                let mut characters = quoted.char_indices();
                let end = loop {
                    match characters.next() {
                        Some((_, '\\')) => value.extend(characters.next().map(|(_, c)| c)),
                        Some((at, '"')) => break at + 1,
                        Some((_, c)) => value.push(c),
                        None => break quoted.len(),
                    }
                };
                &quoted[end..]
            }
        };
        found.push((key, value));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        values.iter().for_each(|value| {
            headers.append(WWW_AUTHENTICATE, value.parse().expect("a header"));
        });
        challenge(&headers)
    }

    #[test]
    fn challenges_are_read() {
        let bearer = |realm: &str, service: Option<&str>| Some(Challenge::Bearer { realm: realm.into(), service: service.map(Into::into) });
        assert_eq!(
            of(&["Bearer realm=\"https://auth.example/token\",service=\"registry.example\",scope=\"repository:a/b:pull,push\""]),
            bearer("https://auth.example/token", Some("registry.example"))
        );
        assert_eq!(of(&["bearer service=x , realm=https://a/t"]), bearer("https://a/t", Some("x")));
        assert_eq!(of(&["Basic realm=\"x\"", "Bearer realm=\"https://a/t\""]), bearer("https://a/t", None));
        assert_eq!(of(&["Bearer realm=\"https://a/\\\"t\\\"\""]), bearer("https://a/\"t\"", None));
        assert_eq!(of(&["Basic realm=\"x\""]), Some(Challenge::Basic));
        assert_eq!(of(&["basic"]), Some(Challenge::Basic));
        for none in ["Bearer service=\"x\"", "Bearer", "Negotiate", "Bearerrealm=x", "", "Bearer realm"] {
            assert_eq!(of(&[none]), None, "{none}");
        }
        assert_eq!(of(&[]), None);
        assert_eq!(of(&["Bearer realm=\"https://a/t"]), bearer("https://a/t", None), "a quote that never ends");
    }

    #[test]
    fn realms_of_the_same_owner_are_told_credentials() {
        for (registry, realm, expected) in [
            ("registry-1.hub.example", "auth.hub.example", true),
            ("registry.forge.example", "forge.example", true),
            ("hub.example", "hub.example", true),
            ("HUB.example", "hub.EXAMPLE", true),
            ("localhost", "localhost", true),
            ("hub.example", "evil.example", false),
            ("registry.example.com", "example.org", false),
            ("registry.example.com", "auth.example.com.evil.org", false),
            ("a.io", "b.io", false),
            ("forge.example", "registry.forge.example", false),
            ("10.0.0.1", "11.0.0.1", false),
            ("[::1]", "[::2]", false),
            ("localhost", "other", false),
        ] {
            assert_eq!(is_of_one_owner(registry, realm), expected, "{registry} {realm}");
        }
    }
}
