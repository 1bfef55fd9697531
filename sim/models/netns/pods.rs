//! Pods as network namespaces, each held by the process that answers in it.
//!
//! A bridge with the first address of the pod subnet, a veth to each pod, and a default route there. The process is killed with this one
//! (`PR_SET_PDEATHSIG`), and the namespace ends with its process: nothing has a name that could be left behind.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use ipnet::{Ipv4Net, Ipv6Net};

use super::NetnsConfig;
use super::command::run;
use crate::kubelet::NodeConfig;
use crate::part::fnv1a;
use crate::runner::{PodRunner, PodToRun, RunError};

/// The bridge's name, as CNI's is called.
const BRIDGE: &str = "cni0";

/// The pods of this node. Dropping it ends them all.
pub struct PodNamespaces {
    network: Rc<NetnsConfig>,
    subnet: Ipv4Net,
    subnet6: Option<Ipv6Net>,
    /// By uid.
    running: RefCell<BTreeMap<String, Child>>,
}

impl PodNamespaces {
    /// Makes the bridge, in place of one that a dead predecessor left.
    pub fn new(node: &NodeConfig, network: Rc<NetnsConfig>) -> Result<Self, RunError> {
        let _ = run("ip", &["link", "del", BRIDGE]);
        let subnet6 = node.ipv6.map(|ipv6| ipv6.pod_cidr);
        let pods = Self { network, subnet: node.pod_cidr, subnet6, running: RefCell::new(BTreeMap::new()) };
        run("ip", &["link", "add", BRIDGE, "type", "bridge"])?;
        run("ip", &["addr", "add", &format!("{}/{}", pods.gateway(), pods.subnet.prefix_len()), "dev", BRIDGE])?;
        if let Some(subnet) = subnet6 {
            run("ip", &["addr", "add", &format!("{}/{}", gateway6(subnet), subnet.prefix_len()), "dev", BRIDGE, "nodad"])?;
        }
        run("ip", &["link", "set", BRIDGE, "up"])?;
        Ok(pods)
    }

    /// The bridge's address: the first of the subnet.
    fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.subnet.network().to_bits().saturating_add(1))
    }

    fn spawn(&self, pod: &PodToRun) -> Result<Child, RunError> {
        // On both families, where there are two (net.ipv6.bindv6only is 0).
        let listen = format!("{}:{}", if pod.ipv6.is_some() { "[::]" } else { "0.0.0.0" }, pod.http_port());
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare", "--net"]).arg(&self.network.executable);
        command.args(["pod", "--name", &pod.name, "--listen", &listen]).stdin(Stdio::null()).stdout(Stdio::null());
        command.spawn().map_err(|error| RunError(format!("the pod's process could not be started: {error}")))
    }

    fn connect(&self, pod: &PodToRun, process: u32) -> Result<(), RunError> {
        let (link, process) = (link(pod), process.to_string());
        let _ = run("ip", &["link", "del", &link]);
        run("ip", &["link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", &process])?;
        run("ip", &["link", "set", &link, "master", BRIDGE, "up"])?;
        // A pod that asks for its own Service may be sent back to itself.
        run("ip", &["link", "set", &link, "type", "bridge_slave", "hairpin", "on"])?;
        let inside = |arguments: &[&str]| {
            let namespace = format!("--net=/proc/{process}/ns/net");
            run("nsenter", &[&[namespace.as_str(), "ip"], arguments].concat())
        };
        let (address, gateway) = (format!("{}/{}", pod.ip, self.subnet.prefix_len()), self.gateway().to_string());
        inside(&["link", "set", "lo", "up"])?;
        inside(&["addr", "add", &address, "dev", "eth0"])?;
        inside(&["link", "set", "eth0", "up"])?;
        inside(&["route", "add", "default", "via", &gateway])?;
        if let (Some(subnet), Some(ip)) = (self.subnet6, pod.ipv6) {
            inside(&["addr", "add", &format!("{ip}/{}", subnet.prefix_len()), "dev", "eth0", "nodad"])?;
            inside(&["-6", "route", "add", "default", "via", &gateway6(subnet).to_string()])?;
        }
        Ok(())
    }
}

impl PodRunner for PodNamespaces {
    fn start(&self, pod: &PodToRun) -> Result<(), RunError> {
        if pod.host_network {
            // Its programs are models in this process.
            return Ok(());
        }
        let mut child = self.spawn(pod)?;
        let connected = wait_for_namespace(child.id()).and_then(|()| self.connect(pod, child.id()));
        if let Err(error) = connected {
            end(&mut child);
            return Err(error);
        }
        self.running.borrow_mut().insert(pod.uid.clone(), child);
        Ok(())
    }

    fn stop(&self, pod: &PodToRun) {
        if let Some(mut child) = self.running.borrow_mut().remove(&pod.uid) {
            // The kernel clears a namespace in its own time; the link should be gone now.
            let _ = run("ip", &["link", "del", &link(pod)]);
            end(&mut child);
        }
    }
}

impl Drop for PodNamespaces {
    fn drop(&mut self) {
        for child in self.running.borrow_mut().values_mut() {
            end(child);
        }
        let _ = run("ip", &["link", "del", BRIDGE]);
    }
}

/// The bridge's IPv6 address: the first of the subnet.
fn gateway6(subnet: Ipv6Net) -> Ipv6Addr {
    Ipv6Addr::from_bits(subnet.network().to_bits().saturating_add(1))
}

fn end(child: &mut Child) {
    // Either fails only when the process is gone already.
    let _ = child.kill();
    let _ = child.wait();
}

/// The node's end of a pod's link: at most fifteen letters, the same for the same pod.
fn link(pod: &PodToRun) -> String {
    format!("veth{:08x}", fnv1a(0, pod.uid.as_bytes()) >> 32)
}

/// Waits until a process that is about to make a network namespace of its own has done so: 2 s at most.
fn wait_for_namespace(process: u32) -> Result<(), RunError> {
    let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
    let ours = namespace("self");
    for _ in 0..400 {
        if namespace(&process.to_string()).is_some_and(|theirs| Some(theirs) != ours) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(RunError("the pod's process did not get a network namespace of its own".to_owned()))
}
