//! `kubectl get`: the server's table, printed as kubectl's printer prints it (cli-runtime, `printers/tableprinter.go`).
//!
//! Column titles in capitals, three spaces between columns, columns of priority above 0 only with `-o wide`.

use bellhop_scenario::command::Scope;
use serde_json::Value;

use super::resources::Resource;
use super::{Operator, Said};

/// What kubectl asks for.
const AS_TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

impl Operator {
    /// `kubectl get`.
    pub(super) async fn get(&self, resource: &str, name: Option<&str>, wide: bool, scope: &Scope) -> Said {
        let resource = Resource::called(resource)?;
        let namespace = match scope {
            Scope::All => "",
            Scope::Namespace(namespace) => namespace.as_deref().unwrap_or("default"),
        };
        let path = resource.path(namespace, name);
        let table = self.send("GET", &path, "", AS_TABLE, Vec::new()).await.map_err(|error| self.failure(error))?;
        let rows = table["rows"].as_array().map_or(0, Vec::len);
        if rows == 0 {
            let within = if namespace.is_empty() || !resource.namespaced { String::new() } else { format!(" in {namespace} namespace") };
            return Ok(format!("No resources found{within}"));
        }
        Ok(render(&table, wide, namespace.is_empty() && resource.namespaced))
    }
}

/// The printed table, without its last newline.
fn render(table: &Value, wide: bool, with_namespace: bool) -> String {
    let columns: Vec<(usize, &str)> = table["columnDefinitions"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
        .filter(|(_, column)| wide || column["priority"].as_i64().unwrap_or(0) == 0)
        .map(|(index, column)| (index, column["name"].as_str().unwrap_or_default()))
        .collect();
    let mut lines: Vec<Vec<String>> = Vec::new();
    let title = with_namespace.then(|| "NAMESPACE".to_owned());
    lines.push(title.into_iter().chain(columns.iter().map(|(_, name)| name.to_uppercase())).collect());
    for row in table["rows"].as_array().into_iter().flatten() {
        let namespace = with_namespace.then(|| cell(&row["object"]["metadata"]["namespace"]));
        lines.push(namespace.into_iter().chain(columns.iter().map(|(index, _)| cell(&row["cells"][*index]))).collect());
    }
    let widths: Vec<usize> =
        (0..lines[0].len()).map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0)).collect();
    let print = |line: &Vec<String>| {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("   ").trim_end().to_owned()
    };
    lines.iter().map(print).collect::<Vec<_>>().join("\n")
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<none>".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_prints_as_kubectl_prints_it() {
        let table = json!({
            "columnDefinitions": [{"name": "Name", "priority": 0}, {"name": "Age", "priority": 0}, {"name": "Node", "priority": 1}],
            "rows": [{"cells": ["a-long-name", "5s", "n"], "object": {"metadata": {"namespace": "x"}}}, {"cells": ["b", "10s", null]}],
        });
        assert_eq!(render(&table, false, false), "NAME          AGE\na-long-name   5s\nb             10s");
        assert_eq!(render(&table, true, false), "NAME          AGE   NODE\na-long-name   5s    n\nb             10s   <none>");
    }
}
