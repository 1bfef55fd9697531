//! Names of things, each a type of its own, so that a node's name cannot be passed where a pool's is meant.
//!
//! They order as text does: that order is the order in which work is done. A copy shares the text: each is kept in many places.

use std::fmt;
use std::sync::Arc;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self(name.into())
            }
        }

        impl From<String> for $name {
            fn from(name: String) -> Self {
                Self(name.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

name!(
    /// A Kubernetes node.
    NodeName
);
name!(
    /// An address pool: the name of an `Eip` object.
    PoolName
);
name!(
    /// A network interface of this machine, as Linux names it (`eth0`).
    InterfaceName
);

/// A Service: `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The name within it.
    pub name: Arc<str>,
}

impl ServiceKey {
    /// The key of `namespace/name`.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// Reads `namespace/name`, the form in which `Eip.status.used` records it. `None` if it is not of that form.
    pub fn parse(text: &str) -> Option<Self> {
        let (namespace, name) = text.split_once('/')?;
        let fine = !namespace.is_empty() && !name.is_empty() && !name.contains('/');
        fine.then(|| Self::new(namespace, name))
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_key_reads_back_as_it_was_recorded() {
        let key = ServiceKey::new("default", "web");
        assert_eq!(ServiceKey::parse(&key.to_string()), Some(key));
    }

    #[test]
    fn what_is_no_service_key_is_nothing() {
        for text in ["", "web", "/web", "default/", "a/b/c"] {
            assert_eq!(ServiceKey::parse(text), None, "{text}");
        }
    }
}
