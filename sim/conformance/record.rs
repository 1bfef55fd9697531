//! What the real server answered, kept as files: `recorded/<theme>.json`, one entry for each call.
//!
//! `e2e/run conformance --record` writes them; a person reads the change before it is committed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde_json::Value;

use crate::run::Answers;

/// Answers by the names of their calls.
pub type Recorded = BTreeMap<String, Value>;

/// The folder, in this checkout.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recorded")
}

/// What was recorded of a theme; nothing where it never was.
pub fn read(folder: &Path, theme: &str) -> io::Result<Recorded> {
    match fs::read(folder.join(format!("{theme}.json"))) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Recorded::new()),
        Err(error) => Err(error),
    }
}

/// Records what a theme's calls came to.
pub fn write(folder: &Path, theme: &str, answers: &Answers) -> io::Result<()> {
    let recorded: Recorded = answers.iter().filter_map(|(name, answer)| Some((name.clone(), answer.clone()?))).collect();
    let text = serde_json::to_string_pretty(&recorded).map_err(io::Error::other)?;
    fs::write(folder.join(format!("{theme}.json")), text + "\n")
}
