//! Holds the architecture: which crate may know which, and what must not occur in a crate at all.
//!
//! ARCHITECTURE.md says why; these tests read the manifests, `cargo tree` and the sources, so that an arrow that points the wrong way fails
//! `cargo test` and not a review. They know no behaviour. They stand with the program, because nothing under `src/` may point out of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// For each crate of ours, the crates of ours that it may depend on in a normal build.
const ARROWS: [(&str, &[&str]); 12] = [
    ("bellhop-core", &[]),
    ("bellhop-api", &["bellhop-core"]),
    ("bellhop-link", &["bellhop-core"]),
    ("bellhop", &["bellhop-api", "bellhop-core", "bellhop-link"]),
    ("bellhop-apiserver", &[]),
    ("bellhop-conformance", &[]),
    ("bellhop-fabric", &["bellhop-core"]),
    ("bellhop-fidelity", &["bellhop-core"]),
    ("bellhop-models", &["bellhop", "bellhop-core"]),
    ("bellhop-scenario", &["bellhop-core"]),
    (
        "bellhop-sim",
        &[
            "bellhop",
            "bellhop-api",
            "bellhop-apiserver",
            "bellhop-core",
            "bellhop-fabric",
            "bellhop-fidelity",
            "bellhop-models",
            "bellhop-scenario",
        ],
    ),
    ("bellhop-e2e", &["bellhop-apiserver", "bellhop-conformance", "bellhop-core", "bellhop-fidelity", "bellhop-scenario"]),
];

/// What must not be reachable from a crate, by any way.
const NEVER: [(&str, &[&str]); 5] = [
    ("bellhop-core", &["tokio", "futures", "kube", "k8s-openapi", "socket2", "libc", "nix", "mio", "getrandom", "hyper", "axum"]),
    ("bellhop-link", &["bellhop-api", "kube", "kube-client", "k8s-openapi"]),
    ("bellhop-fabric", &["tokio", "kube", "k8s-openapi", "getrandom"]),
    ("bellhop-e2e", &["bellhop", "bellhop-fabric", "bellhop-sim"]),
    ("bellhop", &["bellhop-sim", "bellhop-apiserver", "bellhop-fabric", "bellhop-models", "bellhop-scenario", "bellhop-e2e", "tun-tap"]),
];

/// The crates whose code runs inside the simulator.
const SIMULATED: [&str; 9] = [
    "bellhop-core",
    "bellhop-api",
    "bellhop",
    "bellhop-apiserver",
    "bellhop-fabric",
    "bellhop-fidelity",
    "bellhop-models",
    "bellhop-scenario",
    "bellhop-sim",
];

/// The test that defines functions of libc, to see who asks the system for entropy or time.
const DETECTOR: &str = "sim/tests/entropy.rs";

#[test]
fn each_crate_depends_only_on_the_crates_that_its_arrows_allow() {
    let packages = packages();
    let known: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    let found: BTreeSet<&str> = packages.keys().map(String::as_str).collect();
    assert_eq!(found, known, "a crate has come or gone: say here what it may know, and in ARCHITECTURE.md why");
    for (name, allowed) in ARROWS {
        let ours = packages[name].dependencies.iter().filter(|dependency| known.contains(dependency.as_str()));
        let wrong: Vec<_> = ours.filter(|dependency| !allowed.contains(&dependency.as_str())).collect();
        assert!(wrong.is_empty(), "{name} depends on {wrong:?}; its arrows allow {allowed:?}");
    }
}

#[test]
fn what_a_crate_must_never_know_is_not_reachable_from_it() {
    for (name, never) in NEVER {
        let reachable = reachable(name);
        assert!(reachable.contains(name), "cargo tree says nothing of {name} itself");
        let wrong: Vec<_> = never.iter().filter(|crate_| reachable.contains(**crate_)).collect();
        assert!(wrong.is_empty(), "{name} reaches {wrong:?}: `cargo tree -p {name} -e normal -i {}` tells how", wrong[0]);
    }
}

#[test]
fn every_crate_inside_the_simulator_bans_what_differs_from_run_to_run() {
    let packages = packages();
    for name in SIMULATED {
        let package = &packages[name];
        let path = package.folder.join("clippy.toml");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut bans = vec![
            "std::collections::HashMap",
            "std::collections::HashSet",
            "std::time::Instant::now",
            "std::time::SystemTime::now",
            "std::thread::spawn",
        ];
        let conditional = [("jiff", "jiff::Timestamp::now"), ("tokio", "tokio::spawn"), ("tokio", "tokio::task::spawn_local")];
        bans.extend(conditional.iter().filter(|(library, _)| package.dependencies.contains(*library)).map(|(_, ban)| *ban));
        for ban in bans {
            assert!(text.contains(&format!("\"{ban}\"")), "{} does not ban {ban}", path.display());
        }
    }
}

#[test]
fn no_crate_inside_the_simulator_takes_chance_from_the_system() {
    let packages = packages();
    for name in SIMULATED {
        for rand in &packages[name].rand {
            assert_eq!(rand["uses_default_features"], false, "{name}: rand's default features bring the system's entropy");
            assert!(rand["features"] == serde_json::json!(["std"]) || rand["features"] == serde_json::json!([]), "{name}: {rand}");
        }
    }
    let found = packages.values().filter(|package| !package.rand.is_empty()).count();
    assert!(found > 0, "core draws with rand; this test did not see that");
}

