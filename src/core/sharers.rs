//! The Services that have one address, in order of their keys.
//!
//! A set that is nearly always of one: an ordered `Vec` of one key takes 48 bytes where a `BTreeSet` takes a node for eleven, and a pool of 10,000
//! addresses is held several times over. Who may share is [`crate::sharing`]'s to say.

use crate::name::ServiceKey;

/// Services in order of their keys, none twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sharers(Vec<ServiceKey>);

impl Sharers {
    /// Nobody.
    pub const NOBODY: Self = Self(Vec::new());

    /// One more.
    pub fn insert(&mut self, service: ServiceKey) {
        if let Err(place) = self.0.binary_search(&service) {
            // Exactly as much room as is used: most stay alone.
            self.0.reserve_exact(1);
            self.0.insert(place, service);
        }
    }

    /// One less.
    pub fn remove(&mut self, service: &ServiceKey) {
        if let Ok(place) = self.0.binary_search(service) {
            self.0.remove(place);
        }
    }

    /// Whether this one is among them.
    pub fn contains(&self, service: &ServiceKey) -> bool {
        self.0.binary_search(service).is_ok()
    }

    /// All of them.
    pub fn iter(&self) -> std::slice::Iter<'_, ServiceKey> {
        self.0.iter()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<ServiceKey> for Sharers {
    fn from_iter<I: IntoIterator<Item = ServiceKey>>(services: I) -> Self {
        let mut services: Vec<ServiceKey> = services.into_iter().collect();
        services.sort_unstable();
        services.dedup();
        services.shrink_to_fit();
        Self(services)
    }
}

impl<'a> IntoIterator for &'a Sharers {
    type Item = &'a ServiceKey;
    type IntoIter = std::slice::Iter<'a, ServiceKey>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_in_order_and_none_is_there_twice() {
        let [a, b] = ["a", "b"].map(|name| ServiceKey::new("default", name));
        let mut sharers: Sharers = [b.clone(), a.clone(), b.clone()].into_iter().collect();
        assert_eq!(sharers.iter().collect::<Vec<_>>(), [&a, &b]);
        sharers.insert(a.clone());
        assert_eq!(sharers.len(), 2);
        sharers.remove(&a);
        assert!(!sharers.contains(&a) && sharers.contains(&b));
    }
}
