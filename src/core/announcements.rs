//! When to say unasked that an address has moved, and how fast (gratuitous ARP; RFC 5227 §3 calls it an ARP announcement).
//!
//! An announcement is repeated, since a frame may be lost and some caches ignore one within their locktime; and it is paced, since ten thousand
//! at once would be a storm. It goes round by round over all addresses: everybody's first word comes before anybody's second.
//! What to say is not known here, only for which address it is time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::time::Instant;

/// Rounds of one announcement (design, "Announcements"): at once; again past a burst of loss; and twice after Linux' locktime of 1 s, within which
/// it takes no reply that is not gratuitous in form (layer2-peers-and-kernel §6.2).
const ROUNDS: [Duration; 4] = [Duration::ZERO, Duration::from_millis(200), Duration::from_millis(1100), Duration::from_millis(2200)];

/// 20,000 frames a second, two frames each: 10,000 addresses have had their first word after a second.
const PACE: Duration = Duration::from_micros(100);

/// What the pace may catch up at once: timers tick in milliseconds, and the pace is finer.
const BURST: Duration = Duration::from_millis(2);

/// The announcements that are still to be made.
#[derive(Debug, Default)]
pub struct Announcements {
    due: BTreeSet<(Instant, Ipv4Addr)>,
    /// When each address's announcement began: what of it is still due follows from that.
    began: BTreeMap<Ipv4Addr, Instant>,
    /// Not before this.
    next: Instant,
}

impl Announcements {
    /// Announces an address from the first round on, whatever was left of an earlier announcement.
    pub fn announce(&mut self, now: Instant, address: Ipv4Addr) {
        self.withdraw(address);
        self.began.insert(address, now);
        self.due.extend(ROUNDS.map(|offset| (now + offset, address)));
    }

    /// Announces exactly these addresses from the first round on.
    pub fn restart(&mut self, now: Instant, addresses: impl Iterator<Item = Ipv4Addr>) {
        self.clear();
        addresses.for_each(|address| self.announce(now, address));
    }

    /// Says nothing more of an address.
    pub fn withdraw(&mut self, address: Ipv4Addr) {
        let Some(began) = self.began.remove(&address) else { return };
        for offset in ROUNDS {
            self.due.remove(&(began + offset, address));
        }
    }

    /// Says nothing more at all.
    pub fn clear(&mut self) {
        self.began.clear();
        self.due.clear();
    }

    /// The address whose turn it is now: one request and one reply may go out.
    pub fn poll(&mut self, now: Instant) -> Option<Ipv4Addr> {
        let &(due, address) = self.due.first()?;
        if due > now || self.next > now {
            return None;
        }
        self.due.pop_first();
        if self.began.get(&address).is_some_and(|began| *began + ROUNDS[ROUNDS.len() - 1] == due) {
            self.began.remove(&address);
        }
        let earliest = Instant::from_nanos(now.as_nanos().saturating_sub(BURST.as_nanos() as u64));
        self.next = self.next.max(earliest) + PACE;
        Some(address)
    }

    /// When the next one is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| (*due).max(self.next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIP: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 91);

    /// Every announcement until nothing is left, with its time in milliseconds.
    fn drained(announcements: &mut Announcements) -> Vec<(u64, Ipv4Addr)> {
        let mut spoken = Vec::new();
        while let Some(at) = announcements.poll_timeout() {
            spoken.extend(announcements.poll(at).map(|address| (at.as_nanos() / 1_000_000, address)));
        }
        spoken
    }

    #[test]
    fn an_announcement_is_made_four_times() {
        let mut announcements = Announcements::default();
        announcements.announce(Instant::from_millis(1000), VIP);
        assert_eq!(drained(&mut announcements), [1000, 1200, 2100, 3200].map(|at| (at, VIP)));
    }

    #[test]
    fn announcing_again_starts_over_and_does_not_add_up() {
        let mut announcements = Announcements::default();
        announcements.announce(Instant::ZERO, VIP);
        announcements.announce(Instant::from_millis(100), VIP);
        assert_eq!(drained(&mut announcements), [100, 300, 1200, 2300].map(|at| (at, VIP)));
    }

    #[test]
    fn what_is_withdrawn_is_not_spoken_of() {
        let mut announcements = Announcements::default();
        announcements.announce(Instant::ZERO, VIP);
        announcements.withdraw(VIP);
        assert_eq!(announcements.poll_timeout(), None);
    }

    #[test]
    fn everybodys_first_word_comes_before_anybodys_second() {
        let mut announcements = Announcements::default();
        announcements.restart(Instant::ZERO, (0..1000).map(|low| Ipv4Addr::from_bits(VIP.to_bits() + low)));
        let spoken = drained(&mut announcements);
        let first: BTreeSet<Ipv4Addr> = spoken[..1000].iter().map(|(_, address)| *address).collect();
        assert_eq!((spoken.len(), first.len()), (4000, 1000));
    }

    #[test]
    fn ten_thousand_addresses_take_a_second_for_a_round() {
        let mut announcements = Announcements::default();
        let start = Instant::from_millis(60_000);
        announcements.restart(start, (0..10_000).map(|low| Ipv4Addr::from_bits(VIP.to_bits() + low)));
        let within = |at: Instant, announcements: &mut Announcements| std::iter::from_fn(|| announcements.poll(at)).count();
        let mut spoken = 0;
        for millisecond in 0..100 {
            spoken += within(start + Duration::from_millis(millisecond), &mut announcements);
        }
        assert!((1000..=1030).contains(&spoken), "{spoken} in 100 ms");
    }
}
