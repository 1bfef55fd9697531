//! Writes that are under way.
//!
//! Each is a future of its own, polled in the order in which it began. How many run at once is bounded, so that a start-up with thousands of
//! Services does not send thousands of requests. What is written and when again is the core's to say; here it is only done and reported.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bellhop_core::lease::LeaseWrite;
use bellhop_core::name::NodeName;
use bellhop_core::object::{Event, Subject, Write, Written};
use bellhop_core::replica::Replica;
use bellhop_core::time::Instant;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Service;
use kube::Client;
use kube::api::{DynamicObject, ObjectMeta};
use rand_chacha::ChaCha8Rng;

use crate::env::Clock;
use crate::event::Events;
use crate::lease;
use crate::outage::Outages;
use crate::watches::{Input, Watches};
use crate::write::{NotLeased, NotWritten, Writer};

/// Writes at once, beside the Lease's. A quarter of the concurrency at which kube-apiserver's default priority level begins to queue.
const WRITES_MAX: usize = 32;

/// Events at once, beside those: a server that hangs on them holds nothing else up.
const EVENTS_MAX: usize = 4;

/// The writes under way.
pub(crate) struct Jobs {
    writer: Writer,
    clock: Rc<dyn Clock>,
    namespace: String,
    events: Events,
    lease: Option<Job<Finished>>,
    running: BTreeMap<u64, Job<Finished>>,
    telling: BTreeMap<u64, Job<Finished>>,
    serial: u64,
}

type Job<T> = Pin<Box<dyn Future<Output = T>>>;

/// How a write ended.
pub(crate) enum Finished {
    /// The Lease's.
    Lease(Result<Box<Lease>, NotLeased>),
    /// An Eip's.
    Pool(Subject, Result<Box<DynamicObject>, NotWritten>),
    /// A Service's.
    Service(Subject, Result<Box<Service>, NotWritten>),
    /// An Event's.
    Event(Result<(), NotWritten>),
}

impl Jobs {
    /// None under way.
    pub(crate) fn new(client: Client, clock: Rc<dyn Clock>, namespace: String, node: &NodeName, rng: ChaCha8Rng) -> Self {
        let writer = Writer::new(client, clock.clone());
        let events = Events::new(node.to_string(), rng);
        Self { writer, clock, namespace, events, lease: None, running: BTreeMap::new(), telling: BTreeMap::new(), serial: 0 }
    }

    /// Whether another write may begin.
    pub(crate) fn have_room(&self) -> bool {
        self.running.len() < WRITES_MAX
    }

    /// Whether another Event may be told.
    pub(crate) fn have_room_for_event(&self) -> bool {
        self.telling.len() < EVENTS_MAX
    }

    /// Until when anything but the Lease may be written, also by what is under way.
    pub(crate) fn set_fence(&self, until: Option<Instant>) {
        self.writer.set_fence(until);
    }

    /// Begins to write the Lease. The core hands out one at a time.
    pub(crate) fn start_lease(&mut self, write: &LeaseWrite) {
        let object = lease::object(write, &self.namespace, self.clock.wall());
        let writer = self.writer.clone();
        self.lease = Some(Box::pin(async move { Finished::Lease(writer.lease(object).await.map(Box::new)) }));
    }

    /// Begins a write.
    pub(crate) fn start(&mut self, write: Write, watches: &Watches) {
        let writer = self.writer.clone();
        let job: Job<Finished> = match write {
            Write::PoolStatus { pool, version, status } => {
                let object = watches.pool(&pool).cloned();
                Box::pin(
                    async move { Finished::Pool(Subject::Pool(pool), writer.pool_status(object, version, status).await.map(Box::new)) },
                )
            }
            Write::PoolFinalizer { pool, version, present } => {
                let object = watches.pool(&pool).cloned();
                Box::pin(
                    async move { Finished::Pool(Subject::Pool(pool), writer.pool_finalizer(object, version, present).await.map(Box::new)) },
                )
            }
            Write::Service { service, version, status, remove_foreign_finalizer } => {
                let object = watches.kept_service(&service);
                Box::pin(async move {
                    let result = writer.service(object, version, status, remove_foreign_finalizer).await;
                    Finished::Service(Subject::Service(service), result.map(Box::new))
                })
            }
        };
        self.serial += 1;
        self.running.insert(self.serial, job);
    }

