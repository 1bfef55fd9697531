//! A trace's first line: what was played, so that the file alone is enough to play it again.
//!
//! The scenario travels with everything it reads (what it extends, its manifests) as texts, by their place in the tree of scenarios.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use anyhow::Context;
use bellhop_core::time::Instant;
use bellhop_scenario::{Action, CommandLine, Kubectl, Scenario};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::places::Places;
use crate::Planted;

/// The version of the schema, which `sim/trace/README.md` documents. It grows when a reader of the old one would misread the new one.
pub const VERSION: u64 = 1;

/// What a tree of scenarios is called: paths in a trace begin there.
const TREE: &str = "scenarios";

/// Which scenario, with all that it reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Played {
    /// The scenario's path, as it was given.
    pub given: String,
    /// Where the scenario is among `files`.
    pub path: String,
    /// Texts by path: forward slashes, neither absolute nor upwards.
    pub files: BTreeMap<String, String>,
    /// The seed that it was played with.
    pub seed: u64,
    /// The bug that was planted in every replica.
    pub planted: Option<Planted>,
    /// The commit that the program was built from, where that is known.
    pub commit: Option<String>,
    /// Program and version: `bellhop-sim 0.1.0`.
    pub program: String,
}

/// The first line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// What was played.
    pub played: Played,
    /// The scenario's zero, in the world's time.
    pub zero: Instant,
    /// Who and where.
    pub places: Places,
}

impl Played {
    /// A scenario that is about to be played, with its text; what it reads besides is read here.
    pub fn new(scenario: &Scenario, text: &str, seed: u64) -> std::io::Result<Self> {
        let from_root = |path: &Path| -> std::io::Result<(PathBuf, String)> {
            let absolute = normalized(&std::path::absolute(path)?);
            Ok((absolute.clone(), in_tree(&absolute, scenario)?))
        };
        let mut files = BTreeMap::new();
        let (_, path) = from_root(&scenario.path)?;
        let extends = extended(text).map(|base| scenario.path.with_file_name("").join(base));
        files.insert(path.clone(), text.to_owned());
        let folder = scenario.folder.clone();
        let manifests = scenario.cluster.manifests.iter().cloned().chain(applied(scenario)).map(|manifest| folder.join(manifest));
        for file in extends.into_iter().chain(manifests) {
            let (absolute, path) = from_root(&file)?;
            // A manifest that is not there is so in the run too.
            if let Ok(text) = std::fs::read_to_string(&absolute) {
                files.insert(path, text);
            }
        }
        let given = scenario.path.display().to_string();
        Ok(Self { given, path, files, seed, planted: None, commit: None, program: Self::program() })
    }

    /// This program: `bellhop-sim 0.1.0`.
    pub fn program() -> String {
        concat!("bellhop-sim ", env!("CARGO_PKG_VERSION")).to_owned()
    }

    /// Lays the files down in a folder of their own; returns where the scenario is then. They go with the folder.
    pub fn unpack(&self) -> anyhow::Result<(TempDir, PathBuf)> {
        let folder = tempfile::Builder::new().prefix("bellhop-replay-").tempdir().context("failed to make a temporary folder")?;
        for (path, text) in &self.files {
            let place = folder.path().join(relative(path)?);
            if let Some(parent) = place.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::write(&place, text).with_context(|| format!("failed to write {}", place.display()))?;
        }
        let scenario = folder.path().join(relative(&self.path)?);
        Ok((folder, scenario))
    }

