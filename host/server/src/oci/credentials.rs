//! What is told to a registry: a user and a password, from the environment or from where container tools keep theirs.

use super::Failure;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Bytes of a config file or a password file at most.
const FILE_MAX: u64 = 1 << 20;
/// The key under which container tools keep what is for `docker.io`.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// A user with a password. Its `Debug` does not show the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub user: String,
    /// The password or token.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Credentials {
    /// As the value of an `Authorization` header.
    pub fn basic(&self) -> String {
        format!("Basic {}", BASE64.encode(format!("{}:{}", self.user, self.password)))
    }
}

/// Where credentials are looked for.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `ALERTMILL_OCI_USER`; for whatever registry is asked.
    pub user: Option<String>,
    /// `ALERTMILL_OCI_PASSWORD_FILE`.
    pub password_file: Option<PathBuf>,
    /// `$DOCKER_CONFIG/config.json`, or `~/.docker/config.json`.
    pub config_file: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Default, Deserialize)]
struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default, rename = "identitytoken")]
    identity_token: String,
}

impl Sources {
    /// As the environment says.
    pub fn of_environment() -> Sources {
        let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folder = path("DOCKER_CONFIG").or_else(|| path("HOME").map(|home| home.join(".docker")));
        Sources {
            user: std::env::var("ALERTMILL_OCI_USER").ok().filter(|user| !user.is_empty()),
            password_file: path("ALERTMILL_OCI_PASSWORD_FILE"),
            config_file: folder.map(|folder| folder.join("config.json")),
        }
    }

    /// What is told to `host`; None is anonymous.
    pub fn of_host(&self, host: &str) -> Result<Option<Credentials>, Failure> {
        match (&self.user, &self.password_file) {
            (Some(user), Some(file)) => {
                let password = read(file)?.ok_or_else(|| Failure::Credentials(format!("{} is not there", file.display())))?;
                Ok(Some(Credentials { user: user.clone(), password: password.trim_end_matches(['\r', '\n']).to_owned() }))
            }
            (None, None) => self.config_file.as_deref().map_or(Ok(None), |file| of_config(file, host)),
            _ => Err(Failure::Credentials("ALERTMILL_OCI_USER and ALERTMILL_OCI_PASSWORD_FILE go together; one of them is set".to_owned())),
        }
    }
}

fn of_config(file: &Path, host: &str) -> Result<Option<Credentials>, Failure> {
    let Some(text) = read(file)? else { return Ok(None) };
    // Its words would quote the text, which holds passwords.
    let unreadable = |what: &str| Failure::Credentials(format!("{}: {what}", file.display()));
    let config: Config = serde_json::from_str(&text).map_err(|e| unreadable(&format!("it is no JSON of the expected form, line {}", e.line())))?;
    let names = [host.to_owned(), format!("https://{host}"), format!("https://{host}/"), format!("https://{host}/v1/"), format!("https://{host}/v2/")];
    let is_hub = matches!(host, "docker.io" | "index.docker.io" | "registry-1.docker.io");
    let entry = names.iter().find_map(|name| config.auths.get(name)).or_else(|| config.auths.get(DOCKER_HUB).filter(|_| is_hub));
    let Some(entry) = entry else { return Ok(None) };
    if !entry.auth.is_empty() {
        let decoded = BASE64.decode(&entry.auth).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let Some((user, password)) = decoded.as_deref().and_then(|text| text.split_once(':')) else {
            return Err(unreadable(&format!("`auth` of {host} is no base64 of user:password")));
        };
        return Ok(Some(Credentials { user: user.to_owned(), password: password.trim_end_matches('\0').to_owned() }));
    }
    if !entry.username.is_empty() {
        return Ok(Some(Credentials { user: entry.username.clone(), password: entry.password.clone() }));
    }
    if !entry.identity_token.is_empty() {
        return Err(unreadable(&format!("{host} has an identity token, which is not taken; set ALERTMILL_OCI_USER and ALERTMILL_OCI_PASSWORD_FILE")));
    }
    // A credential helper holds it, which is a program; none is run.
    Ok(None)
}

