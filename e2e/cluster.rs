//! The processes of a cluster: the API server with its models in the root namespace, node agents and replicas of Bellhop inside the machines.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bellhop_scenario::Scenario;
use bellhop_scenario::scenario::ProxyMode;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::lan::Lan;
use crate::namespace::{Namespace, run};
use crate::objects;
use crate::process::{Process, mortal};
use crate::relay::Relay;

/// How long a cluster may take to come up.
const PATIENCE: Duration = Duration::from_secs(60);
/// From look to look while we wait.
const PACE: Duration = Duration::from_millis(50);

/// Where the programs under test are.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `bellhop`.
    pub bellhop: PathBuf,
    /// `bellhop-sim`, for the API server, the models and the node agents.
    pub sim: PathBuf,
}

/// Everything that runs.
pub(crate) struct Cluster {
    programs: Programs,
    scenario: Scenario,
    out: PathBuf,
    /// The API server itself, and the kubeconfig that leads to a relay.
    pub(crate) server: SocketAddr,
    pub(crate) kubeconfig: PathBuf,
    port: u16,
    relays: BTreeMap<String, Relay>,
    agents: BTreeMap<String, Process>,
    replicas: BTreeMap<String, Process>,
    /// Where Bellhop is meant to run: it stays away from where it was killed or stopped, also when the machine boots.
    installed: BTreeSet<String>,
    /// Nobody reaches the API server, not even a machine that boots.
    api_down: bool,
    _server: Process,
}

/// The relay of the operator, beside those of the machines, whose names are not empty.
const OPERATOR: &str = "";

impl Cluster {
    /// Starts an API server and its models, and what kubectl needs to reach it. No machine runs anything yet.
    pub(crate) fn start(programs: &Programs, scenario: &Scenario, out: &Path) -> Result<Self> {
        let direct = out.join("kubeconfig.direct");
        let mut command = mortal(&programs.sim);
        command.args(["apiserver", "--listen", "127.0.0.1:0", "--models", "--kubeconfig"]).arg(&direct);
        let cluster = &scenario.cluster;
        let mode = match cluster.kube_proxy.mode {
            ProxyMode::Ipvs => "ipvs",
            ProxyMode::Iptables => "iptables",
        };
        command.args(["--proxy-mode", mode]);
        if cluster.kube_proxy.strict_arp {
            command.arg("--strict-arp");
        }
        let first_nics = scenario.topology.nodes.values().filter_map(|node| node.nics.first_key_value());
        if first_nics.into_iter().any(|(_, nic)| nic.ipv6.is_some()) {
            command.args(["--service-cidr-v6", "fd00:10:96::/112"]);
        }
        for (deployment, nodes) in &cluster.place {
            command.arg("--place").arg(format!("{deployment}={}", nodes.join(",")));
        }
        command.args(["--node-monitor-grace-period", &cluster.node_monitor_grace_period.as_secs().to_string()]);
        let mut process = Process::start(&mut command, &out.join("apiserver.log"))?;
        let (text, server) = wait_for("the API server", || {
            if process.ended().is_some() {
                bail!("the API server ended: {}", process.last_words());
            }
            let text = std::fs::read_to_string(&direct)?;
            let server =
                text.split_once("http://").and_then(|(_, rest)| rest.split_whitespace().next()?.trim_end_matches('/').parse().ok());
            Ok((text, server.context("no server in the kubeconfig")?))
        })?;
        let server: SocketAddr = server;
        let relay = Relay::open(&Namespace::current()?, 0, server.port())?;
        let port = relay.port();
        let kubeconfig = out.join("kubeconfig");
        std::fs::write(&kubeconfig, text.replace(&server.to_string(), &SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string()))?;
        let relays = BTreeMap::from([(OPERATOR.to_owned(), relay)]);
        let (agents, replicas) = (BTreeMap::new(), BTreeMap::new());
        let (programs, scenario, out) = (programs.clone(), scenario.clone(), out.to_owned());
        let installed = scenario.cluster.bellhop.iter().cloned().collect();
        Ok(Self {
            programs,
            scenario,
            out,
            server,
            kubeconfig,
            port,
            relays,
            agents,
            replicas,
            installed,
            api_down: false,
            _server: process,
        })
    }

