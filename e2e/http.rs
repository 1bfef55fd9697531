//! One HTTP request with the standard library alone: for curl probes and for looks at the API.
//!
//! HTTP/1.0, so that an answer ends with its connection and is never cut in chunks.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Longest answer that is read: a list of all Events of a long scenario is far below.
const LONGEST: u64 = 32 * 1024 * 1024;

/// Asks for `path`; the status, and the body, still to be read.
pub(crate) fn get(server: SocketAddr, path: &str, limit: Option<Duration>) -> io::Result<(u16, BufReader<io::Take<TcpStream>>)> {
    let until = limit.map(|limit| Instant::now() + limit);
    let stream = limit.map_or_else(|| TcpStream::connect(server), |limit| TcpStream::connect_timeout(&server, limit))?;
    ask(stream, server, path, until)
}

/// The same on a connection that is there already.
pub(crate) fn ask(
    mut stream: TcpStream,
    server: SocketAddr,
    path: &str,
    until: Option<Instant>,
) -> io::Result<(u16, BufReader<io::Take<TcpStream>>)> {
    let left = until.map(|until| until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)));
    stream.set_read_timeout(left)?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {server}\r\nUser-Agent: curl\r\nAccept: */*\r\n\r\n").as_bytes())?;
    let mut body = BufReader::new(stream.take(LONGEST));
    let mut line = String::new();
    body.read_line(&mut line)?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    while !line.trim_end().is_empty() {
        line.clear();
        body.read_line(&mut line)?;
    }
    Ok((status, body))
}
