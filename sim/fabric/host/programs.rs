//! The programs that a person runs on a machine: ping and curl, and the TCP stacks under curl.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use bellhop_core::time::Instant;
use rand::Rng;

use super::{Alarm, Effects, Happened, Host, Timer};
use crate::curl::{Answer, Curl, CurlError, CurlOptions, CurlReport};
use crate::packet::{self, Icmp};
use crate::packet6;
use crate::ping::{Ping, PingOptions};
use crate::tcp::TcpStack;

impl Host {
    /// Starts a ping. On a machine without power there is nobody to start it: it ends unreached.
    pub(crate) fn start_ping(&mut self, now: Instant, number: u32, options: PingOptions, effects: &mut Effects) {
        let source = if self.powered { self.source_to(options.to) } else { None };
        let ping = Ping::new(now, options, source);
        if let Some(at) = ping.poll_at() {
            effects.timers.push((at, Timer::Ping(number)));
        }
        self.pings.insert(number, ping);
    }

    /// Ctrl-C.
    pub(crate) fn stop_ping(&mut self, number: u32, effects: &mut Effects) {
        if let Some(ping) = self.pings.get_mut(&number) {
            ping.stop();
        }
        self.report_echoes(number, effects);
    }

    /// A ping that was started.
    pub(crate) fn ping(&self, number: u32) -> Option<&Ping> {
        self.pings.get(&number)
    }

    /// Forgets a ping.
    pub(crate) fn remove_ping(&mut self, number: u32) {
        self.pings.remove(&number);
    }

    /// Starts a curl.
    pub(crate) fn start_curl(&mut self, now: Instant, number: u32, options: CurlOptions, effects: &mut Effects) {
        let source = if self.powered { self.source_to(options.to.ip()) } else { None };
        let opened = source.and_then(|source| self.open_connection(now, source, options.to));
        let Some((local, socket)) = opened else {
            let report = CurlReport { options, started: now, ended: now, result: Err(CurlError::NoRoute) };
            effects.happened.push(Happened::Curl { curl: number, report });
            return;
        };
        let curl = Curl::new(now, options, socket, local);
        effects.timers.push((curl.deadline(), Timer::Curl));
        self.curls.insert(number, curl);
        self.poll_stack(now, local.ip(), effects);
    }

    /// A ping wants to send.
    pub(super) fn handle_ping_timer(&mut self, now: Instant, number: u32, effects: &mut Effects) {
        let Some(ping) = self.pings.get_mut(&number) else { return };
        let request = ping.poll_request(now);
        if let Some(at) = ping.poll_at().filter(|at| *at > now) {
            effects.timers.push((at, Timer::Ping(number)));
        }
        if let Some((source, destination, sequence)) = request {
            let [.., high, low] = sequence.to_be_bytes();
            let (identifier, sequence) = (identifier(number), u16::from_be_bytes([high, low]));
            match (source, destination) {
                (IpAddr::V4(source), IpAddr::V4(destination)) => {
                    self.send(now, packet::echo_request(source, destination, identifier, sequence), false, effects);
                }
                (IpAddr::V6(source), IpAddr::V6(destination)) => {
                    self.send6(now, packet6::echo_request(source, destination, identifier, sequence), false, effects);
                }
                _ => {}
            }
        }
        self.report_echoes(number, effects);
    }

    /// An ICMP message for a program here.
    pub(super) fn handle_icmp(&mut self, now: Instant, icmp: Icmp, from: Ipv4Addr, ttl: u8, effects: &mut Effects) {
        match icmp {
            Icmp::Echo => {}
            Icmp::EchoReply { identifier, sequence } => {
                self.handle_echo_reply(now, identifier, sequence, ttl, effects);
            }
            Icmp::EchoUnreachable { identifier, sequence, code } => {
                self.handle_echo_unreachable(identifier, sequence, from.into(), code, effects);
            }
            Icmp::TcpUnreachable { port, code } => self.handle_tcp_unreachable(now, port, code, effects),
        }
    }

