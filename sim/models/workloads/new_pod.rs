//! A pod from a template: its name, its owner, its labels.

use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};

/// The pod called `name` that `owner` makes of its template.
pub(crate) fn new_pod<O>(owner: &O, template: &PodTemplateSpec, name: String, generate_name: String) -> Pod
where
    O: Resource<DynamicType = ()>,
{
    let template_meta = template.metadata.clone().unwrap_or_default();
    let metadata = ObjectMeta {
        name: Some(name),
        generate_name: Some(generate_name),
        namespace: owner.namespace(),
        labels: template_meta.labels,
        annotations: template_meta.annotations,
        finalizers: template_meta.finalizers,
        owner_references: owner.controller_owner_ref(&()).map(|reference| vec![reference]),
        ..ObjectMeta::default()
    };
    Pod { metadata, spec: template.spec.clone(), status: None }
}
