//! A kind cluster of one control plane and two workers on a network of the engine with the tutorial's addresses, and Bellhop in it.
//!
//! kind starts its nodes at once and leaves addresses to the engine. A program in the place of `docker` gives each node the name, the address
//! and the MAC that the tutorial's machine has, so that the tutorial's commands can be typed as printed.

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};

use super::docker::Docker;
use super::{Family, Proxy};

/// The cluster's name; nodes are called after it.
pub(crate) const NAME: &str = "bellhop-e2e";
/// The engine's network, and its bridge: names have at most fifteen letters.
const NETWORK: &str = "bellhop-kind";
const BRIDGE: &str = "bellhop-kind";
/// The tutorial's.
const IPV4: &str = "192.168.0.0/24";
/// What the scenario files have for IPv6, of the range for documentation (RFC 3849).
const IPV6: &str = "2001:db8::/64";
/// kind's name for a node's container, and the tutorial's machine: name, last part of its addresses, MAC.
const MACHINES: [(&str, &str, u8, &str); 3] = [
    ("bellhop-e2e-control-plane", "master1", 2, "52:54:22:a3:9a:d9"),
    ("bellhop-e2e-worker", "worker-p001", 3, "52:54:22:3a:e6:6e"),
    ("bellhop-e2e-worker2", "worker-p002", 4, "52:54:22:37:6c:7b"),
];

/// A cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) docker: Arc<Docker>,
    pub(crate) nodes: Vec<Node>,
    /// The bridge that is the nodes' LAN.
    pub(crate) bridge: &'static str,
    pub(crate) kubeconfig: PathBuf,
}

/// A node, as the LAN sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) ip: IpAddr,
    pub(crate) mac: String,
    /// What the engine calls it.
    container: String,
    /// The bridge's end of its cable.
    cable: String,
}

impl Cluster {
    /// Creates it from `kind-config/three-nodes.yaml`. What was there of that name goes first.
    pub(crate) fn create(docker: &Arc<Docker>, proxy: Proxy, family: Family, out: &Path) -> Result<Self> {
        let mut cluster = Self { docker: docker.clone(), nodes: Vec::new(), bridge: BRIDGE, kubeconfig: out.join("kubeconfig") };
        Self::remove(docker);
        let ipv6 = if family == Family::Ipv4 { String::new() } else { format!(" --ipv6 --subnet {IPV6}") };
        let name = format!("--opt com.docker.network.bridge.name={BRIDGE}");
        docker.run(&format!("docker network create --driver bridge {name} --subnet {IPV4}{ipv6} {NETWORK}"))?;
        let config = out.join("cluster.yaml");
        let text = include_str!("../../kind-config/three-nodes.yaml");
        let text = replaced(text, "kubeProxyMode: iptables", &format!("kubeProxyMode: {proxy}"))?;
        std::fs::write(&config, replaced(&text, "ipFamily: ipv4", &format!("ipFamily: {family}"))?)?;
        let mut kind = docker.command("kind");
        kind.args(["create", "cluster", "--name", NAME, "--image", &docker.image, "--wait", "120s", "--retain", "--config"]).arg(&config);
        kind.arg("--kubeconfig").arg(&cluster.kubeconfig).env("KIND_EXPERIMENTAL_DOCKER_NETWORK", NETWORK);
        let path = std::env::var("PATH").unwrap_or_default();
        kind.env("PATH", format!("{}:{path}", docker_that_names_machines(out, family)?.display()));
        docker.inside(&mut kind)?;
        cluster.nodes = MACHINES.iter().map(|(container, name, ..)| cluster.find(container, name)).collect::<Result<_>>()?;
        Ok(cluster)
    }

    /// Reads from inside a node what the LAN sees of it.
    fn find(&self, container: &str, name: &str) -> Result<Node> {
        let format = "{{range.NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let ip = self.docker.run(&format!("docker inspect --format {format} {container}"))?;
        let read = |file: &str| self.docker.run(&format!("docker exec {container} cat /sys/class/net/eth0/{file}"));
        let mac = read("address")?.trim().to_owned();
        let index: u64 = read("iflink")?.trim().parse().context("a node without a cable")?;
        let links: serde_json::Value = serde_json::from_str(&self.docker.namespace.ip("-j link show")?)?;
        let link = links.as_array().into_iter().flatten().find(|link| link["ifindex"] == index);
        let cable =
            link.and_then(|link| link["ifname"].as_str()).with_context(|| format!("nobody holds the other end of {name}'s cable"))?;
        let ip = ip.trim().parse().context("a node without an address")?;
        Ok(Node { name: name.to_owned(), ip, mac, container: container.to_owned(), cable: cable.to_owned() })
    }

