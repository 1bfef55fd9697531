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

/// Records what a theme's calls came to. What could not be asked here stays as it was recorded.
pub fn write(folder: &Path, theme: &str, answers: &Answers) -> io::Result<()> {
    let recorded = renewed(&read(folder, theme)?, answers);
    let text = serde_json::to_string_pretty(&recorded).map_err(io::Error::other)?;
    fs::write(folder.join(format!("{theme}.json")), text + "\n")
}

fn renewed(old: &Recorded, answers: &Answers) -> Recorded {
    let answer = |name: &String, new: &Option<Value>| Some((name.clone(), new.as_ref().or_else(|| old.get(name))?.clone()));
    answers.iter().filter_map(|(name, new)| answer(name, new)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_not_asked_keeps_its_answer_and_what_is_no_call_loses_it() {
        let old = Recorded::from([("asked".to_owned(), json!(1)), ("not asked".to_owned(), json!(1)), ("no call".to_owned(), json!(1))]);
        let answers = vec![("asked".to_owned(), Some(json!(2))), ("not asked".to_owned(), None), ("never asked".to_owned(), None)];
        let wanted = Recorded::from([("asked".to_owned(), json!(2)), ("not asked".to_owned(), json!(1))]);
        assert_eq!(renewed(&old, &answers), wanted);
    }
}