    /// "Unreachable", for the curl on this port; the code is one of ICMP's (RFC 792).
    pub(super) fn handle_tcp_unreachable(&mut self, now: Instant, port: u16, code: u8, effects: &mut Effects) {
        let hit = self.curls.iter().find(|(_, curl)| curl.local.port() == port);
        if let Some((number, error)) = hit.and_then(|(number, curl)| Some((*number, curl.handle_unreachable(code)?))) {
            self.end_curl(now, number, Err(error), effects);
        }
    }

    /// An answer for the ping with this identifier.
    pub(super) fn handle_echo_reply(&mut self, now: Instant, identifier: u16, sequence: u16, ttl: u8, effects: &mut Effects) {
        self.with_ping(identifier, effects, |ping| ping.handle_reply(now, sequence, ttl));
    }

    /// "Unreachable", for the ping with this identifier.
    pub(super) fn handle_echo_unreachable(&mut self, identifier: u16, sequence: u16, from: IpAddr, code: u8, effects: &mut Effects) {
        self.with_ping(identifier, effects, |ping| ping.handle_unreachable(sequence, from, code));
    }

    /// Sends one datagram to the discard port.
    pub(crate) fn send_datagram(&mut self, now: Instant, source: Option<IpAddr>, to: IpAddr, confirm: bool, effects: &mut Effects) {
        let source = if self.powered { source.or_else(|| self.source_to(to)) } else { None };
        match (source.map(|source| SocketAddr::new(source, DATAGRAM_FROM)), to) {
            (Some(SocketAddr::V4(source)), IpAddr::V4(to)) => {
                self.send(now, packet::datagram(source, SocketAddrV4::new(to, DISCARD), &[0]), confirm, effects);
            }
            (Some(SocketAddr::V6(source)), IpAddr::V6(to)) => {
                self.send6(now, packet6::datagram(source, SocketAddrV6::new(to, DISCARD, 0, 0), &[0]), confirm, effects);
            }
            _ => {}
        }
    }

    /// The source address that it would use.
    fn source_to(&self, destination: IpAddr) -> Option<IpAddr> {
        match destination {
            IpAddr::V4(destination) => self.source_for(destination).map(IpAddr::V4),
            IpAddr::V6(destination) => self.source_for6(destination).map(IpAddr::V6),
        }
    }

    /// A segment for one of the machine's addresses: to its stack, or refused.
    pub(super) fn deliver_segment(&mut self, now: Instant, bytes: Vec<u8>, address: IpAddr, effects: &mut Effects) {
        let Some((stack, _)) = self.stacks.get_mut(&address) else {
            if let Some(reset) = packet::segment(&bytes).and_then(|_| packet::reset(&bytes)) {
                self.send(now, reset, false, effects);
            }
            return;
        };
        let mut confirms = false;
        if let Some(segment) = packet::segment(&bytes) {
            let curl = self.curls.values_mut().find(|curl| curl.local == segment.destination);
            if let Some(curl) = curl.filter(|curl| segment.acknowledges.is_some() && curl.acknowledged != segment.acknowledges) {
                // Forward progress (tcp_ack): the next packet out confirms the neighbor.
                curl.acknowledged = segment.acknowledges;
                confirms = true;
            }
        }
        stack.receive(bytes);
        self.poll_stack_confirming(now, address, confirms, effects);
    }

    /// A stack's timer.
    pub(super) fn handle_stack_timer(&mut self, now: Instant, address: IpAddr, effects: &mut Effects) {
        if self.stacks.get_mut(&address).is_some_and(|(_, alarm)| alarm.rings(now)) {
            self.poll_stack(now, address, effects);
        }
    }

    /// Looks at all curls: some may have run out of patience.
    pub(super) fn poll_curls(&mut self, now: Instant, effects: &mut Effects) {
        let addresses: Vec<_> = self.curls.values().map(|curl| curl.local.ip()).collect();
        for address in addresses {
            self.poll_stack(now, address, effects);
        }
    }

    /// Power is gone: programs end without another word of the network.
    pub(super) fn stop_programs(&mut self, now: Instant, effects: &mut Effects) {
        let pings: Vec<_> = self.pings.keys().copied().collect();
        for number in pings {
            self.stop_ping(number, effects);
        }
        for (number, curl) in std::mem::take(&mut self.curls) {
            let report = curl.report(now, Err(CurlError::Reset));
            effects.happened.push(Happened::Curl { curl: number, report });
        }
    }