#[test]
fn every_crate_takes_its_lints_from_the_workspace() {
    for (name, package) in packages() {
        let manifest = fs::read_to_string(package.folder.join("Cargo.toml")).expect("the manifest that cargo has just read");
        assert!(manifest.contains("[lints]\nworkspace = true"), "{name} has lints of its own, or none");
    }
}

#[test]
fn unsafe_code_is_let_in_by_the_link_and_by_one_test_and_by_no_other_crate() {
    let root = root();
    let lets_in: Vec<_> = sources().into_iter().filter(|path| lets_unsafe_in(&read(path))).collect();
    let (link, elsewhere): (Vec<_>, Vec<_>) = lets_in.into_iter().partition(|path| path.starts_with(root.join("src/link")));
    assert_eq!(elsewhere, [root.join(DETECTOR)], "unsafe code is let in there");
    assert!(!link.is_empty(), "src/link lets it in; this test did not see that");
    assert!(read(&root.join("Cargo.toml")).contains("unsafe_code = \"deny\""), "the workspace denies unsafe code");
}

#[test]
fn every_source_file_says_first_what_it_decides() {
    let silent: Vec<_> = sources().into_iter().filter(|path| !read(path).starts_with("//!")).collect();
    assert!(silent.is_empty(), "these do not open with `//!`: {silent:#?}");
}

#[test]
fn every_source_file_is_named_by_a_module_or_a_manifest() {
    let sources = sources();
    let manifests = packages().into_values().map(|package| read(&package.folder.join("Cargo.toml"))).collect::<String>();
    let dead: Vec<_> = sources.iter().filter(|path| !is_named(path, &sources, &manifests)).collect();
    assert!(dead.is_empty(), "nothing compiles these: {dead:#?}");
}

/// Whether a manifest has the file as a target's `path`, cargo finds it by its place, or a file of the folder's module says `mod` or `#[path]`.
fn is_named(path: &Path, sources: &[PathBuf], manifests: &str) -> bool {
    let (name, stem) = (file_name(path), path.file_stem().and_then(|stem| stem.to_str()).expect("a name in UTF-8"));
    let folder = path.parent().expect("the folder of a file");
    if manifests.lines().any(|line| line.starts_with("path = ") && line.trim_end_matches('"').ends_with(name)) {
        return true;
    }
    let beside = ["tests", "benches", "examples"].contains(&file_name(folder))
        && folder.parent().is_some_and(|above| above.join("Cargo.toml").exists());
    let module = if stem == "mod" { file_name(folder) } else { stem };
    let around = if stem == "mod" { folder.parent().expect("a module's folder lies in another") } else { folder };
    let says = |text: &str| {
        let line = |line: &str| {
            let line = line.trim_start().trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ").trim_start_matches("pub ");
            line.starts_with(&format!("mod {module};")) || line.starts_with("#[path = ") && line.contains(&format!("{name}\""))
        };
        text.lines().any(line)
    };
    // The file of `around` itself stands in it or beside it; so does a file that names it by path.
    let near = |other: &&PathBuf| other.parent() == Some(around) || other.with_extension("") == around;
    beside || sources.iter().filter(near).any(|other| says(&read(other)))
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).expect("a name in UTF-8")
}

/// `#[allow(unsafe_code)]` and `#[expect(unsafe_code)]`, also inside a module. This file speaks of the lint and never lets it in.
fn lets_unsafe_in(text: &str) -> bool {
    text.lines().any(|line| line.trim_start().starts_with("#") && line.contains("(unsafe_code"))
}

struct Package {
    folder: PathBuf,
    /// Names of the crates that a normal build takes (not those of tests, benches and build scripts).
    dependencies: BTreeSet<String>,
    /// How it takes rand and rand_chacha, if it does.
    rand: Vec<Value>,
}

/// The members of the workspace, by name.
fn packages() -> BTreeMap<String, Package> {
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--no-deps", "--offline"])).expect("JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    packages.iter().map(|package| (package["name"].as_str().expect("a name").to_owned(), read_package(package))).collect()
}

fn read_package(package: &Value) -> Package {
    let manifest = Path::new(package["manifest_path"].as_str().expect("a path"));
    let dependencies = package["dependencies"].as_array().expect("a list of dependencies").iter();
    let normal: Vec<&Value> = dependencies.filter(|dependency| dependency["kind"].is_null()).collect();
    let rand = normal.iter().filter(|dependency| dependency["name"].as_str().is_some_and(|name| name.starts_with("rand")));
    Package {
        rand: rand.map(|dependency| (*dependency).clone()).collect(),
        folder: manifest.parent().expect("the folder of a manifest").to_owned(),
        dependencies: normal.iter().map(|dependency| dependency["name"].as_str().expect("a name").to_owned()).collect(),
    }
}

/// Every crate that a normal build of `name` alone takes, itself among them.
fn reachable(name: &str) -> BTreeSet<String> {
    let tree = cargo(&["tree", "--offline", "--package", name, "--edges", "normal", "--prefix", "none", "--format", "{p}"]);
    tree.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().expect("cargo, which runs this test");
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo writes UTF-8")
}

/// Every Rust file of the workspace.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = ["src", "sim", "e2e"].iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the workspace") {
            let path = entry.expect("an entry of that folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace's folder")
}
