//! Reads what a continuous `ping -D -O` prints, and says of each request whether it was answered.
//!
//! A request that has no answer after [`PATIENCE`] is lost. Requests that ping never mentions (its output ends) are not reported.

use std::collections::BTreeMap;
use std::time::Duration;

/// Longer than any answer takes on a LAN, even one that waited for a neighbor (three requests, a second apart).
pub(crate) const PATIENCE: Duration = Duration::from_secs(4);

/// A request and what became of it. Times are since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Echo {
    pub(crate) seq: u64,
    pub(crate) sent: Duration,
    pub(crate) answer: Option<Duration>,
}

/// The requests of one ping that are neither answered nor lost, by sequence number, and when each was sent.
#[derive(Debug)]
pub(crate) struct Requests {
    every: Duration,
    waiting: BTreeMap<u64, Duration>,
    /// The last number that was heard of: what lies between it and the next was sent too.
    last: Option<(u64, Duration)>,
}

impl Requests {
    /// Of a ping with this interval.
    pub(crate) fn new(every: Duration) -> Self {
        Self { every, waiting: BTreeMap::new(), last: None }
    }

    /// One line of output; the request that it settles.
    pub(crate) fn line(&mut self, line: &str) -> Option<Echo> {
        let at = line.strip_prefix('[')?.split(']').next()?.parse().ok().map(Duration::from_secs_f64)?;
        let number = |key: &str| line.split_once(key)?.1.split(' ').next();
        let seq: u64 = number("icmp_seq=")?.parse().ok()?;
        if let Some(took) = number("time=").and_then(|took| took.parse::<f64>().ok()) {
            let sent = at.saturating_sub(Duration::from_secs_f64(took / 1000.0));
            self.heard_of(seq, sent);
            self.waiting.remove(&seq);
            return Some(Echo { seq, sent, answer: Some(at) });
        }
        if line.contains("no answer yet") {
            // Said when the next request is sent.
            self.heard_of(seq, at.saturating_sub(self.every));
        }
        None
    }

    /// Remembers a request and those before it that nothing was said of.
    fn heard_of(&mut self, seq: u64, sent: Duration) {
        let last = self.last.map_or(0, |(last, _)| last);
        for missing in last + 1..seq {
            let before = u32::try_from(seq - missing).unwrap_or(u32::MAX);
            self.waiting.entry(missing).or_insert_with(|| sent.saturating_sub(self.every.saturating_mul(before)));
        }
        if seq > last {
            self.waiting.insert(seq, sent);
            self.last = Some((seq, sent));
        }
    }

    /// Takes out those that were sent before a moment and are not answered.
    pub(crate) fn lost(&mut self, sent_before: Duration) -> Vec<Echo> {
        let lost: Vec<_> = self.waiting.iter().filter(|(_, sent)| **sent < sent_before).map(|(seq, sent)| (*seq, *sent)).collect();
        lost.into_iter()
            .map(|(seq, sent)| {
                self.waiting.remove(&seq);
                Echo { seq, sent, answer: None }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_millis(100);

    fn read(lines: &[&str]) -> (Vec<Echo>, Vec<Echo>) {
        let mut requests = Requests::new(EVERY);
        let answered = lines.iter().filter_map(|line| requests.line(line)).collect();
        (answered, requests.lost(Duration::from_secs(1000)))
    }

    #[test]
    fn an_answer_says_when_its_request_was_sent() {
        let (answered, lost) = read(&["PING 192.168.0.91", "[100.500000] 64 bytes from 192.168.0.91: icmp_seq=1 ttl=64 time=500 ms"]);
        let (sent, at) = (Duration::from_secs(100), Duration::from_millis(100_500));
        assert_eq!(answered, [Echo { seq: 1, sent, answer: Some(at) }]);
        assert_eq!(lost, []);
    }

    #[test]
    fn what_is_not_answered_is_lost_also_when_nothing_was_said_of_it() {
        let (answered, lost) = read(&[
            "[100.100000] no answer yet for icmp_seq=1",
            "[100.200000] From 192.168.0.5 icmp_seq=2 Destination Host Unreachable",
            "[100.300000] 64 bytes from 192.168.0.91: icmp_seq=4 ttl=64 time=0.000 ms",
        ]);
        assert_eq!(answered.iter().map(|echo| echo.seq).collect::<Vec<_>>(), [4]);
        let seen: Vec<_> = lost.iter().map(|echo| (echo.seq, echo.sent.as_millis())).collect();
        assert_eq!(seen, [(1, 100_000), (2, 100_100), (3, 100_200)]);
    }
}
