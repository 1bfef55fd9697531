//! Deployments, ReplicaSets and DaemonSets: from what a user wants to pods.
//!
//! [`deployments`] and [`daemonsets`] do the reading and writing; [`rollout`], [`replicas`] and [`daemons`] decide and are pure.
//! Nothing here knows a node's state beyond the object, or runs anything: that is the scheduler's and the kubelet's.

mod daemons;
pub(crate) mod daemonsets;
mod deployment_status;
pub(crate) mod deployments;
mod new_pod;
pub(crate) mod replicas;
pub(crate) mod rollout;
