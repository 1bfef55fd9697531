//! How many pods a ReplicaSet lacks, and which ones go first when it has too many.
//!
//! Pure: pods in, names and counts out. A pod that is going away is nobody's any more and is replaced at once, as in Kubernetes.

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use crate::pods;

/// The pods of one owner, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Pods that are not going away.
    pub(crate) replicas: i32,
    /// Of these, with the condition Ready.
    pub(crate) ready: i32,
    /// Of these, ready for `minReadySeconds`.
    pub(crate) available: i32,
    /// All that still exist, those going away included.
    pub(crate) present: i32,
    /// When the next one becomes available by mere waiting.
    pub(crate) next: Option<jiff::Timestamp>,
}

/// Counts the pods of one owner.
pub(crate) fn count<'a>(pods: impl Iterator<Item = &'a Pod>, min_ready_seconds: i32, now: jiff::Timestamp) -> Counts {
    let mut counts = Counts::default();
    for pod in pods {
        counts.present += 1;
        if !pods::is_active(pod) {
            continue;
        }
        counts.replicas += 1;
        counts.ready += i32::from(pods::is_ready(pod));
        match pods::availability(pod, min_ready_seconds, now) {
            Ok(available) => counts.available += i32::from(available),
            Err(due) => counts.next = Some(counts.next.map_or(due, |next| next.min(due))),
        }
    }
    counts
}

/// What to do about the pods of a ReplicaSet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// As many as wanted.
    Nothing,
    /// So many are missing.
    Create(usize),
    /// These go.
    Delete(Vec<String>),
}

/// Compares the pods of a ReplicaSet with the wanted number.
pub(crate) fn decide(wanted: i32, pods: &[&Pod]) -> Change {
    let mut active: Vec<&Pod> = pods.iter().copied().filter(|pod| pods::is_active(pod)).collect();
    let wanted = usize::try_from(wanted).unwrap_or(0);
    if active.len() < wanted {
        return Change::Create(wanted - active.len());
    }
    // k8s.io/kubernetes, controller.ActivePods: unbound before bound, not running before running, not ready before ready, younger before older.
    active.sort_by_key(|pod| {
        let age = pod.metadata.creation_timestamp.as_ref().map(|time| std::cmp::Reverse(time.0));
        (pods::node(pod).is_some(), pods::phase(pod) == "Running", pods::is_ready(pod), age, pod.name_any())
    });
    active.truncate(active.len() - wanted);
    if active.is_empty() { Change::Nothing } else { Change::Delete(active.iter().map(|pod| pod.name_any()).collect()) }
}

/// The status that a ReplicaSet should show.
pub(crate) fn status(set: &ReplicaSet, counts: Counts) -> ReplicaSetStatus {
    ReplicaSetStatus {
        replicas: counts.replicas,
        fully_labeled_replicas: Some(counts.replicas),
        ready_replicas: Some(counts.ready),
        available_replicas: Some(counts.available),
        observed_generation: set.metadata.generation,
        ..set.status.clone().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    #[test]
    fn missing_pods_are_created() {
        let one = pod("a").ready().build();
        assert_eq!(decide(3, &[&one]), Change::Create(2));
        assert_eq!(decide(1, &[&one]), Change::Nothing);
    }

    #[test]
    fn a_pod_that_is_going_away_is_replaced_at_once() {
        let leaving = pod("a").ready().terminating().build();
        assert_eq!(decide(1, &[&leaving]), Change::Create(1));
    }

    #[test]
    fn the_pod_that_serves_nobody_goes_first() {
        let (ready, bound, unbound) = (pod("a").on("n1").ready().build(), pod("b").on("n1").build(), pod("c").build());
        assert_eq!(decide(1, &[&ready, &bound, &unbound]), Change::Delete(vec!["c".into(), "b".into()]));
    }

    #[test]
    fn a_pod_is_available_only_after_min_ready_seconds() {
        let ready = pod("a").ready().build();
        let since = jiff::Timestamp::UNIX_EPOCH;
        let due = jiff::Timestamp::from_second(10).expect("in range");
        let early = count([&ready].into_iter(), 10, since);
        assert_eq!((early.ready, early.available, early.next), (1, 0, Some(due)));
        assert_eq!(count([&ready].into_iter(), 10, due).available, 1);
    }
}
