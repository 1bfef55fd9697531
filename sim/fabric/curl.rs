//! `curl`: one HTTP/1.1 GET, how it ended, and the text that curl 7.88 prints.
//!
//! A state machine over one TCP socket of its host's stack. It resolves no names and follows no redirects.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bellhop_core::time::Instant;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;

use crate::tcp::TcpStack;

/// What to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurlOptions {
    /// Address and port.
    pub to: SocketAddr,
    /// The path, with its slash.
    pub path: String,
    /// `--connect-timeout`. Without one the kernel gives up after [`KERNEL_CONNECT`].
    pub connect_timeout: Option<Duration>,
    /// `-m`: for all of it.
    pub max_time: Option<Duration>,
}

impl CurlOptions {
    /// `curl http://<to>/` on port 80.
    pub fn to(to: impl Into<IpAddr>) -> Self {
        Self { to: SocketAddr::new(to.into(), 80), path: "/".to_owned(), connect_timeout: None, max_time: None }
    }
}

/// How long Linux tries to connect: a SYN and six more (tcp_syn_retries), 1+2+4+…+64 s.
pub const KERNEL_CONNECT: Duration = Duration::from_secs(127);

/// A request that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurlReport {
    /// What was asked for.
    pub options: CurlOptions,
    /// When it started.
    pub started: Instant,
    /// When it ended.
    pub ended: Instant,
    /// How.
    pub result: Result<Answer, CurlError>,
}

/// An HTTP answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body; what is not UTF-8 is replaced.
    pub body: String,
}

/// Why there was no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CurlError {
    /// A reset, or "port unreachable", instead of a connection.
    Refused,
    /// No route, or nobody who has the next hop's address.
    NoRoute,
    /// No connection in time.
    ConnectTimeout,
    /// Connected, and not finished in time.
    Timeout,
    /// The connection broke.
    Reset,
    /// The connection ended without an answer.
    Empty,
}

impl CurlReport {
    /// curl's exit code.
    pub fn exit_code(&self) -> i32 {
        match self.result {
            Ok(_) => 0,
            Err(CurlError::Refused | CurlError::NoRoute) => 7,
            Err(CurlError::ConnectTimeout | CurlError::Timeout) => 28,
            Err(CurlError::Empty) => 52,
            Err(CurlError::Reset) => 56,
        }
    }
}

impl fmt::Display for CurlReport {
    /// The body, or the line that curl 7.88 writes to standard error.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port) = (self.options.to.ip(), self.options.to.port());
        let millis = (self.ended - self.started).as_millis();
        let code = self.exit_code();
        match &self.result {
            Ok(answer) => f.write_str(&answer.body),
            Err(CurlError::Refused | CurlError::NoRoute) => {
                writeln!(f, "curl: ({code}) Failed to connect to {host} port {port} after {millis} ms: Couldn't connect to server")
            }
            Err(CurlError::ConnectTimeout) if self.options.max_time.is_some_and(|max| self.ended - self.started >= max) => {
                writeln!(f, "curl: ({code}) Connection timed out after {millis} milliseconds")
            }
            Err(CurlError::ConnectTimeout) => {
                writeln!(f, "curl: ({code}) Failed to connect to {host} port {port} after {millis} ms: Timeout was reached")
            }
            Err(CurlError::Timeout) => {
                writeln!(f, "curl: ({code}) Operation timed out after {millis} milliseconds with 0 bytes received")
            }
            Err(CurlError::Reset) => writeln!(f, "curl: ({code}) Recv failure: Connection reset by peer"),
            Err(CurlError::Empty) => writeln!(f, "curl: ({code}) Empty reply from server"),
        }
    }
}

/// Bytes of an answer that are kept; more is an error of the server.
const ANSWER_MAX: usize = 64 * 1024;

/// A running `curl`.
#[derive(Debug)]
pub(crate) struct Curl {
    /// What was asked for.
    options: CurlOptions,
    /// When it started.
    started: Instant,
    /// Its socket in the host's stack.
    pub(crate) socket: SocketHandle,
    /// The port it sends from.
    pub(crate) local: SocketAddr,
    /// Whether the request is out.
    asked: bool,
    /// What has come.
    answer: Vec<u8>,
    /// The highest acknowledgement heard, to see progress.
    pub(crate) acknowledged: Option<u32>,
}

