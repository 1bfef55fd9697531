//! Events: what `kubectl describe` and `kubectl get events` tell of an object.
//!
//! Our own writer, because the one of `kube` takes wall time and a hash map from the system. The same thing said again is counted on
//! the Event that is there, as kubelet does. An Event is a courtesy: a write that fails is not tried again, and nothing waits for it.

use std::collections::BTreeMap;

use bellhop_api::{keys, render};
use bellhop_core::object::{Event as CoreEvent, Subject};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

/// Kinds of Events that are remembered for counting. The oldest is forgotten first: it is then said anew.
const REMEMBERED_MAX: usize = 4096;

/// The API server keeps an Event for an hour (`--event-ttl`); counting on one that is about to go would lose it.
const COUNTED_FOR_SECONDS: i64 = 30 * 60;

/// Makes Events, and remembers which it made.
pub(crate) struct Events {
    instance: String,
    rng: ChaCha8Rng,
    /// What was said, to the Event that says it.
    said: BTreeMap<Said, Remembered>,
    /// Counts what was remembered, to find the oldest.
    serial: u64,
}

/// What was said of which object: a re-created one has another uid.
type Said = (Subject, String, bool, &'static str, String);

struct Remembered {
    name: String,
    count: i32,
    first: Timestamp,
    serial: u64,
}

/// One write for an Event.
#[derive(Debug)]
pub(crate) enum EventWrite {
    /// POST it.
    Create(Box<Event>),
    /// Count it: a merge patch on the Event of this namespace and name.
    Count {
        /// Where the Event is.
        namespace: String,
        /// Its name.
        name: String,
        /// The patch.
        patch: Value,
    },
}

impl Events {
    /// None said yet. `instance` is the reporting instance: the node's name.
    pub(crate) fn new(instance: String, rng: ChaCha8Rng) -> Self {
        Self { instance, rng, said: BTreeMap::new(), serial: 0 }
    }

    /// What to write so that `event` is told of the object with this metadata.
    pub(crate) fn write(&mut self, event: CoreEvent, meta: &ObjectMeta, now: Timestamp) -> EventWrite {
        let (api_version, kind) = match &event.subject {
            Subject::Pool(_) => ("network.kubesphere.io/v1alpha2", "Eip"),
            Subject::Service(_) => ("v1", "Service"),
        };
        // Events of cluster-scoped objects live in `default`, as client-go has it.
        let namespace = meta.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let uid = meta.uid.clone().unwrap_or_default();
        let said = (event.subject, uid, event.warning, event.reason, event.message);
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        if let Some(remembered) = self.said.get_mut(&said)
            && now.as_second() - remembered.first.as_second() < COUNTED_FOR_SECONDS
        {
            remembered.count = remembered.count.saturating_add(1);
            let patch = json!({"count": remembered.count, "lastTimestamp": now.to_string()});
            return EventWrite::Count { namespace, name: remembered.name.clone(), patch };
        }
        let name = format!("{}.{:016x}", meta.name.as_deref().unwrap_or_default(), self.rng.random::<u64>());
        let (_, _, warning, reason, message) = said.clone();
        self.remember(said, &name, now);
        EventWrite::Create(Box::new(Event {
            metadata: ObjectMeta { name: Some(name), namespace: Some(namespace), ..Default::default() },
            involved_object: render::reference(api_version, kind, meta),
            type_: Some(if warning { "Warning" } else { "Normal" }.to_owned()),
            reason: Some(reason.to_owned()),
            message: Some(shortened(message)),
            count: Some(1),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            source: Some(EventSource { component: Some(keys::MANAGER.to_owned()), host: Some(self.instance.clone()) }),
            reporting_component: Some(keys::MANAGER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            ..Default::default()
        }))
    }

    fn remember(&mut self, said: Said, name: &str, now: Timestamp) {
        if self.said.len() >= REMEMBERED_MAX {
            let oldest = self.said.iter().min_by_key(|(_, remembered)| remembered.serial).map(|(said, _)| said.clone());
            oldest.map(|said| self.said.remove(&said));
        }
        self.serial += 1;
        self.said.insert(said, Remembered { name: name.to_owned(), count: 1, first: now, serial: self.serial });
    }
}

/// `note` of an Event takes a kilobyte (events.k8s.io), and kubectl shows it in one line.
fn shortened(mut message: String) -> String {
    const BYTES_MAX: usize = 1024;
    if message.len() > BYTES_MAX {
        message.truncate(message.floor_char_boundary(BYTES_MAX - '…'.len_utf8()));
        message.push('…');
    }
    message
}

#[cfg(test)]
mod tests {
    use bellhop_core::name::ServiceKey;
    use rand::SeedableRng;

    use super::*;

    fn events() -> Events {
        Events::new("master1".into(), ChaCha8Rng::seed_from_u64(1))
    }

    fn told(message: &str) -> CoreEvent {
        let subject = Subject::Service(ServiceKey::new("default", "web"));
        CoreEvent { subject, warning: true, reason: "AllocationFailed", message: message.into() }
    }

    fn meta() -> ObjectMeta {
        ObjectMeta { name: Some("web".into()), namespace: Some("default".into()), uid: Some("u".into()), ..Default::default() }
    }

    #[test]
    fn the_same_thing_said_again_is_counted() {
        let mut events = events();
        let EventWrite::Create(first) = events.write(told("full"), &meta(), Timestamp::UNIX_EPOCH) else { panic!("new") };
        let EventWrite::Count { name, patch, .. } = events.write(told("full"), &meta(), Timestamp::UNIX_EPOCH) else { panic!("known") };
        assert_eq!(first.metadata.name, Some(name));
        assert_eq!(patch["count"], 2);
        assert!(matches!(events.write(told("other"), &meta(), Timestamp::UNIX_EPOCH), EventWrite::Create(_)));
    }

    #[test]
    fn an_event_that_is_about_to_expire_is_said_anew() {
        let mut events = events();
        events.write(told("full"), &meta(), Timestamp::UNIX_EPOCH);
        let later = Timestamp::from_second(COUNTED_FOR_SECONDS).expect("a time");
        assert!(matches!(events.write(told("full"), &meta(), later), EventWrite::Create(_)));
    }

    #[test]
    fn a_long_message_is_cut() {
        let EventWrite::Create(event) = events().write(told(&"é".repeat(1000)), &meta(), Timestamp::UNIX_EPOCH) else { panic!("new") };
        assert!(event.message.is_some_and(|message| message.len() <= 1024 && message.ends_with("é…")));
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let mut events = events();
        for index in 0..REMEMBERED_MAX + 10 {
            events.write(told(&index.to_string()), &meta(), Timestamp::UNIX_EPOCH);
        }
        assert_eq!(events.said.len(), REMEMBERED_MAX);
    }
}
