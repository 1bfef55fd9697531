//! What the core is told of Kubernetes, and what it wants written there: plain values.
//!
//! `bellhop-api` makes the inputs out of API objects and never fails to: what did not parse is part of the value. This module
//! decides nothing. [`crate::replica::Replica`] takes these values in and hands [`Write`]s out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::by_family::ByFamily;
use crate::interface::{InterfaceSelector, InvalidSelector};
use crate::name::{NodeName, PoolName, ServiceKey};
use crate::pool::{AddressPool, InvalidPool};
use crate::sharers::Sharers;

/// A `metadata.resourceVersion`. Kubernetes promises since 1.35 that those of one resource compare as numbers; what is no number is not compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version(pub String);

impl Version {
    /// Whether this is certainly an older state than `other`: the answer to a write may overtake the watch.
    pub fn is_older_than(&self, other: &Self) -> bool {
        match (self.0.parse::<u64>(), other.0.parse::<u64>()) {
            (Ok(ours), Ok(theirs)) => ours < theirs,
            _ => false,
        }
    }
}

/// The kinds that are listed and watched. Nothing is decided before each has been listed once; Namespaces may also have been refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `Eip` objects.
    Pool,
    /// Services.
    Service,
    /// EndpointSlices.
    EndpointSlice,
    /// Nodes.
    Node,
    /// Namespaces. Wanted for `spec.namespaceSelector` of a pool only: without them everything else is decided all the same.
    Namespace,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Pool, Self::Service, Self::EndpointSlice, Self::Node, Self::Namespace];
}

/// When an object was made: seconds since 1970 (`metadata.creationTimestamp`). The older is served first.
pub type Created = i64;

/// Which protocol announces an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// ARP and NDP: ours.
    Layer2,
    /// Anything else, as written (`bgp`, `vip`, a typing error).
    Other(String),
}

/// One `Eip` object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: PoolName,
    /// `metadata.uid`: a deleted and re-created pool has another.
    pub uid: String,
    /// The state that this was read from.
    pub version: Version,
    /// When it was made: of two that overlap, the younger is conflicting.
    pub created: Created,
    /// Whether `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// Whether it carries our finalizer.
    pub has_finalizer: bool,
    /// `spec.address`.
    pub addresses: Result<AddressPool, InvalidPool>,
    /// `spec.protocol`; absent is [`Protocol::Layer2`] only where the API says so (it defaulted to `bgp` in PorterLB).
    pub protocol: Protocol,
    /// `spec.interface`, if given.
    pub interface: Option<Result<InterfaceSelector, InvalidSelector>>,
    /// `spec.disable`: hand out nothing more.
    pub disabled: bool,
    /// The annotation `is-default-eip`.
    pub is_default: bool,
    /// `spec.priority`: the lower is asked first.
    pub priority: i64,
    /// `spec.namespaces` and `spec.namespaceSelector`: who may draw from it without naming it. `None`: everybody.
    pub binding: Option<Binding>,
    /// The status as it is now.
    pub status: PoolStatus,
}

/// The namespaces that a pool is for: those of these names, and those with all of these labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Binding {
    /// `spec.namespaces`.
    pub namespaces: BTreeSet<String>,
    /// `spec.namespaceSelector`; empty selects none.
    pub selector: BTreeMap<String, String>,
}

/// One Namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// `Eip.status`, as read and as wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolStatus {
    /// `used`: the allocation record. Several Services where they share an address.
    pub used: BTreeMap<IpAddr, Sharers>,
    /// `firstIP`.
    pub first: Option<IpAddr>,
    /// `lastIP`.
    pub last: Option<IpAddr>,
    /// `poolSize`, saturating.
    pub size: u64,
    /// `usage`: addresses in use.
    pub usage: u64,
    /// `occupied`: none is free.
    pub occupied: bool,
    /// `ready`.
    pub ready: bool,
    /// `v4`.
    pub v4: bool,
    /// The condition `Ready`, with why.
    pub condition: Option<Condition>,
}

/// A condition of an object, without its times: those are the writer's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// `True` or `False`.
    pub status: bool,
    /// One CamelCase word, from [`crate::status::reason`].
    pub reason: String,
    /// For a person: what is so, and what to do about it.
    pub message: String,
}

/// `spec.externalTrafficPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrafficPolicy {
    /// Any node takes the traffic and hands it on.
    #[default]
    Cluster,
    /// Only a node with an endpoint takes it.
    Local,
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// One Service, whoever it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its key.
    pub key: ServiceKey,
    /// The state that this was read from.
    pub version: Version,
    /// When it was made: the older is served first.
    pub created: Created,
    /// What it asks of us; `None` if it is not ours (other class, no annotation, not a LoadBalancer) or is being deleted.
    pub request: Option<Request>,
    /// What stands on it now.
    pub status: ServiceStatus,
    /// Whether a finalizer of PorterLB or OpenELB is on it, which is taken off a Service of ours.
    pub has_foreign_finalizer: bool,
}