    /// Opens a socket from a fresh port.
    fn open_connection(&mut self, now: Instant, source: IpAddr, to: SocketAddr) -> Option<(SocketAddr, smoltcp::iface::SocketHandle)> {
        let seed = self.rng.next_u64();
        let local = SocketAddr::new(source, self.next_port);
        self.next_port = if self.next_port >= 60_999 { 32_768 } else { self.next_port + 1 };
        let (stack, _) = self.stacks.entry(source).or_insert_with(|| (TcpStack::new(now, source, seed), Alarm::default()));
        let socket = stack.open();
        if stack.connect(socket, local, to) {
            return Some((local, socket));
        }
        stack.remove(socket);
        None
    }

    /// Lets a stack and the curls on it go on.
    fn poll_stack(&mut self, now: Instant, address: IpAddr, effects: &mut Effects) {
        self.poll_stack_confirming(now, address, false, effects);
    }

    /// The same; `confirms`: what it sends follows progress.
    fn poll_stack_confirming(&mut self, now: Instant, address: IpAddr, confirms: bool, effects: &mut Effects) {
        let Some((stack, _)) = self.stacks.get_mut(&address) else { return };
        stack.poll(now);
        let mut ended = Vec::new();
        for (number, curl) in self.curls.iter_mut().filter(|(_, curl)| curl.local.ip() == address) {
            if let Some(result) = curl.poll(now, stack) {
                ended.push((*number, result));
            }
        }
        stack.poll(now);
        self.flush_stack(now, address, confirms, effects);
        for (number, result) in ended {
            self.end_curl(now, number, result, effects);
        }
    }

    /// Sends what a stack has, and sets its alarm.
    fn flush_stack(&mut self, now: Instant, address: IpAddr, confirms: bool, effects: &mut Effects) {
        let Some((stack, alarm)) = self.stacks.get_mut(&address) else { return };
        let packets: Vec<_> = std::iter::from_fn(|| stack.take_packet()).collect();
        if let Some(at) = stack.poll_at(now).filter(|at| alarm.set(*at)) {
            effects.timers.push((at, Timer::Stack(address)));
        }
        for bytes in packets {
            self.send(now, bytes, confirms, effects);
        }
    }

    /// A curl is over: its connection is closed, by FIN after an answer and by RST otherwise.
    fn end_curl(&mut self, now: Instant, number: u32, result: Result<Answer, CurlError>, effects: &mut Effects) {
        let Some(curl) = self.curls.remove(&number) else { return };
        let address = curl.local.ip();
        if let Some((stack, _)) = self.stacks.get_mut(&address) {
            let socket = stack.socket(curl.socket);
            if result.is_ok() {
                socket.close()
            } else {
                socket.abort()
            }
            stack.retire(curl.socket);
            stack.poll(now);
        }
        self.flush_stack(now, address, false, effects);
        effects.happened.push(Happened::Curl { curl: number, report: curl.report(now, result) });
    }

    /// Hands something to the ping with this identifier.
    fn with_ping(&mut self, echo_identifier: u16, effects: &mut Effects, hand: impl FnOnce(&mut Ping)) {
        let Some((number, ping)) = self.pings.iter_mut().find(|(number, _)| identifier(**number) == echo_identifier) else { return };
        hand(ping);
        let number = *number;
        self.report_echoes(number, effects);
    }

    /// Tells what became of a ping's requests.
    fn report_echoes(&mut self, number: u32, effects: &mut Effects) {
        let Some(ping) = self.pings.get_mut(&number) else { return };
        let to = ping.destination();
        effects.happened.extend(ping.take_decided().into_iter().map(|echo| Happened::Echo { ping: number, to, echo }));
    }
}

/// Where datagrams go: nobody answers them (RFC 863).
const DISCARD: u16 = 9;
/// The port that datagrams come from; one of those that nobody else gets.
const DATAGRAM_FROM: u16 = 32_767;

/// The ICMP identifier of a ping: the low half of its number.
fn identifier(number: u32) -> u16 {
    let [.., high, low] = number.to_be_bytes();
    u16::from_be_bytes([high, low])
}
