//! The solicited-node groups of one NIC: which to listen to, for the addresses that are answered for (RFC 4861 §7.2.1).
//!
//! Addresses whose last 24 bits are the same share a group, so that groups are counted: joined with the first address, left with the last. How to join is
//! the link's business ([`crate::link::LinkLayer::join`]). A link that is opened anew has joined none.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::time::Duration;

use crate::ndp::solicited_node;
use crate::time::Instant;

/// How long after a refusal a join is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// What to do about a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupChange {
    /// Listen to it.
    Join(Ipv6Addr),
    /// Listen to it no more.
    Leave(Ipv6Addr),
}

/// The groups of one NIC.
#[derive(Debug, Default)]
pub struct Groups {
    /// How many addresses want each.
    wanted: BTreeMap<Ipv6Addr, usize>,
    joined: BTreeSet<Ipv6Addr>,
    /// Those of which the two above may differ.
    pending: BTreeSet<Ipv6Addr>,
    /// Those that could not be joined, and when to try again.
    refused: BTreeSet<Ipv6Addr>,
    retry: Instant,
    /// A refusal was told, and since then there always was one.
    told: bool,
}

impl Groups {
    /// An address is answered for from now on.
    pub fn handle_address(&mut self, address: Ipv6Addr) {
        let group = solicited_node(address);
        *self.wanted.entry(group).or_default() += 1;
        self.pending.insert(group);
    }

    /// An address is answered for no more.
    pub fn handle_address_gone(&mut self, address: Ipv6Addr) {
        let group = solicited_node(address);
        let Some(count) = self.wanted.get_mut(&group) else { return };
        *count -= 1;
        if *count == 0 {
            self.wanted.remove(&group);
            self.pending.insert(group);
        }
    }

    /// The link was opened: it has joined nothing yet.
    pub fn handle_opened(&mut self) {
        self.joined.clear();
        self.pending = self.wanted.keys().copied().collect();
        self.refused.clear();
    }

    /// A join was refused: it is tried again. Whether that is news.
    pub fn handle_refused(&mut self, now: Instant, group: Ipv6Addr) -> bool {
        self.joined.remove(&group);
        self.refused.insert(group);
        self.retry = now + RETRY;
        !std::mem::replace(&mut self.told, true)
    }

    /// What to do next.
    pub fn poll(&mut self, now: Instant) -> Option<GroupChange> {
        if now >= self.retry {
            self.pending.append(&mut self.refused);
        }
        while let Some(group) = self.pending.pop_first() {
            match (self.wanted.contains_key(&group), self.joined.contains(&group)) {
                (true, false) => {
                    self.joined.insert(group);
                    return Some(GroupChange::Join(group));
                }
                (false, true) => {
                    self.joined.remove(&group);
                    return Some(GroupChange::Leave(group));
                }
                _ => {}
            }
        }
        self.told &= !self.refused.is_empty();
        None
    }

    /// When to poll again by itself: at once, or after a refusal.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let retry = (!self.refused.is_empty()).then_some(self.retry);
        if self.pending.is_empty() { retry } else { Some(Instant::ZERO) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_millis(1000);

    fn ip(text: &str) -> Ipv6Addr {
        text.parse().expect("a literal")
    }

    fn group() -> Ipv6Addr {
        ip("ff02::1:ff00:91")
    }

    fn changes(groups: &mut Groups) -> Vec<GroupChange> {
        std::iter::from_fn(|| groups.poll(NOW)).collect()
    }

    #[test]
    fn two_addresses_of_one_group_join_it_once_and_the_last_leaves_it() {
        let mut groups = Groups::default();
        groups.handle_address(ip("2001:db8::91"));
        groups.handle_address(ip("2001:db8:7::91"));
        assert_eq!(changes(&mut groups), [GroupChange::Join(group())]);
        groups.handle_address_gone(ip("2001:db8::91"));
        assert_eq!(changes(&mut groups), []);
        groups.handle_address_gone(ip("2001:db8:7::91"));
        assert_eq!(changes(&mut groups), [GroupChange::Leave(group())]);
    }

    #[test]
    fn an_address_that_comes_and_goes_unseen_joins_nothing() {
        let mut groups = Groups::default();
        groups.handle_address(ip("2001:db8::91"));
        groups.handle_address_gone(ip("2001:db8::91"));
        groups.handle_address_gone(ip("2001:db8::91"));
        assert_eq!(changes(&mut groups), []);
    }

    #[test]
    fn a_link_that_is_opened_anew_joins_all_again() {
        let mut groups = Groups::default();
        groups.handle_address(ip("2001:db8::91"));
        changes(&mut groups);
        groups.handle_opened();
        assert_eq!(changes(&mut groups), [GroupChange::Join(group())]);
    }

    #[test]
    fn a_refusal_is_news_once_and_tried_again_after_a_while() {
        let mut groups = Groups::default();
        groups.handle_address(ip("2001:db8::91"));
        assert_eq!(groups.poll(NOW), Some(GroupChange::Join(group())));
        assert!(groups.handle_refused(NOW, group()));
        assert_eq!((groups.poll(NOW), groups.poll_timeout()), (None, Some(NOW + RETRY)));
        assert_eq!(groups.poll(NOW + RETRY), Some(GroupChange::Join(group())));
        assert!(!groups.handle_refused(NOW + RETRY, group()), "it was told already");
        assert_eq!(groups.poll(NOW + RETRY * 2), Some(GroupChange::Join(group())));
        assert_eq!((groups.poll(NOW + RETRY * 2), groups.poll_timeout()), (None, None));
    }

    #[test]
    fn one_that_is_refused_does_not_keep_others_waiting() {
        let mut groups = Groups::default();
        groups.handle_address(ip("2001:db8::91"));
        groups.handle_address(ip("2001:db8::92"));
        groups.poll(NOW);
        groups.handle_refused(NOW, group());
        assert_eq!(changes(&mut groups), [GroupChange::Join(ip("ff02::1:ff00:92"))]);
    }
}