/// What a Service asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `spec.loadBalancerIP`, else the address annotation: at most one of each family.
    pub addresses: ByFamily<IpAddr>,
    /// What is wrong with what was written there instead.
    pub invalid_address: Option<String>,
    /// The pool annotation, in the order written.
    pub pools: Vec<PoolName>,
    /// The protocol annotation.
    pub protocol: Option<Protocol>,
    /// `spec.externalTrafficPolicy`.
    pub policy: TrafficPolicy,
    /// `spec.ipFamilies`, in order: one address of each. Empty means one of any.
    pub families: Vec<Family>,
    /// `spec.ipFamilyPolicy` is RequireDualStack: all families or nothing.
    pub all_families: bool,
    /// The annotation `bellhop.dev/allow-shared-ip`.
    pub sharing_key: Option<String>,
    /// `spec.ports`: protocol and port, in order and none twice.
    pub ports: Vec<(String, i32)>,
    /// `spec.selector`, in order of keys.
    pub selector: Vec<(String, String)>,
}

/// What Bellhop keeps on a Service, as read and as wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceStatus {
    /// `status.loadBalancer.ingress[].ip`.
    pub ingress: Vec<IpAddr>,
    /// The annotation with the chosen node.
    pub node: Option<NodeName>,
    /// The label with the pool's name. Absent too where the name does not fit a label value.
    pub pool: Option<PoolName>,
    /// The condition `bellhop.dev/AddressAssigned`.
    pub assigned: Option<Condition>,
    /// The condition `bellhop.dev/Announced`.
    pub announced: Option<Condition>,
}

/// One EndpointSlice of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    /// The slice's own name, within the Service's namespace.
    pub name: Arc<str>,
    /// The Service that it belongs to (label `kubernetes.io/service-name`).
    pub service: ServiceKey,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The node that it runs on; hand-made endpoints have none.
    pub node: Option<NodeName>,
    /// Takes new connections.
    pub ready: bool,
    /// Would answer, even while it ends.
    pub serving: bool,
    /// Is ending.
    pub terminating: bool,
}

/// One Node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// Condition Ready is True, and NetworkUnavailable is not True.
    pub ready: bool,
    /// Whether `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// Labelled `node.kubernetes.io/exclude-from-external-load-balancers`.
    pub excluded: bool,
    /// Internal addresses, then external ones, in the object's order.
    pub addresses: Vec<IpAddr>,
    /// The annotation `layer2.porter.kubesphere.io/v1alpha1` (or openelb's), if it is an address: which of its addresses to ask for
    /// and, on Bellhop's own node, which NIC to use.
    pub layer2_address: Option<IpAddr>,
}

/// A change to the API that the leader wants. Writes for one object never overlap: the next comes after
/// [`crate::replica::Replica::handle_written`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Replace an Eip's status, if it still has this version.
    PoolStatus {
        /// The pool.
        pool: PoolName,
        /// The version that the decision stands on.
        version: Version,
        /// The whole status.
        status: PoolStatus,
    },
    /// Put our finalizer on an Eip, or take it off, if it still has this version.
    PoolFinalizer {
        /// The pool.
        pool: PoolName,
        /// The version that the decision stands on.
        version: Version,
        /// Whether it should be there.
        present: bool,
    },
    /// Bring a Service to this state: ingress and conditions (status subresource), then node annotation, pool label and foreign finalizers (metadata).
    /// Parts that are so already are not written. If it still has this version.
    Service {
        /// The Service.
        service: ServiceKey,
        /// The version that the decision stands on.
        version: Version,
        /// What should stand on it.
        status: ServiceStatus,
        /// Take PorterLB's and OpenELB's finalizer off.
        remove_foreign_finalizer: bool,
    },
}

impl Write {
    /// The version that the decision stands on.
    pub fn version(&self) -> &Version {
        let (Self::PoolStatus { version, .. } | Self::PoolFinalizer { version, .. } | Self::Service { version, .. }) = self;
        version
    }

    /// Whether it asks for the same as another one, whatever version each stands on.
    pub fn asks_the_same(&self, other: &Self) -> bool {
        let mut other = other.clone();
        let (Self::PoolStatus { version, .. } | Self::PoolFinalizer { version, .. } | Self::Service { version, .. }) = &mut other;
        *version = self.version().clone();
        *self == other
    }
}

/// Which object a write is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// An Eip.
    Pool(PoolName),
    /// A Service.
    Service(ServiceKey),
}

/// A Kubernetes Event to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What it is about.
    pub subject: Subject,
    /// `Warning` instead of `Normal`.
    pub warning: bool,
    /// One CamelCase word, from [`crate::status::event`].
    pub reason: &'static str,
    /// For a person.
    pub message: String,
}

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The API took it. The object that it answered with is handed in as well, before this.
    Done,
    /// Somebody else wrote in between (409), or the object is gone (404): the watch brings the new state.
    Conflict,
    /// The API refused or did not answer: try again later.
    Failed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers_and_otherwise_not_at_all() {
        assert!(Version("9".into()).is_older_than(&Version("10".into())));
        assert!(!Version("10".into()).is_older_than(&Version("10".into())));
        assert!(!Version("a".into()).is_older_than(&Version("b".into())));
    }
}
