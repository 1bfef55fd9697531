//! What a Deployment's status says, so that `kubectl rollout status` and `kubectl get deploy` read right.
//!
//! Pure. A condition keeps its time of transition while its status stays, so that writing the same status twice is writing nothing.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::rollout::{Set, leeway, split, wanted};

/// The status of a Deployment with these ReplicaSets.
pub(crate) fn status(deployment: &Deployment, sets: &[Set<'_>], now: jiff::Timestamp) -> DeploymentStatus {
    let (new, _) = split(deployment, sets);
    let sum = |count: fn(&Set<'_>) -> i32| sets.iter().map(count).sum::<i32>();
    let (replicas, available) = (sum(|set| set.counts.replicas), sum(|set| set.counts.available));
    let updated = new.map_or(0, |new| new.counts.replicas);
    let wanted = wanted(deployment);
    let enough = available >= wanted - leeway(deployment).1;
    let complete = updated == wanted && replicas == wanted && available == wanted;
    let old = deployment.status.clone().unwrap_or_default();
    let name = new.map(|new| new.set.name_any()).unwrap_or_default();
    let conditions = vec![available_condition(enough), progressing_condition(complete, &name)];
    DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: some_unless_zero(replicas),
        updated_replicas: some_unless_zero(updated),
        ready_replicas: some_unless_zero(sum(|set| set.counts.ready)),
        available_replicas: some_unless_zero(available),
        unavailable_replicas: some_unless_zero((sum(|set| set.size()).max(wanted) - available).max(0)),
        conditions: Some(conditions.into_iter().map(|condition| dated(condition, &old, now)).collect()),
        ..old
    }
}

/// Counts in a status are left out when they are zero.
fn some_unless_zero(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

fn available_condition(enough: bool) -> DeploymentCondition {
    let (status, reason, message) = if enough {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    condition("Available", status, reason, message.to_owned())
}

fn progressing_condition(complete: bool, name: &str) -> DeploymentCondition {
    if complete {
        condition("Progressing", "True", "NewReplicaSetAvailable", format!("ReplicaSet \"{name}\" has successfully progressed."))
    } else {
        condition("Progressing", "True", "ReplicaSetUpdated", format!("ReplicaSet \"{name}\" is progressing."))
    }
}

fn condition(kind: &str, status: &str, reason: &str, message: String) -> DeploymentCondition {
    DeploymentCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        ..DeploymentCondition::default()
    }
}

/// With the times of the same condition before, as far as it has not changed.
fn dated(mut condition: DeploymentCondition, old: &DeploymentStatus, now: jiff::Timestamp) -> DeploymentCondition {
    let before = old.conditions.iter().flatten().find(|before| before.type_ == condition.type_);
    let same_status = before.filter(|before| before.status == condition.status);
    let same_text = same_status.filter(|before| before.reason == condition.reason && before.message == condition.message);
    condition.last_transition_time = same_status.map_or(Some(Time(now)), |before| before.last_transition_time.clone());
    condition.last_update_time = same_text.map_or(Some(Time(now)), |before| before.last_update_time.clone());
    condition
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::deployment;

    #[test]
    fn the_same_state_later_is_the_same_status() {
        let mut web = deployment("web", 2);
        let first = status(&web, &[], jiff::Timestamp::UNIX_EPOCH);
        web.status = Some(first.clone());
        assert_eq!(status(&web, &[], jiff::Timestamp::MAX), first);
    }

    #[test]
    fn nothing_available_is_said_in_the_words_of_kubernetes() {
        let status = status(&deployment("web", 2), &[], jiff::Timestamp::UNIX_EPOCH);
        let available = &status.conditions.expect("always set")[0];
        assert_eq!((available.status.as_str(), available.reason.as_deref()), ("False", Some("MinimumReplicasUnavailable")));
        assert_eq!(status.unavailable_replicas, Some(2));
    }
}