    /// Begins to tell an Event; of an object that is gone nothing is told.
    pub(crate) fn start_event(&mut self, event: Event, watches: &Watches) {
        let Some(meta) = metadata(&event.subject, watches) else { return };
        let write = self.events.write(event, &meta, self.clock.wall());
        let writer = self.writer.clone();
        self.serial += 1;
        self.telling.insert(self.serial, Box::pin(async move { Finished::Event(writer.event(write).await) }));
    }

    /// The next write that has ended: the Lease's first, then the one that began first, Events last.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Finished> {
        if let Some(job) = &mut self.lease
            && let Poll::Ready(finished) = job.as_mut().poll(cx)
        {
            self.lease = None;
            return Poll::Ready(finished);
        }
        first_ended(&mut self.running, cx).or_else(|| first_ended(&mut self.telling, cx)).map_or(Poll::Pending, Poll::Ready)
    }
}

/// Takes out the first job that has ended.
fn first_ended(jobs: &mut BTreeMap<u64, Job<Finished>>, cx: &mut Context<'_>) -> Option<Finished> {
    let (serial, finished) = jobs.iter_mut().find_map(|(serial, job)| match job.as_mut().poll(cx) {
        Poll::Ready(finished) => Some((*serial, finished)),
        Poll::Pending => None,
    })?;
    jobs.remove(&serial);
    Some(finished)
}

impl Finished {
    /// Takes in what the API answered: what the core is to be told of it before [`Finished::tell`].
    pub(crate) fn learn(&mut self, watches: &mut Watches, outages: &mut Outages) -> Option<Input> {
        match self {
            Self::Lease(result) => {
                say("write the Lease", result.as_ref().err().map(|refused| &refused.why), outages);
                None
            }
            Self::Pool(_, result) => {
                say("write an Eip", result.as_ref().err(), outages);
                watches.learn_pool(*result.as_ref().ok()?.clone())
            }
            Self::Service(_, result) => {
                say("write a Service", result.as_ref().err(), outages);
                watches.learn_service(*result.as_ref().ok()?.clone())
            }
            Self::Event(result) => {
                // A courtesy that fails once is no news; one that is not permitted is.
                match result {
                    Err(NotWritten { error, refused: false, .. }) => tracing::debug!(error, "an Event could not be written"),
                    _ => say("write an Event", result.as_ref().err(), outages),
                }
                None
            }
        }
    }

    /// Tells the core how it ended.
    pub(crate) fn tell(self, now: Instant, replica: &mut Replica) {
        match self {
            Self::Lease(result) => {
                let standing = result.as_ref().err().and_then(|refused| refused.standing.as_deref()).map(lease::record);
                replica.handle_lease_written(now, result.map(|lease| lease::record(&lease)).map_err(|refused| refused.why.written));
                if standing.is_some() {
                    replica.handle_lease(now, standing);
                }
            }
            Self::Pool(subject, result) => written(now, replica, &subject, result.as_ref().err()),
            Self::Service(subject, result) => written(now, replica, &subject, result.as_ref().err()),
            Self::Event(_) => {}
        }
    }
}

fn written(now: Instant, replica: &mut Replica, subject: &Subject, error: Option<&NotWritten>) {
    if let Some(refused) = error.filter(|error| error.refused) {
        replica.handle_refused(now, subject, refused.error.clone());
    }
    replica.handle_written(now, subject, error.map_or(Written::Done, |error| error.written));
}

/// A conflict is no outage: somebody else was faster, which is what versions are for.
fn say(what: &'static str, error: Option<&NotWritten>, outages: &mut Outages) {
    match error {
        Some(error) if error.written == Written::Failed => _ = outages.failed(what, error.error.clone()),
        _ => _ = outages.succeeded(what),
    }
}

fn metadata(subject: &Subject, watches: &Watches) -> Option<ObjectMeta> {
    match subject {
        Subject::Pool(name) => watches.pool(name).map(|eip| eip.metadata.clone()),
        Subject::Service(key) => watches.kept_service(key).map(|service| service.metadata),
    }
}
