//! `ping`: echo requests at a pace, what became of each, and the text that iputils prints.
//!
//! A state machine: it is asked when it wants to send, told what came back, and never sees a packet. An echo is given up when nothing
//! came for ten seconds (iputils' MAXWAIT), because an answer may still come when the neighbor is found late.

use std::collections::VecDeque;
use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

use bellhop_core::time::Instant;

/// What to ping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PingOptions {
    /// Whom.
    pub to: IpAddr,
    /// `-i`: between two requests. iputils' default is a second; zero is taken for a microsecond.
    pub interval: Duration,
    /// `-c`: how many; `None` for ever.
    pub count: Option<u32>,
}

impl PingOptions {
    /// `ping <to>`: once a second until it is stopped.
    pub fn to(to: impl Into<IpAddr>) -> Self {
        Self { to: to.into(), interval: Duration::from_secs(1), count: None }
    }
}

/// What became of one echo request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// Its number, from 1.
    pub sequence: u32,
    /// When it was sent.
    pub sent: Instant,
    /// What came.
    pub outcome: EchoOutcome,
}

/// What came for an echo request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EchoOutcome {
    /// An answer.
    Answered {
        /// From send to answer.
        round_trip: Duration,
        /// The answer's hops left.
        ttl: u8,
    },
    /// Somebody (perhaps this machine) says that it cannot be delivered.
    Unreachable {
        /// Who.
        from: IpAddr,
        /// ICMP code: 0 network, 1 host, 3 port (RFC 792).
        code: u8,
    },
    /// Nothing.
    Lost,
}

/// iputils' MAXWAIT: how long an answer is waited for.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Requests that are waited for at one time; the oldest is given up beyond.
const OUTSTANDING_MAX: usize = 4096;

/// A running `ping`. `poll_*` say what to send and when; `handle_*` take in what came; decided echoes are taken with `take_decided`.
#[derive(Debug)]
pub(crate) struct Ping {
    /// What was asked for.
    options: PingOptions,
    /// The address it sends from; `None` when there was no route at the start.
    source: Option<IpAddr>,
    /// When it started.
    started: Instant,
    /// When the next request is due.
    due: Instant,
    /// When the last request went out.
    last_sent: Instant,
    /// Requests sent.
    transmitted: u32,
    /// Requests that are still waited for.
    outstanding: VecDeque<(u32, Instant)>,
    /// Decided since last taken.
    decided: Vec<Echo>,
    /// What it has printed, while a count bounds it.
    text: String,
    /// Numbers for the last lines.
    totals: Totals,
    /// Over.
    done: bool,
}

/// The numbers of the statistics block, in nanoseconds.
#[derive(Debug, Default)]
struct Totals {
    /// Answers.
    received: u32,
    /// Unreachables.
    errors: u32,
    /// Shortest round trip.
    min: u64,
    /// Longest round trip.
    max: u64,
    /// Sum of round trips.
    sum: u64,
    /// Sum of their squares.
    squares: u128,
    /// Most requests in flight at one time ("pipe").
    pipe: u32,
}

impl Ping {
    /// Starts. Without a `source` it is over at once: "Network is unreachable".
    pub(crate) fn new(now: Instant, options: PingOptions, source: Option<IpAddr>) -> Self {
        let to = options.to;
        let text = match source {
            Some(IpAddr::V4(_)) => format!("PING {to} ({to}) 56(84) bytes of data.\n"),
            Some(IpAddr::V6(_)) => format!("PING {to} ({to}) 56 data bytes\n"),
            None => "ping: connect: Network is unreachable\n".to_owned(),
        };
        Self {
            options: PingOptions { interval: options.interval.max(Duration::from_micros(1)), ..options },
            source,
            started: now,
            due: now,
            last_sent: now,
            transmitted: 0,
            outstanding: VecDeque::new(),
            decided: Vec::new(),
            text,
            totals: Totals::default(),
            done: source.is_none(),
        }
    }

    /// Whether it has ended.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// Whom it pings.
    pub(crate) fn destination(&self) -> IpAddr {
        self.options.to
    }

    /// When it wants [`Ping::poll_request`] called next.
    pub(crate) fn poll_at(&self) -> Option<Instant> {
        if self.done {
            return None;
        }
        Some(if self.sent_all() { self.linger_until() } else { self.due })
    }

    /// The next request: source, destination, number. It confirms no neighbor: iputils 20221126 sends none with MSG_CONFIRM (strace on Linux
    /// 6.18: 0 of 48), so that a pinged neighbor is probed like any other.
    pub(crate) fn poll_request(&mut self, now: Instant) -> Option<(IpAddr, IpAddr, u32)> {
        if self.poll_at().is_none_or(|at| now < at) {
            return None;
        }
        while self.outstanding.front().is_some_and(|(_, sent)| now - *sent >= WAIT_MAX) || self.outstanding.len() >= OUTSTANDING_MAX {
            self.give_up_oldest();
        }
        if self.sent_all() {
            self.stop();
            return None;
        }
        self.transmitted += 1;
        self.last_sent = now;
        // After standing still it does not catch up (iputils, pinger: its tokens are bounded).
        let due = self.due + self.options.interval;
        self.due = if due > now { due } else { now + self.options.interval };
        self.outstanding.push_back((self.transmitted, now));
        self.source.map(|source| (source, self.options.to, self.transmitted))
    }

