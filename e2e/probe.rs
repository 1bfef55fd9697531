//! Continuous probes from a machine: the real `ping`, and HTTP requests as curl makes them.

use std::io::{self, BufRead, BufReader, Read};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::ChildStdout;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use bellhop_scenario::observation::{CurlFailure, HttpAnswer};
use bellhop_scenario::{ProbeId, Seen};

use crate::clock::Reporter;
use crate::http;
use crate::namespace::Namespace;
use crate::ping::{Echo, PATIENCE, Requests};
use crate::process::{Process, mortal};

/// A continuous ping.
pub(crate) struct Ping {
    pub(crate) probe: ProbeId,
    pub(crate) from: String,
    pub(crate) to: IpAddr,
    pub(crate) every: Duration,
}

/// A continuous curl.
pub(crate) struct Curl {
    pub(crate) probe: ProbeId,
    pub(crate) from: String,
    pub(crate) url: String,
    pub(crate) every: Duration,
    pub(crate) until: Option<Duration>,
    pub(crate) limit: Duration,
}

impl Ping {
    /// Starts `ping`; it runs until the process is dropped.
    pub(crate) fn start(self, namespace: &Namespace, log: &Path, report: Reporter) -> Result<Process> {
        let mut command = mortal("ping");
        let every = self.every.as_secs_f64().to_string();
        command.args(["-n", "-D", "-O", "-i", &every, &self.to.to_string()]);
        let (process, output) = namespace.inside(|| Process::start_piped(&mut command, log))??;
        let requests = Arc::new(Mutex::new(Requests::new(self.every)));
        std::thread::spawn(move || self.read(output, &requests, &report));
        Ok(process)
    }

    fn read(&self, output: ChildStdout, requests: &Mutex<Requests>, report: &Reporter) {
        for line in BufReader::new(output).lines().map_while(io::Result::ok) {
            let Ok(mut requests) = requests.lock() else { return };
            if let Some(echo) = requests.line(&line) {
                self.tell(echo, report);
            }
            let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
            for echo in requests.lost(now.saturating_sub(PATIENCE)) {
                self.tell(echo, report);
            }
        }
        // The end of ping: what has waited for a second is lost, what was sent just now is not known.
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        if let Ok(mut requests) = requests.lock() {
            for echo in requests.lost(now.saturating_sub(Duration::from_secs(1))) {
                self.tell(echo, report);
            }
        }
    }

    fn tell(&self, echo: Echo, report: &Reporter) {
        let (sent, answer) = (report.clock.at(echo.sent), echo.answer.map(|at| report.clock.at(at)));
        report.at(
            answer.unwrap_or_else(|| report.clock.now()),
            Seen::Ping { probe: self.probe, from: self.from.clone(), to: self.to, seq: echo.seq, sent, answer },
        );
    }
}

impl Curl {
    /// Asks in a thread of its own, to the end of the process.
    pub(crate) fn start(self, namespace: Namespace, report: Reporter) -> Result<()> {
        let (server, path) = split(&self.url)?;
        std::thread::spawn(move || {
            if let Err(error) = namespace.enter() {
                return report.looks.fails("a curl", error);
            }
            let mut next = report.clock.now();
            while self.until.is_none_or(|until| next <= until) {
                std::thread::sleep(next.saturating_sub(report.clock.now()));
                let started = report.clock.now();
                let result = request(server, &path, self.limit);
                report.now(Seen::Curl { probe: self.probe, from: self.from.clone(), url: self.url.clone(), started, result });
                next = report.clock.now().max(next + self.every);
            }
        });
        Ok(())
    }
}

/// Where a URL's server is, and the path.
fn split(url: &str) -> Result<(SocketAddr, String)> {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let (host, path) = rest.split_once('/').map_or((rest, String::new()), |(host, path)| (host, path.to_owned()));
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let server = host.parse().or_else(|_| bare.parse().map(|ip: IpAddr| SocketAddr::new(ip, 80)))?;
    Ok((server, format!("/{path}")))
}

fn request(server: SocketAddr, path: &str, limit: Duration) -> Result<HttpAnswer, CurlFailure> {
    let answer = || {
        let (status, mut rest) = http::get(server, path, Some(limit))?;
        let mut body = String::new();
        rest.read_to_string(&mut body)?;
        Ok(HttpAnswer { status, body })
    };
    answer().map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => CurlFailure::TimedOut,
        io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => CurlFailure::Reset,
        io::ErrorKind::ConnectionRefused | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            CurlFailure::CouldNotConnect(error.to_string())
        }
        _ => CurlFailure::Other(error.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_port_means_port_80() {
        let ends = |url| split(url).map(|(server, path)| format!("{server} {path}")).expect("a URL");
        assert_eq!(ends("http://192.168.0.91"), "192.168.0.91:80 /");
        assert_eq!(ends("http://192.168.0.91:8080/a/b"), "192.168.0.91:8080 /a/b");
        assert_eq!(ends("http://[2001:db8::91]/a"), "[2001:db8::91]:80 /a");
    }
}
