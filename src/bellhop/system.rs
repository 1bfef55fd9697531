//! The world as the operating system has it: clock, chance, network cards, signals, the API server.
//!
//! The one module that may ask the system for time and entropy: everything else takes them from [`Env`]. It decides nothing.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::path::Path;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use bellhop_core::link::{Interface, LinkError};
use bellhop_core::name::InterfaceName;
use bellhop_core::time::Instant;
use bellhop_link::{Interfaces, Nic};
use kube::config::{KubeConfigOptions, Kubeconfig};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::env::{Clock, Env, Link, Links, LocalFuture};

/// The system's clocks, counted from the making of this value.
pub struct SystemClock(tokio::time::Instant);

impl SystemClock {
    /// Its zero is now.
    #[expect(clippy::disallowed_methods, reason = "this is where time comes from")]
    pub fn new() -> Self {
        Self(tokio::time::Instant::now())
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::ZERO + self.0.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "this is where time comes from")]
    fn wall(&self) -> jiff::Timestamp {
        jiff::Timestamp::now()
    }

    fn sleep_until(&self, deadline: Instant) -> LocalFuture<'static> {
        // Tokio's timers reach some years ahead; the far future is a day, then looked at again.
        let ahead = (deadline - self.now()).min(Duration::from_secs(24 * 3600));
        Box::pin(tokio::time::sleep(ahead))
    }
}

impl Links for Interfaces {
    fn interfaces(&self) -> Vec<Interface> {
        self.snapshot()
    }

    fn route_to(&self, destination: IpAddr) -> Option<InterfaceName> {
        Self::route_to(self, destination)
    }

    fn gateways(&self) -> BTreeSet<IpAddr> {
        Self::gateways(self)
    }

    fn changed(&self) -> LocalFuture<'_> {
        Box::pin(Self::changed(self))
    }

    fn open(&self, interface: &InterfaceName) -> Result<Box<dyn Link>, LinkError> {
        Nic::open(interface).map(|nic| -> Box<dyn Link> { Box::new(nic) })
    }
}

impl Link for Nic {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Self::poll_readable(self, cx)
    }

    fn ignored(&self) -> Vec<(&'static str, u64)> {
        Self::ignored(self)
    }
}

/// The world of this process. Needs a tokio runtime.
///
/// Fails when no kubeconfig can be read, and when raw sockets are not permitted: then nothing could ever be announced.
pub async fn env(kubeconfig: Option<&Path>) -> anyhow::Result<Env> {
    let links = Interfaces::watch().context("failed to read the network interfaces of this machine")?;
    require_raw_sockets(&links)?;
    Ok(Env {
        clock: Rc::new(SystemClock::new()),
        rng: ChaCha8Rng::from_seed(entropy().context("failed to read /dev/urandom")?),
        client: client(kubeconfig).await?,
        links: Rc::new(links),
        shutdown: CancellationToken::new(),
    })
}

/// A client for the cluster of this kubeconfig, or the one that this pod runs in.
async fn client(kubeconfig: Option<&Path>) -> anyhow::Result<kube::Client> {
    let mut config = match kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path).with_context(|| format!("failed to read the kubeconfig {}", path.display()))?;
            let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
            config.with_context(|| format!("failed to use the kubeconfig {}", path.display()))?
        }
        None => kube::Config::incluster().context("not in a pod, it seems: give --kubeconfig FILE")?,
    };
    config.connect_timeout = Some(Duration::from_secs(3));
    // Longer than a watch is silent: the server ends each after 30 s.
    config.read_timeout = Some(Duration::from_secs(60));
    kube::Client::try_from(config).context("failed to make a Kubernetes client")
}

/// A client for a person: the kubeconfig and the context that kubectl would use, or in a pod its own cluster.
pub async fn client_of_user(kubeconfig: Option<&Path>, context: Option<&str>) -> anyhow::Result<kube::Client> {
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let mut config = match kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path).with_context(|| format!("failed to read the kubeconfig {}", path.display()))?;
            kube::Config::from_custom_kubeconfig(file, &options)
                .await
                .with_context(|| format!("failed to use the kubeconfig {}", path.display()))?
        }
        None => match kube::Config::from_kubeconfig(&options).await {
            Ok(config) => config,
            Err(error) => kube::Config::incluster().map_err(|_| error).context("failed to use the kubeconfig: give --kubeconfig FILE")?,
        },
    };
    config.connect_timeout = Some(Duration::from_secs(5));
    config.read_timeout = Some(Duration::from_secs(30));
    kube::Client::try_from(config).context("failed to make a Kubernetes client")
}

/// Tries one interface, so that a missing capability is an error at start and not a condition on every pool.
fn require_raw_sockets(links: &Interfaces) -> Result<(), LinkError> {
    let Some(interface) = links.snapshot().into_iter().find(|interface| interface.up && interface.mac.is_unicast()) else { return Ok(()) };
    match Nic::open(&interface.name) {
        Err(error @ LinkError::NotPermitted(_)) => Err(error),
        _ => Ok(()),
    }
}

fn entropy() -> std::io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut seed)?;
    Ok(seed)
}

/// Cancels `shutdown` at the first SIGTERM or SIGINT. Never ends otherwise; a second signal ends the process at once.
pub async fn cancel_at_signal(shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
    for attempt in 0.. {
        let name = tokio::select! {
            biased;
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        anyhow::ensure!(attempt == 0, "{name} again: ending at once");
        tracing::info!(signal = name, "asked to stop: giving the Lease back");
        shutdown.cancel();
    }
    Ok(())
}
