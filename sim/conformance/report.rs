//! The table call × ours × real, and what it comes to.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::differ::{Difference, differences};
use crate::run::Answers;

/// What became of one call.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The two answers are equal.
    Equal,
    /// They are not, and a reason is listed.
    Listed(String),
    /// They are not.
    Differs(Vec<Difference>),
    /// A reason is listed, and they have become equal.
    Stale,
    /// It could not be made on one of the two.
    NotPlayed,
}

/// One line of the table.
#[derive(Debug, Clone)]
pub struct Row {
    /// `theme: call`.
    pub call: String,
    /// Code and reason of our answer.
    pub ours: String,
    /// Of the real one.
    pub real: String,
    /// What became of it.
    pub verdict: Verdict,
}

/// The whole table.
#[derive(Debug, Default)]
pub struct Report {
    /// In the order in which the calls were made.
    pub rows: Vec<Row>,
    /// Listed calls that no theme has.
    pub unknown: Vec<String>,
    /// Whether calls may be left out, as on a cluster whose etcd nobody here can compact.
    pub may_leave_out: bool,
}

impl Report {
    /// Adds a theme's calls.
    pub fn add(&mut self, theme: &str, ours: &Answers, real: &BTreeMap<String, Value>, listed: &BTreeMap<String, String>) {
        for (name, ours) in ours {
            let call = format!("{theme}: {name}");
            let real = real.get(name);
            let verdict = match (ours, real) {
                (Some(ours), Some(real)) => verdict(&differences(ours, real), listed.get(&call)),
                _ => Verdict::NotPlayed,
            };
            self.rows.push(Row {
                call,
                ours: ours.as_ref().map(summary).unwrap_or_default(),
                real: real.map(summary).unwrap_or_default(),
                verdict,
            });
        }
    }

    /// Notes what is listed and not played; call it when all themes are in.
    pub fn close(&mut self, listed: &BTreeMap<String, String>) {
        self.unknown = listed.keys().filter(|call| self.rows.iter().all(|row| row.call != **call)).cloned().collect();
    }

    /// Whether every call was made and is equal or listed, and every listed call is one that differs.
    pub fn good(&self) -> bool {
        !self.rows.is_empty() && self.unknown.is_empty() && self.count(|verdict| self.is_bad(verdict)) == 0
    }

    fn is_bad(&self, verdict: &Verdict) -> bool {
        match verdict {
            Verdict::Differs(_) | Verdict::Stale => true,
            Verdict::NotPlayed => !self.may_leave_out,
            Verdict::Equal | Verdict::Listed(_) => false,
        }
    }

    fn count(&self, wanted: impl Fn(&Verdict) -> bool) -> usize {
        self.rows.iter().filter(|row| wanted(&row.verdict)).count()
    }

    /// The last line.
    pub fn sum(&self) -> String {
        let listed = self.count(|verdict| matches!(verdict, Verdict::Listed(_)));
        let bad = self.count(|verdict| matches!(verdict, Verdict::Differs(_) | Verdict::Stale));
        let unplayed = self.count(|verdict| *verdict == Verdict::NotPlayed);
        let equal = self.count(|verdict| *verdict == Verdict::Equal);
        let mut sum = format!("{} calls: {equal} equal, {listed} listed, {bad} wrong", self.rows.len());
        if unplayed > 0 {
            let _ = write!(sum, ", {unplayed} not playable here");
        }
        sum
    }

    /// The table as a terminal shows it, with the differences that are not listed.
    pub fn text(&self) -> String {
        let width = |column: fn(&Row) -> &str| self.rows.iter().map(|row| column(row).chars().count()).max().unwrap_or(0);
        let (call, ours, real) = (width(|row| &row.call), width(|row| &row.ours), width(|row| &row.real));
        let mut out = format!("{:call$}  {:ours$}  {:real$}\n", "call", "ours", "real");
        for row in &self.rows {
            let _ = writeln!(out, "{:call$}  {:ours$}  {:real$}  {}", row.call, row.ours, row.real, mark(&row.verdict));
            if let Verdict::Differs(found) = &row.verdict {
                for difference in found {
                    let _ = writeln!(out, "    {difference}");
                }
            }
        }
        for call in &self.unknown {
            let _ = writeln!(out, "listed in sim/apiserver/README.md, and no such call: {call}");
        }
        out
    }

