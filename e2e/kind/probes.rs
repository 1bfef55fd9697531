//! A client that asks all the time: with a new HTTP connection for each request, and by ARP past its own neighbor table. By Neighbor Discovery
//! another machine asks.
//!
//! All run in threads of their own until they are stopped, and then say what they saw.

use std::io::Read;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use super::machine::{Machine, NIC};
use super::patience::wait_for;
use crate::http;
use crate::namespace::run;
use crate::process::mortal;

/// From the beginning of one question to that of the next.
const EVERY: Duration = Duration::from_millis(100);
/// So long a question may take before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(1);

/// What asks all the time.
pub(crate) struct Probe {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Asked>>,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// When each question began, and the answer if there was one.
    answers: Vec<(Instant, Result<String, Lost>)>,
}

/// How a question was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    /// Nobody answered, or wanted the connection.
    Unheard,
    /// Somebody took the connection, and it broke.
    Broken,
}

impl Probe {
    /// Asks a server for `/`, again and again.
    pub(crate) fn curl(machine: &Machine, server: SocketAddr) -> Self {
        Self::start(machine, move || {
            let until = Instant::now() + PATIENCE;
            let connection = TcpStream::connect_timeout(&server, PATIENCE).map_err(|_| Lost::Unheard)?;
            let (status, mut body) = http::ask(connection, server, "/", Some(until)).map_err(|_| Lost::Broken)?;
            let mut text = String::new();
            body.read_to_string(&mut text).map_err(|_| Lost::Broken)?;
            if status == 200 { Ok(text) } else { Err(Lost::Broken) }
        })
    }

    /// Asks the LAN who has an address, again and again; the answer names a MAC.
    pub(crate) fn arping(machine: &Machine, address: Ipv4Addr) -> Self {
        Self::start(machine, move || {
            let mut command = mortal("arping");
            command.args(["-f", "-b", "-c", "1", "-w", "1", "-I", NIC, &address.to_string()]);
            let printed = run(&mut command).map_err(|_| Lost::Unheard)?;
            let mac = printed.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(mac, _)| mac.to_lowercase());
            mac.ok_or(Lost::Unheard)
        })
    }

    /// Lets a machine forget an IPv6 address and send something there, again and again; the answer is the MAC that its kernel has then. Nobody else
    /// may need what it forgets. (ndisc6, which would be arping's like, overlooks advertisements from a link-local address.)
    pub(crate) fn ndisc(machine: &Machine, address: Ipv6Addr) -> Self {
        let asker = machine.clone();
        Self::start(machine, move || {
            asker.forget(address.into()).map_err(|_| Lost::Unheard)?;
            // The discard port: what arrives does not matter.
            let sent = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).and_then(|socket| socket.send_to(&[0], (address, 9)));
            sent.map_err(|_| Lost::Unheard)?;
            wait_for("an advertisement", PATIENCE, || asker.neighbor(address.into())).map_err(|_| Lost::Unheard)
        })
    }

    fn start(machine: &Machine, mut ask: impl FnMut() -> Result<String, Lost> + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (namespace, stopped) = (machine.namespace.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            namespace.enter()?;
            let mut asked = Asked::default();
            while !stopped.load(Ordering::Relaxed) {
                let began = Instant::now();
                asked.answers.push((began, ask()));
                std::thread::sleep(EVERY.saturating_sub(began.elapsed()));
            }
            Ok(asked)
        });
        Self { stop, thread }
    }

    /// Ends it.
    pub(crate) fn stop(self) -> Result<Asked> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("a probe panicked"))?
    }
}

impl Asked {
    /// How many questions there were.
    pub(crate) fn questions(&self) -> usize {
        self.answers.len()
    }

    /// How many had no answer.
    pub(crate) fn lost(&self) -> usize {
        self.answers.iter().filter(|(_, answer)| answer.is_err()).count()
    }

    /// How many of those had a connection that broke.
    pub(crate) fn broken(&self) -> usize {
        self.answers.iter().filter(|(_, answer)| *answer == Err(Lost::Broken)).count()
    }

    /// The longest time from the beginning of a question without an answer to that of the next one with an answer, or the last.
    pub(crate) fn longest_silence(&self) -> Duration {
        let mut longest = Duration::ZERO;
        let mut silent_since = None;
        for (at, answer) in &self.answers {
            let since = *silent_since.get_or_insert(*at);
            if answer.is_ok() {
                silent_since = None;
            }
            longest = longest.max(at.duration_since(since));
        }
        longest
    }

    /// Each different answer, in the order of the first of its kind.
    pub(crate) fn answers(&self) -> Vec<&str> {
        let mut different: Vec<&str> = Vec::new();
        for answer in self.answers.iter().filter_map(|(_, answer)| answer.as_deref().ok()) {
            if !different.contains(&answer) {
                different.push(answer);
            }
        }
        different
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(answers: &[(u64, Option<&str>)]) -> Asked {
        let start = Instant::now();
        let answer = |answer: Option<&str>| answer.map(str::to_owned).ok_or(Lost::Unheard);
        let answers = answers.iter().map(|(at, it)| (start + Duration::from_millis(*at), answer(*it)));
        Asked { answers: answers.collect() }
    }

    #[test]
    fn a_silence_lasts_from_the_first_lost_question_to_the_next_answer() {
        let seen = asked(&[(0, Some("a")), (100, None), (200, None), (300, Some("b")), (400, None), (500, Some("a"))]);
        assert_eq!((seen.questions(), seen.lost(), seen.longest_silence().as_millis()), (6, 3, 200));
        assert_eq!(seen.broken(), 0);
        assert_eq!(seen.answers(), ["a", "b"]);
    }

    #[test]
    fn a_silence_that_does_not_end_counts_to_the_last_question() {
        assert_eq!(asked(&[(0, Some("a")), (100, None), (900, None)]).longest_silence().as_millis(), 800);
        assert_eq!(asked(&[(0, Some("a")), (100, Some("a"))]).longest_silence(), Duration::ZERO);
    }
}
