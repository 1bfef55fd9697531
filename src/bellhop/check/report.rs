//! What was found, for a person (`table`), for a glance (`short`: only what is not well) and for a program (`json`).

use clap::ValueEnum;
use serde_json::{Value, json};

use super::{Finding, Verdict};

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Every check under its heading.
    #[default]
    Table,
    /// Only what is not well.
    Short,
    /// One object; `result` is success, warning or error.
    Json,
}

/// All findings.
#[derive(Debug)]
pub struct Report {
    findings: Vec<Finding>,
}

impl Report {
    pub(super) fn new(findings: Vec<Finding>) -> Self {
        Self { findings }
    }

    /// What was found, in the order of the codes.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Nothing is wrong. What is odd does not count.
    pub fn is_well(&self) -> bool {
        !self.findings.iter().any(|finding| matches!(finding.verdict, Verdict::Wrong(_)))
    }

    /// The text to print.
    pub fn text(&self, output: Output) -> String {
        match output {
            Output::Table => self.table(),
            Output::Short => self.short(),
            Output::Json => format!("{:#}\n", self.json()),
        }
    }

    fn table(&self) -> String {
        let mut text = String::new();
        let mut group = "";
        for finding in &self.findings {
            if finding.code.group() != group {
                group = finding.code.group();
                let gap = if text.is_empty() { "" } else { "\n" };
                text += &format!("{gap}{group}\n{}\n", "-".repeat(group.len()));
            }
            text += &lines(finding);
        }
        text + &format!("\nStatus check results are {}\n", if self.is_well() { '√' } else { '×' })
    }

    fn short(&self) -> String {
        self.findings.iter().filter(|finding| !matches!(finding.verdict, Verdict::Fine(_))).map(lines).collect()
    }

    fn json(&self) -> Value {
        let checks = self.findings.iter().map(|Finding { code, verdict }| {
            let (result, message) = match verdict {
                Verdict::Fine(message) => ("success", message),
                Verdict::Odd(message) => ("warning", message),
                Verdict::Wrong(message) => ("error", message),
            };
            json!({"code": code.id(), "category": code.group(), "description": code.title(), "result": result, "message": message})
        });
        json!({"success": self.is_well(), "checks": checks.collect::<Vec<_>>()})
    }
}

fn lines(Finding { code, verdict }: &Finding) -> String {
    let (sign, message) = match verdict {
        Verdict::Fine(message) if message.is_empty() => return format!("√ {}\n", code.title()),
        Verdict::Fine(message) => return format!("√ {} ({message})\n", code.title()),
        Verdict::Odd(message) => ('‼', message),
        Verdict::Wrong(message) => ('×', message),
    };
    format!("{sign} {}\n    {message}\n    see docs/checks.md#{} for hints\n", code.title(), code.id().to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::super::Code;
    use super::*;

    fn report() -> Report {
        Report::new(vec![
            Finding { code: Code::ApiAnswers, verdict: Verdict::Fine("v1.33.1".into()) },
            Finding { code: Code::ProxyArp, verdict: Verdict::Odd("no ConfigMap".into()) },
            Finding { code: Code::PoolsReady, verdict: Verdict::Wrong("pool: Conflicting".into()) },
        ])
    }

    #[test]
    fn a_table_groups_what_was_found_and_sums_it_up() {
        let text = report().text(Output::Table);
        assert_eq!(
            text,
            "kubernetes-api\n--------------\n√ the API server answers (v1.33.1)\n\n\
             kube-proxy\n----------\n‼ kube-proxy leaves ARP for the addresses to Bellhop\n    no ConfigMap\n    see docs/checks.md#bellhop0501 for hints\n\n\
             pools\n-----\n× the Eips hand out addresses on a NIC\n    pool: Conflicting\n    see docs/checks.md#bellhop0701 for hints\n\n\
             Status check results are ×\n"
        );
    }

    #[test]
    fn short_leaves_out_what_is_well_and_json_leaves_out_nothing() {
        assert!(!report().text(Output::Short).contains('√'));
        let json: Value = serde_json::from_str(&report().text(Output::Json)).expect("JSON");
        assert_eq!((json["success"] == false, json["checks"].as_array().map(Vec::len)), (true, Some(3)));
        assert_eq!(json["checks"][2]["result"], "error");
    }

    #[test]
    fn what_is_odd_is_not_wrong() {
        let mut report = report();
        report.findings.pop();
        assert!(report.is_well());
    }
}
