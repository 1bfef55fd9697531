//! docs/compatibility.md against the sources: every row names a test, a scenario or a hostile manifest that exists.
//!
//! Whether that test shows what the row says is for whoever reviews it; that it is run, for `cargo test`.

use std::fs;
use std::path::{Path, PathBuf};

/// Fewer rows than this, and a table has been lost.
const ROWS_MIN: usize = 100;

#[test]
fn every_row_of_the_table_names_a_test_that_exists() {
    let rows = rows();
    assert!(rows.len() >= ROWS_MIN, "{} rows", rows.len());
    let wrong: Vec<String> = rows.iter().filter_map(|row| wrong(row)).collect();
    assert!(wrong.is_empty(), "docs/compatibility.md:\n{}", wrong.join("\n"));
}

#[test]
fn a_row_without_a_test_or_with_one_that_is_gone_is_found() {
    for row in [
        "| a | b | c | d | |",
        "| a | b | c | d | `core::pool::no_such_test` |",
        "| a | b | c | d | `scenarios/none.yaml` |",
        "| a | b | c |",
    ] {
        assert!(wrong(row).is_some(), "{row}");
    }
}

/// The tables' rows, without heads and rules.
fn rows() -> Vec<String> {
    let text = read(&root().join("docs/compatibility.md"));
    let is_row = |line: &&str| line.starts_with("| ") && !line.starts_with("| What |");
    text.lines().filter(is_row).map(str::to_owned).collect()
}

/// What is wrong with a row.
fn wrong(row: &str) -> Option<String> {
    let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
    let [what, .., test] = cells[..] else { return Some(format!("{row}: no cells")) };
    let test = test.trim_end_matches('|').trim().trim_matches('`');
    (cells.len() != 5 || !exists(test)).then(|| format!("{what}: `{test}` is no test"))
}

fn exists(test: &str) -> bool {
    if let Some(name) = test.strip_prefix("hostile/") {
        return root().join(format!("src/bellhop/tests/hostile/{name}.yaml")).is_file();
    }
    if test.starts_with("scenarios/") {
        return root().join(test).is_file();
    }
    let Some((path, name)) = test.rsplit_once("::") else { return false };
    let (folder, module) = path.split_once("::").unwrap_or((path, ""));
    let module = module.split("::").last().unwrap_or_default();
    let in_module = |file: &PathBuf| file.to_string_lossy().contains(module);
    sources(&root().join("src").join(folder)).iter().filter(|file| in_module(file)).any(|file| has_test(&read(file), name))
}

/// Whether a function of this name stands right below `#[test]`, or another attribute that makes it one.
fn has_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let is_it = |line: &str| line.trim_start_matches("async ").starts_with(&format!("fn {name}("));
    lines.windows(2).any(|pair| pair[0].starts_with("#[") && pair[0].contains("test") && is_it(pair[1]))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) = entries.partition(|path| path.is_dir());
    let rust = files.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    rust.chain(folders.iter().flat_map(|folder| sources(folder))).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
