//! What the readiness probes of one node's pods find: success, unless a fault says otherwise.
//!
//! The kubelet asks; which pods are at fault is told by whoever does the fault. A failure counts at once: period and threshold of a probe
//! are part of how long the fault lasts.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use bellhop::env::LocalFuture;
use bellhop_models::PodToRun;
use tokio::sync::Notify;

/// The probes of one node. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Probes(Rc<State>);

#[derive(Default)]
struct State {
    /// Deployments whose pods fail here.
    failing: RefCell<BTreeSet<String>>,
    /// Something changed that the kubelet has not been told yet.
    news: Cell<bool>,
    changed: Notify,
}

impl Probes {
    /// From now on the pods of these Deployments fail, and no others.
    pub(crate) fn set_failing(&self, deployments: BTreeSet<String>) {
        if self.0.failing.replace(deployments.clone()) != deployments {
            self.0.news.set(true);
            self.0.changed.notify_waiters();
        }
    }

    /// Whether a pod's probe succeeds.
    pub(crate) fn succeed(&self, pod: &PodToRun) -> bool {
        !self.0.failing.borrow().iter().any(|deployment| pod.is_of(deployment))
    }

    /// Ends when some pod may fare differently.
    pub(crate) fn changed(&self) -> LocalFuture<'_> {
        Box::pin(async {
            let changed = self.0.changed.notified();
            if !self.0.news.take() {
                changed.await;
                self.0.news.set(false);
            }
        })
    }
}
