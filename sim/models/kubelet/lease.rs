//! The node's Lease, renewed every ten seconds whatever becomes of the node's status.
//!
//! As component-helpers `apimachinery/lease/controller.go` does it: a renewal writes upon the Lease that was answered last, and only after a refusal the
//! Lease is read again. So a reader that lags behind costs nothing. Who looks at the Lease is `lifecycle`'s business.

use std::rc::Rc;
use std::time::Duration;

use bellhop::env::Env;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::api::PostParams;
use kube::{Api, ResourceExt};

use super::{LEASE_NAMESPACE, NodeConfig};
use crate::request::{Failure, answer};

/// A quarter of the Lease's duration (kubelet: nodeLeaseRenewIntervalFraction).
const RENEW_EVERY: Duration = Duration::from_secs(10);
const LEASE_SECONDS: i32 = 40;
/// How often one renewal is tried (maxUpdateRetries).
const TRIES: usize = 5;
/// The pauses between attempts to read or make the Lease: doubled from here (backoffEnsureLease)
const PAUSE: Duration = Duration::from_millis(100);
/// up to here (maxBackoff).
const PAUSE_MAX: Duration = Duration::from_secs(7);

/// Runs until it is asked to stop.
pub(super) async fn run(env: Env, config: Rc<NodeConfig>) -> anyhow::Result<()> {
    let shutdown = env.shutdown.clone();
    let mut renewal = Renewal { env, config, latest: None };
    tokio::select! {
        biased;
        () = shutdown.cancelled() => Ok(()),
        () = renewal.go_on() => Ok(()),
    }
}

struct Renewal {
    env: Env,
    config: Rc<NodeConfig>,
    /// The Lease as it was answered last.
    latest: Option<Lease>,
}

impl Renewal {
    async fn go_on(&mut self) {
        loop {
            self.sync().await;
            self.pause(RENEW_EVERY).await;
        }
    }

    async fn pause(&self, pause: Duration) {
        self.env.clock.sleep_until(self.env.clock.now() + pause).await;
    }

    async fn sync(&mut self) {
        if let Some(latest) = self.latest.clone()
            && self.renew(latest).await
        {
            return;
        }
        let (found, made) = self.ensure().await;
        self.latest = found;
        if let Some(latest) = self.latest.clone().filter(|_| !made) {
            self.renew(latest).await;
        }
    }

    /// Writes the time. Whether it was taken.
    async fn renew(&mut self, mut base: Lease) -> bool {
        for _ in 0..TRIES {
            base.spec.get_or_insert_default().renew_time = Some(MicroTime(self.env.clock.wall()));
            match answer(&self.env, self.leases().replace(self.config.name.as_str(), &PostParams::default(), &base)).await {
                Ok(renewed) => {
                    self.latest = Some(renewed);
                    return true;
                }
                // Somebody else wrote it, or the answer to our own write was lost.
                Err(failure) if failure.is(409) => match self.ensure().await {
                    (Some(found), _) => base = found,
                    (None, _) => return false,
                },
                Err(failure) => tracing::debug!(node.name = %self.config.name, %failure, "the kubelet could not renew its Lease"),
            }
        }
        false
    }

    /// The Lease, and whether it is new; asks until there is an answer. `None` while there is no Node that could own one.
    async fn ensure(&self) -> (Option<Lease>, bool) {
        let mut pause = PAUSE;
        loop {
            match self.find_or_make().await {
                Ok(answered) => return answered,
                Err(failure) => tracing::debug!(node.name = %self.config.name, %failure, "the kubelet could not read its Lease"),
            }
            pause = (pause * 2).min(PAUSE_MAX);
            self.pause(pause).await;
        }
    }

    async fn find_or_make(&self) -> Result<(Option<Lease>, bool), Failure> {
        let name = self.config.name.as_str();
        if let Some(found) = answer(&self.env, self.leases().get_opt(name)).await? {
            return Ok((Some(found), false));
        }
        // A Lease without an owner would outlive its node: without a Node there is none (nodeutil.SetNodeOwnerFunc).
        let nodes: Api<Node> = Api::all(self.env.client.clone());
        let Ok(Some(node)) = answer(&self.env, nodes.get_opt(name)).await else { return Ok((None, false)) };
        let lease = new_lease(&node, MicroTime(self.env.clock.wall()));
        let made = answer(&self.env, self.leases().create(&PostParams::default(), &lease)).await?;
        Ok((Some(made), true))
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.env.client.clone(), LEASE_NAMESPACE)
    }
}

fn new_lease(node: &Node, now: MicroTime) -> Lease {
    let name = node.name_any();
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: name.clone(),
        uid: node.uid().unwrap_or_default(),
        ..OwnerReference::default()
    };
    let metadata = ObjectMeta {
        name: Some(name.clone()),
        namespace: Some(LEASE_NAMESPACE.to_owned()),
        owner_references: Some(vec![owner]),
        ..ObjectMeta::default()
    };
    let spec = LeaseSpec {
        holder_identity: Some(name),
        lease_duration_seconds: Some(LEASE_SECONDS),
        renew_time: Some(now),
        ..LeaseSpec::default()
    };
    Lease { metadata, spec: Some(spec) }
}
