//! What came of a run: one check for each expectation, the transcript, and how long clients were blind.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use crate::duration::{moment, words};

/// The result of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// One for each expectation, in the file's order; before them those that every scenario has and that failed.
    pub checks: Vec<Check>,
    /// What every machine's terminal showed, in order of time.
    pub transcript: Vec<String>,
    /// The longest stretch without an answer, for each continuous ping.
    pub blind: Vec<Blind>,
}

/// The promise of [`CheckKind::Convergence`].
pub const CONVERGES: &str = "after the last fault every client reaches every Service";

/// One expectation, judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// The sentence.
    pub what: String,
    /// Whether it holds.
    pub passed: bool,
    /// When it came true, or how far it is from that; one line.
    pub detail: String,
    /// What kind of promise it is.
    pub kind: CheckKind,
}

/// Whose promise a check is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckKind {
    /// The scenario's: exit code 1 when broken.
    Expectation,
    /// Every scenario's (design §6): exit code 3 when broken.
    Invariant,
    /// After the last fault everybody reaches everything again: exit code 4 when broken.
    Convergence,
    /// The program under test goes on running: exit code 5 when broken.
    Crash,
}

/// How long a client did not see an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blind {
    /// The client.
    pub from: String,
    /// The address.
    pub to: IpAddr,
    /// The longest stretch without an answer, once there had been one; `None`: there never was an answer.
    pub longest: Option<Duration>,
    /// When that stretch began.
    pub since: Duration,
}

impl Outcome {
    /// How many checks passed.
    pub fn passed(&self) -> usize {
        self.checks.iter().filter(|check| check.passed).count()
    }

    /// How many did not.
    pub fn failed(&self) -> usize {
        self.checks.len() - self.passed()
    }

    /// 0 fine, 1 an expectation failed, 3 an invariant broken, 4 no convergence, 5 the program under test crashed (design §6).
    pub fn exit_code(&self) -> u8 {
        let failed = |kind| self.checks.iter().any(|check| !check.passed && check.kind == kind);
        match () {
            () if failed(CheckKind::Crash) => 5,
            () if failed(CheckKind::Invariant) => 3,
            () if failed(CheckKind::Convergence) => 4,
            () if failed(CheckKind::Expectation) => 1,
            () => 0,
        }
    }
}

/// Transcript, checks with √ or ×, blind times, and the last line alone: `N passed, N failed`.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.transcript {
            writeln!(f, "{line}")?;
        }
        writeln!(f)?;
        for check in &self.checks {
            writeln!(f, "{check}")?;
        }
        for blind in &self.blind {
            writeln!(f, "{blind}")?;
        }
        writeln!(f, "{} passed, {} failed", self.passed(), self.failed())
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}   {}", if self.passed { "√" } else { "× failed:" }, self.what, self.detail)
    }
}

impl fmt::Display for Blind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, longest, since } = self;
        match longest {
            Some(longest) => {
                write!(f, "longest time that {from} was without an answer from {to}: {}, from {}", words(*longest), moment(*since))
            }
            None => write!(f, "{from} never had an answer from {to}"),
        }
    }
}
