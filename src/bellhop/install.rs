//! The objects of an installation, as `deploy/install.yaml` has them: printed by `bellhop manifests`, taken away by `bellhop uninstall`, and held against a
//! cluster by `bellhop check`.
//!
//! That file is rendered from the kustomize base in `deploy/`, which is the only source. Nothing is decided here but what a flag changes.

use anyhow::Context;
use bellhop_api::keys;
use clap::Args;
use serde_json::{Value, json};

const INSTALL: &str = include_str!("../../deploy/install.yaml");

/// What of the installation may be chosen without kustomize.
#[derive(Args, Clone, Debug, Default)]
pub struct Choices {
    /// The namespace of everything that has one
    #[arg(long, value_name = "NAME", default_value = keys::NAMESPACE)]
    pub namespace: String,
    /// The image, with its tag or digest
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    /// How many replicas; 1 for a cluster of one node
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=9))]
    pub replicas: Option<u32>,
}

/// The objects, in the order in which they are to be applied.
pub fn objects(choices: &Choices) -> anyhow::Result<Vec<Value>> {
    let mut objects: Vec<Value> = serde_saphyr::from_multiple(INSTALL).context("the installation in this binary is no YAML")?;
    for object in &mut objects {
        choose(object, choices);
    }
    Ok(objects)
}

/// The objects as YAML documents.
pub fn yaml(choices: &Choices) -> anyhow::Result<String> {
    let documents = objects(choices)?.into_iter().map(|object| Ok(format!("---\n{}", serde_saphyr::to_string(&object)?)));
    documents.collect::<anyhow::Result<String>>().context("failed to write the installation as YAML")
}

fn choose(object: &mut Value, choices: &Choices) {
    if object["kind"] == "Namespace" {
        object["metadata"]["name"] = json!(choices.namespace);
    }
    let bound = object.get_mut("subjects").and_then(Value::as_array_mut).into_iter().flatten();
    for subject in bound {
        subject["namespace"] = json!(choices.namespace);
    }
    if object["metadata"]["namespace"].is_string() {
        object["metadata"]["namespace"] = json!(choices.namespace);
    }
    if object["kind"] == "Deployment" {
        if let Some(replicas) = choices.replicas {
            object["spec"]["replicas"] = json!(replicas);
        }
        if let Some(image) = &choices.image {
            object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_changed_that_was_not_chosen() {
        let choices = Choices { namespace: keys::NAMESPACE.into(), ..Choices::default() };
        let unchanged: Vec<Value> = serde_saphyr::from_multiple(INSTALL).expect("YAML");
        assert_eq!(objects(&choices).expect("YAML"), unchanged);
        let printed: Vec<Value> = serde_saphyr::from_multiple(&yaml(&choices).expect("YAML")).expect("YAML");
        assert_eq!(printed, unchanged);
    }

    #[test]
    fn a_namespace_an_image_and_a_number_of_replicas_can_be_chosen() {
        let choices = Choices { namespace: "lan".into(), image: Some("registry.example/bellhop@sha256:1".into()), replicas: Some(1) };
        let yaml = yaml(&choices).expect("YAML");
        assert!(!yaml.contains(keys::NAMESPACE), "{yaml}");
        let objects = objects(&choices).expect("YAML");
        let deployment = objects.iter().find(|object| object["kind"] == "Deployment").expect("one");
        assert_eq!(deployment["spec"]["replicas"], 1);
        assert_eq!(deployment["spec"]["template"]["spec"]["containers"][0]["image"], "registry.example/bellhop@sha256:1");
    }

    #[test]
    fn the_installation_is_of_this_version_and_has_the_crds_that_the_program_prints() {
        let objects = objects(&Choices::default()).expect("YAML");
        let of_kind = |kind: &str| objects.iter().find(|object| object["kind"] == kind).expect("one");
        let crd = json!(bellhop_api::crds().first().expect("the Eip"));
        let render = "render it anew: kubectl kustomize deploy > deploy/install.yaml";
        assert!(of_kind("CustomResourceDefinition")["spec"] == crd["spec"], "{render}");
        let image = &of_kind("Deployment")["spec"]["template"]["spec"]["containers"][0]["image"];
        assert_eq!(*image, format!("bellhop:{}", env!("CARGO_PKG_VERSION")), "kustomization.yaml and Cargo.toml name two versions");
        let label = &of_kind("Deployment")["metadata"]["labels"]["app.kubernetes.io/version"];
        assert_eq!(*label, env!("CARGO_PKG_VERSION"), "kustomization.yaml and Cargo.toml name two versions");
    }
}