    /// The table as Markdown, below a heading line.
    pub fn markdown(&self, heading: &str) -> String {
        let mut out = format!("{heading}\n\n{}\n\n| call | ours | real | |\n|---|---|---|---|\n", self.sum());
        for row in &self.rows {
            let _ = writeln!(out, "| {} | {} | {} | {} |", row.call, row.ours, row.real, mark(&row.verdict));
        }
        out
    }

    /// The same for programs.
    pub fn json(&self, heading: &str) -> Value {
        let row = |row: &Row| {
            let shown = |difference: &Difference| json!({"path": difference.path, "ours": difference.ours, "real": difference.real});
            let found: Vec<Value> = if let Verdict::Differs(found) = &row.verdict { found.iter().map(shown).collect() } else { Vec::new() };
            json!({"call": row.call, "ours": row.ours, "real": row.real, "verdict": mark(&row.verdict), "differences": found})
        };
        json!({"versions": heading, "sum": self.sum(), "good": self.good(), "calls": self.rows.iter().map(row).collect::<Vec<_>>()})
    }
}

/// Another code may stand only where the reason begins with both (`201, not 400: …`), so that a 500 of ours is noticed.
fn verdict(found: &[Difference], reason: Option<&String>) -> Verdict {
    let code = |code: &Option<Value>| code.as_ref().map_or_else(String::new, Value::to_string);
    let codes = found.iter().find(|difference| difference.path == "/code");
    let begin = codes.map_or_else(String::new, |codes| format!("{}, not {}: ", code(&codes.ours), code(&codes.real)));
    let reason = reason.filter(|reason| reason.starts_with(&begin));
    match (found.is_empty(), reason) {
        (true, None) => Verdict::Equal,
        (true, Some(_)) => Verdict::Stale,
        (false, Some(reason)) => Verdict::Listed(reason.clone()),
        (false, None) => Verdict::Differs(found.to_vec()),
    }
}

fn mark(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Equal => "√".to_owned(),
        Verdict::Listed(reason) => format!("listed: {reason}"),
        Verdict::Differs(_) => "× differs".to_owned(),
        Verdict::Stale => "× listed, but equal now: take it off the list".to_owned(),
        Verdict::NotPlayed => "not playable here".to_owned(),
    }
}

/// Code and reason.
fn summary(answer: &Value) -> String {
    let reason = answer.pointer("/body/reason").or_else(|| answer.pointer("/body/~1reason")).and_then(Value::as_str).unwrap_or_default();
    format!("{} {reason}", answer["code"]).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(ours: (u16, &str), real: (u16, &str), reason: Option<&str>) -> Report {
        let listed: BTreeMap<String, String> = reason.map(|reason| ("verbs: get".to_owned(), reason.to_owned())).into_iter().collect();
        let mut report = Report::default();
        let real = BTreeMap::from([("get".to_owned(), json!({"code": real.0, "body": real.1}))]);
        report.add("verbs", &vec![("get".to_owned(), Some(json!({"code": ours.0, "body": ours.1})))], &real, &listed);
        report.close(&listed);
        report
    }

    #[test]
    fn a_call_that_was_not_made_is_good_only_where_calls_may_be_left_out() {
        let nothing = BTreeMap::new();
        for may_leave_out in [true, false] {
            let mut report = Report { may_leave_out, ..Report::default() };
            report.add("verbs", &vec![("get".to_owned(), Some(json!({"code": 200})))], &nothing, &BTreeMap::new());
            assert_eq!(report.good(), may_leave_out);
        }
    }

    #[test]
    fn only_what_is_equal_or_listed_is_good_and_what_is_listed_must_differ() {
        assert!(report((200, "a"), (200, "a"), None).good());
        assert!(report((200, "a"), (200, "b"), Some("why")).good());
        assert!(!report((200, "a"), (200, "b"), None).good());
        assert!(!report((200, "a"), (200, "a"), Some("why")).good());
    }

    #[test]
    fn another_code_stands_only_where_the_reason_begins_with_both() {
        assert!(report((201, "a"), (400, "b"), Some("201, not 400: why")).good());
        assert!(!report((500, "a"), (400, "b"), Some("201, not 400: why")).good());
        assert!(!report((500, "a"), (400, "b"), Some("why")).good());
    }
}