    /// An answer to the request whose number ends in these 16 bits.
    pub(crate) fn handle_reply(&mut self, now: Instant, sequence: u16, ttl: u8) {
        let Some((sequence, sent)) = self.settle(sequence) else { return };
        let round_trip = now - sent;
        self.totals.count(round_trip);
        self.say(|to| format!("64 bytes from {to}: icmp_seq={sequence} ttl={ttl} time={} ms", time(round_trip)));
        self.decided.push(Echo { sequence, sent, outcome: EchoOutcome::Answered { round_trip, ttl } });
        self.end_if_all_heard();
    }

    /// The request was not delivered, says `from`.
    pub(crate) fn handle_unreachable(&mut self, sequence: u16, from: IpAddr, code: u8) {
        let Some((sequence, sent)) = self.settle(sequence) else { return };
        self.totals.errors += 1;
        let what = match code {
            // The codes of ICMPv6 (RFC 4443 §3.1), in iputils' words.
            0 if from.is_ipv6() => "Destination unreachable: No route",
            3 if from.is_ipv6() => "Destination unreachable: Address unreachable",
            _ if from.is_ipv6() => "Destination unreachable: Unknown code",
            0 => "Destination Net Unreachable",
            1 => "Destination Host Unreachable",
            3 => "Destination Port Unreachable",
            _ => "Destination Unreachable",
        };
        self.say(|_| format!("From {from} icmp_seq={sequence} {what}"));
        self.decided.push(Echo { sequence, sent, outcome: EchoOutcome::Unreachable { from, code } });
        self.end_if_all_heard();
    }

    /// Ctrl-C, or its machine died: what is outstanding is lost.
    pub(crate) fn stop(&mut self) {
        while !self.outstanding.is_empty() {
            self.give_up_oldest();
        }
        if !self.done {
            self.done = true;
            let statistics = self.statistics();
            self.text.push_str(&statistics);
        }
    }

    /// What was decided since the last call.
    pub(crate) fn take_decided(&mut self) -> Vec<Echo> {
        std::mem::take(&mut self.decided)
    }

    /// What it printed. An endless ping prints its first line and, once stopped, its last ones.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether the last request is out.
    fn sent_all(&self) -> bool {
        self.options.count.is_some_and(|count| self.transmitted >= count)
    }

    /// When waiting after the last request ends (iputils, __schedule_exit): twice the longest round trip, at least one interval; ten seconds
    /// if nothing was heard at all.
    fn linger_until(&self) -> Instant {
        let wait = match self.totals.received {
            0 => WAIT_MAX,
            _ => self.options.interval.max(Duration::from_nanos(self.totals.max.saturating_mul(2))),
        };
        self.last_sent + wait
    }

    /// Ends early when every request is decided.
    fn end_if_all_heard(&mut self) {
        if self.sent_all() && self.outstanding.is_empty() {
            self.stop();
        }
    }

    /// Takes a request off the outstanding ones by the low 16 bits of its number.
    fn settle(&mut self, sequence: u16) -> Option<(u32, Instant)> {
        let index = self.outstanding.iter().position(|(number, _)| number & 0xffff == u32::from(sequence))?;
        let settled = self.outstanding.remove(index)?;
        self.totals.pipe = self.totals.pipe.max(self.transmitted - settled.0 + 1);
        Some(settled)
    }

    /// The oldest outstanding request is lost.
    fn give_up_oldest(&mut self) {
        if let Some((sequence, sent)) = self.outstanding.pop_front() {
            self.decided.push(Echo { sequence, sent, outcome: EchoOutcome::Lost });
        }
    }

    /// Prints a line, if a count bounds how many there will be.
    fn say(&mut self, line: impl FnOnce(IpAddr) -> String) {
        if self.options.count.is_some() {
            self.text.push_str(&line(self.options.to));
            self.text.push('\n');
        }
    }

    /// The block at the end (iputils, finish()).
    fn statistics(&self) -> String {
        let totals = &self.totals;
        let mut text = format!(
            "\n--- {} ping statistics ---\n{} packets transmitted, {} received",
            self.options.to, self.transmitted, totals.received
        );
        // Writing into a String cannot fail.
        if totals.errors > 0 {
            let _ = write!(text, ", +{} errors", totals.errors);
        }
        if self.transmitted > 0 {
            let lost = self.transmitted - totals.received;
            let percent = f64::from(lost) * 100.0 / f64::from(self.transmitted);
            let _ = write!(text, ", {}% packet loss, time {}ms", percentage(percent), (self.last_sent - self.started).as_millis());
        }
        text.push('\n');
        if totals.received > 0 {
            let _ = write!(text, "rtt min/avg/max/mdev = {} ms", totals.round_trips());
        }
        if totals.pipe > 1 {
            let comma = if totals.received > 0 { ", " } else { "" };
            let _ = write!(text, "{comma}pipe {}", totals.pipe);
        }
        text.push('\n');
        text
    }
}

