//! Which namespaces a pool is for (`spec.namespaces`, `spec.namespaceSelector`).
//!
//! Names need no look at anything; labels need the Namespaces to be listed. Until they are, whether a selector matches is not known, and says so. Which pool a
//! Service then draws from is decided in [`crate::allocation`].

use std::collections::BTreeMap;

use crate::object::{Binding, Namespace};

/// The labels of all namespaces, as far as they are known.
#[derive(Clone, Debug, Default)]
pub struct Namespaces {
    labels: BTreeMap<String, BTreeMap<String, String>>,
    listed: bool,
}

impl Namespaces {
    /// A Namespace as it is now. Returns whether its labels are news.
    pub fn handle(&mut self, namespace: Namespace) -> bool {
        let before = self.labels.insert(namespace.name, namespace.labels.clone());
        before.as_ref() != Some(&namespace.labels)
    }

    /// A Namespace is gone.
    pub fn handle_deleted(&mut self, name: &str) {
        self.labels.remove(name);
    }

    /// All have been told.
    pub fn handle_listed(&mut self) {
        self.listed = true;
    }

    /// Whether a pool with this binding is for a namespace; `None` if its labels would say and are not known.
    pub fn admits(&self, binding: &Binding, namespace: &str) -> Option<bool> {
        if binding.namespaces.contains(namespace) {
            return Some(true);
        }
        if binding.selector.is_empty() {
            return Some(false);
        }
        let Some(labels) = self.labels.get(namespace) else { return self.listed.then_some(false) };
        Some(binding.selector.iter().all(|(key, value)| labels.get(key) == Some(value)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_name_or_all_labels_admit() {
        let binding = Binding { namespaces: BTreeSet::from(["shop".to_owned()]), selector: labels(&[("team", "a"), ("env", "prod")]) };
        let mut namespaces = Namespaces::default();
        namespaces.handle(Namespace { name: "both".into(), labels: labels(&[("team", "a"), ("env", "prod"), ("more", "x")]) });
        namespaces.handle(Namespace { name: "one".into(), labels: labels(&[("team", "a")]) });
        let admits = |namespace: &str| namespaces.admits(&binding, namespace);
        assert_eq!([admits("shop"), admits("both"), admits("one")], [Some(true), Some(true), Some(false)]);
    }

    #[test]
    fn what_is_not_listed_yet_is_not_known_unless_the_name_says_it() {
        let selecting = Binding { selector: labels(&[("team", "a")]), ..Binding::default() };
        let mut namespaces = Namespaces::default();
        assert_eq!(namespaces.admits(&selecting, "shop"), None);
        assert_eq!(namespaces.admits(&Binding::default(), "shop"), Some(false));
        namespaces.handle_listed();
        assert_eq!(namespaces.admits(&selecting, "shop"), Some(false));
    }
}
