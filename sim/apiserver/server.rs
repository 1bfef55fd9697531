//! The public face: make a server, give clients to it, switch it off and on, watch what is written, print tables.
//!
//! [`ApiServer`] is a handle; clones share one state. The lock is held for one request and never across an await.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use jiff::Timestamp;

use crate::clock::{Clock, SystemClock};
use crate::engine::Engine;
use crate::fault::{Fault, FaultId};
use crate::record::{RequestRecord, WriteRecord};
use crate::request::{Request, ResourcePath};
use crate::serve::{Connection, serve};
use crate::{read, table};

/// How a server is made.
#[derive(Clone)]
pub struct Config {
    /// Feeds uids, generated names and node ports.
    pub seed: u64,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// How many changes are remembered; a watch from an older version gets 410.
    pub history: usize,
    /// The IPv4 service network: first address and prefix length.
    pub service_cidr_v4: (Ipv4Addr, u8),
    /// The IPv6 service network; `None` is a single-stack cluster.
    pub service_cidr_v6: Option<(Ipv6Addr, u8)>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 0,
            clock: Arc::new(SystemClock),
            // A few minutes of a busy cluster, like etcd's five-minute compaction.
            history: 10_000,
            // kubeadm's default service subnet.
            service_cidr_v4: (Ipv4Addr::new(10, 96, 0, 0), 12),
            service_cidr_v6: None,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("seed", &self.seed).field("history", &self.history).finish_non_exhaustive()
    }
}

/// Names a client: the handle for faults, and the author in [`WriteRecord`]s.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientName(Arc<str>);

impl ClientName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for ClientName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The in-memory API server.
#[derive(Clone)]
pub struct ApiServer {
    engine: Arc<Mutex<Engine>>,
    clock: Arc<dyn Clock>,
}

impl ApiServer {
    /// A cluster with the namespaces and the `kubernetes` Service that every cluster has.
    pub fn new(config: &Config) -> Self {
        let mut engine = Engine::new(config, config.clock.now());
        crate::write::bootstrap(&mut engine);
        Self { engine: Arc::new(Mutex::new(engine)), clock: Arc::clone(&config.clock) }
    }

    /// A service for `kube::Client::new(service, "default")`.
    pub fn client_service(&self, client: ClientName) -> ClientService {
        ClientService { server: self.clone(), client, connection: Connection::default() }
    }

    /// Cuts a client off, or lets it back; `None` is all of them at once. Requests then fail like refused connections, and open
    /// watches end with an error. A fault of its own: [`ApiServer::set_fault`] and this know nothing of each other.
    pub fn set_reachable(&self, client: Option<&ClientName>, reachable: bool) {
        if reachable {
            self.clear_fault(client, FaultId::OUTAGE);
        } else {
            self.set_fault(client, FaultId::OUTAGE, Fault { down: true, ..Fault::default() });
        }
    }

    /// Lets a fault begin, for a client or for everybody (`None`); in place of the one of that id, if it stands already. Faults of different
    /// ids overlap as [`Fault::and`] says.
    pub fn set_fault(&self, client: Option<&ClientName>, id: FaultId, fault: Fault) {
        self.lock().set_fault(client, id, fault);
    }

    /// Ends a fault; one that does not stand is fine. What hung in a silent one breaks.
    pub fn clear_fault(&self, client: Option<&ClientName>, id: FaultId) {
        self.lock().clear_fault(client, id);
    }

    /// Lets a client of today die at its `write`-th write from now on that takes effect (1 is the next): it hears neither that answer nor any
    /// other, and `then` is called, from inside the transaction, so that whoever runs it can end it. A client made later is another.
    pub fn die_at_write(&self, client: &ClientName, write: u32, then: impl FnOnce() + Send + 'static) {
        self.lock().doom(client.clone(), write, Box::new(then));
    }

    /// Takes [`ApiServer::die_at_write`] back, if it has not struck yet.
    pub fn spare(&self, client: &ClientName) {
        self.lock().spare(client);
    }

    /// Calls `observer` for every write, in order, while the write is in hand: it must not call back into the server.
    pub fn observe(&self, observer: impl FnMut(&WriteRecord) + Send + 'static) {
        self.lock().observe(Box::new(observer));
    }

    /// Calls `observer` for every request, in order, also for those that are refused, change nothing or are never answered; while the
    /// request is in hand: it must not call back into the server.
    pub fn observe_requests(&self, observer: impl FnMut(&RequestRecord) + Send + 'static) {
        self.lock().observe_requests(Box::new(observer));
    }

    /// How many writes took effect since the start.
    pub fn writes(&self) -> u64 {
        self.lock().writes()
    }

    /// The revision of the last write.
    pub fn revision(&self) -> u64 {
        self.lock().store.revision()
    }

