//! Where two traces part, and what is known of why: two sequences of records, side by side, until the first that differs.
//!
//! It compares records, not lines, so what it says holds for traces of different file names too. It holds no more of them than it shows.

mod milestones;

use std::collections::VecDeque;
use std::fmt;

use super::header::Header;
use super::read::{ReadError, Reader};
use super::record::{Record, What};
use super::words::{changed, line, moment, plain, words};
use crate::Planted;
use milestones::Milestones;

/// Common records that are remembered to find those about the same machine or address.
const REMEMBERED: usize = 10_000;
/// Common records that are shown in any case.
const BEFORE: usize = 3;
/// Common records about the same machine or address that are shown besides.
const RELATED: usize = 5;
/// Records that are shown of each side from the parting on.
const AFTER: usize = 4;

/// What came of comparing.
#[derive(Debug)]
pub enum Difference {
    /// They are the same.
    None {
        /// How many records they have.
        records: u64,
    },
    /// They part.
    Some(Box<Parting>),
}

/// Where two traces part. It prints as lines for people.
#[derive(Debug)]
pub struct Parting {
    /// How many records are the same.
    pub common: u64,
    /// What differs in what was played; empty if nothing does.
    pub causes: Vec<String>,
    /// What is told of the first records that differ.
    pub what: String,
    /// The last common records, as lines.
    pub before: Vec<String>,
    /// The last common ones about the same machines and addresses.
    pub related: Vec<String>,
    /// How the two sides go on, as lines.
    pub sides: [Vec<String>; 2],
    /// The moment of the parting, as people say it.
    pub at: String,
    /// What becomes of what matters, from the beginning to the end of both.
    pub milestones: Vec<String>,
}

/// Compares two traces.
pub fn difference(mut left: Reader, mut right: Reader) -> Result<Difference, ReadError> {
    let causes = causes(&left.header, &right.header);
    let mut last: VecDeque<Record> = VecDeque::new();
    let mut common = 0;
    let mut milestones = Milestones::default();
    loop {
        let (one, other) = (left.next_record()?, right.next_record()?);
        match (one, other) {
            (Some(one), Some(other)) if one == other => {
                common += 1;
                milestones.add(&left.header, &one);
                if last.len() >= REMEMBERED {
                    last.pop_front();
                }
                last.push_back(one);
            }
            (None, None) if left.end.map(|end| end.hash) == right.end.map(|end| end.hash) => {
                return Ok(Difference::None { records: common });
            }
            (one, other) => {
                let mut causes = causes;
                // A side that has no more records and no last line was cut short: that alone is why it differs here.
                for (next, reader, which) in [(&one, &left, "first"), (&other, &right, "second")] {
                    if next.is_none() && reader.end.is_none() {
                        causes.push(format!("the {which} was cut short after {common} records"));
                    }
                }
                let header = left.header.clone();
                let what = told(&header, one.as_ref(), other.as_ref());
                let firsts = [one, other];
                let related = related(&header, &last, &firsts);
                let shown = |record: &Record| line(&header, record);
                let before = last.iter().rev().take(BEFORE).rev().map(shown).collect();
                let at = firsts.iter().flatten().map(|record| record.at).min().or_else(|| last.back().map(|record| record.at));
                let at = at.map_or_else(|| "the end".to_owned(), |at| moment(header.zero, at));
                let [one, other] = firsts;
                let (mut first, mut second) = (milestones.clone(), milestones);
                let sides = [side(&mut left, one, &mut first)?, side(&mut right, other, &mut second)?];
                let milestones = first.against(&second, header.zero);
                return Ok(Difference::Some(Box::new(Parting { common, causes, what, before, related, sides, at, milestones })));
            }
        }
    }
}

/// What was played differently.
fn causes(left: &Header, right: &Header) -> Vec<String> {
    let mut causes = Vec::new();
    let (one, other) = (&left.played, &right.played);
    if one.seed != other.seed {
        causes.push(format!("the seeds differ: {} and {}", one.seed, other.seed));
    }
    if one.planted != other.planted {
        let named = |bug: Option<Planted>| bug.map_or_else(|| "none".to_owned(), |bug| bug.to_string());
        causes.push(format!("the planted bugs differ: {} and {}", named(one.planted), named(other.planted)));
    }
    for path in one.files.keys().chain(other.files.keys().filter(|path| !one.files.contains_key(*path))) {
        if one.files.get(path) != other.files.get(path) {
            causes.push(format!("{path} is not the same"));
        }
    }
    if one.program != other.program || one.commit != other.commit {
        let named = |program: &str, commit: &Option<String>| {
            commit.as_ref().map_or_else(|| program.to_owned(), |commit| format!("{program} at {commit}"))
        };
        causes.push(format!("the programs differ: {} and {}", named(&one.program, &one.commit), named(&other.program, &other.commit)));
    }
    if left.places != right.places && causes.is_empty() {
        causes.push("the machines differ".to_owned());
    }
    causes
}

/// The first records that differ, in words.
fn told(header: &Header, one: Option<&Record>, other: Option<&Record>) -> String {
    let said = |record: &Record| words(header, record);
    match (one, other) {
        (Some(one), Some(other)) if one.what == other.what => {
            let (earlier, apart) = if one.at < other.at { ("first", other.at - one.at) } else { ("second", one.at - other.at) };
            format!("The same happens in both, in the {earlier} one {} earlier: {}", bellhop_scenario::duration::words(apart), said(one))
        }
        (Some(one), Some(other)) if one.at == other.at && said(one) == said(other) => {
            format!("At the same moment: {}\nwhere {}", said(one), detail(one, other))
        }
        (Some(one), Some(other)) if one.at == other.at => format!("At the same moment: {}\nand in the second: {}", said(one), said(other)),
        (Some(one), Some(other)) => {
            let (sooner, which) = if one.at < other.at { (one, "first") } else { (other, "second") };
            format!("At {} something happens in the {which} alone: {}", moment(header.zero, sooner.at), said(sooner))
        }
        (Some(one), None) => format!("The second ends; the first goes on: {}", said(one)),
        (None, Some(other)) => format!("The first ends; the second goes on: {}", said(other)),
        (None, None) => {
            "All records are the same, and the hashes at the end are not: one of the files was changed or cut short.".to_owned()
        }
    }
}

