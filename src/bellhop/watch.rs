//! What the API server has of one kind, as a stream of differences.
//!
//! A thin, deterministic layer over [`kube::runtime::watcher()`]: our own ordered store (so that a second list yields only what changed in
//! between, in the order of namespace and name), our own backoff from a seeded stream, and an outage told once, however many attempts it lasts.
//! It decides nothing about the objects. The watcher's own backoff, stores and `Controller` take entropy from the system and are not used.
//!
//! Three traps of the watcher are closed here: an HTTP-level 410 when a watch starts makes it retry the same version for ever; a resumed watch
//! is silent until something happens, so every failed start begins a fresh list; and a fresh list may come from an API server that lags behind
//! the last one, and then lacks what is newer. So nothing is believed to be gone for its absence from a list, unless that list is not older
//! than all that was seen (client-go: `relistResourceVersion`, kubernetes#59848).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Debug;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bellhop_core::object::Version;
use bellhop_core::time::Instant;
use futures::Stream;
use kube::api::{ListParams, VersionMatch};
use kube::runtime::watcher;
use kube::{Api, Resource};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::de::DeserializeOwned;

use crate::env::{Clock, LocalFuture};

/// How long the server keeps one watch open, in seconds. A connection that died without a word is noticed five seconds after it:
/// the watcher's default of 290 s would hide a dead node for as long.
const WATCH_SECONDS: u32 = 30;

/// Failures within a running watch that are resumed without a word. The next one is an outage.
const QUIET_FAILURES: u32 = 3;

/// A difference between what was known and what the API server has.
#[derive(Clone, Debug, PartialEq)]
pub enum Delta<K> {
    /// A list begins. What was known stays known: what is gone comes as [`Delta::Deleted`] before [`Delta::Synced`].
    Restarted,
    /// The object is new or changed.
    Applied(K),
    /// The object is gone.
    Deleted(Identity),
    /// The list that [`Delta::Restarted`] began is complete.
    Synced,
    /// The API server does not answer, or refuses. Said once per outage; attempts go on.
    Away {
        /// When the first attempt failed.
        since: Instant,
        /// What the first failure said.
        error: String,
    },
    /// The outage is over: a whole list came through ([`Delta::Synced`] follows).
    Back {
        /// How long it lasted.
        after: Duration,
    },
}

/// Which object: of two with one name, the uid tells which.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// `metadata.namespace`; empty for cluster-scoped kinds.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: Option<String>,
}

/// A watch over one kind. Never ends; dropping the future of [`Watch::next`] loses nothing.
///
/// Of each object it keeps what it needs itself, and a `T` for those who look it up: nothing, unless [`Watch::keeping`] says otherwise.
pub struct Watch<K, T = ()> {
    api: Api<K>,
    config: watcher::Config,
    clock: Rc<dyn Clock>,
    stream: Events<K>,
    /// The pause before the next attempt.
    pause: Option<LocalFuture<'static>>,
    backoff: Backoff,
    /// What is known, by namespace and name.
    known: BTreeMap<Key, Known<T>>,
    /// What is kept of an object.
    keep: fn(&K) -> T,
    /// What the list under way has held so far; `None` outside a list.
    listed: Option<BTreeSet<Key>>,
    /// A list in which something was missing, asked for again: not older than all that was seen.
    recheck: Option<Recheck<K>>,
    /// The newest version seen so far.
    newest: Version,
    /// Since when the API server is away.
    away: Option<Instant>,
    /// Deltas that one event produced beyond the first.
    pending: VecDeque<Delta<K>>,
}

/// What is known of one object.
struct Known<T> {
    uid: Option<String>,
    version: Version,
    kept: T,
}

type Key = (String, String);
type Recheck<K> = Pin<Box<dyn Future<Output = kube::Result<Vec<K>>>>>;
type Events<K> = Pin<Box<dyn Stream<Item = watcher::Result<watcher::Event<K>>> + Send>>;