    /// Boots all machines and waits until the cluster is as somebody would find it: nodes Ready, kube-proxy running, Bellhop leading.
    pub(crate) fn boot(&mut self, lan: &Lan) -> Result<()> {
        self.install()?;
        let nodes: Vec<String> = self.scenario.topology.nodes.keys().cloned().collect();
        nodes.iter().try_for_each(|node| self.start_node(node, lan))?;
        wait_for("the nodes and their kube-proxies", || self.nodes_are_ready())?;
        for node in self.scenario.cluster.bellhop.clone() {
            self.start_bellhop(&node, lan)?;
            // The first of the list leads from the start, as in the tutorial.
            wait_for("a leader", || self.somebody_leads(&node))?;
        }
        Ok(())
    }

    /// `bellhop crds | kubectl apply -f -`.
    fn install(&self) -> Result<()> {
        let crds = self.out.join("crds.yaml");
        std::fs::write(&crds, run(Command::new(&self.programs.bellhop).arg("crds"))?)?;
        let mut kubectl = Command::new("kubectl");
        kubectl.args(["apply", "-f"]).arg(&crds).env("KUBECONFIG", &self.kubeconfig).env("KUBECACHEDIR", self.out.join("kubeconfig.cache"));
        run(&mut kubectl).map(drop)
    }

    fn nodes_are_ready(&self) -> Result<()> {
        let nodes = objects::read(self.server, "/api/v1/nodes")?;
        let pods = objects::read(self.server, "/api/v1/namespaces/kube-system/pods")?;
        let ready = |object: &&Value| {
            let conditions = object["status"]["conditions"].as_array();
            conditions.into_iter().flatten().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        };
        let count = |list: &Value| list["items"].as_array().map_or(0, |items| items.iter().filter(ready).count());
        let (nodes, pods, wanted) = (count(&nodes), count(&pods), self.scenario.topology.nodes.len());
        if nodes == wanted && pods == wanted { Ok(()) } else { bail!("{nodes} of {wanted} nodes and {pods} kube-proxies are ready") }
    }

    fn somebody_leads(&self, node: &str) -> Result<()> {
        let lease = objects::read(self.server, "/apis/coordination.k8s.io/v1/namespaces/bellhop-system/leases/bellhop");
        if lease.is_ok_and(|lease| lease["spec"]["holderIdentity"].as_str().is_some_and(|holder| !holder.is_empty())) {
            return Ok(());
        }
        bail!("nobody leads: {}", self.replicas.get(node).map(Process::last_words).unwrap_or_default())
    }

    /// The kubelet and kube-proxy of a node, and its way to the API server.
    pub(crate) fn start_node(&mut self, name: &str, lan: &Lan) -> Result<()> {
        let machine = lan.machine(name)?;
        if !self.api_down {
            self.relays.insert(name.to_owned(), Relay::open(machine, self.port, self.server.port())?);
        }
        let mut command = mortal(&self.programs.sim);
        command.args(["node", "--name", name, "--kubeconfig"]).arg(&self.kubeconfig);
        let own = self.node(name)?;
        command.args(["--interface", &own.interface, "--ip", &own.ip, "--pod-cidr", &own.pods]);
        if let Some((ip, pods)) = &own.ipv6 {
            command.args(["--ipv6", ip, "--pod-cidr-v6", pods]);
        }
        for peer in self.scenario.topology.nodes.keys().filter(|peer| *peer != name) {
            let peer_at = self.node(peer)?;
            for (ip, pods) in std::iter::once((peer_at.ip, peer_at.pods)).chain(peer_at.ipv6) {
                command.arg("--peer").arg(format!("{peer}={ip}={pods}"));
            }
        }
        if self.scenario.topology.nodes.get(name).is_some_and(|node| node.roles.iter().any(|role| role == "control-plane")) {
            command.arg("--control-plane");
        }
        let log = self.out.join(format!("node-{name}.log"));
        let process = machine.inside(|| Process::start(&mut command, &log))??;
        self.agents.insert(name.to_owned(), process);
        Ok(())
    }

