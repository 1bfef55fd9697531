//! The layout of `kubectl get`: kubectl's table printer over its tabwriter (k8s.io/cli-runtime `pkg/printers`).
//!
//! Knows only the Table it is given. Cells are padded with spaces to a column's widest plus three, at least six; the last is not padded.

use serde_json::Value;

use crate::object::{list, number, text};

/// kubectl's tabwriter settings: `tabwriterMinWidth` and `tabwriterPadding`.
const WIDTH_MIN: usize = 6;
const PADDING: usize = 3;

/// A Table as text. `wide` shows the columns of lower priority, `namespaces` puts NAMESPACE first.
pub(super) fn render(table: &Value, wide: bool, namespaces: bool) -> String {
    let columns = list(table, &["columnDefinitions"]);
    let shown: Vec<usize> = (0..columns.len()).filter(|index| wide || number(&columns[*index], &["priority"]).unwrap_or(0) == 0).collect();
    let mut header: Vec<String> = shown.iter().map(|index| text(&columns[*index], &["name"]).to_uppercase()).collect();
    if namespaces {
        header.insert(0, "NAMESPACE".to_owned());
    }
    let mut lines = vec![header];
    for row in list(table, &["rows"]) {
        let mut line: Vec<String> = shown.iter().map(|index| cell(list(row, &["cells"]).get(*index))).collect();
        if namespaces {
            line.insert(0, text(row, &["object", "metadata", "namespace"]).to_owned());
        }
        lines.push(line);
    }
    let width = |index: usize| {
        lines.iter().filter_map(|line| line.get(index)).map(|cell| cell.chars().count() + PADDING).max().unwrap_or(0).max(WIDTH_MIN)
    };
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    let mut out = String::new();
    for line in &lines {
        for (index, cell) in line.iter().enumerate() {
            out.push_str(cell);
            if index + 1 < line.len() {
                let missing = widths[index].saturating_sub(cell.chars().count());
                out.extend(std::iter::repeat_n(' ', missing));
            }
        }
        out.push('\n');
    }
    out
}

/// Only the first line of a text is shown.
fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => match text.find(['\n', '\r', '\u{c}']) {
            Some(end) => format!("{}...", &text[..end]),
            None => text.clone(),
        },
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_padded_by_three_and_the_last_not_at_all() {
        let table = json!({
            "columnDefinitions": [{"name": "Name", "priority": 0}, {"name": "Hidden", "priority": 1}, {"name": "N"}, {"name": "Age"}],
            "rows": [{"cells": ["a-long-name", "x", 1, "5s"], "object": {"metadata": {"namespace": "default"}}}, {"cells": ["b", "y", null, "two\nlines"]}],
        });
        assert_eq!(render(&table, false, false), "NAME          N     AGE\na-long-name   1     5s\nb                   two...\n");
        assert!(render(&table, true, true).starts_with("NAMESPACE   NAME          HIDDEN   N     AGE\n"));
    }
}