impl<K> Watch<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    /// Watches all that `api` reaches.
    pub fn new(api: Api<K>, clock: Rc<dyn Clock>, rng: ChaCha8Rng) -> Self {
        Self::with_config(api, watcher::Config::default(), clock, rng)
    }

    /// Watches what `api` reaches and `config` selects (labels, fields).
    pub fn with_config(api: Api<K>, config: watcher::Config, clock: Rc<dyn Clock>, rng: ChaCha8Rng) -> Self {
        let config = config.timeout(WATCH_SECONDS);
        let stream = Box::pin(watcher(api.clone(), config.clone()));
        let backoff = Backoff::new(rng);
        Self {
            api,
            config,
            clock,
            stream,
            pause: None,
            backoff,
            known: BTreeMap::new(),
            keep: |_| (),
            listed: None,
            recheck: None,
            newest: Version::default(),
            away: None,
            pending: VecDeque::new(),
        }
    }

    /// Keeps this of each object. To be said before the first difference is asked for.
    #[must_use]
    pub fn keeping<T>(self, keep: fn(&K) -> T) -> Watch<K, T> {
        debug_assert!(self.known.is_empty(), "nothing is known yet");
        let Self { api, config, clock, stream, pause, backoff, listed, recheck, newest, away, pending, .. } = self;
        Watch { api, config, clock, stream, pause, backoff, known: BTreeMap::new(), keep, listed, recheck, newest, away, pending }
    }
}