    /// Where a node is. Its first NIC in order of name carries its address.
    fn node(&self, name: &str) -> Result<Place> {
        let nodes = &self.scenario.topology.nodes;
        let index = nodes.keys().position(|node| node == name).context("no such node")?;
        let (interface, nic) = nodes.get(name).and_then(|node| node.nics.first_key_value()).context("a node without a NIC")?;
        let ipv6 = nic.ipv6.map(|ipv6| (ipv6.addr().to_string(), format!("fd00:10:233:{index}::/64")));
        Ok(Place { interface: interface.clone(), ip: nic.ip.addr().to_string(), pods: format!("10.233.{index}.0/24"), ipv6 })
    }

    /// A replica of Bellhop. One that runs is left alone; on a machine that is off it starts when that boots.
    pub(crate) fn start_bellhop(&mut self, name: &str, lan: &Lan) -> Result<()> {
        self.installed.insert(name.to_owned());
        if !self.agents.contains_key(name) || self.replicas.contains_key(name) {
            return Ok(());
        }
        let mut command = mortal(&self.programs.bellhop);
        command.args(["run", "--node-name", name, "--kubeconfig"]).arg(&self.kubeconfig);
        let log = self.out.join(format!("bellhop-{name}.log"));
        let process = lan.machine(name)?.inside(|| Process::start(&mut command, &log))??;
        self.replicas.insert(name.to_owned(), process);
        Ok(())
    }

    /// SIGKILL.
    pub(crate) fn kill_bellhop(&mut self, name: &str) {
        self.installed.remove(name);
        self.replicas.remove(name);
    }

    /// SIGTERM; false: it did not end in time.
    pub(crate) fn stop_bellhop(&mut self, name: &str) -> bool {
        self.installed.remove(name);
        let Some(mut process) = self.replicas.remove(name) else { return true };
        process.signal(Signal::SIGTERM);
        process.wait(Duration::from_secs(5))
    }

    /// SIGSTOP, or SIGCONT, to a replica; false: there is none.
    pub(crate) fn freeze_bellhop(&self, name: &str, stands_still: bool) -> bool {
        let signal = if stands_still { Signal::SIGSTOP } else { Signal::SIGCONT };
        self.replicas.get(name).map(|process| process.signal(signal)).is_some()
    }

    /// Everything on a machine ends at once. Pods end with their node agent.
    pub(crate) fn kill_node(&mut self, name: &str) {
        self.replicas.remove(name);
        self.agents.remove(name);
        self.relays.remove(name);
    }

    /// What runs on a machine runs again.
    pub(crate) fn restart_node(&mut self, name: &str, lan: &Lan) -> Result<()> {
        self.start_node(name, lan)?;
        if self.installed.contains(name) {
            self.start_bellhop(name, lan)?;
        }
        Ok(())
    }

    /// Nobody reaches the API server any more, except the models that run with it.
    pub(crate) fn close_relays(&mut self) {
        self.api_down = true;
        self.relays.clear();
    }

    /// They do again.
    pub(crate) fn open_relays(&mut self, lan: &Lan) -> Result<()> {
        self.api_down = false;
        self.relays.insert(OPERATOR.to_owned(), Relay::open(&Namespace::current()?, self.port, self.server.port())?);
        for name in self.agents.keys() {
            self.relays.insert(name.clone(), Relay::open(lan.machine(name)?, self.port, self.server.port())?);
        }
        Ok(())
    }

    /// Replicas that ended by themselves, with their last words.
    pub(crate) fn crashed(&mut self) -> Vec<(String, String)> {
        let ended: Vec<String> = self.replicas.iter_mut().filter_map(|(name, process)| process.ended().map(|_| name.clone())).collect();
        ended.into_iter().filter_map(|name| Some((name.clone(), self.replicas.remove(&name)?.last_words()))).collect()
    }
}

/// Where a node is.
struct Place {
    interface: String,
    ip: String,
    pods: String,
    /// Its IPv6 address and its pods' subnet of that family.
    ipv6: Option<(String, String)>,
}

/// Asks until there is an answer.
fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Result<T>) -> Result<T> {
    let until = Instant::now() + PATIENCE;
    loop {
        match ask() {
            Ok(answer) => return Ok(answer),
            Err(error) if Instant::now() > until => return Err(error.context(format!("waited {} s for {what}", PATIENCE.as_secs()))),
            Err(_) => std::thread::sleep(PACE),
        }
    }
}