/// In what two records differ that read the same.
fn detail(one: &Record, other: &Record) -> String {
    match (&one.what, &other.what) {
        (What::Write(one), What::Write(other)) => {
            let (here, there) = (changed(&other.after, &one.after), changed(&one.after, &other.after));
            format!("the first has {here}, the second {there}.")
        }
        (What::Sent { frame: one, .. }, What::Sent { frame: other, .. })
        | (What::Received { frame: one, .. }, What::Received { frame: other, .. })
        | (What::Switched { frame: one, .. }, What::Switched { frame: other, .. }) => {
            let at = one.bytes.iter().zip(other.bytes.iter()).position(|(one, other)| one != other);
            at.map_or_else(|| "the frames have other numbers.".to_owned(), |at| format!("the frames differ from byte {at} on."))
        }
        _ => "what the line does not show differs.".to_owned(),
    }
}

/// The last common records that are about a machine or an address of the first ones that differ.
fn related(header: &Header, last: &VecDeque<Record>, firsts: &[Option<Record>; 2]) -> Vec<String> {
    let subjects: Vec<String> = firsts.iter().flatten().flat_map(|record| subjects(header, record)).collect();
    let is_related = |record: &&Record| {
        let own = self::subjects(header, record);
        subjects.iter().any(|subject| own.contains(subject))
    };
    let mut lines: Vec<String> =
        last.iter().rev().skip(BEFORE).filter(is_related).take(RELATED).map(|record| line(header, record)).collect();
    lines.reverse();
    lines
}

/// The machines and addresses that a record is about.
fn subjects(header: &Header, record: &Record) -> Vec<String> {
    let places = &header.places;
    let frame_of = |frame: &super::record::Numbered| frame.bytes.arp().map(|arp| [arp.sender_ip.to_string(), arp.target_ip.to_string()]);
    match &record.what {
        What::Sent { nic, frame, .. } | What::Received { nic, frame } => {
            let mut subjects = vec![places.machine_of(*nic).to_owned()];
            subjects.extend(frame_of(frame).into_iter().flatten());
            subjects
        }
        What::Switched { frame, .. } | What::Dropped { frame, .. } => frame_of(frame).into_iter().flatten().collect(),
        What::Neighbor { nic, address, .. } | What::Claim { nic, address, .. } => {
            vec![places.machine_of(*nic).to_owned(), address.to_string()]
        }
        What::Echo { machine, to, .. } | What::Curl { machine, to: (to, _), .. } => {
            vec![places.machine(*machine).to_owned(), to.to_string()]
        }
        What::Served { machine, .. } | What::Power { machine, .. } | What::Frozen { machine, .. } => {
            vec![places.machine(*machine).to_owned()]
        }
        What::Link { nic, .. } | What::Mac { nic, .. } => vec![places.machine_of(*nic).to_owned()],
        What::Request(request) => vec![request.client.clone(), format!("{}/{}", request.object.namespace, request.object.name)],
        What::Write(write) => vec![write.client.clone(), format!("{}/{}", write.object.namespace, write.object.name)],
        What::Action(action) => action.machine.iter().cloned().collect(),
        What::Program { program, .. } => program.split(' ').skip(1).map(str::to_owned).chain([program.clone()]).collect(),
        What::Tree { .. } | What::FaultOver { .. } | What::Note { .. } | What::Broken { .. } => Vec::new(),
    }
}

/// How one side goes on: its next records; its milestones are taken in to the end.
fn side(reader: &mut Reader, first: Option<Record>, milestones: &mut Milestones) -> Result<Vec<String>, ReadError> {
    let mut lines = Vec::new();
    let mut next = first;
    while let Some(record) = next {
        if lines.len() < AFTER {
            lines.push(line(&reader.header, &record));
        }
        milestones.add(&reader.header, &record);
        next = reader.next_record()?;
    }
    if lines.len() == AFTER {
        return Ok(lines);
    }
    lines.push(reader.end.map_or_else(|| "cut short here".to_owned(), |end| format!("the end, hash {:016x}", end.hash)));
    Ok(lines)
}

impl fmt::Display for Parting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "The traces are the same for {} records. At {} they part.", self.common, self.at)?;
        writeln!(f, "{}", self.what)?;
        if self.causes.is_empty() {
            writeln!(f, "Scenario, seed and program are the same: so the program is not deterministic, or a file was changed.")?;
        }
        for cause in &self.causes {
            writeln!(f, "Because {}.", plain(cause, &[]))?;
        }
        let mut block = |title: &str, lines: &[String], first: &str| -> fmt::Result {
            if !lines.is_empty() {
                writeln!(f, "\n{title}")?;
            }
            for (index, line) in lines.iter().enumerate() {
                writeln!(f, "{} {line}", if index == 0 { first } else { " " })?;
            }
            Ok(())
        };
        block("the last about the same machines and addresses, in both:", &self.related, " ")?;
        block("the last in both:", &self.before, " ")?;
        block("the first goes on:", &self.sides[0], "<")?;
        block("the second goes on:", &self.sides[1], ">")?;
        block("what matters (addresses, who carries, who leads, faults, programs):", &self.milestones, " ")
    }
}