impl<K, T> Watch<K, T>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    /// The next difference.
    pub async fn next(&mut self) -> Delta<K> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next difference, for those who poll several watches in one loop.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Delta<K>> {
        loop {
            if let Some(delta) = self.pending.pop_front() {
                return Poll::Ready(delta);
            }
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            if let Some(recheck) = &mut self.recheck {
                let answer = ready!(recheck.as_mut().poll(cx));
                self.recheck = None;
                match answer {
                    Ok(list) => self.take_recheck(list),
                    Err(error) => self.take_error(&watcher::Error::InitialListFailed(error)),
                }
                continue;
            }
            match ready!(self.stream.as_mut().poll_next(cx)) {
                Some(Ok(event)) => self.take_event(event),
                Some(Err(error)) => self.take_error(&error),
                // The watcher's stream does not end; if it did, a new one is what it would have been.
                None => self.restart(),
            }
        }
    }

    /// What is known to be there, in the order of namespace and name. Complete after the first [`Delta::Synced`].
    pub fn identities(&self) -> impl Iterator<Item = Identity> {
        self.known.iter().map(|(key, known)| identity(key.clone(), known.uid.clone()))
    }

    /// What is kept, in the order of namespace and name.
    pub fn kept(&self) -> impl Iterator<Item = &T> {
        self.known.values().map(|known| &known.kept)
    }

    /// What is kept of the object of this namespace (empty for cluster-scoped kinds) and name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&T> {
        self.known.get(&(namespace.to_owned(), name.to_owned())).map(|known| &known.kept)
    }

    /// Takes in what the API answered to a write of our own, which may be ahead of the watch. True if it is news; no delta comes for it then.
    /// An answer that comes after the object's end, or its successor's beginning, is none.
    pub fn learn(&mut self, mut object: K) -> bool {
        object.meta_mut().managed_fields = None;
        let news = self
            .known
            .get(&key(&object))
            .is_some_and(|known| known.uid == object.meta().uid && is_older(&known.version, &version(&object)));
        if news {
            self.remember(&object);
        }
        news
    }

    fn take_event(&mut self, event: watcher::Event<K>) {
        match event {
            watcher::Event::Init => {
                self.listed = Some(BTreeSet::new());
                self.pending.push_back(Delta::Restarted);
            }
            watcher::Event::InitApply(object) => {
                if let Some(listed) = &mut self.listed {
                    listed.insert(key(&object));
                }
                self.apply(object);
            }
            watcher::Event::InitDone => self.complete_list(),
            watcher::Event::Apply(object) => self.apply(object),
            watcher::Event::Delete(object) => {
                let (key, version) = (key(&object), version(&object));
                self.see(&version);
                // A watch that lags may tell of the end of an object whose successor is known.
                if self.known.get(&key).is_none_or(|known| !is_older(&version, &known.version)) {
                    self.known.remove(&key);
                    self.pending.push_back(Delta::Deleted(identity(key, object.meta().uid.clone())));
                }
            }
        }
    }

    fn apply(&mut self, mut object: K) {
        // The bulkiest part of an object, and nobody here reads it.
        object.meta_mut().managed_fields = None;
        // What is older came late: the answer to a write of our own overtook it, or the API server lags. Versions count through re-creations.
        if self.known.get(&key(&object)).is_none_or(|known| is_older(&known.version, &version(&object))) {
            self.remember(&object);
            self.pending.push_back(Delta::Applied(object));
        }
    }

    fn remember(&mut self, object: &K) {
        let version = version(object);
        self.see(&version);
        let known = Known { uid: object.meta().uid.clone(), version, kept: (self.keep)(object) };
        self.known.insert(key(object), known);
    }

    /// The watcher's list has ended. Where it lacks something, another is asked for that cannot be older than what was seen.
    fn complete_list(&mut self) {
        let listed = self.listed.take().unwrap_or_default();
        if self.known.keys().all(|key| listed.contains(key)) {
            return self.complete();
        }
        let parameters = ListParams {
            label_selector: self.config.label_selector.clone(),
            field_selector: self.config.field_selector.clone(),
            version_match: Some(VersionMatch::NotOlderThan),
            resource_version: Some(self.newest.0.clone()),
            ..ListParams::default()
        };
        let api = self.api.clone();
        self.recheck = Some(Box::pin(async move { Ok(api.list(&parameters).await?.items) }));
    }

    fn take_recheck(&mut self, list: Vec<K>) {
        let listed: BTreeSet<Key> = list.iter().map(key).collect();
        list.into_iter().for_each(|object| self.apply(object));
        let gone: Vec<Key> = self.known.keys().filter(|key| !listed.contains(*key)).cloned().collect();
        for key in gone {
            let uid = self.known.remove(&key).and_then(|known| known.uid);
            self.pending.push_back(Delta::Deleted(identity(key, uid)));
        }
        self.complete();
    }

    fn complete(&mut self) {
        if let Some(since) = self.away.take() {
            self.pending.push_back(Delta::Back { after: self.clock.now() - since });
        }
        self.pending.push_back(Delta::Synced);
    }

    /// Remembers the newest version.
    fn see(&mut self, version: &Version) {
        if self.newest.0.is_empty() || self.newest.is_older_than(version) {
            self.newest = version.clone();
        }
    }

    fn take_error(&mut self, error: &watcher::Error) {
        let now = self.clock.now();
        let pause = self.backoff.pause_after_failure(now);
        self.pause = Some(self.clock.sleep_until(now + pause));
        match error {
            // 410 on starting a watch: the version is too old. Nobody is away; a fresh list cures it.
            watcher::Error::WatchStartFailed(kube::Error::Api(status)) if status.code == 410 => self.restart(),
            // The watcher lists again by itself.
            watcher::Error::WatchError(status) if status.code == 410 => {}
            // A cut in a running watch: the watcher resumes where it was.
            watcher::Error::WatchError(_) | watcher::Error::WatchFailed(_) if self.backoff.failures <= QUIET_FAILURES => {}
            _ => {
                if self.away.is_none() {
                    self.away = Some(now);
                    self.pending.push_back(Delta::Away { since: now, error: causes(error) });
                }
                self.restart();
            }
        }
    }

    fn restart(&mut self) {
        self.listed = None;
        self.recheck = None;
        self.stream = Box::pin(watcher(self.api.clone(), self.config.clone()));
    }
}

