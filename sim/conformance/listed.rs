//! The differences that stand, with their reasons: rows of a table in `sim/apiserver/README.md`.
//!
//! A row is `` | `theme: name of the call` | reason | ``. One that names no call is an error, and so is one whose call has become equal.
//! Where the two codes differ, the reason begins with them: `201, not 400: why`.

use std::collections::BTreeMap;

/// The README that holds them.
pub const README: &str = include_str!("../apiserver/README.md");

/// Reasons by theme and call, as `theme: call`.
pub fn listed(readme: &str) -> BTreeMap<String, String> {
    let row = |line: &str| {
        let (call, rest) = line.strip_prefix("| `")?.split_once("` |")?;
        let reason = rest.trim().strip_suffix('|')?.trim();
        (call.contains(": ") && !reason.is_empty()).then(|| (call.to_owned(), reason.to_owned()))
    };
    readme.lines().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_without_a_reason_list_nothing() {
        let readme = "| `apply: an owner` | because |\n| `apply: no reason` | |\ntext\n";
        assert_eq!(listed(readme).into_iter().collect::<Vec<_>>(), [("apply: an owner".to_owned(), "because".to_owned())]);
    }
}
