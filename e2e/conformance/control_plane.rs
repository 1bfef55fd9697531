//! etcd, kube-apiserver and kube-controller-manager in a network namespace and on a file system of our own.
//!
//! The calling thread moves into both, for good. When this process ends, however it ends, the kernel kills the three programs, and with the
//! last process the namespace and everything that was written are gone. Only the logs stay.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::namespace;
use crate::process::{Process, mortal};

/// The IPv6 service network.
pub(super) const SERVICES_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0);
/// The network is nobody else's: the ports may be those of every cluster.
const ETCD: &str = "127.0.0.1:2379";
/// An address of documentation on the loopback device: an API server advertises no 127.0.0.1.
const ADDRESS: &str = "192.0.2.1";
/// Ready in 4 s on two idle cores; this machine may be building something.
const PATIENCE: Duration = Duration::from_secs(120);

/// The running programs.
#[derive(Debug)]
pub(super) struct ControlPlane {
    folder: PathBuf,
    programs: Vec<(&'static str, Process)>,
}

impl ControlPlane {
    /// Starts it; `kube` is the binary that is all three. Logs go to `out`.
    pub(super) fn start(kube: &Path, out: &Path) -> Result<Self> {
        let kube = kube.canonicalize().with_context(|| format!("failed to find {}", kube.display()))?;
        let folder = std::path::absolute(out.join("run")).context("failed to name a folder")?;
        std::fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
        enter_namespaces(&folder)?;
        for program in ["etcd", "kube-apiserver", "kube-controller-manager"] {
            std::os::unix::fs::symlink(&kube, folder.join(program)).context("failed to link a program")?;
        }
        credentials(&folder)?;
        let mut plane = Self { folder, programs: Vec::new() };
        plane.launch("etcd", &etcd(), out)?;
        plane.launch("kube-apiserver", &api_server(), out)?;
        plane.wait()?;
        // It ends where it finds no API server.
        plane.launch("kube-controller-manager", controller_manager(), out)?;
        Ok(plane)
    }

    /// A kubeconfig for it.
    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// Lets etcd forget all revisions before the newest.
    pub(super) fn compact(&self) -> Result<()> {
        let status = post("/v3/maintenance/status", "{}")?;
        let status: serde_json::Value = serde_json::from_str(&status).context("etcd says no status")?;
        let revision = status["header"]["revision"].as_str().context("etcd says no revision")?;
        post("/v3/kv/compaction", &format!("{{\"revision\":\"{revision}\",\"physical\":true}}")).map(drop)
    }

    fn launch(&mut self, program: &'static str, arguments: &str, out: &Path) -> Result<()> {
        let folder = self.folder.to_string_lossy().into_owned();
        let mut command = mortal(self.folder.join(program));
        command.args(arguments.split_whitespace().map(|argument| argument.replace("DIR", &folder)));
        self.programs.push((program, Process::start(&mut command, &out.join(format!("{program}.log")))?));
        Ok(())
    }

    /// Until the API server answers and says that it is ready.
    fn wait(&mut self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some((program, process)) =
                self.programs.iter_mut().find_map(|(program, process)| process.ended().map(|_| (program, process)))
            {
                bail!("{program} ended: {}", process.last_words());
            }
            if self.ready() {
                return Ok(());
            }
            if Instant::now() > until {
                bail!("the API server is not ready after {PATIENCE:?}: {}", self.programs[1].1.last_words());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn ready(&self) -> bool {
        let mut command = Command::new("kubectl");
        command.arg("--kubeconfig").arg(self.kubeconfig()).args(["get", "--raw", "/readyz"]);
        namespace::run(&mut command).is_ok_and(|said| said == "ok")
    }
}

fn enter_namespaces(folder: &Path) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).context("failed to make namespaces")?;
    let nothing = None::<&str>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).context("failed to keep our mounts to ourselves")?;
    mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), Some("mode=0700")).context("failed to mount a tmpfs")?;
    namespace::run(Command::new("ip").args(["link", "set", "lo", "up"]))?;
    namespace::run(Command::new("ip").args(["address", "add", &format!("{ADDRESS}/32"), "dev", "lo"]))?;
    Ok(())
}

/// A key for the tokens of service accounts, and an administrator. The server makes its own certificate; nobody else is in this network, so
/// the client need not look at it.
fn credentials(folder: &Path) -> Result<()> {
    namespace::run(
        Command::new("openssl").args(["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out"]).arg(folder.join("sa.key")),
    )?;
    namespace::run(
        Command::new("openssl").args(["ec", "-pubout", "-in"]).arg(folder.join("sa.key")).arg("-out").arg(folder.join("sa.pub")),
    )?;
    std::fs::write(folder.join("tokens.csv"), "conformance,admin,admin,system:masters\n").context("failed to write a file")?;
    let kubeconfig = "apiVersion: v1\nkind: Config\nclusters: [{name: real, cluster: {server: 'https://127.0.0.1:6443', insecure-skip-tls-verify: true}}]\n\
                      users: [{name: admin, user: {token: conformance}}]\ncontexts: [{name: real, context: {cluster: real, user: admin}}]\ncurrent-context: real\n";
    std::fs::write(folder.join("kubeconfig"), kubeconfig).context("failed to write a file")
}

fn etcd() -> String {
    format!(
        "--data-dir DIR/state --listen-client-urls http://{ETCD} --advertise-client-urls http://{ETCD} --listen-peer-urls http://127.0.0.1:2380 \
         --initial-advertise-peer-urls http://127.0.0.1:2380 --initial-cluster default=http://127.0.0.1:2380 --unsafe-no-fsync"
    )
}

/// Lists of the past come from etcd, not from snapshots in memory: those outlive a compaction by minutes.
fn api_server() -> String {
    format!(
        "--etcd-servers http://{ETCD} --bind-address 127.0.0.1 --advertise-address {ADDRESS} --secure-port 6443 --cert-dir DIR/certs \
         --token-auth-file DIR/tokens.csv --authorization-mode Node,RBAC --service-cluster-ip-range 10.96.0.0/16,{SERVICES_V6}/112 \
         --service-account-issuer https://kubernetes.default.svc --service-account-signing-key-file DIR/sa.key --service-account-key-file DIR/sa.pub \
         --allow-privileged --feature-gates ListFromCacheSnapshot=false"
    )
}

/// Only what calls wait for: garbage collection and the end of namespaces.
fn controller_manager() -> &'static str {
    "--kubeconfig DIR/kubeconfig --authentication-kubeconfig DIR/kubeconfig --authorization-kubeconfig DIR/kubeconfig --cert-dir DIR/certs --leader-elect=false \
     --controllers garbage-collector-controller,namespace-controller"
}

/// One request to etcd's JSON gateway.
fn post(path: &str, body: &str) -> Result<String> {
    let mut stream = TcpStream::connect(ETCD).context("failed to reach etcd")?;
    let head = format!("POST {path} HTTP/1.0\r\nHost: {ETCD}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all((head + body).as_bytes()).context("failed to ask etcd")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("failed to hear etcd")?;
    let (head, body) = answer.split_once("\r\n\r\n").context("etcd answers no HTTP")?;
    if !head.starts_with("HTTP/1.0 200") && !head.starts_with("HTTP/1.1 200") {
        bail!("etcd refuses {path}: {body}");
    }
    Ok(body.to_owned())
}
