//! The reference of all keys, `docs/config.md`, made from the structs; a test keeps the file in step.

use super::model::Config;

const HEAD: &str = "# Configuration

One TOML file, `alertmill serve --config alertmill.toml`. Every key has a default, so no file is needed, and
without `--config` none is read, `./alertmill.toml` neither. An unknown key is an error. `alertmill check --config FILE` names the line of each mistake in it, and what to do.

Each key can be overridden by a variable of the environment: `ALERTMILL__SECTION__KEY`, in capitals, with two underscores
between the parts. Its value is written as in TOML; quotes around a text may be left out, and a list may be written with
commas. `ALERTMILL__SERVER__LISTEN=127.0.0.1:9300`, `ALERTMILL__DOORS__EVENTS__ENABLED=false`,
`ALERTMILL__SERVER__ALLOWED_HOSTS=alerts.example.com,10.0.0.5`. Names of tables and sources are lower case there. A name with single
underscores, such as `ALERTMILL_SERVER_LISTEN`, sets nothing; `serve` and `check` say so.

A size is a number of bytes or a text such as `\"64 MiB\"` (B, KiB, MiB, GiB). A secret can be read from a file by the key of
the same name with `_file` added; one line break at its end is dropped.

This page is made from the source by `UPDATE=1 cargo test -p alertmill config_reference`.
";

/// The page.
pub fn markdown() -> String {
    let mut page = HEAD.to_owned();
    for section in Config::sections() {
        page.push_str(&format!("\n## `[{}]`\n\n{}\n\n| key | type | default | what |\n|---|---|---|---|\n", section.path, section.doc));
        for key in &section.keys {
            let cells = [format!("`{}`", key.name), key.kind.to_owned(), format!("`{}`", key.default), key.doc.clone()];
            page.push_str(&format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | ")));
        }
    }
    page
}

/// A file with every key at its default.
pub fn default_file() -> String {
    let mut file = String::new();
    for section in Config::sections() {
        file.push_str(&format!("[{}]\n", section.path));
        for key in &section.keys {
            file.push_str(&format!("{} = {}\n", key.name, key.default));
        }
        file.push('\n');
    }
    file
}
