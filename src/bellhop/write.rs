//! One write to the API: a request, its time limit and what its end means.
//!
//! Which writes there are and when one is tried again is the core's to say. A precondition (`resourceVersion`) stands on every write of a state, so
//! that of two who write one finds a conflict. What the API answers is handed on: it may be ahead of the watch.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use bellhop_api::render;
use bellhop_core::object::{PoolStatus, ServiceStatus, Version, Written};
use bellhop_core::time::Instant;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Service};
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::Value;

use crate::env::Clock;
use crate::event::EventWrite;
use crate::watch::causes;

/// A write that takes longer has failed. The API server itself gives a request up after 60 s; a leader cannot wait so long.
const WRITE_LIMIT: Duration = Duration::from_secs(10);

/// A Lease write must leave room for another before the renew deadline (3 s).
const LEASE_WRITE_LIMIT: Duration = Duration::from_secs(1);

/// Why a write did not happen.
#[derive(Debug)]
pub(crate) struct NotWritten {
    /// For the core.
    pub(crate) written: Written,
    /// For the log.
    pub(crate) error: String,
    /// The API will not take it however often it is asked: it is not permitted, or not valid.
    pub(crate) refused: bool,
}

impl NotWritten {
    /// The object that the decision stands on is no longer the one that is known.
    pub(crate) fn outdated() -> Self {
        Self { written: Written::Conflict, error: "the object changed in between".to_owned(), refused: false }
    }
}

/// Why the Lease was not written.
#[derive(Debug)]
pub(crate) struct NotLeased {
    /// As for any write.
    pub(crate) why: NotWritten,
    /// What stands there instead, if it was read after a conflict.
    pub(crate) standing: Option<Box<Lease>>,
}

impl From<kube::Error> for NotWritten {
    fn from(error: kube::Error) -> Self {
        // 409: somebody else wrote, or it is there already. 404: it is gone. The watch brings the new state of both.
        let conflict = matches!(&error, kube::Error::Api(status) if status.code == 409 || (status.code == 404 && status.details.is_some()));
        let refused = matches!(&error, kube::Error::Api(status) if [403, 413, 422].contains(&status.code));
        Self { written: if conflict { Written::Conflict } else { Written::Failed }, error: causes(&error), refused }
    }
}

/// The writes, over one client.
#[derive(Clone)]
pub(crate) struct Writer {
    client: Client,
    clock: Rc<dyn Clock>,
    /// Until when this replica may write. A process that stood still finds its writes where it left them, and perhaps another leader.
    fence: Rc<Cell<Option<Instant>>>,
}

impl Writer {
    pub(crate) fn new(client: Client, clock: Rc<dyn Clock>) -> Self {
        Self { client, clock, fence: Rc::default() }
    }

    /// It may write until then, but for the Lease; `None`: not at all. Holds for writes under way too: what they have not sent yet they do not send.
    pub(crate) fn set_fence(&self, until: Option<Instant>) {
        self.fence.set(until);
    }

    /// PUTs an Eip's status, if `object` still has `version`.
    pub(crate) async fn pool_status(
        self,
        object: Option<DynamicObject>,
        version: Version,
        status: PoolStatus,
    ) -> Result<DynamicObject, NotWritten> {
        let object =
            object.filter(|object| is_version(object.metadata.resource_version.as_deref(), &version)).ok_or_else(NotWritten::outdated)?;
        let object = render::pool_status(&object, &status, self.clock.wall());
        let name = object.metadata.name.clone().unwrap_or_default();
        let api = self.eips();
        self.written(api.replace_status(&name, &PostParams::default(), &object)).await
    }

    /// Puts our finalizer on an Eip or takes it off, if `object` still has `version`.
    pub(crate) async fn pool_finalizer(
        self,
        object: Option<DynamicObject>,
        version: Version,
        present: bool,
    ) -> Result<DynamicObject, NotWritten> {
        let object =
            object.filter(|object| is_version(object.metadata.resource_version.as_deref(), &version)).ok_or_else(NotWritten::outdated)?;
        let patch = render::pool_finalizer_patch(&object, present);
        let name = object.metadata.name.clone().unwrap_or_default();
        let api = self.eips();
        self.written(api.patch(&name, &PatchParams::default(), &Patch::Merge(patch))).await
    }

