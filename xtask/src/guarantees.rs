//! `docs/guarantees.md`: the text of `docs/guarantees/text.md`, in which each line `proof NAME | TEST | WHAT IT DOES` becomes that
//! proof with the figures of its last runs. Tests leave figures under `target/proofs`; `docs/guarantees/results` keeps the
//! newest of each proof and tier, with the commit and the day.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The tiers as they are named in files, and in the page.
const TIERS: [(&str, &str); 2] = [("ci", "every CI run"), ("hand", "by hand")];

/// Takes over what the tests left, and writes the page.
pub fn update(root: &Path) -> Result<(), String> {
    let (stamp, mut taken) = (stamp(root)?, 0);
    for (name, figures) in files(&fresh(root))? {
        write(&kept(root).join(&name), &format!("{stamp}{figures}"))?;
        taken += 1;
    }
    write(&page(root), &render(root)?)?;
    println!("xtask: {taken} results taken over, {} written", page(root).display());
    Ok(())
}

/// Fails when the page is not what its text and results give, or a proof that the text names is without a result.
pub fn check(root: &Path) -> Result<(), String> {
    let rendered = render(root)?;
    if read(&page(root))? != rendered {
        return Err("docs/guarantees.md is not what docs/guarantees gives; run `cargo xtask guarantees`".to_owned());
    }
    Ok(())
}

/// Forgets what earlier test runs left.
pub fn forget(root: &Path) -> Result<(), String> {
    match std::fs::remove_dir_all(fresh(root)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(format!("{}: {error}", fresh(root).display())),
        _ => Ok(()),
    }
}

/// Fails when one of the proofs of the page did not run since [`forget`]: a test that was renamed or never started must not go
/// on being quoted.
pub fn all_ran(root: &Path) -> Result<(), String> {
    let ran = files(&fresh(root))?;
    let text = read(&text(root))?;
    let missing: Vec<&str> = proofs(&text).map(|proof| proof.name).filter(|name| !ran.contains_key(&format!("{name}.ci"))).collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("these proofs of docs/guarantees did not run: {}", missing.join(", "))) }
}

fn fresh(root: &Path) -> PathBuf {
    root.join("target/proofs")
}

fn kept(root: &Path) -> PathBuf {
    root.join("docs/guarantees/results")
}

fn text(root: &Path) -> PathBuf {
    root.join("docs/guarantees/text.md")
}

fn page(root: &Path) -> PathBuf {
    root.join("docs/guarantees.md")
}

/// One line of the text.
struct Proof<'t> {
    name: &'t str,
    test: &'t str,
    what: &'t str,
}

impl Proof<'_> {
    fn parse(line: &str) -> Option<Proof<'_>> {
        let mut parts = line.strip_prefix("proof ")?.splitn(3, " | ");
        Some(Proof { name: parts.next()?, test: parts.next()?, what: parts.next()? })
    }
}

fn proofs(text: &str) -> impl Iterator<Item = Proof<'_>> {
    text.lines().filter_map(Proof::parse)
}

fn render(root: &Path) -> Result<String, String> {
    let (text, results) = (read(&text(root))?, files(&kept(root))?);
    let mut out = String::new();
    for line in text.lines() {
        let Some(Proof { name, test, what }) = Proof::parse(line) else {
            out.push_str(line);
            out.push('\n');
            continue;
        };
        out.push_str(&format!("- **{name}** (`{test}`): {what}\n"));
        let mut shown = 0;
        for (tier, words) in TIERS {
            if let Some(result) = results.get(&format!("{name}.{tier}")) {
                out.push_str(&format!("  - {words}: {}\n", sentence(result)));
                shown += 1;
            }
        }
        if shown == 0 {
            return Err(format!("docs/guarantees/text.md names the proof {name}, and there is no result of it"));
        }
    }
    Ok(out)
}

/// `seeds = 2000` and so on as one line of prose: `2,000 seeds, 0 lost (2026-01-31, commit abc)`.
fn sentence(result: &str) -> String {
    let mut figures = Vec::new();
    let (mut day, mut commit) = ("", "");
    for (name, value) in result.lines().filter_map(|line| line.split_once(" = ")) {
        match name {
            "day" => day = value,
            "commit" => commit = value,
            _ => figures.push(format!("{} {}", thousands(value), name.replace('_', " "))),
        }
    }
    format!("{} ({day}, commit {commit})", figures.join(", "))
}

fn thousands(value: &str) -> String {
    if !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return value.to_owned();
    }
    let mut out = String::new();
    for (i, digit) in value.chars().enumerate() {
        if i > 0 && (value.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn stamp(root: &Path) -> Result<String, String> {
    let day = output(Command::new("date").args(["-u", "+%F"]))?;
    let commit = output(Command::new("git").args(["describe", "--always", "--dirty"]).current_dir(root))?;
    Ok(format!("day = {day}\ncommit = {commit}\n"))
}

fn output(command: &mut Command) -> Result<String, String> {
    let shown = format!("{command:?}");
    let output = command.output().map_err(|error| format!("{shown}: {error}"))?;
    if output.status.success() { Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()) } else { Err(format!("{shown} ended with {}", output.status)) }
}

fn files(dir: &Path) -> Result<BTreeMap<String, String>, String> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        other => other.map_err(|error| format!("{}: {error}", dir.display()))?,
    };
    let mut found = BTreeMap::new();
    for entry in entries {
        let path = entry.map_err(|error| format!("{}: {error}", dir.display()))?.path();
        if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
            found.insert(name.to_owned(), read(&path)?);
        }
    }
    Ok(found)
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, content: &str) -> Result<(), String> {
    let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    made.and_then(|()| std::fs::write(path, content)).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tmp").join(format!("guarantees-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        root
    }

    #[test]
    fn the_page_is_the_text_with_the_figures_of_the_last_runs() {
        let root = scratch("page");
        write(&text(&root), "# Title\n\nproof kills | tests/kills.rs | Kills.\n\nThe end.\n").unwrap();
        assert_eq!(render(&root).unwrap_err(), "docs/guarantees/text.md names the proof kills, and there is no result of it");
        write(&kept(&root).join("kills.ci"), "day = 2026-01-31\ncommit = abc\nkills = 1200\nlost = 0\nrate = 0.5\n").unwrap();
        let expected =
            "# Title\n\n- **kills** (`tests/kills.rs`): Kills.\n  - every CI run: 1,200 kills, 0 lost, 0.5 rate (2026-01-31, commit abc)\n\nThe end.\n";
        assert_eq!(render(&root).unwrap(), expected);
        write(&page(&root), "other").unwrap();
        assert!(check(&root).is_err());
        write(&page(&root), expected).unwrap();
        check(&root).unwrap();
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_proof_that_did_not_run_is_named() {
        let root = scratch("ran");
        write(&text(&root), "proof kills | a | b\nproof sim | c | d\n").unwrap();
        write(&fresh(&root).join("sim.ci"), "seeds = 1\n").unwrap();
        assert_eq!(all_ran(&root).unwrap_err(), "these proofs of docs/guarantees did not run: kills");
        forget(&root).unwrap();
        assert!(all_ran(&root).unwrap_err().ends_with("kills, sim"));
        forget(&root).unwrap();
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn numbers_are_read_in_thousands() {
        assert_eq!([thousands("7"), thousands("1000"), thousands("1234567"), thousands("12 of 13")], ["7", "1,000", "1,234,567", "12 of 13"]);
    }
}
