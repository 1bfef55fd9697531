//! Which files a scenario may name: those of the tree of scenarios that it stands in.
//!
//! The tree is the nearest folder above it that is called `scenarios`; a file that is in none may name what is in its own folder and below
//! it. Paths are compared as written: nothing is read here.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

/// What the tree of all scenarios is called.
const TREE: &str = "scenarios";

/// A path that a file in `folder` names, if it does not leave the tree.
pub(super) fn inside(folder: &Path, named: &str) -> Option<PathBuf> {
    if named.is_empty() {
        return None;
    }
    let mut depth = depth(folder);
    for part in Path::new(named).components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir => depth = depth.checked_sub(1)?,
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(folder.join(named))
}

/// How far below the tree's top a folder is; zero when it is in no tree.
fn depth(folder: &Path) -> usize {
    let mut parts: Vec<&OsStr> = Vec::new();
    let absolute = std::path::absolute(if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
    for part in absolute.as_deref().unwrap_or(folder).components() {
        match part {
            Component::Normal(name) => parts.push(name),
            Component::ParentDir => drop(parts.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    parts.iter().rev().position(|part| *part == TREE).unwrap_or(0)
}

/// A folder for people.
pub(super) fn shown(folder: &Path) -> String {
    if folder.as_os_str().is_empty() { "this folder".to_owned() } else { format!("{}/", folder.display()) }
}

/// The top that must not be left, for people.
pub(super) fn root(folder: &Path) -> String {
    if depth(folder) > 0 { format!("{TREE}/") } else { shown(folder) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_may_go_up_within_the_tree_and_not_out_of_it() {
        let folder = Path::new("/x/sim/../scenarios/failover");
        for named in ["a.yaml", "./a.yaml", "../base/a.yaml", "b/../../base/a.yaml", "../../scenarios/a.yaml"] {
            assert_eq!(inside(folder, named).is_some(), !named.starts_with("../../"), "{named}");
        }
        for named in ["", "../../a", "/etc/passwd", "b/../../../a", ".."] {
            assert_eq!(inside(folder, named).is_some(), named == "..", "{named}");
        }
    }

    #[test]
    fn a_file_in_no_tree_names_what_is_beside_it_or_below() {
        let folder = Path::new("/tmp/elsewhere");
        assert!(inside(folder, "manifests/a.yaml").is_some());
        assert!(inside(folder, "../a.yaml").is_none());
    }
}
