//! `bellhop-sim apiserver`: the in-memory API over HTTP on real time, with the cluster's controllers beside it if wanted.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bellhop::env::{Env, Link, Links, LocalFuture};
use bellhop::system;
use bellhop_apiserver::{ApiServer, ClientName, Config, SystemClock};
use bellhop_core::link::{Interface, LinkError};
use bellhop_core::name::InterfaceName;
use bellhop_fabric::stream;
use bellhop_models::{ClusterConfig, ControlPlaneConfig, LifecycleConfig, ProxyMode, run_control_plane, seed_cluster};
use ipnet::Ipv6Net;
use tokio_util::sync::CancellationToken;

/// What to serve, and where.
pub(super) struct Server {
    pub(super) listen: SocketAddr,
    pub(super) kubeconfig: Option<PathBuf>,
    pub(super) models: bool,
    pub(super) proxy_mode: String,
    pub(super) strict_arp: bool,
    pub(super) service_cidr_v6: Option<Ipv6Net>,
    pub(super) node_monitor_grace_period: Option<u64>,
    pub(super) places: Vec<String>,
    pub(super) seed: u64,
}

impl Server {
    /// Serves until SIGTERM or SIGINT.
    pub(super) fn run(self) -> anyhow::Result<u8> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.serve())?;
        Ok(0)
    }

    async fn serve(self) -> anyhow::Result<()> {
        let listener = tokio::net::TcpListener::bind(self.listen).await.with_context(|| format!("failed to listen on {}", self.listen))?;
        let service_cidr_v6 = self.service_cidr_v6.map(|net| (net.network(), net.prefix_len()));
        let server = ApiServer::new(&Config { seed: self.seed, clock: Arc::new(SystemClock), service_cidr_v6, ..Config::default() });
        let kubeconfig = ApiServer::kubeconfig(listener.local_addr()?);
        if let Some(path) = &self.kubeconfig {
            std::fs::write(path, &kubeconfig).with_context(|| format!("failed to write {}", path.display()))?;
        }
        print!("{kubeconfig}");
        std::io::Write::flush(&mut std::io::stdout())?;
        let shutdown = CancellationToken::new();
        let models = self.models(&server, shutdown.clone());
        let serve = server.serve_http(listener, shutdown.clone().cancelled_owned());
        tokio::select! {
            biased;
            result = system::cancel_at_signal(shutdown.clone()) => result?,
            result = async { tokio::try_join!(biased; async { serve.await.map_err(anyhow::Error::from) }, models) } => drop(result?),
        }
        Ok(())
    }

    /// The cluster's controllers, or nothing.
    async fn models(&self, server: &ApiServer, shutdown: CancellationToken) -> anyhow::Result<()> {
        if !self.models {
            return Ok(());
        }
        let proxy = match self.proxy_mode.as_str() {
            "ipvs" => ProxyMode::Ipvs { strict_arp: self.strict_arp },
            "iptables" => ProxyMode::Iptables,
            other => anyhow::bail!("--proxy-mode {other}: expected ipvs or iptables"),
        };
        let mut lifecycle = LifecycleConfig::default();
        if let Some(seconds) = self.node_monitor_grace_period {
            lifecycle.grace_period = Duration::from_secs(seconds);
        }
        let places = self.places.iter().map(|text| place(text)).collect::<anyhow::Result<BTreeMap<_, _>>>()?;
        let client = kube::Client::new(server.client_service(ClientName::from("control-plane")), "default");
        seed_cluster(&client, &ClusterConfig { proxy }).await?;
        run_control_plane(env(client, stream(self.seed, "control-plane"), shutdown), ControlPlaneConfig { places, lifecycle }).await
    }
}

/// `DEPLOYMENT=NODE,NODE`.
fn place(text: &str) -> anyhow::Result<(String, Vec<String>)> {
    let (deployment, nodes) = text.split_once('=').with_context(|| format!("--place {text}: expected DEPLOYMENT=NODE,NODE"))?;
    Ok((deployment.to_owned(), nodes.split(',').map(str::to_owned).collect()))
}

/// The world of a model: real time, and no link of its own.
pub(super) fn env(client: kube::Client, rng: rand_chacha::ChaCha8Rng, shutdown: CancellationToken) -> Env {
    Env { clock: Rc::new(system::SystemClock::new()), rng, client, links: Rc::new(NoLinks), shutdown }
}

/// Models of Kubernetes have no use for frames.
struct NoLinks;

impl Links for NoLinks {
    fn interfaces(&self) -> Vec<Interface> {
        Vec::new()
    }

    fn route_to(&self, _: IpAddr) -> Option<InterfaceName> {
        None
    }

    fn changed(&self) -> LocalFuture<'_> {
        Box::pin(std::future::pending())
    }

    fn open(&self, interface: &InterfaceName) -> Result<Box<dyn Link>, LinkError> {
        Err(LinkError::Gone(interface.clone()))
    }
}