    /// Runs a shell's line on a node.
    pub(crate) fn on_node(&self, node: &Node, line: &str) -> Result<String> {
        let mut command = self.docker.command("docker");
        command.args(["exec", &node.container, "sh", "-c", line]);
        self.docker.inside(&mut command)
    }

    /// `kubectl`, as the operator of this cluster types it in the repository.
    pub(crate) fn kubectl(&self) -> Command {
        // Nothing that is typed here takes as long; a server that does not answer must not hold everything up.
        let mut command = self.with_kubeconfig("timeout");
        command.args(["180", "kubectl"]);
        command
    }

    /// `kubectl` that runs until it is stopped.
    pub(crate) fn kubectl_for_ever(&self) -> Command {
        self.with_kubeconfig("kubectl")
    }

    /// A program that asks this cluster.
    pub(crate) fn with_kubeconfig(&self, program: &str) -> Command {
        let mut command = self.docker.command(program);
        command.env("KUBECONFIG", &self.kubeconfig).env("KUBECACHEDIR", self.kubeconfig.with_extension("cache")).env("LC_ALL", "C.UTF-8");
        command
    }

    /// Runs kubectl with words divided by blanks.
    pub(crate) fn run(&self, line: &str) -> Result<String> {
        self.docker.inside(self.kubectl().args(line.split(' ')))
    }

    /// Pulls a node's cable out of the switch, or puts it back.
    pub(crate) fn cable(&self, node: &Node, plugged: bool) -> Result<()> {
        let state = if plugged { "up" } else { "down" };
        self.docker.namespace.ip(&format!("link set {} {state}", node.cable)).map(drop)
    }

    /// The node of a name.
    pub(crate) fn node(&self, name: &str) -> Result<&Node> {
        self.nodes.iter().find(|node| node.name == name).with_context(|| format!("no node is called `{name}`"))
    }

    /// Brings an archive with an image to all nodes.
    pub(crate) fn load(&self, archive: &Path) -> Result<()> {
        self.docker.run(&format!("kind load image-archive {} --name {NAME}", archive.display())).map(drop)
    }

    /// What runs, in lines.
    pub(crate) fn versions(&self) -> Result<String> {
        let kind = self.docker.run("kind version")?;
        let mut docker = self.docker.command("docker");
        let docker = self.docker.inside(docker.args(["version", "--format", "docker {{.Server.Version}}"]))?;
        let kubernetes = self.run("version")?;
        let node = self.on_node(&self.nodes[0], "containerd --version; uname -sr")?;
        Ok(format!("{kind}{docker}{kubernetes}{node}"))
    }

    /// Logs of all nodes, for whoever has to find out what happened.
    pub(crate) fn export_logs(&self, out: &Path) {
        let _ = self.docker.run(&format!("kind export logs --name {NAME} {}", out.display()));
    }

    /// Takes everything away that [`Cluster::create`] makes. May be called from any thread, and when there is nothing.
    pub(crate) fn remove(docker: &Docker) {
        // Each fails when there is nothing of the kind. The kubeconfig is a file of the run.
        let _ = docker.run(&format!("kind delete cluster --name {NAME} --kubeconfig /dev/null"));
        let _ = docker.run(&format!("docker network rm {NETWORK}"));
    }
}

/// A configuration with one line changed. A line that is not there would leave the cluster another than was asked for.
fn replaced(text: &str, from: &str, to: &str) -> Result<String> {
    ensure!(text.contains(from), "kind-config/three-nodes.yaml does not say `{from}`");
    Ok(text.replace(from, to))
}

/// Makes a folder with a `docker` that adds what a machine is to `docker run`, and otherwise is the one that comes next in PATH.
fn docker_that_names_machines(out: &Path, family: Family) -> Result<PathBuf> {
    let folder = out.join("bin");
    std::fs::create_dir_all(&folder)?;
    let mut text = "#!/bin/bash\nPATH=${PATH#*:}\ncase \"$*\" in\n".to_owned();
    for (container, name, last, mac) in MACHINES {
        let ipv6 = if family == Family::Ipv4 { String::new() } else { format!(" --ip6 {}{last}", IPV6.trim_end_matches("/64")) };
        let ipv4 = format!("{}.{last}", IPV4.trim_end_matches(".0/24"));
        // The image comes last, and of an option that is given twice the second counts.
        let run = format!("exec docker \"${{@:1:$#-1}}\" --hostname {name} --ip {ipv4}{ipv6} --mac-address {mac} \"${{@: -1}}\"");
        text.push_str(&format!("\"run \"*\"--name {container} \"*) {run} ;;\n"));
    }
    text.push_str("*) exec docker \"$@\" ;;\nesac\n");
    let file = folder.join("docker");
    std::fs::write(&file, text)?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755))?;
    Ok(folder)
}
