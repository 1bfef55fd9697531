//! Files in: sizes, YAML, the file that another one extends.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::check::{self, Ground};
use super::file::{Base, File};
use super::place;
use super::refusal::{self, Finding, Refusal, whole};
use crate::scenario::Scenario;

/// The grammar's version.
const VERSION: u64 = 1;
/// A scenario is read by people: the tutorial's is 4 KiB.
const LONGEST_FILE: u64 = 256 * 1024;
/// Lists in lists in maps: the deepest of the grammar is an object's field, about 20.
const DEEPEST: usize = 48;

/// Reads a scenario from a file.
pub fn load(path: &Path) -> Result<Scenario, Refusal> {
    parse(path, &read(path)?)
}

/// Reads a scenario from a text, as if it stood at `path`: what it extends and its manifests are looked for from there.
pub fn parse(path: &Path, text: &str) -> Result<Scenario, Refusal> {
    let file: File = document(path, text)?;
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    if file.name.value != stem {
        return Err(refusal::at(&file.name, format!("expected the file's own name, `{stem}`")).within(path, text));
    }
    whole_file(path, text, file)
}

/// Reads a scenario from a text, as if it stood in `folder` under its own name.
pub fn parse_in(folder: &Path, text: &str) -> Result<Scenario, Refusal> {
    let unnamed = folder.join("scenario.yaml");
    let file: File = document(&unnamed, text)?;
    let name = &file.name.value;
    if name.is_empty() || !name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_') {
        return Err(refusal::at(&file.name, "expected a name of letters, digits, - and _").within(&unnamed, text));
    }
    let path = folder.join(format!("{name}.yaml"));
    whole_file(&path, text, file)
}

/// Reads a text as data, within the bounds of a file.
pub(crate) fn read_value(path: &Path, text: &str) -> Result<serde_json::Value, Refusal> {
    document(path, text)
}

/// A text that is short enough, as one document.
fn document<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, Refusal> {
    if text.len() as u64 > LONGEST_FILE {
        return Err(whole(path, format!("longer than {} KiB", LONGEST_FILE / 1024)));
    }
    yaml(text).map_err(|finding| finding.within(path, text))
}

/// All that a file says.
fn whole_file(path: &Path, text: &str, file: File) -> Result<Scenario, Refusal> {
    let ground = ground(path, &file).map_err(|error| match error {
        BaseError::Here(finding) => finding.within(path, text),
        BaseError::There(refusal) => *refusal,
    })?;
    if file.version.value != VERSION {
        return Err(refusal::at(&file.version, format!("expected version {VERSION}")).within(path, text));
    }
    check::scenario(path, file, ground).map_err(|finding| finding.within(path, text))
}

/// Where the fault is: in this file or in the one it extends.
enum BaseError {
    Here(Finding),
    There(Box<Refusal>),
}

/// What the file that this one extends lays down. Its own findings are reported there, so it is checked before it is built upon.
fn ground(path: &Path, file: &File) -> Result<Ground, BaseError> {
    let Some(extends) = &file.extends else { return Ok(Ground::default()) };
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let Some(base_path) = place::inside(folder, &extends.value) else {
        let message = format!("`{}`: expected a path that does not leave {}", extends.value, place::root(folder));
        return Err(BaseError::Here(refusal::at(extends, message)));
    };
    let text = read(&base_path).map_err(|refusal| BaseError::Here(refusal::at(extends, refusal.message)))?;
    let there = |finding: Finding| BaseError::There(Box::new(finding.within(&base_path, &text)));
    let base: Base = yaml(&text).map_err(there)?;
    if base.version.value != VERSION {
        return Err(there(refusal::at(&base.version, format!("expected version {VERSION}"))));
    }
    check::base(base).map_err(there)
}

/// The text of a file that is small enough.
fn read(path: &Path) -> Result<String, Refusal> {
    let cannot = |error: std::io::Error| whole(path, format!("cannot read {}: {error}", path.display()));
    let file = std::fs::File::open(path).map_err(cannot)?;
    let mut text = String::new();
    file.take(LONGEST_FILE + 1).read_to_string(&mut text).map_err(cannot)?;
    if text.len() as u64 > LONGEST_FILE {
        return Err(whole(path, format!("longer than {} KiB", LONGEST_FILE / 1024)));
    }
    Ok(text)
}

/// One document, strictly.
fn yaml<T: DeserializeOwned>(text: &str) -> Result<T, Finding> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: DEEPEST, max_documents: 1, max_events: 100_000, max_aliases: 100, max_recorded_anchor_bytes: 1024 * 1024 },
        with_snippet: false,
        strict_booleans: true,
    };
    Ok(serde_saphyr::from_str_with_options(text, options)?)
}

/// Folders beside the themes, which hold what scenarios use.
const NO_THEMES: [&str; 5] = ["base", "manifests", "schemas", "seed", "snapshots"];
/// Themes are one folder deep; somebody's own tree may be a little deeper.
const DEEPEST_FOLDER: usize = 4;

/// The scenario files in a folder and in the folders below it (their themes), in order of path. What scenarios use is left out, as is what
/// is hidden; links are not followed.
pub fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    collect(folder, DEEPEST_FOLDER, &mut files)?;
    files.sort();
    Ok(files)
}

/// One folder's files and folders.
fn collect(folder: &Path, deeper: usize, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        let name = entry.file_name().to_string_lossy().into_owned();
        if kind.is_file() && path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        } else if kind.is_dir() && deeper > 0 && !name.starts_with('.') && !NO_THEMES.contains(&name.as_str()) {
            collect(&path, deeper - 1, files)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_under_scenarios_is_a_scenario() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
        let files = files(&folder).unwrap();
        assert!(files.len() >= 20, "{files:?}");
        let refused: Vec<_> = files.iter().filter_map(|file| load(file).err()).map(|refusal| refusal.to_string()).collect();
        assert!(refused.is_empty(), "{}", refused.join("\n\n"));
    }

    #[test]
    fn no_two_files_have_one_name_and_each_has_a_theme() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
        let mut names = std::collections::BTreeSet::new();
        for file in files(&folder).unwrap() {
            let scenario = load(&file).unwrap_or_else(|refusal| panic!("{refusal}"));
            assert_ne!(scenario.theme(), "scenarios", "{}", file.display());
            assert!(names.insert(scenario.name), "{}", file.display());
        }
    }

    #[test]
    fn the_schema_that_is_checked_in_is_that_of_the_grammar() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/schemas/scenario.v1.json");
        let written: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        assert_eq!(written, crate::schema(), "bellhop-sim schema > scenarios/schemas/scenario.v1.json");
    }

    #[test]
    fn every_scenario_fits_the_schema_and_a_wrong_one_does_not() {
        let validator = jsonschema::validator_for(&crate::schema()).unwrap();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
        for file in files(&folder).unwrap() {
            let text = read(&file).unwrap();
            assert!(text.contains("\n# yaml-language-server: $schema=../schemas/scenario.v1.json\n"), "{}", file.display());
            let value: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
            let found: Vec<_> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
            assert!(found.is_empty(), "{}: {}", file.display(), found.join("; "));
            let mut wrong = value.clone();
            wrong["timeline"][0]["powerof"] = serde_json::json!("worker-p001");
            assert!(!validator.is_valid(&wrong), "{}", file.display());
        }
    }

    #[test]
    fn every_scenario_opens_with_a_comment_and_says_why() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
        for file in files(&folder).unwrap() {
            assert!(read(&file).unwrap().starts_with("# "), "{}", file.display());
            assert!(load(&file).is_ok_and(|scenario| scenario.why.is_some()), "{}", file.display());
        }
    }
}
