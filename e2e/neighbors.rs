//! Looks at a machine's neighbor table, as `ip -j neigh` prints it, five times a second.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use bellhop_scenario::Seen;
use serde_json::Value;

use crate::clock::Reporter;
use crate::namespace::{Namespace, run};

/// From look to look.
const EVERY: Duration = Duration::from_millis(200);

/// An entry: device, address, then hardware address and state as printed.
pub(crate) type Table = BTreeMap<(String, IpAddr), (Option<String>, String)>;

/// Looks in a thread of its own, to the end of the process.
pub(crate) fn watch(machine: &str, namespace: Namespace, report: Reporter) {
    let machine = machine.to_owned();
    let look = format!("the neighbor table of {machine}");
    report.looks.opens(&look);
    std::thread::spawn(move || {
        if let Err(error) = namespace.enter() {
            return report.looks.fails(&look, error);
        }
        let mut known = Table::new();
        loop {
            let printed = run(Command::new("ip").args(["-j", "neigh", "show"]));
            match printed.map(|text| parse(&text)) {
                Ok(Some(table)) => {
                    report.looks.sees(&look);
                    tell(&machine, &known, &table, &report);
                    known = table;
                }
                Ok(None) => report.looks.fails(&look, "ip printed something else than a table"),
                Err(error) => report.looks.fails(&look, error),
            }
            std::thread::sleep(EVERY);
        }
    });
}

/// What `ip -j neigh` printed.
pub(crate) fn parse(text: &str) -> Option<Table> {
    let entries: Value = serde_json::from_str(text).ok()?;
    let entry = |entry: &Value| {
        let text = |key: &str| entry[key].as_str().map(str::to_owned);
        let state = entry["state"].as_array()?.first()?.as_str()?.to_owned();
        Some(((text("dev")?, text("dst")?.parse().ok()?), (text("lladdr"), state)))
    };
    Some(entries.as_array()?.iter().filter_map(entry).collect())
}

/// Reports what differs.
fn tell(machine: &str, before: &Table, now: &Table, report: &Reporter) {
    let level = |(dev, dst): &(String, IpAddr), entry: Option<&(Option<String>, String)>| Seen::Neighbor {
        machine: machine.to_owned(),
        dev: dev.clone(),
        dst: *dst,
        lladdr: entry.and_then(|(lladdr, _)| lladdr.as_ref()?.parse().ok()),
        state: entry.map(|(_, state)| state.clone()),
    };
    for (key, entry) in now.iter().filter(|(key, entry)| before.get(key) != Some(entry)) {
        report.now(level(key, Some(entry)));
    }
    for key in before.keys().filter(|key| !now.contains_key(key)) {
        report.now(level(key, None));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_entry_has_no_hardware_address() {
        let text = r#"[{"dst":"192.168.0.91","dev":"eth0","lladdr":"52:54:22:3a:e6:6e","state":["REACHABLE"]},
            {"dst":"192.168.0.92","dev":"eth0","state":["FAILED"]}]"#;
        let table = parse(text).expect("JSON");
        let states: Vec<_> = table.values().map(|(lladdr, state)| (lladdr.is_some(), state.as_str())).collect();
        assert_eq!(states, [(true, "REACHABLE"), (false, "FAILED")]);
    }
}
