//! What a model knows of one kind: a watch, and what the model itself has written since.
//!
//! A controller that looks only at its watch creates a pod twice when the watch lags behind its own write. So the answer to every write is
//! put in as well, the newer version of an object wins, and what was deleted stays deleted until the watch has caught up. It decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use bellhop::env::Env;
use bellhop::watch::{Delta, Identity, Watch};
use futures::FutureExt;
use kube::runtime::watcher;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::part::part;

/// Namespace and name; the namespace of what has none is empty. Work is done in this order.
pub(crate) type Key = (String, String);

/// The key of an object.
pub(crate) fn key<K: Resource>(object: &K) -> Key {
    let meta = object.meta();
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

/// All objects of one kind as far as this model can know.
pub(crate) struct Cached<K> {
    watch: Watch<K>,
    objects: BTreeMap<Key, K>,
    /// The uids of objects that we saw vanish before the watch told.
    gone: BTreeSet<String>,
    synced: bool,
    away: bool,
    lists: u64,
}

impl<K> Cached<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    /// Watches all that `api` reaches. `label` names the stream of chance that its backoff draws from.
    pub(crate) fn new(env: &Env, label: &str, api: Api<K>) -> Self {
        Self::selected(env, label, api, watcher::Config::default())
    }

    /// Watches what `api` reaches and `config` selects.
    pub(crate) fn selected(env: &Env, label: &str, api: Api<K>, config: watcher::Config) -> Self {
        let watch = Watch::with_config(api, config, env.clock.clone(), part(env, label).rng);
        Self { watch, objects: BTreeMap::new(), gone: BTreeSet::new(), synced: false, away: false, lists: 0 }
    }

    /// Ends when the API server has told something new; at most one difference is taken. Dropping the future loses nothing.
    pub(crate) async fn changed(&mut self) {
        let delta = self.watch.next().await;
        self.take(delta);
    }

    /// Takes all that has been told already, without waiting. So a list of a hundred objects is one change.
    pub(crate) fn drain(&mut self) {
        while let Some(delta) = self.watch.next().now_or_never() {
            self.take(delta);
        }
    }

    /// Whether everything was listed at least once. Nothing is decided before.
    pub(crate) fn synced(&self) -> bool {
        self.synced
    }

    /// Whether the API server is known to be away, so that silence means nothing.
    pub(crate) fn away(&self) -> bool {
        self.away
    }

    /// How often everything was listed: after an outage, it is more.
    pub(crate) fn lists(&self) -> u64 {
        self.lists
    }

    /// The objects in the order of namespace and name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &K> {
        self.objects.values()
    }

    /// One object.
    pub(crate) fn get(&self, key: &Key) -> Option<&K> {
        self.objects.get(key)
    }

    /// Takes the answer to a write of ours.
    pub(crate) fn wrote(&mut self, object: K) {
        self.apply(object);
    }

    /// Remembers that an object no longer exists: our deletion was final, or a write of ours met a 404.
    pub(crate) fn removed(&mut self, object: &K) {
        self.gone.extend(object.uid());
        self.forget(&key(object), object.uid());
    }

    fn take(&mut self, delta: Delta<K>) {
        match delta {
            Delta::Applied(object) => self.apply(object),
            Delta::Deleted(Identity { namespace, name, uid }) => {
                if let Some(uid) = &uid {
                    self.gone.remove(uid);
                }
                self.forget(&(namespace, name), uid);
            }
            Delta::Synced => {
                // An object that was made and deleted while the watch was away is in no list and in no difference.
                let known: BTreeMap<Key, Option<String>> =
                    self.watch.identities().map(|known| ((known.namespace, known.name), known.uid)).collect();
                self.objects.retain(|key, object| known.get(key) == Some(&object.uid()));
                self.gone.clear();
                self.synced = true;
                self.away = false;
                self.lists += 1;
            }
            Delta::Away { .. } => self.away = true,
            Delta::Restarted | Delta::Back { .. } => {}
        }
    }

    fn apply(&mut self, object: K) {
        if object.uid().is_some_and(|uid| self.gone.contains(&uid)) {
            return;
        }
        let slot = key(&object);
        let older = self.objects.get(&slot).is_some_and(|known| version(&object) < version(known));
        if !older {
            self.objects.insert(slot, object);
        }
    }

    fn forget(&mut self, slot: &Key, uid: Option<String>) {
        if self.objects.get(slot).is_some_and(|known| known.uid() == uid) {
            self.objects.remove(slot);
        }
    }
}

/// The version as a number. KEP-5504 allows to compare them; every server we meet counts.
fn version<K: Resource>(object: &K) -> u64 {
    object.meta().resource_version.as_ref().and_then(|version| version.parse().ok()).unwrap_or(u64::MAX)
}