    /// Forgets the history up to now, as etcd's compaction does: watches from older versions get 410.
    pub fn compact(&self) {
        self.lock().store.compact();
    }

    /// What `kubectl get` prints for a collection or an object; the sentence kubectl prints on stderr when there is nothing or it is refused.
    pub fn table(&self, wanted: &TableRequest) -> Result<String, String> {
        let mut engine = self.lock();
        let find = |name: &str| {
            engine
                .kinds()
                .find(|kind| kind.plural == name || kind.singular == name || kind.short_names.iter().any(|short| short == name))
                .cloned()
        };
        let Some(kind) = find(&wanted.resource) else {
            return Err(format!("error: the server doesn't have a resource type \"{}\"", wanted.resource));
        };
        let namespace = if kind.namespaced { wanted.namespace.clone().unwrap_or_default() } else { String::new() };
        let path = ResourcePath {
            group: kind.group.clone(),
            version: kind.version.clone(),
            namespace,
            plural: kind.plural.clone(),
            name: wanted.name.clone().unwrap_or_default(),
            subresource: String::new(),
            watching: false,
        };
        let said = |error: crate::status::ApiError| format!("Error from server ({}): {}", error.reason, error.message);
        crate::events::expire(&mut engine);
        let objects = if path.name.is_empty() {
            let query = format!("labelSelector={}", escaped(wanted.label_selector.as_deref().unwrap_or_default()));
            let uri = http::Uri::builder().path_and_query(format!("/?{query}")).build().map_err(|error| error.to_string())?;
            let (parts, ()) = http::Request::builder().uri(uri).body(()).map_err(|error| error.to_string())?.into_parts();
            read::list(&engine, &kind, &path, &Request::new(ClientName::from("table"), &parts, Bytes::new())).map_err(said)?.items
        } else {
            vec![Arc::new(read::get(&engine, &kind, &path, engine.store.revision()).map_err(said)?)]
        };
        if objects.is_empty() {
            let place = wanted.namespace.as_ref().filter(|_| kind.namespaced);
            return Err(place.map_or_else(|| "No resources found".to_owned(), |place| format!("No resources found in {place} namespace.")));
        }
        let now = self.clock.now();
        Ok(table::print(&kind, &objects, now, wanted.wide, wanted.namespace.is_none() && kind.namespaced))
    }

    /// Serves HTTP/1.1 until `shutdown` is done. The connections are part of the returned future; nothing is spawned.
    pub async fn serve_http(&self, listener: tokio::net::TcpListener, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        crate::http::serve(self, listener, shutdown).await
    }

    /// A kubeconfig for the HTTP server: plain http, no credentials.
    pub fn kubeconfig(address: SocketAddr) -> String {
        format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: bellhop-sim\n  cluster:\n    server: http://{address}\nusers:\n- name: admin\n  user: {{}}\n\
             contexts:\n- name: bellhop-sim\n  context:\n    cluster: bellhop-sim\n    user: admin\ncurrent-context: bellhop-sim\n"
        )
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Engine> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the engine's time and locks it: the beginning of each request.
    pub(crate) fn begin(&self) -> MutexGuard<'_, Engine> {
        let now = self.clock.now();
        let mut engine = self.lock();
        engine.now = now;
        engine.store.now = now;
        crate::events::expire(&mut engine);
        engine
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

impl fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiServer").finish_non_exhaustive()
    }
}

/// What [`ApiServer::table`] prints: the arguments of a `kubectl get`.
#[derive(Debug, Clone, Default)]
pub struct TableRequest {
    /// Plural, singular or short name: `svc`.
    pub resource: String,
    /// One object, instead of the collection.
    pub name: Option<String>,
    /// `None` is `--all-namespaces`, with its NAMESPACE column.
    pub namespace: Option<String>,
    /// `-l`.
    pub label_selector: Option<String>,
    /// `-o wide`.
    pub wide: bool,
}

/// The body of an answer; a watch's ends with an error when its client is cut off.
pub type ResponseBody = UnsyncBoxBody<Bytes, io::Error>;

/// An in-process client's way to the server.
#[derive(Clone, Debug)]
pub struct ClientService {
    server: ApiServer,
    client: ClientName,
    connection: Connection,
}

impl tower::Service<http::Request<kube::client::Body>> for ClientService {
    type Response = http::Response<ResponseBody>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<kube::client::Body>) -> Self::Future {
        let Self { server, client, connection } = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.map_err(io::Error::other)?;
            serve(&server, Request::new(client, &parts, body), connection).await
        })
    }
}

/// Percent-escapes every byte.
fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// A whole answer as a body.
pub(crate) fn full(bytes: impl Into<Bytes>) -> ResponseBody {
    use http_body_util::BodyExt;
    http_body_util::Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}