impl Totals {
    /// Counts an answer.
    fn count(&mut self, round_trip: Duration) {
        let nanos = u64::try_from(round_trip.as_nanos()).unwrap_or(u64::MAX);
        self.min = if self.received == 0 { nanos } else { self.min.min(nanos) };
        self.max = self.max.max(nanos);
        self.sum = self.sum.saturating_add(nanos);
        self.squares = self.squares.saturating_add(u128::from(nanos) * u128::from(nanos));
        self.received += 1;
    }

    /// Minimum, mean, maximum and mean deviation, in milliseconds with three digits.
    fn round_trips(&self) -> String {
        let mean = self.sum / u64::from(self.received.max(1));
        let variance = (self.squares / u128::from(self.received.max(1))).saturating_sub(u128::from(mean) * u128::from(mean));
        let deviation = u64::try_from(variance.isqrt()).unwrap_or(u64::MAX);
        [self.min, mean, self.max, deviation].map(|nanos| format!("{}.{:03}", nanos / 1_000_000, nanos / 1000 % 1000)).join("/")
    }
}

/// A round trip in milliseconds with as many digits as iputils prints.
fn time(round_trip: Duration) -> String {
    let micros = round_trip.as_micros();
    match micros {
        100_000.. => format!("{}", micros / 1000),
        10_000.. => format!("{}.{:01}", micros / 1000, micros % 1000 / 100),
        1_000.. => format!("{}.{:02}", micros / 1000, micros % 1000 / 10),
        _ => format!("0.{micros:03}"),
    }
}

/// C's `%g`: six significant digits, no trailing zeros.
fn percentage(percent: f64) -> String {
    let digits = if percent >= 100.0 {
        3
    } else if percent >= 10.0 {
        4
    } else {
        5
    };
    let text = format!("{percent:.digits$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 0, 91));
    const FROM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 0, 5));

    fn three() -> Ping {
        Ping::new(Instant::ZERO, PingOptions { count: Some(3), ..PingOptions::to(TO) }, Some(FROM))
    }

    fn send(ping: &mut Ping) -> Instant {
        let at = ping.poll_at().expect("it has more to send");
        ping.poll_request(at).expect("a request is due");
        at
    }

    #[test]
    fn three_answered_echoes_print_as_iputils_prints_them() {
        let mut ping = three();
        for (sequence, micros) in [(1, 123), (2, 1234), (3, 12_345)] {
            let at = send(&mut ping);
            ping.handle_reply(at + Duration::from_micros(micros), sequence, 64);
        }
        assert!(ping.is_done());
        assert_eq!(
            ping.text(),
            "PING 192.168.0.91 (192.168.0.91) 56(84) bytes of data.\n\
             64 bytes from 192.168.0.91: icmp_seq=1 ttl=64 time=0.123 ms\n\
             64 bytes from 192.168.0.91: icmp_seq=2 ttl=64 time=1.23 ms\n\
             64 bytes from 192.168.0.91: icmp_seq=3 ttl=64 time=12.3 ms\n\
             \n--- 192.168.0.91 ping statistics ---\n\
             3 packets transmitted, 3 received, 0% packet loss, time 2000ms\n\
             rtt min/avg/max/mdev = 0.123/4.567/12.345/5.518 ms\n"
        );
    }

    #[test]
    fn an_unreachable_host_prints_errors_and_how_many_were_in_flight() {
        let mut ping = three();
        (0..3).for_each(|_| _ = send(&mut ping));
        (1..=3).for_each(|sequence| ping.handle_unreachable(sequence, FROM, 1));
        assert!(ping.text().contains("From 192.168.0.5 icmp_seq=2 Destination Host Unreachable\n"));
        assert!(ping.text().ends_with("3 packets transmitted, 0 received, +3 errors, 100% packet loss, time 2000ms\npipe 3\n"));
    }

    #[test]
    fn an_unanswered_ping_waits_ten_seconds_and_loses_all() {
        let mut ping = three();
        (0..3).for_each(|_| _ = send(&mut ping));
        assert_eq!(ping.poll_at(), Some(Instant::from_millis(12_000)));
        assert_eq!(ping.poll_request(Instant::from_millis(12_000)), None);
        assert!(ping.is_done());
        assert_eq!(ping.take_decided().iter().filter(|echo| echo.outcome == EchoOutcome::Lost).count(), 3);
    }

    #[test]
    fn a_third_lost_prints_as_percent_g() {
        assert_eq!(percentage(100.0 / 3.0), "33.3333");
        assert_eq!(percentage(0.0), "0");
        assert_eq!(percentage(100.0), "100");
        assert_eq!(percentage(50.0), "50");
    }
}
