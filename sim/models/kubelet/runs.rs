//! Which pods run on this node, and what is to be done about them.
//!
//! Pure: the pods bound to the node and the time, in; starts, stops and final deletions, out. It keeps one [`Run`] per running pod and gives out the
//! addresses of the pod subnet. How a pod's status is worded is [`super::status`]'s.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use bellhop_core::time::Instant;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::NodeConfig;
use crate::pods;
use crate::runner::{ContainerToRun, PodToRun};

/// A pod that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// What was started.
    pub(crate) pod: PodToRun,
    /// When, on the wall.
    pub(crate) started: jiff::Timestamp,
    /// When its containers are ready.
    pub(crate) ready_at: Instant,
    /// How often it was started before, in another life of this node.
    pub(crate) restarts: i32,
    /// When it will have ended, once it was asked to go.
    pub(crate) ends_at: Option<Instant>,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// End it, and give back its address.
    Stop(PodToRun),
    /// Nothing of it is left: its object may go.
    Finish {
        /// The namespace.
        namespace: String,
        /// The name.
        name: String,
        /// The uid, so that no other pod of the same name is meant.
        uid: String,
    },
    /// Start it.
    Start(PodToRun),
}

/// The pods of one node.
pub(crate) struct Runs {
    config: std::rc::Rc<NodeConfig>,
    /// By uid.
    running: BTreeMap<String, Run>,
    /// The last address given out, as an offset into the subnet.
    last: u32,
}

impl Runs {
    /// None yet.
    pub(crate) fn new(config: std::rc::Rc<NodeConfig>) -> Self {
        // .0 is the subnet's, .1 the bridge's.
        Self { config, running: BTreeMap::new(), last: 1 }
    }

    /// The run of a pod.
    pub(crate) fn get(&self, uid: &str) -> Option<&Run> {
        self.running.get(uid)
    }

    /// When something becomes due by itself.
    pub(crate) fn next(&self, now: Instant) -> Option<Instant> {
        let due = |run: &Run| [Some(run.ready_at), run.ends_at].into_iter().flatten().filter(|at| *at > now).min();
        self.running.values().filter_map(due).min()
    }

    /// Compares the pods that the API has for this node with what runs.
    pub(crate) fn handle_pods(&mut self, now: Instant, bound: &[&Pod]) -> Vec<Action> {
        let uids: BTreeSet<String> = bound.iter().filter_map(|pod| pod.uid()).collect();
        let vanished: Vec<String> = self.running.keys().filter(|uid| !uids.contains(*uid)).cloned().collect();
        let mut actions: Vec<Action> =
            vanished.iter().filter_map(|uid| self.running.remove(uid)).map(|run| Action::Stop(run.pod)).collect();
        for pod in bound.iter().filter(|pod| pods::is_terminating(pod)) {
            actions.extend(self.end(now, pod));
        }
        let mut taken: BTreeSet<IpAddr> = self.running.values().map(|run| run.pod.ip).collect();
        taken.extend(bound.iter().filter(|pod| !pods::is_finished(pod)).filter_map(|pod| recorded_ip(pod)));
        for pod in bound.iter().filter(|pod| pods::is_active(pod)) {
            let known = pod.uid().is_none_or(|uid| self.running.contains_key(&uid));
            if let Some(ip) = (!known).then(|| self.address(pod, &taken)).flatten() {
                taken.insert(ip);
                actions.push(Action::Start(to_run(pod, ip, self.second_address(pod, ip))));
            }
        }
        actions
    }

    /// Notes that a pod was started.
    pub(crate) fn handle_started(&mut self, now: Instant, wall: jiff::Timestamp, pod: PodToRun, restarts: i32) {
        let run = Run { started: wall, ready_at: now + self.config.start_delay, restarts, ends_at: None, pod };
        self.running.insert(run.pod.uid.clone(), run);
    }

    fn end(&mut self, now: Instant, pod: &Pod) -> Vec<Action> {
        let uid = pod.uid().unwrap_or_default();
        let finish = Action::Finish { namespace: pod.namespace().unwrap_or_default(), name: pod.name_any(), uid: uid.clone() };
        let Some(run) = self.running.get_mut(&uid) else { return vec![finish] };
        let ends_at = *run.ends_at.get_or_insert_with(|| now + time_to_end(pod, &self.config));
        if now < ends_at {
            return Vec::new();
        }
        let stop = self.running.remove(&uid).map(|run| Action::Stop(run.pod));
        stop.into_iter().chain([finish]).collect()
    }

