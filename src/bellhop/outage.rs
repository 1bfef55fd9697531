//! Says once that the API does not answer, and once that it does again.
//!
//! Many requests fail when a server is away, each with its own attempts. Of all that fail with the same words, the first is logged.

use std::collections::BTreeMap;

/// Which requests fail at the moment, and with what words.
#[derive(Debug, Default)]
pub(crate) struct Outages {
    failing: BTreeMap<&'static str, String>,
}

impl Outages {
    /// `what` failed. True if that was news, and so was logged.
    pub(crate) fn failed(&mut self, what: &'static str, error: String) -> bool {
        let news = !self.failing.contains_key(what) && !self.failing.values().any(|known| *known == error);
        if news {
            tracing::warn!(what, error, "the Kubernetes API does not do what it is asked; trying again until it does");
        }
        self.failing.insert(what, error);
        news
    }

    /// `what` succeeded. True if it was the last that had failed.
    pub(crate) fn succeeded(&mut self, what: &'static str) -> bool {
        let last = self.failing.remove(what).is_some() && self.failing.is_empty();
        if last {
            tracing::info!(what, "the Kubernetes API does what it is asked again");
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_outage_is_said_once_however_many_notice() {
        let mut outages = Outages::default();
        assert!(outages.failed("watch nodes", "connection refused".into()));
        assert!(!outages.failed("watch nodes", "connection refused".into()));
        assert!(!outages.failed("write the Lease", "connection refused".into()));
        assert!(outages.failed("watch Eips", "404 page not found".into()));
        assert!(!outages.succeeded("watch nodes") && !outages.succeeded("watch services") && !outages.succeeded("write the Lease"));
        assert!(outages.succeeded("watch Eips"));
    }
}