fn read(file: &Path) -> Result<Option<String>, Failure> {
    let unusable = |why: String| Failure::Credentials(format!("{} cannot be read: {why}", file.display()));
    match std::fs::metadata(file) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(unusable(e.to_string())),
        Ok(found) if !found.is_file() || found.len() > FILE_MAX => return Err(unusable("it is no file of a usual size".to_owned())),
        Ok(_) => {}
    }
    std::fs::read_to_string(file).map(Some).map_err(|e| unusable(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(dir: &Path, config: &str) -> Sources {
        let file = dir.join("config.json");
        std::fs::write(&file, config).expect("written");
        Sources { config_file: Some(file), ..Sources::default() }
    }

    #[test]
    fn the_config_of_container_tools_is_read_by_host() {
        let dir = tempfile::tempdir().expect("a folder");
        let auth = BASE64.encode("amy:s3:cret");
        let config = format!(
            r#"{{"auths": {{"a.example": {{"auth": "{auth}"}}, "https://b.example/v1/": {{"username": "bob", "password": "p"}}, "c.example:5000": {{}},
                "https://index.docker.io/v1/": {{"auth": "{auth}"}}, "d.example": {{"identitytoken": "s3cret"}}}}, "credsStore": "pass"}}"#
        );
        let sources = sources(dir.path(), &config);
        let amy = Credentials { user: "amy".into(), password: "s3:cret".into() };
        assert_eq!(sources.of_host("a.example").expect("read"), Some(amy.clone()));
        assert_eq!(sources.of_host("b.example").expect("read"), Some(Credentials { user: "bob".into(), password: "p".into() }));
        assert_eq!(sources.of_host("registry-1.docker.io").expect("read"), Some(amy.clone()));
        for host in ["c.example:5000", "a.example:5000", "x.a.example", "example", ""] {
            assert_eq!(sources.of_host(host).expect("read"), None, "{host}");
        }
        assert!(sources.of_host("d.example").expect_err("a token").to_string().contains("ALERTMILL_OCI_USER"));
        assert_eq!(amy.basic(), format!("Basic {auth}"));
        assert!(!format!("{amy:?}").contains("cret"));
    }

    #[test]
    fn the_environment_comes_first_and_whole() {
        let dir = tempfile::tempdir().expect("a folder");
        let (password, none) = (dir.path().join("password"), dir.path().join("none"));
        std::fs::write(&password, "s3cret\n").expect("written");
        let both = Sources { user: Some("amy".into()), password_file: Some(password), ..sources(dir.path(), "rubbish") };
        assert_eq!(both.of_host("a.example").expect("read"), Some(Credentials { user: "amy".into(), password: "s3cret".into() }));
        for half in [Sources { user: None, ..both.clone() }, Sources { password_file: None, ..both.clone() }, Sources { password_file: Some(none), ..both }] {
            assert!(matches!(half.of_host("a.example"), Err(Failure::Credentials(_))));
        }
        assert_eq!(Sources::default().of_host("a.example").expect("nothing"), None);
    }

    #[test]
    fn what_cannot_be_read_is_said_without_what_it_holds() {
        let dir = tempfile::tempdir().expect("a folder");
        for config in [r#"{"auths": {"a": {"auth": "s3cret"}}}"#, r#"{"auths": "s3cret"}"#, "s3cret", r#"{"auths": {"a": {"auth": {"s3cret": 1}}}}"#] {
            let failure = sources(dir.path(), config).of_host("a").expect_err(config);
            assert!(failure.code() == "bad-credentials" && !format!("{failure} {failure:?}").contains("s3cret"), "{failure}");
        }
        let folder = Sources { config_file: Some(dir.path().to_owned()), ..Sources::default() };
        assert_eq!(folder.of_host("a").expect_err("a folder").code(), "bad-credentials");
    }
}
