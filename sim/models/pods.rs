//! Questions about pods that several models ask.
//!
//! Only looks; who does what about the answers is decided in the models.

use k8s_openapi::api::core::v1::{Pod, PodCondition, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};

/// The spec, of which every pod has one.
pub(crate) fn spec(pod: &Pod) -> Option<&PodSpec> {
    pod.spec.as_ref()
}

/// The node that it is bound to.
pub(crate) fn node(pod: &Pod) -> Option<&str> {
    spec(pod)?.node_name.as_deref().filter(|node| !node.is_empty())
}

/// The phase; empty if it has none.
pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// Whether it has run to its end.
pub(crate) fn is_finished(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether it was asked to go.
pub(crate) fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Whether a controller counts it as one of its pods (k8s.io/kubernetes, controller.IsPodActive).
pub(crate) fn is_active(pod: &Pod) -> bool {
    !is_finished(pod) && !is_terminating(pod)
}

/// A condition of the status.
pub(crate) fn condition<'a>(status: Option<&'a PodStatus>, kind: &str) -> Option<&'a PodCondition> {
    status?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

/// Whether its condition Ready is True.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    condition(pod.status.as_ref(), "Ready").is_some_and(|ready| ready.status == "True")
}

/// Whether it has been ready for `min_ready_seconds` at `now`; `Err` says when it will have been.
pub(crate) fn availability(pod: &Pod, min_ready_seconds: i32, now: jiff::Timestamp) -> Result<bool, jiff::Timestamp> {
    let Some(ready) = condition(pod.status.as_ref(), "Ready").filter(|ready| ready.status == "True") else {
        return Ok(false);
    };
    let Some(since) = ready.last_transition_time.as_ref().filter(|_| min_ready_seconds > 0) else {
        return Ok(true);
    };
    let due = since.0.saturating_add(jiff::SignedDuration::from_secs(min_ready_seconds.into())).unwrap_or(jiff::Timestamp::MAX);
    if due <= now { Ok(true) } else { Err(due) }
}

/// The owner that controls an object.
pub(crate) fn controller(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.as_ref()?.iter().find(|owner| owner.controller == Some(true))
}

/// Whether `owner` controls `object`.
pub(crate) fn controls<O: Resource>(owner: &O, object: &ObjectMeta) -> bool {
    let same_namespace = owner.meta().namespace == object.namespace;
    same_namespace && owner.uid().is_some_and(|uid| controller(object).is_some_and(|reference| reference.uid == uid))
}