    /// Brings a Service to this state, if `object` still has `version`: status first, then metadata.
    pub(crate) async fn service(
        self,
        object: Option<Service>,
        version: Version,
        status: ServiceStatus,
        remove_foreign_finalizer: bool,
    ) -> Result<Service, NotWritten> {
        let mut object =
            object.filter(|object| is_version(object.metadata.resource_version.as_deref(), &version)).ok_or_else(NotWritten::outdated)?;
        let namespace = object.metadata.namespace.clone().unwrap_or_default();
        let name = object.metadata.name.clone().unwrap_or_default();
        let api: Api<Service> = Api::namespaced(self.client.clone(), &namespace);
        if let Some(patch) = render::service_status_patch(&object, &status, self.clock.wall()) {
            object = self.written(api.patch_status(&name, &PatchParams::default(), &Patch::Merge(patch))).await?;
        }
        if let Some(patch) = render::service_metadata_patch(&object, &status, remove_foreign_finalizer) {
            object = self.written(api.patch(&name, &PatchParams::default(), &Patch::Merge(patch))).await?;
        }
        Ok(object)
    }

    /// PUTs the Lease, or creates it. After a conflict it reads what stands there, as client-go does: a write whose answer was lost is in conflict with
    /// itself until its version is known, and the watch may be the next thing that fails.
    pub(crate) async fn lease(self, lease: Lease) -> Result<Lease, NotLeased> {
        let namespace = lease.metadata.namespace.clone().unwrap_or_default();
        let name = lease.metadata.name.clone().unwrap_or_default();
        let api: Api<Lease> = Api::namespaced(self.client.clone(), &namespace);
        let why = match self.put_lease(&api, &name, &lease).await {
            Ok(lease) => return Ok(lease),
            Err(why) => why,
        };
        let standing = match why.written {
            Written::Conflict => self.limited(LEASE_WRITE_LIMIT, api.get(&name)).await.ok().map(Box::new),
            _ => None,
        };
        Err(NotLeased { why, standing })
    }

    async fn put_lease(&self, api: &Api<Lease>, name: &str, lease: &Lease) -> Result<Lease, NotWritten> {
        let parameters = PostParams::default();
        if lease.metadata.resource_version.is_some() {
            return self.limited(LEASE_WRITE_LIMIT, api.replace(name, &parameters, lease)).await;
        }
        let created = self.limited(LEASE_WRITE_LIMIT, api.create(&parameters, lease)).await;
        // Not found is the namespace here: nobody wrote in between, and somebody has to make it.
        created.map_err(|refused| match refused.written {
            Written::Conflict if refused.error.contains("not found") => NotWritten { written: Written::Failed, ..refused },
            _ => refused,
        })
    }

    /// Writes an Event. Once.
    pub(crate) async fn event(self, write: EventWrite) -> Result<(), NotWritten> {
        match write {
            EventWrite::Create(event) => {
                let api: Api<Event> = Api::namespaced(self.client.clone(), event.metadata.namespace.as_deref().unwrap_or_default());
                self.written(api.create(&PostParams::default(), &event)).await.map(drop)
            }
            EventWrite::Count { namespace, name, patch } => self.count_event(&namespace, &name, patch).await,
        }
    }

    async fn count_event(&self, namespace: &str, name: &str, patch: Value) -> Result<(), NotWritten> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        self.written(api.patch(name, &PatchParams::default(), &Patch::Merge(patch))).await.map(drop)
    }

    fn eips(&self) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &bellhop_api::eip_resource())
    }

    /// Any request but one for the Lease.
    async fn written<T>(&self, request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, NotWritten> {
        if self.fence.get().is_none_or(|until| self.clock.now() >= until) {
            return Err(NotWritten { written: Written::Conflict, error: "leadership ended before it was sent".to_owned(), refused: false });
        }
        self.limited(WRITE_LIMIT, request).await
    }

    async fn limited<T>(&self, limit: Duration, request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, NotWritten> {
        let deadline = self.clock.now() + limit;
        tokio::select! {
            biased;
            result = request => result.map_err(NotWritten::from),
            () = self.clock.sleep_until(deadline) => {
                let error = format!("no answer within {} s", limit.as_secs());
                Err(NotWritten { written: Written::Failed, error, refused: false })
            }
        }
    }
}

fn is_version(present: Option<&str>, version: &Version) -> bool {
    present.unwrap_or_default() == version.0
}
