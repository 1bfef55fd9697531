//! Command lines of the tutorial, as values.
//!
//! A timeline's `run:` holds what an operator types. It is parsed when the file is loaded, so that a typing error is found with its line;
//! real worlds still run its words, the simulator interprets the value. What is not understood here is refused, never guessed.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use bellhop_core::object::Family;
use serde_json::Value;

mod kubectl;
mod parse;
mod words;

pub(crate) use parse::checked_url;
pub use parse::parse;

/// A command line that is understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// As it was typed.
    pub text: String,
    /// Its words, quotes taken off. Real worlds execute these, without a shell, in [`crate::Scenario::folder`].
    pub argv: Vec<String>,
    /// What it means.
    pub what: CommandLine,
}

/// The programs that a scenario's people use.
#[derive(Clone, Debug, PartialEq)]
pub enum CommandLine {
    /// `kubectl …`
    Kubectl(Kubectl),
    /// `ping -c N [-i S] [-W S] ADDRESS`
    Ping {
        /// `-c`: how many.
        count: u64,
        /// `-i`: from one to the next; one second unless said.
        interval: Duration,
        /// The address.
        to: IpAddr,
    },
    /// `ip neigh`, all entries or those of one address (`ip neigh show ADDRESS`).
    IpNeigh {
        /// Only entries of this family.
        family: Option<Family>,
        /// Only this address.
        to: Option<IpAddr>,
    },
    /// `curl [-s] [-m N] URL`
    Curl {
        /// `-m`: seconds that the whole may take; `None`: no limit.
        limit: Option<Duration>,
        /// The URL, or the bare address of the tutorial's `curl 192.168.0.91`.
        url: String,
    },
}

/// `kubectl`, as far as scenarios use it.
#[derive(Clone, Debug, PartialEq)]
pub enum Kubectl {
    /// `kubectl apply -f FILE`
    Apply {
        /// Relative to the scenario's folder: see [`crate::Scenario::file`].
        file: PathBuf,
    },
    /// `kubectl get RESOURCE [NAME] [-o wide] [-n NAMESPACE] [-A]`
    Get {
        /// As typed: `svc`, `nodes`, `po`, `eip`.
        resource: String,
        /// One object, or all of them.
        name: Option<String>,
        /// `-o wide`
        wide: bool,
        /// `-n`, or every namespace with `-A`.
        scope: Scope,
    },
    /// `kubectl annotate RESOURCE NAME KEY=VALUE… KEY-… [--overwrite]`
    Annotate {
        /// What to change.
        object: ObjectRef,
        /// Keys with new values; `None` removes the key.
        set: Vec<(String, Option<String>)>,
        /// Without it kubectl refuses to change a key that has another value.
        overwrite: bool,
    },
    /// `kubectl label RESOURCE NAME KEY=VALUE… KEY-… [--overwrite]`
    Label {
        /// What to change.
        object: ObjectRef,
        /// Keys with new values; `None` removes the key.
        set: Vec<(String, Option<String>)>,
        /// Without it kubectl refuses to change a key that has another value.
        overwrite: bool,
    },
    /// `kubectl delete RESOURCE NAME [--wait=false]`
    Delete {
        /// What to delete.
        object: ObjectRef,
        /// Whether it waits until the object is gone, finalizers and all.
        wait: bool,
    },
    /// `kubectl delete RESOURCE -l KEY=VALUE,…`
    DeleteSelected {
        /// As typed.
        resource: String,
        /// `-l`
        selector: String,
        /// `-n`; `None`: `default`, or not namespaced.
        namespace: Option<String>,
    },
    /// `kubectl delete -f FILE`
    DeleteFile {
        /// Relative to the scenario's folder.
        file: PathBuf,
    },
    /// `kubectl scale RESOURCE NAME --replicas=N`
    Scale {
        /// What to scale.
        object: ObjectRef,
        /// To how many.
        replicas: u32,
    },
    /// `kubectl rollout restart RESOURCE NAME`
    RolloutRestart {
        /// A Deployment or DaemonSet.
        object: ObjectRef,
    },
    /// `kubectl patch RESOURCE NAME [--type=merge|strategic|json] [--subresource=status] -p PATCH`
    Patch {
        /// What to change.
        object: ObjectRef,
        /// How the patch is meant.
        patch_type: PatchType,
        /// The patch.
        patch: Value,
        /// It is for the status subresource.
        status: bool,
    },
    /// `kubectl set image RESOURCE/NAME CONTAINER=IMAGE…`
    SetImage {
        /// A Deployment or DaemonSet.
        object: ObjectRef,
        /// Containers and their new images.
        images: Vec<(String, String)>,
    },
    /// `kubectl drain NODE [--ignore-daemonsets] [--delete-emptydir-data] [--force]`
    Drain {
        /// The node.
        node: String,
        /// Without it a node with pods of a DaemonSet is not drained.
        ignore_daemonsets: bool,
        /// Without it a pod with an emptyDir volume is not evicted.
        delete_emptydir_data: bool,
        /// Without it a pod that no controller manages is not evicted.
        force: bool,
    },
    /// `kubectl cordon NODE`
    Cordon {
        /// The node.
        node: String,
    },
    /// `kubectl uncordon NODE`
    Uncordon {
        /// The node.
        node: String,
    },
}

/// One object, as kubectl's arguments name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRef {
    /// As typed: `svc`, `nodes`, `deployment`.
    pub resource: String,
    /// Its name.
    pub name: String,
    /// `-n`; `None`: `default`, or not namespaced.
    pub namespace: Option<String>,
}

/// Which namespaces a `kubectl get` looks into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// `-n NAMESPACE`; `None`: `default`, or not namespaced.
    Namespace(Option<String>),
    /// `-A`
    All,
}

/// `kubectl patch --type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    /// kubectl's default.
    Strategic,
    /// RFC 7386.
    Merge,
    /// RFC 6902.
    Json,
}
