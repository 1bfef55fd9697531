//! A registry on the bench, which the nodes take for a mirror of docker.io: the tutorial's image has no tag, so kubelets pull it.
//!
//! Debian's docker-registry, on a machine of its own. It holds one image, our stand-in for luksa/kubia.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use super::cluster::Cluster;
use super::machine::Machine;
use super::patience::wait_for;
use crate::process::{Process, mortal};

/// Where it is: an address of the nodes' network that nobody else has.
pub(crate) const ADDRESS: &str = "192.168.0.6";
const PORT: u16 = 5000;
const MAC: &str = "52:54:22:00:00:06";

/// A registry that runs; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Registry {
    _process: Process,
    _machine: Machine,
}

impl Registry {
    /// Starts one that serves an archive as `luksa/kubia`.
    pub(crate) fn start(cluster: &Cluster, archive: &Path, out: &Path) -> Result<Self> {
        let machine = Machine::connect("bellhop-images", MAC, &[&format!("{ADDRESS}/24")], cluster)?;
        let data = out.join("registry");
        let config = out.join("registry.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{ADDRESS}:{PORT}\"}}\n",
            data.display()
        );
        std::fs::write(&config, text)?;
        let mut command = mortal("docker-registry");
        command.arg("serve").arg(&config);
        let mut process = machine.namespace.inside(|| Process::start(&mut command, &out.join("registry.log")))??;
        wait_for("the registry", Duration::from_secs(30), || {
            if process.ended().is_some() {
                bail!("it ended: {}", process.last_words());
            }
            let from = format!("docker-archive:{}", archive.display());
            let to = format!("docker://{ADDRESS}:{PORT}/luksa/kubia:latest");
            machine.run(&format!("skopeo --insecure-policy copy --quiet --dest-tls-verify=false {from} {to}"))
        })?;
        for node in &cluster.nodes {
            cluster.on_node(node, &format!("mkdir -p {MIRRORS} && printf '{}' > {MIRRORS}/hosts.toml", hosts()))?;
        }
        Ok(Self { _process: process, _machine: machine })
    }
}

/// Where containerd looks for mirrors of docker.io (<https://github.com/containerd/containerd/blob/main/docs/hosts.md>).
const MIRRORS: &str = "/etc/containerd/certs.d/docker.io";

/// Its file, for a shell's printf.
fn hosts() -> String {
    format!("[host.\"http://{ADDRESS}:{PORT}\"]\\n  capabilities = [\"pull\", \"resolve\"]\\n")
}