impl Curl {
    /// One whose socket is connecting.
    pub(crate) fn new(now: Instant, options: CurlOptions, socket: SocketHandle, local: SocketAddr) -> Self {
        Self { options, started: now, socket, local, asked: false, answer: Vec::new(), acknowledged: None }
    }

    /// When it runs out of patience.
    pub(crate) fn deadline(&self) -> Instant {
        let connect = self.options.connect_timeout.unwrap_or(KERNEL_CONNECT).min(KERNEL_CONNECT);
        let whole = self.options.max_time.unwrap_or(Duration::MAX);
        // Without -m a transfer may take for ever: the connect timeout no longer counts once the request is out.
        self.started + if self.asked { whole } else { connect.min(whole) }
    }

    /// Looks at its socket: asks, reads, ends.
    pub(crate) fn poll(&mut self, now: Instant, stack: &mut TcpStack) -> Option<Result<Answer, CurlError>> {
        let socket = stack.socket(self.socket);
        let state = socket.state();
        if !self.asked && socket.can_send() {
            let request = format!(
                "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n",
                self.options.path,
                if self.options.to.is_ipv6() { format!("[{}]", self.options.to.ip()) } else { self.options.to.ip().to_string() }
            );
            let _sent = socket.send_slice(request.as_bytes());
            self.asked = true;
        }
        while socket.can_recv() && self.answer.len() < ANSWER_MAX {
            let answer = &mut self.answer;
            let read = socket.recv(|bytes| {
                answer.extend_from_slice(bytes);
                (bytes.len(), bytes.len())
            });
            if read.is_err() {
                break;
            }
        }
        if let Some(answer) = complete(&self.answer) {
            return Some(Ok(answer));
        }
        match state {
            State::Closed if !self.asked => Some(Err(CurlError::Refused)),
            State::Closed => Some(Err(CurlError::Reset)),
            State::CloseWait => Some(Err(CurlError::Empty)),
            _ if now >= self.deadline() => Some(Err(if self.asked { CurlError::Timeout } else { CurlError::ConnectTimeout })),
            _ => None,
        }
    }

    /// An ICMP error about its connection: fatal while connecting (tcp_v4_err), ignored afterwards.
    pub(crate) fn handle_unreachable(&self, code: u8) -> Option<CurlError> {
        let refused = if code == 3 { CurlError::Refused } else { CurlError::NoRoute };
        (!self.asked).then_some(refused)
    }

    /// The report of how it ended.
    pub(crate) fn report(self, now: Instant, result: Result<Answer, CurlError>) -> CurlReport {
        CurlReport { options: self.options, started: self.started, ended: now, result }
    }
}

/// The answer, once all of it has come. Only bodies with a Content-Length: nothing here sends another kind.
fn complete(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let length = lines.filter_map(|line| line.split_once(':')).find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = length.map_or(Some(0), |(_, value)| value.trim().parse().ok())?;
    let body = bytes[end + 4..].get(..length)?;
    Some(Answer { status, body: String::from_utf8_lossy(body).into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(result: Result<Answer, CurlError>) -> CurlReport {
        let options = CurlOptions::to([192, 168, 0, 91]);
        CurlReport { options, started: Instant::ZERO, ended: Instant::from_millis(3061), result }
    }

    #[test]
    fn an_answer_counts_when_all_of_it_has_come() {
        let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyes";
        assert_eq!(complete(whole), Some(Answer { status: 200, body: "yes".to_owned() }));
        assert!((0..whole.len()).all(|length| complete(&whole[..length]).is_none()));
    }

    #[test]
    fn errors_print_as_curl_prints_them() {
        let text = report(Err(CurlError::NoRoute)).to_string();
        assert_eq!(text, "curl: (7) Failed to connect to 192.168.0.91 port 80 after 3061 ms: Couldn't connect to server\n");
        assert_eq!(report(Err(CurlError::Reset)).exit_code(), 56);
    }
}
