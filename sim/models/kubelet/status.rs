//! A pod's status, in the kubelet's words.
//!
//! Pure. Times of transition stay while their status stays, and moments are whole seconds as the API keeps them, so that the same state is the same value.

use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateWaiting, ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::NodeConfig;
use super::runs::Run;
use crate::pods;

/// How a pod fares on its node.
pub(super) enum Fate<'a> {
    /// It runs; whether its containers are ready.
    Running(&'a Run, bool),
    /// It could not be started, and why.
    Waiting(&'a str),
}

/// The status that a pod should show.
pub(super) fn status(config: &NodeConfig, pod: &Pod, fate: &Fate<'_>, now: jiff::Timestamp) -> PodStatus {
    let old = pod.status.clone().unwrap_or_default();
    let (running, ready) = match fate {
        Fate::Running(_, ready) => (true, *ready),
        Fate::Waiting(_) => (false, false),
    };
    let pod_ips: Vec<String> = match fate {
        Fate::Running(run, _) => run.pod.ips().map(|ip| ip.to_string()).collect(),
        Fate::Waiting(_) => Vec::new(),
    };
    let conditions = [
        ("PodReadyToStartContainers", running),
        ("Initialized", true),
        ("Ready", ready),
        ("ContainersReady", ready),
        ("PodScheduled", true),
    ];
    PodStatus {
        phase: Some(if running { "Running" } else { "Pending" }.to_owned()),
        conditions: Some(conditions.into_iter().map(|(kind, fine)| condition(pod, kind, fine, now)).collect()),
        host_ip: Some(config.ip.to_string()),
        host_ips: Some(config.ips().map(|ip| HostIP { ip: ip.to_string() }).collect()),
        pod_ip: pod_ips.first().cloned(),
        pod_ips: Some(pod_ips.into_iter().map(|ip| PodIP { ip }).collect()).filter(|ips: &Vec<PodIP>| !ips.is_empty()),
        start_time: old.start_time.clone().or_else(|| Some(whole(now))),
        container_statuses: Some(containers(pod, fate)),
        qos_class: old.qos_class.clone().or_else(|| Some("BestEffort".to_owned())),
        ..old
    }
}

/// How often the pod was started before this life of the node.
pub(super) fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let started = |status: &ContainerStatus| status.restart_count + i32::from(status.container_id.is_some());
    statuses.map(started).max().unwrap_or(0)
}

fn whole(moment: jiff::Timestamp) -> Time {
    Time(jiff::Timestamp::from_second(moment.as_second()).unwrap_or(moment))
}

fn condition(pod: &Pod, kind: &str, fine: bool, now: jiff::Timestamp) -> PodCondition {
    let status = if fine { "True" } else { "False" };
    let not_ready = !fine && matches!(kind, "Ready" | "ContainersReady");
    let names = || pod.spec.iter().flat_map(|spec| &spec.containers).map(|container| container.name.as_str()).collect::<Vec<_>>().join(" ");
    let before = pods::condition(pod.status.as_ref(), kind).filter(|before| before.status == status);
    PodCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: not_ready.then(|| "ContainersNotReady".to_owned()),
        message: not_ready.then(|| format!("containers with unready status: [{}]", names())),
        last_transition_time: before.map_or_else(|| Some(whole(now)), |before| before.last_transition_time.clone()),
        last_probe_time: before.and_then(|before| before.last_probe_time.clone()),
        ..PodCondition::default()
    }
}

fn containers(pod: &Pod, fate: &Fate<'_>) -> Vec<ContainerStatus> {
    let state = match fate {
        Fate::Running(run, _) => {
            ContainerState { running: Some(ContainerStateRunning { started_at: Some(whole(run.started)) }), ..ContainerState::default() }
        }
        Fate::Waiting(why) => {
            let waiting = ContainerStateWaiting { reason: Some("CreateContainerError".to_owned()), message: Some((*why).to_owned()) };
            ContainerState { waiting: Some(waiting), ..ContainerState::default() }
        }
    };
    let status = |container: &k8s_openapi::api::core::v1::Container| {
        let image = container.image.clone().unwrap_or_default();
        let (running, ready, restarts) = match fate {
            Fate::Running(run, ready) => (true, *ready, run.restarts),
            Fate::Waiting(_) => (false, false, restarts(pod)),
        };
        ContainerStatus {
            name: container.name.clone(),
            image_id: if running { image.clone() } else { String::new() },
            image,
            container_id: running.then(|| format!("containerd://{}-{}-{restarts}", pod.uid().unwrap_or_default(), container.name)),
            ready,
            started: Some(ready),
            restart_count: restarts,
            state: Some(state.clone()),
            ..ContainerStatus::default()
        }
    };
    pod.spec.iter().flat_map(|spec| &spec.containers).map(status).collect()
}

#[cfg(test)]
mod tests {
    use bellhop_core::time::Instant;

    use super::*;
    use crate::runner::PodToRun;
    use crate::testing::pod;

    fn run(pod: &Pod) -> Run {
        let ip = [10, 233, 1, 2].into();
        let pod = PodToRun {
            uid: pod.uid().unwrap_or_default(),
            namespace: "default".into(),
            name: pod.name_any(),
            ip,
            ipv6: None,
            host_network: false,
            containers: vec![],
        };
        Run { pod, started: jiff::Timestamp::UNIX_EPOCH, ready_at: Instant::ZERO, restarts: 0, ends_at: None }
    }

    #[test]
    fn the_same_state_later_is_the_same_status() {
        let config = NodeConfig::worker("a", [192, 168, 0, 3].into(), 1);
        let mut web = pod("p").build();
        let run = run(&web);
        let first = status(&config, &web, &Fate::Running(&run, true), jiff::Timestamp::UNIX_EPOCH);
        web.status = Some(first.clone());
        assert_eq!(status(&config, &web, &Fate::Running(&run, true), jiff::Timestamp::MAX), first);
        assert!(pods::is_ready(&web));
    }

    #[test]
    fn a_pod_that_ran_in_an_earlier_life_of_the_node_has_restarted() {
        let config = NodeConfig::worker("a", [192, 168, 0, 3].into(), 1);
        let mut web = pod("p").build();
        assert_eq!(restarts(&web), 0);
        web.status = Some(status(&config, &web, &Fate::Running(&run(&web), true), jiff::Timestamp::UNIX_EPOCH));
        assert_eq!(restarts(&web), 1);
    }
}
