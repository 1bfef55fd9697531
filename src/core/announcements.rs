//! When to say unasked that an address has moved, and how fast (gratuitous ARP, which RFC 5227 §3 calls an ARP announcement; unsolicited neighbor
//! advertisements, RFC 4861 §7.2.6).
//!
//! An announcement is repeated, since a frame may be lost and some caches ignore one within their locktime; and it is paced, since ten thousand
//! at once would be a storm. It goes round by round over all addresses: everybody's first word comes before anybody's second.
//! What to say is not known here, only for which address it is time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::time::Instant;

/// Rounds of one announcement (design, "Announcements"): at once; again past a burst of loss; and twice after Linux' locktime of 1 s, within which
/// it takes no reply that is not gratuitous in form (layer2-peers-and-kernel §6.2).
const ROUNDS: [Duration; 4] = [Duration::ZERO, Duration::from_millis(200), Duration::from_millis(1100), Duration::from_millis(2200)];

/// Rounds of IPv6: no more than three (MAX_NEIGHBOR_ADVERTISEMENT), a second apart (RetransTimer; RFC 4861 §10). Linux has no locktime there, and an
/// advertisement with O set is taken whatever was said before (layer2-peers-and-kernel §6.4).
const ROUNDS6: [Duration; 3] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(2)];

/// 20,000 frames a second, two frames each (of IPv6 one): 10,000 addresses have had their first word after a second.
const PACE: Duration = Duration::from_micros(100);

/// What the pace may catch up at once: timers tick in milliseconds, and the pace is finer.
const BURST: Duration = Duration::from_millis(2);

/// The announcements that are still to be made.
#[derive(Debug, Default)]
pub struct Announcements {
    due: BTreeSet<(Instant, IpAddr)>,
    /// When each address's announcement began: what of it is still due follows from that.
    began: BTreeMap<IpAddr, Instant>,
    /// Not before this.
    next: Instant,
}

impl Announcements {
    /// Announces an address from the first round on, whatever was left of an earlier announcement.
    pub fn announce(&mut self, now: Instant, address: IpAddr) {
        self.withdraw(address);
        self.began.insert(address, now);
        self.due.extend(rounds(address).iter().map(|offset| (now + *offset, address)));
    }

    /// Announces exactly these addresses from the first round on.
    pub fn restart(&mut self, now: Instant, addresses: impl Iterator<Item = IpAddr>) {
        self.clear();
        addresses.for_each(|address| self.announce(now, address));
    }

    /// Says nothing more of an address.
    pub fn withdraw(&mut self, address: IpAddr) {
        let Some(began) = self.began.remove(&address) else { return };
        for offset in rounds(address) {
            self.due.remove(&(began + *offset, address));
        }
    }

    /// Says nothing more at all.
    pub fn clear(&mut self) {
        self.began.clear();
        self.due.clear();
    }

    /// The address whose turn it is now: one request and one reply may go out, or one advertisement.
    pub fn poll(&mut self, now: Instant) -> Option<IpAddr> {
        let &(due, address) = self.due.first()?;
        if due > now || self.next > now {
            return None;
        }
        self.due.pop_first();
        let last = rounds(address).last().copied().unwrap_or_default();
        if self.began.get(&address).is_some_and(|began| *began + last == due) {
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

/// When after its beginning each round of an address's announcement comes.
fn rounds(address: IpAddr) -> &'static [Duration] {
    if address.is_ipv4() { &ROUNDS } else { &ROUNDS6 }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 0, 91));
    const VIP6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x91));

    fn many(count: u32) -> impl Iterator<Item = IpAddr> {
        (0..count).map(|low| Ipv4Addr::from_bits(0x0a00_0001 + low).into())
    }

    /// Every announcement until nothing is left, with its time in milliseconds.
    fn drained(announcements: &mut Announcements) -> Vec<(u64, IpAddr)> {
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
    fn an_announcement_of_ipv6_is_made_three_times_a_second_apart() {
        let mut announcements = Announcements::default();
        announcements.announce(Instant::from_millis(1000), VIP6);
        assert_eq!(drained(&mut announcements), [1000, 2000, 3000].map(|at| (at, VIP6)));
        announcements.announce(Instant::from_millis(9000), VIP6);
        announcements.withdraw(VIP6);
        assert_eq!(announcements.poll_timeout(), None);
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
        announcements.restart(Instant::ZERO, many(1000));
        let spoken = drained(&mut announcements);
        let first: BTreeSet<IpAddr> = spoken[..1000].iter().map(|(_, address)| *address).collect();
        assert_eq!((spoken.len(), first.len()), (4000, 1000));
    }

    #[test]
    fn ten_thousand_addresses_take_a_second_for_a_round() {
        let mut announcements = Announcements::default();
        let start = Instant::from_millis(60_000);
        announcements.restart(start, many(10_000));
        let within = |at: Instant, announcements: &mut Announcements| std::iter::from_fn(|| announcements.poll(at)).count();
        let mut spoken = 0;
        for millisecond in 0..100 {
            spoken += within(start + Duration::from_millis(millisecond), &mut announcements);
        }
        assert!((1000..=1030).contains(&spoken), "{spoken} in 100 ms");
    }
}