    /// The next address, in turn, as the CNI's host-local does. `None` while the subnet is full.
    fn address(&mut self, pod: &Pod, taken: &BTreeSet<IpAddr>) -> Option<IpAddr> {
        if is_host_network(pod) {
            return Some(self.config.ip.into());
        }
        let (first, last) = (self.config.pod_cidr.network().to_bits(), self.config.pod_cidr.broadcast().to_bits());
        let size = last - first;
        let offsets = (1..=size).map(|step| (self.last.saturating_add(step) - 2) % size.saturating_sub(2).max(1) + 2);
        let free = offsets.map(|offset| (offset, IpAddr::V4(first.saturating_add(offset).into()))).find(|(_, ip)| !taken.contains(ip));
        let (offset, ip) = free.filter(|(offset, _)| *offset < size)?;
        self.last = offset;
        Some(ip)
    }

    /// The IPv6 address of a pod that has this one of IPv4: at the same place of its subnet.
    fn second_address(&self, pod: &Pod, ip: IpAddr) -> Option<Ipv6Addr> {
        let ipv6 = self.config.ipv6?;
        let IpAddr::V4(ip) = ip else { return None };
        if is_host_network(pod) {
            return Some(ipv6.ip);
        }
        let place = ip.to_bits().checked_sub(self.config.pod_cidr.network().to_bits())?;
        Some(Ipv6Addr::from_bits(ipv6.pod_cidr.network().to_bits().checked_add(place.into())?))
    }
}

fn is_host_network(pod: &Pod) -> bool {
    pods::spec(pod).and_then(|spec| spec.host_network).unwrap_or(false)
}

fn recorded_ip(pod: &Pod) -> Option<IpAddr> {
    pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()
}

fn to_run(pod: &Pod, ip: IpAddr, ipv6: Option<Ipv6Addr>) -> PodToRun {
    let containers = pods::spec(pod).map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let ports = |container: &k8s_openapi::api::core::v1::Container| {
        let tcp = container.ports.iter().flatten().filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP");
        tcp.filter_map(|port| u16::try_from(port.container_port).ok()).collect()
    };
    PodToRun {
        uid: pod.uid().unwrap_or_default(),
        namespace: pod.namespace().unwrap_or_default(),
        name: pod.name_any(),
        ip,
        ipv6,
        host_network: is_host_network(pod),
        containers: containers
            .iter()
            .map(|container| ContainerToRun {
                name: container.name.clone(),
                image: container.image.clone().unwrap_or_default(),
                ports: ports(container),
            })
            .collect(),
    }
}

