//! An in-memory Kubernetes API: one store, served in process to a `kube::Client` and over HTTP to an unmodified kubectl.
//!
//! ```text
//! server    the public face: in-process service, HTTP, switches, observers, tables
//! serve     one request's way there and back   fault, record
//! dispatch  one request to one answer          request, discovery, openapi, access, status
//! read write delete patch                      the verbs
//! admission schema cel names crd events        what is accepted, and how it is completed
//! engine store watch selector                  the state, its history, who is told
//! table                                        what `kubectl get` prints
//! ```
//!
//! Time comes from a [`Clock`], chance from a seed, and nothing is spawned: the same requests in the same order give the same answers.
//! It is held to a real server's answers, call by call: README.md says how, and lists what differs.
//! What it deliberately does not have: authentication and authorization (RBAC objects are inert), admission webhooks, quotas, protobuf beyond what `kubectl create` and `drain` send, and controllers, except for garbage collection,
//! the end of namespaces and the establishing of CRDs, which happen within the request that causes them. Objects that name an owner
//! which never existed are kept.

mod access;
mod admission;
mod apply;
mod cel;
mod chance;
mod clock;
mod crd;
mod delete;
mod discovery;
mod dispatch;
mod engine;
mod events;
mod fault;
mod http;
mod names;
mod object;
mod openapi;
mod patch;
mod protobuf;
mod read;
mod record;
mod registry;
mod request;
mod schema;
mod selector;
mod serve;
mod server;
mod status;
mod store;
mod subresource;
mod table;
mod watch;
mod write;

pub use clock::{Clock, SystemClock};
pub use fault::{Fault, FaultId, Gone, Latency};
pub use record::{Outcome, RequestRecord, WriteRecord};
pub use server::{ApiServer, ClientName, ClientService, Config, ResponseBody, TableRequest};
