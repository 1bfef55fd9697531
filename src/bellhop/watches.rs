//! The six watches of the program as one source of core values.
//!
//! Turns deltas into [`Input`]s through `bellhop-api`, keeps for the writer what a write looks at, and says outages once. What an input
//! means is the core's business. The kinds are asked in a fixed order, so that the same world gives the same inputs.

use std::fmt::Debug;
use std::rc::Rc;
use std::task::{Context, Poll};

use bellhop_api::{keys, parse};
use bellhop_core::lease::LeaseRecord;
use bellhop_core::name::{NodeName, PoolName, ServiceKey};
use bellhop_core::object::{EndpointSlice, Kind, Namespace, Node, Pool, Service};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1 as api;
use k8s_openapi::api::discovery::v1 as discovery;
use kube::api::DynamicObject;
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::de::DeserializeOwned;

use crate::env::Clock;
use crate::lease;
use crate::outage::Outages;
use crate::packed::Packed;
use crate::watch::{Delta, Identity, Watch};

/// One thing that the API server has to tell.
#[derive(Debug)]
pub(crate) enum Input {
    /// An Eip as it is now.
    Pool(Pool),
    /// An Eip is gone.
    PoolGone(PoolName),
    /// A Service as it is now.
    Service(Service),
    /// A Service is gone.
    ServiceGone(ServiceKey),
    /// An EndpointSlice as it is now.
    Slice(EndpointSlice),
    /// An EndpointSlice is gone, or no Service's any more: its namespace and name.
    SliceGone(String, String),
    /// A Node as it is now.
    Node(Node),
    /// A Node is gone.
    NodeGone(NodeName),
    /// A Namespace as it is now.
    Namespace(Namespace),
    /// A Namespace is gone: its name.
    NamespaceGone(String),
    /// All objects of a kind have been told.
    Synced(Kind),
    /// The watch of a kind is broken.
    Away(Kind),
    /// The Lease as it is now, or that there is none.
    Lease(Option<LeaseRecord>),
}

/// The watches.
pub(crate) struct Watches {
    nodes: Watch<api::Node>,
    pools: Watch<DynamicObject, DynamicObject>,
    services: Watch<api::Service, Packed>,
    slices: Watch<discovery::EndpointSlice>,
    lease: Watch<Lease, LeaseRecord>,
    namespaces: Watch<api::Namespace>,
}

impl Watches {
    /// Watches all of the cluster, and the Lease in `namespace`.
    pub(crate) fn new(client: &Client, namespace: &str, clock: &Rc<dyn Clock>, rng: &mut ChaCha8Rng) -> Self {
        let mut stream = || ChaCha8Rng::from_rng(rng);
        let only_ours = watcher::Config::default().fields(&format!("metadata.name={}", keys::LEASE));
        // Only slices of Services: those of no Service say nothing to us.
        let of_services = watcher::Config::default().labels(keys::SERVICE_NAME_LABEL);
        Self {
            nodes: Watch::new(Api::all(client.clone()), clock.clone(), stream()),
            pools: Watch::with_config(
                Api::all_with(client.clone(), &bellhop_api::eip_resource()),
                watcher::Config::default(),
                clock.clone(),
                stream(),
            )
            .keeping(DynamicObject::clone),
            services: Watch::new(Api::all(client.clone()), clock.clone(), stream()).keeping(Packed::new),
            slices: Watch::with_config(Api::all(client.clone()), of_services, clock.clone(), stream()),
            lease: Watch::with_config(Api::namespaced(client.clone(), namespace), only_ours, clock.clone(), stream())
                .keeping(lease::record),
            namespaces: Watch::new(Api::all(client.clone()), clock.clone(), stream()),
        }
    }

