//! What makes a node of a machine: its pods, and the rules that kube-proxy programs.

use std::net::IpAddr;
use std::time::Duration;

use bellhop_core::time::Instant;
use rand::Rng;

use super::{Alarm, Effects, Happened, Host, Timer};
use crate::pod::{Pod, PodConfig};
use crate::proxy::{Origin, Proxy, ProxyMode, ProxyRules};

/// From the node to a pod through a veth pair and back: an order of magnitude, not a measurement.
const TO_POD: Duration = Duration::from_micros(10);

impl Host {
    /// kube-proxy writes its rules. Connections that are open go on as they are.
    pub(crate) fn apply_rules(&mut self, rules: ProxyRules) {
        if !self.powered {
            return;
        }
        let mut proxy = Proxy::new(rules);
        if let Some(older) = &mut self.proxy {
            proxy.keep_turns_of(older);
        }
        self.local = self.config.local.iter().copied().collect();
        if let ProxyMode::Ipvs { strict_arp } = proxy.mode() {
            self.local.extend(proxy.addresses());
            // kube-proxy sets them when strictARP is true, and never sets them back.
            if strict_arp {
                self.sysctl.arp_ignore = 1;
                self.sysctl.arp_announce = 2;
            }
        }
        self.proxy = Some(proxy);
    }

    /// Starts a pod; one that had its address is gone. Nothing happens on a machine without power.
    pub(crate) fn start_pod(&mut self, now: Instant, config: PodConfig) {
        if self.powered {
            let seed = self.rng.next_u64();
            self.pods.insert(config.address, (Pod::new(now, config, seed), Alarm::default()));
        }
    }

    /// Ends a pod at once: its connections are not closed, they are no longer answered.
    pub(crate) fn stop_pod(&mut self, name: &str) {
        self.pods.retain(|_, (pod, _)| pod.name() != name);
    }

    /// Hands a packet to a pod.
    pub(super) fn send_to_pod(&mut self, now: Instant, address: IpAddr, bytes: Vec<u8>, effects: &mut Effects) {
        let Some((pod, alarm)) = self.pods.get_mut(&address) else { return };
        pod.receive(bytes);
        let at = now + TO_POD;
        if alarm.set(at) {
            effects.timers.push((at, Timer::Pod(address)));
        }
    }

    /// A pod has something to do.
    pub(super) fn handle_pod_timer(&mut self, now: Instant, address: IpAddr, effects: &mut Effects) {
        let Some((pod, alarm)) = self.pods.get_mut(&address) else { return };
        if !alarm.rings(now) {
            return;
        }
        let mut served = Vec::new();
        pod.handle_progress(now, &mut served);
        effects.happened.extend(served.into_iter().map(Happened::Served));
        let packets: Vec<_> = std::iter::from_fn(|| pod.take_packet()).collect();
        if let Some(at) = pod.poll_at(now).filter(|at| alarm.set(*at)) {
            effects.timers.push((at, Timer::Pod(address)));
        }
        for bytes in packets {
            self.handle_packet(now, bytes, Origin::Pod, effects);
        }
    }
}
