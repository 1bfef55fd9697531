//! The installation in its three forms: `deploy/` is the only source, and `install.yaml` and the Helm chart say the same.
//!
//! kubectl and helm render; where one is missing the test says so loudly and checks nothing, and fails where the environment has CI=true.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// Objects by kind, namespace and name.
type Objects = BTreeMap<String, Value>;

#[test]
fn install_yaml_is_what_kustomize_renders_of_the_base() {
    let Some(output) = render("kubectl", &["kustomize", "deploy"]) else { return };
    let written = std::fs::read_to_string(root().join("deploy/install.yaml")).expect("deploy/install.yaml");
    assert!(text(&output.stdout) == written, "render it anew: kubectl kustomize deploy > deploy/install.yaml");
}

#[test]
fn the_helm_chart_renders_the_objects_of_the_base() {
    let arguments = ["template", "bellhop", "deploy/chart/bellhop", "--namespace", "bellhop-system", "--include-crds"];
    let Some(output) = render("helm", &[&arguments[..], &["--kube-version", "1.33"]].concat()) else { return };
    assert!(output.status.success(), "{}", text(&output.stderr));
    let (chart, mut base) = (objects(&text(&output.stdout)), objects(&read("deploy/install.yaml")));
    // Helm writes its release into the namespace before anything else, so a chart cannot make it: --create-namespace does.
    base.remove("Namespace /bellhop-system").expect("the base's namespace");
    let names = |objects: &Objects| objects.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&chart), names(&base));
    for (name, object) in &base {
        assert_eq!(chart[name], *object, "{name}: left the chart, right the base");
    }
}

#[test]
fn values_that_break_the_schema_are_refused_with_their_name() {
    for (value, said) in [
        ("replicas=0", "replicas"),
        ("replicas=two", "replicas"),
        ("replica=2", "replica"),
        ("image.repository=", "repository"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("logFormat=xml", "logFormat"),
        ("metrics.port=7476", "port"),
        ("resources.limit.memory=1Gi", "limit"),
    ] {
        let Some(output) = render("helm", &["template", "bellhop", "deploy/chart/bellhop", "--set", value]) else { return };
        assert!(!output.status.success(), "{value} was taken");
        let complaint = text(&output.stderr);
        assert!(
            complaint.contains("values don't meet the specifications of the schema") && complaint.contains(said),
            "{value}: {complaint}"
        );
    }
}

#[test]
fn the_chart_is_one_that_helm_finds_no_fault_with() {
    let Some(output) = render("helm", &["lint", "--strict", "deploy/chart/bellhop"]) else { return };
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn chart_kustomization_and_program_are_of_one_version() {
    let version = env!("CARGO_PKG_VERSION");
    let chart: Value = serde_saphyr::from_str(&read("deploy/chart/bellhop/Chart.yaml")).expect("YAML");
    assert_eq!((&chart["version"], &chart["appVersion"]), (&version.into(), &version.into()));
    let base: Value = serde_saphyr::from_str(&read("deploy/kustomization.yaml")).expect("YAML");
    assert_eq!(base["images"][0]["newTag"], version);
    assert_eq!(base["labels"][0]["pairs"]["app.kubernetes.io/version"], version);
}

/// What the tool says; `None`, said loudly, where it is not installed. In CI it must be.
fn render(tool: &str, arguments: &[&str]) -> Option<Output> {
    match Command::new(tool).args(arguments).current_dir(root()).output() {
        Ok(output) => Some(output),
        Err(error) => {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{tool}: {error}; CI=true, so it must be there");
            // Not by eprintln: that is captured, and nobody would see it.
            let name = std::thread::current().name().unwrap_or("a test").to_owned();
            writeln!(std::io::stderr(), "SKIPPED: {tool}: {error}; so NOTHING was checked here: {name}").expect("a terminal");
            None
        }
    }
}

/// The objects of these documents, without the one label that says who applied them.
fn objects(yaml: &str) -> Objects {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).expect("YAML");
    let by_name = documents.into_iter().filter(|document| !document.is_null()).map(|mut object| {
        for labels in ["/metadata/labels", "/spec/template/metadata/labels"] {
            if let Some(Value::Object(labels)) = object.pointer_mut(labels) {
                labels.remove("app.kubernetes.io/managed-by");
            }
        }
        if object["kind"] == "CustomResourceDefinition" {
            // Helm takes crds/ as it is: no labels.
            object["metadata"].as_object_mut().expect("metadata").remove("labels");
        }
        let part = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        (format!("{} {}/{}", part("/kind"), part("/metadata/namespace"), part("/metadata/name")), object)
    });
    by_name.collect()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