    /// The next input. Never ends.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>, outages: &mut Outages) -> Poll<Input> {
        while let Some(news) = next(&mut self.lease, "watch the Lease", cx, outages) {
            return Poll::Ready(Input::Lease(match news {
                News::Applied(lease) => Some(lease::record(&lease)),
                News::Deleted(_) => None,
                // A list without it: `Synced` comes after the Lease itself, if there is one.
                News::Synced => self.lease.kept().next().cloned(),
                // What is known of it ages by itself: leadership has its own clock.
                News::Away => continue,
            }));
        }
        if let Some(delta) = next(&mut self.nodes, "watch Nodes", cx, outages) {
            return Poll::Ready(delta.told(Kind::Node, |node| Input::Node(parse::node(&node)), |node| Input::NodeGone(node.name.into())));
        }
        if let Some(delta) = next(&mut self.pools, "watch Eips", cx, outages) {
            return Poll::Ready(delta.told(Kind::Pool, |eip| Input::Pool(parse::pool(&eip)), |eip| Input::PoolGone(eip.name.into())));
        }
        if let Some(delta) = next(&mut self.services, "watch Services", cx, outages) {
            return Poll::Ready(delta.told(
                Kind::Service,
                |service| Input::Service(parse::service(&service)),
                |service| Input::ServiceGone(ServiceKey::new(service.namespace, service.name)),
            ));
        }
        if let Some(delta) = next(&mut self.slices, "watch EndpointSlices", cx, outages) {
            let no_more = |slice: &discovery::EndpointSlice| Input::SliceGone(slice.namespace().unwrap_or_default(), slice.name_any());
            return Poll::Ready(delta.told(
                Kind::EndpointSlice,
                |slice| parse::endpoint_slice(&slice).map_or_else(|| no_more(&slice), Input::Slice),
                |slice| Input::SliceGone(slice.namespace, slice.name),
            ));
        }
        if let Some(delta) = next(&mut self.namespaces, "watch Namespaces", cx, outages) {
            return Poll::Ready(delta.told(
                Kind::Namespace,
                |namespace| Input::Namespace(parse::namespace(&namespace)),
                |namespace| Input::NamespaceGone(namespace.name),
            ));
        }
        Poll::Pending
    }

    /// The Eip as last known.
    pub(crate) fn pool(&self, name: &PoolName) -> Option<&DynamicObject> {
        self.pools.get("", name.as_str())
    }

    /// The Service as last known, without what no write looks at: not for [`parse::service`].
    pub(crate) fn kept_service(&self, key: &ServiceKey) -> Option<api::Service> {
        self.services.get(&key.namespace, &key.name)?.unpack()
    }

    /// Takes in an Eip as the API answered a write; what to tell the core of it.
    pub(crate) fn learn_pool(&mut self, eip: DynamicObject) -> Option<Input> {
        let pool = parse::pool(&eip);
        self.pools.learn(eip).then_some(Input::Pool(pool))
    }

    /// Takes in a Service as the API answered a write; what to tell the core of it.
    pub(crate) fn learn_service(&mut self, service: api::Service) -> Option<Input> {
        let parsed = parse::service(&service);
        self.services.learn(service).then_some(Input::Service(parsed))
    }
}

/// What is left of a delta when outages are said.
enum News<K> {
    Applied(K),
    Deleted(Identity),
    Synced,
    Away,
}

impl<K> News<K> {
    fn told(self, kind: Kind, applied: impl FnOnce(K) -> Input, deleted: impl FnOnce(Identity) -> Input) -> Input {
        match self {
            Self::Applied(object) => applied(object),
            Self::Deleted(identity) => deleted(identity),
            Self::Synced => Input::Synced(kind),
            Self::Away => Input::Away(kind),
        }
    }
}

/// The next news of one watch, if any is there; outages are said on the way.
fn next<K, T>(watch: &mut Watch<K, T>, what: &'static str, cx: &mut Context<'_>, outages: &mut Outages) -> Option<News<K>>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    loop {
        let Poll::Ready(delta) = watch.poll_next(cx) else { return None };
        match delta {
            Delta::Restarted => {}
            Delta::Applied(object) => return Some(News::Applied(object)),
            Delta::Deleted(identity) => return Some(News::Deleted(identity)),
            Delta::Synced => return Some(News::Synced),
            Delta::Away { error, .. } => {
                outages.failed(what, error);
                return Some(News::Away);
            }
            Delta::Back { .. } => _ = outages.succeeded(what),
        }
    }
}