/// From the deletion to the last breath: `preStop` sleeps, then SIGTERM and what the program takes after it; never longer than the grace period.
fn time_to_end(pod: &Pod, config: &NodeConfig) -> Duration {
    let spec = pods::spec(pod);
    let sleep = |container: &k8s_openapi::api::core::v1::Container| {
        container.lifecycle.as_ref()?.pre_stop.as_ref()?.sleep.as_ref().map(|sleep| sleep.seconds)
    };
    let sleep = spec.into_iter().flat_map(|spec| &spec.containers).filter_map(sleep).max().unwrap_or(0);
    let grace = pod.metadata.deletion_grace_period_seconds.or_else(|| spec?.termination_grace_period_seconds).unwrap_or(30);
    let seconds = |number: i64| Duration::from_secs(u64::try_from(number).unwrap_or(0));
    (seconds(sleep) + config.stop_delay).min(seconds(grace))
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use k8s_openapi::api::core::v1::{Lifecycle, LifecycleHandler, SleepAction};

    use super::*;
    use crate::kubelet::NodeIpv6;
    use crate::testing::pod;

    fn runs() -> Runs {
        Runs::new(Rc::new(NodeConfig::worker("a", [192, 168, 0, 3].into(), 1)))
    }

    fn started(runs: &mut Runs, pods: &[&Pod]) -> Vec<String> {
        let mut addresses = Vec::new();
        for action in runs.handle_pods(Instant::ZERO, pods) {
            let Action::Start(pod) = action else { continue };
            addresses.push(pod.ip.to_string());
            runs.handle_started(Instant::ZERO, jiff::Timestamp::UNIX_EPOCH, pod, 0);
        }
        addresses
    }

    #[test]
    fn each_pod_gets_an_address_of_its_own_and_a_host_network_pod_the_nodes() {
        let (a, b, mut proxy) = (pod("a").build(), pod("b").build(), pod("c").build());
        proxy.spec.get_or_insert_default().host_network = Some(true);
        assert_eq!(started(&mut runs(), &[&a, &b, &proxy]), ["10.233.1.2", "10.233.1.3", "192.168.0.3"]);
    }

    #[test]
    fn on_a_dual_stack_node_a_pod_has_the_same_place_in_both_subnets() {
        let mut config = NodeConfig::worker("a", [192, 168, 0, 3].into(), 1);
        let ip = "2001:db8::3".parse().expect("a literal");
        config.ipv6 = Some(NodeIpv6 { ip, pod_cidr: "fd00:10:233:1::/64".parse().expect("a literal") });
        let (a, mut proxy) = (pod("a").build(), pod("c").build());
        proxy.spec.get_or_insert_default().host_network = Some(true);
        let actions = Runs::new(Rc::new(config)).handle_pods(Instant::ZERO, &[&a, &proxy]);
        let second = actions.iter().map(|action| if let Action::Start(pod) = action { pod.ipv6 } else { None });
        assert_eq!(second.collect::<Vec<_>>(), ["fd00:10:233:1::2".parse().ok(), Some(ip)]);
    }

    #[test]
    fn an_address_comes_back_only_after_all_others() {
        let mut runs = runs();
        for number in 0..252 {
            let pod = pod(&format!("p{number}")).build();
            assert_eq!(started(&mut runs, &[&pod]).len(), 1, "{number}");
        }
        assert_eq!(started(&mut runs, &[&pod("last").build()]), ["10.233.1.254"]);
        assert_eq!(started(&mut runs, &[&pod("next").build()]), ["10.233.1.2"]);
    }

    #[test]
    fn a_full_subnet_starts_nothing() {
        let mut runs = runs();
        let pods: Vec<Pod> = (0..300).map(|number| pod(&format!("p{number:03}")).build()).collect();
        assert_eq!(started(&mut runs, &pods.iter().collect::<Vec<_>>()).len(), 253);
    }

    #[test]
    fn a_pod_ends_after_its_pre_stop_sleep_and_only_then_its_object_goes() {
        let mut runs = runs();
        let mut web = pod("a").build();
        started(&mut runs, &[&web]);
        let sleep = LifecycleHandler { sleep: Some(SleepAction { seconds: 5 }), ..LifecycleHandler::default() };
        web.spec.get_or_insert_default().containers[0].lifecycle = Some(Lifecycle { pre_stop: Some(sleep), ..Lifecycle::default() });
        web.metadata = pod("a").terminating().build().metadata;
        assert_eq!(runs.handle_pods(Instant::ZERO, &[&web]), []);
        let ends_at = Instant::from_millis(5000);
        assert_eq!(runs.get("uid-a").and_then(|run| run.ends_at), Some(ends_at));
        let actions = runs.handle_pods(ends_at, &[&web]);
        assert!(matches!(actions[..], [Action::Stop(_), Action::Finish { .. }]), "{actions:?}");
    }

    #[test]
    fn a_pod_that_vanished_is_stopped() {
        let mut runs = runs();
        started(&mut runs, &[&pod("a").build()]);
        assert!(matches!(runs.handle_pods(Instant::ZERO, &[])[..], [Action::Stop(_)]));
        assert_eq!(runs.get("uid-a"), None);
    }

    #[test]
    fn a_terminating_pod_that_never_ran_here_is_finished_at_once() {
        let leaving = pod("a").terminating().build();
        assert!(matches!(runs().handle_pods(Instant::ZERO, &[&leaving])[..], [Action::Finish { .. }]));
    }
}
