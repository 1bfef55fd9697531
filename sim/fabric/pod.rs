//! A pod: one address with an HTTP server behind it that says who it is, as the image luksa/kubia does.
//!
//! It answers every request alike and remembers the client address that it saw. It knows neither Services nor nodes.

use std::net::IpAddr;

use bellhop_core::time::Instant;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;

use crate::tcp::TcpStack;

/// What a pod is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodConfig {
    /// Its name, which it answers with.
    pub name: String,
    /// Its address, from its node's pod subnet.
    pub address: IpAddr,
    /// The TCP port its server listens on.
    pub port: u16,
}

/// A request that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Served {
    /// The pod.
    pub(crate) pod: String,
    /// The client address that it saw.
    pub(crate) client: IpAddr,
}

/// Connections at one time; more wait for their retransmission, as behind a full backlog.
const CONNECTIONS_MAX: usize = 64;
/// Sockets that listen; each takes one connection.
const LISTENERS: usize = 2;

/// A running pod. Feed packets to `receive`, then call `handle_progress`, then drain `take_packet`.
pub(crate) struct Pod {
    /// Who it is.
    config: PodConfig,
    /// Its TCP.
    stack: TcpStack,
    /// Sockets, listening or connected.
    sockets: Vec<SocketHandle>,
}

impl Pod {
    /// Starts listening.
    pub(crate) fn new(now: Instant, config: PodConfig, seed: u64) -> Self {
        let stack = TcpStack::new(now, config.address, seed);
        let mut pod = Self { config, stack, sockets: Vec::new() };
        pod.listen();
        pod
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.config.name
    }

    /// Takes in a packet.
    pub(crate) fn receive(&mut self, packet: Vec<u8>) {
        self.stack.receive(packet);
    }

    /// Takes a packet to send.
    pub(crate) fn take_packet(&mut self) -> Option<Vec<u8>> {
        self.stack.take_packet()
    }

    /// Works off what came in, and says whom it served.
    pub(crate) fn handle_progress(&mut self, now: Instant, served: &mut Vec<Served>) {
        self.stack.poll(now);
        for index in 0..self.sockets.len() {
            self.serve(self.sockets[index], served);
        }
        self.tidy();
        self.listen();
        self.stack.poll(now);
    }

    /// When it wants `handle_progress` next.
    pub(crate) fn poll_at(&mut self, now: Instant) -> Option<Instant> {
        self.stack.poll_at(now)
    }

    /// Answers a request that has come in whole.
    fn serve(&mut self, handle: SocketHandle, served: &mut Vec<Served>) {
        let socket = self.stack.socket(handle);
        let asked = socket.recv(|bytes| {
            let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
            // A request that fills the buffer without an end is none: it is thrown away.
            let taken = end.unwrap_or(if bytes.len() >= 1000 { bytes.len() } else { 0 });
            (taken, end.is_some())
        });
        if asked == Ok(true) {
            let body = format!("You've hit {}\n", self.config.name);
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            // An answer that does not fit is a client that does not read: it gets no second one.
            let _sent = socket.send_slice(answer.as_bytes());
            if let Some(client) = socket.remote_endpoint().map(|remote| IpAddr::from(remote.addr)) {
                served.push(Served { pod: self.config.name.clone(), client });
            }
        }
        if socket.state() == State::CloseWait {
            socket.close();
        }
    }

    /// Forgets connections that are over.
    fn tidy(&mut self) {
        let stack = &mut self.stack;
        self.sockets.retain(|handle| {
            let over = matches!(stack.socket(*handle).state(), State::Closed | State::TimeWait);
            if over {
                stack.remove(*handle);
            }
            !over
        });
    }

    /// Keeps some sockets listening.
    fn listen(&mut self) {
        let mut listening = self.sockets.iter().filter(|handle| self.stack.socket(**handle).is_listening()).count();
        while listening < LISTENERS && self.sockets.len() < CONNECTIONS_MAX {
            let handle = self.stack.open();
            // A client that died with its connection open must not keep a socket for ever.
            self.stack.socket(handle).set_keep_alive(Some(smoltcp::time::Duration::from_secs(30)));
            self.stack.socket(handle).set_timeout(Some(smoltcp::time::Duration::from_secs(120)));
            if self.stack.socket(handle).listen(self.config.port).is_err() {
                self.stack.remove(handle);
                return;
            }
            self.sockets.push(handle);
            listening += 1;
        }
    }
}