    /// The scenario's name.
    pub fn name(&self) -> String {
        Path::new(&self.path).file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

impl Header {
    /// The first line, without its end.
    pub(super) fn to_json(&self) -> Value {
        let Played { given, path, files, seed, planted, commit, program } = &self.played;
        json!({
            "bellhop-trace": VERSION,
            "program": program,
            "commit": commit,
            "seed": seed,
            "planted": planted.map(|bug| bug.to_string()),
            "zero": self.zero.as_nanos(),
            "scenario": {"given": given, "path": path, "files": files},
            "places": self.places.to_json(),
        })
    }

    /// Back again; the error says what is wrong.
    pub(super) fn from_json(value: &Value) -> Result<Self, String> {
        match value["bellhop-trace"].as_u64() {
            Some(VERSION) => {}
            Some(other) => return Err(format!("this is a trace of version {other}, expected {VERSION}")),
            None => return Err("this is no trace: expected {\"bellhop-trace\":1,…}".to_owned()),
        }
        let number = |key: &str| value[key].as_u64().ok_or_else(|| format!("`{key}`: expected a number"));
        let text = |value: &Value, key: &str| value[key].as_str().map(str::to_owned).ok_or_else(|| format!("`{key}`: expected a text"));
        let scenario = &value["scenario"];
        let mut files = BTreeMap::new();
        for (path, content) in scenario["files"].as_object().ok_or("`scenario.files`: expected texts by path")? {
            relative(path).map_err(|error| error.to_string())?;
            files.insert(path.clone(), content.as_str().ok_or_else(|| format!("`{path}`: expected a text"))?.to_owned());
        }
        let path = text(scenario, "path")?;
        if !files.contains_key(&path) {
            return Err(format!("`scenario.path`: {path} is not among the files"));
        }
        let commit = value["commit"].as_str().map(str::to_owned);
        let (given, program) = (text(scenario, "given")?, text(value, "program")?);
        let planted = value["planted"].as_str().map(str::parse).transpose().map_err(|error| format!("`planted`: {error}"))?;
        let played = Played { given, path, files, seed: number("seed")?, planted, commit, program };
        Ok(Self { played, zero: Instant::from_nanos(number("zero")?), places: Places::from_json(&value["places"])? })
    }
}

/// The path that a file is known by: from the tree of scenarios on, or from the scenario's own folder.
fn in_tree(absolute: &Path, scenario: &Scenario) -> std::io::Result<String> {
    let own = normalized(&std::path::absolute(&scenario.path)?);
    let tree = own.ancestors().skip(1).find(|folder| folder.file_name().is_some_and(|name| name == TREE)).and_then(Path::parent);
    let root = tree.or_else(|| own.parent()).unwrap_or(&own);
    let inside =
        absolute.strip_prefix(root).map_err(|_| std::io::Error::other(format!("{} is outside {}", absolute.display(), root.display())))?;
    Ok(inside.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/"))
}

/// Without `.` and `..`, by the letters alone.
fn normalized(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

/// A path of a trace, which came from anywhere: it must stay where it is laid down.
fn relative(path: &str) -> anyhow::Result<&Path> {
    let plain = !path.is_empty() && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    anyhow::ensure!(plain, "`{path}`: expected a path that leads neither up nor to the root");
    Ok(Path::new(path))
}

/// What a scenario extends.
fn extended(text: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Extends {
        extends: Option<String>,
    }
    serde_saphyr::from_str::<Extends>(text).ok()?.extends
}

/// Manifests that commands of the timeline name.
fn applied(scenario: &Scenario) -> impl Iterator<Item = PathBuf> {
    let actions = scenario.timeline.iter().flat_map(|step| &step.actions);
    actions.filter_map(|action| match action {
        Action::Run { command, .. } => match &command.what {
            CommandLine::Kubectl(Kubectl::Apply { file } | Kubectl::DeleteFile { file }) => Some(file.clone()),
            _ => None,
        },
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_is_laid_down_with_everything_it_reads() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
        let file = bellhop_scenario::files(&path).expect("there are scenarios").into_iter().find(|file| file.ends_with("leader-dies.yaml"));
        let file = file.expect("it is one of them");
        let scenario = bellhop_scenario::load(&file).expect("it is valid");
        let text = std::fs::read_to_string(&file).expect("it can be read");
        let played = Played::new(&scenario, &text, 42).expect("its files can be read");
        let (folder, path) = played.unpack().expect("they can be written");
        assert!(path.starts_with(folder.path()));
        let again = bellhop_scenario::load(&path).expect("it is complete");
        assert_eq!((again.timeline.len(), &again.topology), (scenario.timeline.len(), &scenario.topology));
        assert!(again.cluster.manifests.iter().all(|manifest| again.file(manifest).is_file()));
    }

    #[test]
    fn a_path_that_leads_out_is_refused() {
        for path in ["", "/etc/passwd", "../x", "a/../../x", "a/./../x"] {
            assert!(relative(path).is_err(), "{path}");
        }
        assert!(relative("scenarios/base/tutorial.yaml").is_ok());
    }

    #[test]
    fn a_header_reads_back_as_it_was_written() {
        let played = Played {
            path: "a.yaml".into(),
            files: [("a.yaml".into(), "text".into())].into(),
            seed: 7,
            planted: Some(Planted::NeverYields),
            ..Played::default()
        };
        let header = Header { played, zero: Instant::from_millis(20_000), places: Places::default() };
        assert_eq!(Header::from_json(&header.to_json()), Ok(header));
    }
}
