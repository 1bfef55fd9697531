//! All experiments, in the reference's order. Each says where its expectation stands.

use crate::arm::{Arm, ArmError, Settings};
use crate::lab::{Family, Lab};

mod asking;
mod delegated;
mod discovery;
mod frames;
mod owning;

/// One experiment.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// Its name: `garp-request-is-taken-v4`.
    pub name: String,
    /// Where the reference says what must come: a section of layer2-peers-and-kernel.md.
    pub section: &'static str,
    /// How the host is set.
    pub settings: Settings,
    /// What must be seen.
    pub expected: String,
    family: Family,
    body: Body,
}

/// What is done and noted.
type Body = fn(&mut Lab<'_>) -> Result<(), ArmError>;

impl Experiment {
    /// Whether it is about neighbor discovery; the others are about ARP, and need no IPv6.
    pub fn is_ipv6(&self) -> bool {
        self.family == Family::V6
    }

    /// Makes it on an arm that was set up with its settings: what was seen.
    pub fn run(&self, arm: &mut dyn Arm) -> Result<String, ArmError> {
        let mut lab = Lab::new(arm, self.family);
        (self.body)(&mut lab)?;
        Ok(lab.said())
    }
}

/// All of them. Names are unique.
pub fn experiments() -> Vec<Experiment> {
    let mut list = List::default();
    frames::add(&mut list);
    asking::add(&mut list);
    owning::add(&mut list);
    discovery::add(&mut list);
    delegated::add(&mut list);
    list.0
}

/// The list being made.
#[derive(Default)]
struct List(Vec<Experiment>);

impl List {
    /// For ARP.
    fn v4(&mut self, name: &str, section: &'static str, settings: Settings, body: Body, expected: &str) {
        self.add(name, section, settings, Family::V4, body, expected);
    }

    /// For neighbor discovery.
    fn v6(&mut self, name: &str, section: &'static str, settings: Settings, body: Body, expected: &str) {
        self.add(name, section, settings, Family::V6, body, expected);
    }

    /// For both, which agree.
    fn both(&mut self, name: &str, section: &'static str, settings: Settings, body: Body, expected: &str) {
        self.v4(&format!("{name}-v4"), section, settings.clone(), body, expected);
        self.v6(&format!("{name}-v6"), section, settings, body, expected);
    }

    fn add(&mut self, name: &str, section: &'static str, settings: Settings, family: Family, body: Body, expected: &str) {
        self.0.push(Experiment { name: name.to_owned(), section, settings, expected: expected.to_owned(), family, body });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_experiments_have_one_name() {
        let list = experiments();
        let names: BTreeSet<&str> = list.iter().map(|experiment| experiment.name.as_str()).collect();
        assert_eq!(names.len(), list.len());
    }
}
