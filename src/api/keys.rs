//! Annotation and label keys, finalizers, condition types and names, each in one place.
//!
//! PorterLB (until 0.4.3) and OpenELB (from 0.4.4) named the same things differently; both spellings are read, PorterLB's first, because
//! that is the one that Bellhop writes: a stale one of the other generation cannot then win over our own. Reasons are the core's
//! (`bellhop_core::status`). The facts are in reference/porterlb-compat.md §2.1.

/// Opts a Service in, with one of [`OPT_IN_VALUES`].
pub const OPT_IN: &str = "lb.kubesphere.io/v1alpha1";
/// Values of [`OPT_IN`] that mean us.
pub const OPT_IN_VALUES: [&str; 2] = ["porter", "openelb"];
/// `spec.loadBalancerClass` of Services that need no annotation.
pub const LOAD_BALANCER_CLASS: &str = "bellhop.dev/layer2";

/// The protocol that a Service asks for: `layer2`, `bgp`, `vip`.
pub const PROTOCOL: [&str; 2] = ["protocol.porter.kubesphere.io/v1alpha1", "protocol.openelb.kubesphere.io/v1alpha1"];
/// The pool that a Service asks for by name; as a label, the pool that it draws from.
pub const POOL: [&str; 2] = ["eip.porter.kubesphere.io/v1alpha2", "eip.openelb.kubesphere.io/v1alpha2"];
/// The address that a Service asks for.
pub const ADDRESS: [&str; 2] = ["eip.porter.kubesphere.io/v1alpha1", "eip.openelb.kubesphere.io/v1alpha1"];
/// On a Service the node that carries its address; on a Node the address (or its subnet) that layer 2 uses.
pub const LAYER2: [&str; 2] = ["layer2.porter.kubesphere.io/v1alpha1", "layer2.openelb.kubesphere.io/v1alpha1"];
/// Lets a Service have one address together with others that give the same key. Ours alone: PorterLB shared unasked.
pub const ALLOW_SHARED_IP: &str = "bellhop.dev/allow-shared-ip";
/// Marks an Eip as the default one, with `true`.
pub const DEFAULT_POOL: [&str; 2] = ["eip.porter.kubesphere.io/is-default-eip", "eip.openelb.kubesphere.io/is-default-eip"];

/// The label that Bellhop writes on a Service: the pool's name.
pub const POOL_LABEL: &str = POOL[0];
/// The annotation that Bellhop writes on a Service: the node's name.
pub const NODE_ANNOTATION: &str = LAYER2[0];

/// PorterLB's and OpenELB's finalizer on Services. Bellhop never puts one on, and takes this off its own Services.
pub const FOREIGN_SERVICE_FINALIZER: &str = "finalizer.lb.kubesphere.io/v1alpha1";
/// The finalizer on an Eip in use. It is PorterLB's own, so that one left by it means the same.
pub const EIP_FINALIZER: &str = "finalizer.ipam.kubesphere.io/v1alpha1";

/// The label of an EndpointSlice with its Service's name (`discovery.k8s.io/v1`).
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// The label that takes a node out of load balancing (Kubernetes' well-known labels).
pub const EXCLUDE_LABEL: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// Condition of a Service: it has its address.
pub const CONDITION_ASSIGNED: &str = "bellhop.dev/AddressAssigned";
/// Condition of a Service: its address is answered for.
pub const CONDITION_ANNOUNCED: &str = "bellhop.dev/Announced";
/// Condition of an Eip: it hands out addresses.
pub const CONDITION_READY: &str = "Ready";

/// The Lease that the leader holds, in Bellhop's own namespace.
pub const LEASE: &str = "bellhop";
/// Bellhop's namespace if nothing else is said.
pub const NAMESPACE: &str = "bellhop-system";
/// Who writes: the field manager, and the component of Events.
pub const MANAGER: &str = "bellhop";