fn key<K: Resource>(object: &K) -> Key {
    let meta = object.meta();
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

fn identity((namespace, name): Key, uid: Option<String>) -> Identity {
    Identity { namespace, name, uid }
}

fn version<K: Resource>(object: &K) -> Version {
    Version(object.meta().resource_version.clone().unwrap_or_default())
}

/// Whether `known` is an older state than `other`. What does not compare is taken as it comes, unless it is the same.
fn is_older(known: &Version, other: &Version) -> bool {
    known.0.is_empty() || (known != other && !other.is_older_than(known))
}

/// The innermost cause of a failure: what the outer errors of `kube` say is where it came through.
pub fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// Pauses between attempts: doubling from 0.5 s to 8 s, each drawn between half and whole so that replicas do not ask in step.
/// The cap is lower than client-go's 30 s: we are two or three, not ten thousand, and a late watch is a late failover.
pub struct Backoff {
    rng: ChaCha8Rng,
    /// Failures in a row.
    failures: u32,
    last: Instant,
}

const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(8);
/// Without a failure for so long, the next one is a first one.
const RESET_AFTER: Duration = Duration::from_secs(30);

impl Backoff {
    /// No failure yet.
    pub fn new(rng: ChaCha8Rng) -> Self {
        Self { rng, failures: 0, last: Instant::ZERO }
    }

    /// How long to wait after a failure at `now` before trying again.
    pub fn pause_after_failure(&mut self, now: Instant) -> Duration {
        if now - self.last > RESET_AFTER {
            self.failures = 0;
        }
        self.last = now;
        let doubled = PAUSE_MIN.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        let whole = doubled.min(PAUSE_MAX);
        whole.mul_f64(self.rng.random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::{Request, Response, StatusCode};
    use k8s_openapi::api::core::v1::Node;
    use kube::Client;
    use kube::client::Body;
    use rand::SeedableRng;
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::PausedClock;

    /// One canned answer: a status and a body.
    type Answer = (u16, Value);

    fn list(version: &str, nodes: &[(&str, &str)]) -> Answer {
        let items: Vec<Value> =
            nodes.iter().map(|(name, version)| json!({"metadata": {"name": name, "resourceVersion": version}})).collect();
        (200, json!({"apiVersion": "v1", "kind": "NodeList", "metadata": {"resourceVersion": version}, "items": items}))
    }

    fn status(code: u16) -> Answer {
        (
            code,
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": format!("canned {code}"), "reason": ""}),
        )
    }

    fn event(kind: &str, name: &str, version: &str) -> Answer {
        (200, json!({"type": kind, "object": {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "resourceVersion": version}}}))
    }

    /// A watch over a server that gives these answers in this order, then 500 for ever; and the URIs it was asked for.
    fn watch(answers: Vec<Answer>) -> (Watch<Node>, Arc<Mutex<Vec<String>>>) {
        let answers = Arc::new(Mutex::new(VecDeque::from(answers)));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            log.lock().expect("not poisoned").push(request.uri().to_string());
            let (code, body) = answers.lock().expect("not poisoned").pop_front().unwrap_or_else(|| status(500));
            let response = Response::builder()
                .status(StatusCode::from_u16(code).expect("a valid code"))
                .body(Body::from(format!("{body}\n").into_bytes()))
                .expect("a valid response");
            async move { Ok::<_, std::convert::Infallible>(response) }
        });
        let api = Api::all(Client::new(service, "default"));
        (Watch::new(api, PausedClock::new(), ChaCha8Rng::seed_from_u64(1)), asked)
    }

    /// A delta in short: `+a`, `-a`, `restarted`, `synced`, `away: …`, `back`.
    fn short(delta: &Delta<Node>) -> String {
        let name = |node: &Node| node.metadata.name.clone().unwrap_or_default();
        match delta {
            Delta::Restarted => "restarted".to_owned(),
            Delta::Applied(node) => format!("+{}", name(node)),
            Delta::Deleted(identity) => format!("-{}", identity.name),
            Delta::Synced => "synced".to_owned(),
            Delta::Away { error, .. } => format!("away: {error}"),
            Delta::Back { .. } => "back".to_owned(),
        }
    }

    async fn deltas(watch: &mut Watch<Node>, count: usize) -> Vec<String> {
        let mut seen = Vec::new();
        while seen.len() < count {
            seen.push(short(&watch.next().await));
        }
        seen
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_and_a_watch_come_as_differences() {
        let (mut watch, _) = watch(vec![list("5", &[("b", "2"), ("a", "1")]), event("DELETED", "a", "6")]);
        assert_eq!(deltas(&mut watch, 5).await, ["restarted", "+b", "+a", "synced", "-a"]);
        assert_eq!(watch.identities().count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_410_when_the_watch_starts_lists_again_and_tells_only_what_changed() {
        let second = list("9", &[("b", "2"), ("c", "8")]);
        let (mut watch, asked) = watch(vec![list("5", &[("a", "1"), ("b", "2")]), status(410), second.clone(), second]);
        assert_eq!(deltas(&mut watch, 4).await, ["restarted", "+a", "+b", "synced"]);
        assert_eq!(deltas(&mut watch, 4).await, ["restarted", "+c", "-a", "synced"]);
        let asked = asked.lock().expect("not poisoned");
        assert_eq!(asked.iter().filter(|uri| !uri.contains("watch=true")).count(), 3, "one more to be sure that a is gone: {asked:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_from_an_api_server_that_lags_ends_nothing() {
        let fresh = list("9", &[("a", "1"), ("b", "8")]);
        let (mut watch, asked) = watch(vec![fresh.clone(), status(410), list("5", &[("a", "1")]), status(504), fresh]);
        assert_eq!(deltas(&mut watch, 4).await, ["restarted", "+a", "+b", "synced"]);
        let seen = deltas(&mut watch, 5).await;
        assert_eq!((seen[0].as_str(), &seen[2..]), ("restarted", &["restarted", "back", "synced"].map(str::to_owned)[..]), "{seen:?}");
        assert!(asked.lock().expect("not poisoned").iter().any(|uri| uri.contains("resourceVersion=8&resourceVersionMatch=NotOlderThan")));
        assert_eq!(watch.identities().count(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_lags_does_not_end_what_was_made_anew() {
        let (mut watch, _) = watch(vec![list("9", &[("a", "9")]), event("DELETED", "a", "7"), list("9", &[("a", "9")])]);
        assert_eq!(deltas(&mut watch, 3).await, ["restarted", "+a", "synced"]);
        let next = watch.next().await;
        assert!(matches!(&next, Delta::Away { .. }), "the end of an earlier a is old news, then the server fails: {next:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_told_once_and_so_is_its_end() {
        let mut answers = vec![status(503); 7];
        answers.push(list("5", &[("a", "1")]));
        let (mut watch, _) = watch(answers);
        let seen = deltas(&mut watch, 12).await;
        assert_eq!(seen.iter().filter(|delta| delta.starts_with("away")).count(), 1, "{seen:?}");
        assert_eq!(seen[9..], ["+a", "back", "synced"]);
        assert!(seen[1].contains("canned 503"), "{seen:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_ahead_of_the_watch_is_not_undone_by_it() {
        let (mut watch, _) = watch(vec![list("5", &[("a", "1")]), event("MODIFIED", "a", "6"), list("9", &[("a", "9")])]);
        deltas(&mut watch, 3).await;
        let answer = |name: &str, version: &str| -> Node {
            serde_json::from_value(json!({"metadata": {"name": name, "resourceVersion": version}})).expect("a Node")
        };
        assert!(watch.learn(answer("a", "8")));
        assert!(!watch.learn(answer("a", "7")), "older");
        assert!(!watch.learn(answer("gone", "8")), "not known");
        let mut earlier = answer("a", "9");
        earlier.metadata.uid = Some("of an earlier a".to_owned());
        assert!(!watch.learn(earlier), "another object of that name");
        let next = watch.next().await;
        assert!(matches!(&next, Delta::Away { .. }), "the event of version 6 is old news, then the server fails: {next:?}");
    }

    #[test]
    fn pauses_grow_to_the_cap_and_start_again_after_a_quiet_time() {
        let mut backoff = Backoff::new(ChaCha8Rng::seed_from_u64(1));
        let pauses: Vec<Duration> = (0..8).map(|_| backoff.pause_after_failure(Instant::from_millis(1))).collect();
        assert!(pauses[0] <= PAUSE_MIN && pauses[7] >= PAUSE_MAX / 2 && pauses.iter().all(|pause| *pause <= PAUSE_MAX));
        assert!(backoff.pause_after_failure(Instant::from_millis(60_000)) <= PAUSE_MIN);
    }
}
