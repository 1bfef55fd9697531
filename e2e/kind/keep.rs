//! A cluster that stays when the tests are over, for whoever wants to look into it or to play more tests on it.
//!
//! The engine, its network and its machines are this process's, and whatever ends the process takes them along: that is why nothing is left
//! behind. So a cluster is kept by not ending, and the tests that reuse it are typed here. A second process could not hold it without outliving
//! Ctrl-C.

use std::fmt::Write;
use std::io::{BufRead, IsTerminal};

use super::suite::Bench;
use super::tests::Test;

/// Plays what is typed, a line of tests' names at a time, until the input ends; input that nobody types (`</dev/null`) ends with Ctrl-C or
/// `kill`. Whether all that was typed was green.
pub(crate) fn keep(bench: &Bench, all: &[Test]) -> bool {
    print!("{}", how_to(bench));
    let mut green = true;
    let input = std::io::stdin();
    for line in input.lock().lines().map_while(Result::ok) {
        let (names, unknown): (Vec<&str>, Vec<&str>) = line.split_whitespace().partition(|name| all.iter().any(|test| test.name == **name));
        if !unknown.is_empty() {
            println!("no test {}", unknown.join(", "));
        }
        let tests: Vec<&Test> = names.iter().filter_map(|name| all.iter().find(|test| test.name == **name)).collect();
        if !tests.is_empty() {
            green &= bench.play(&tests, true);
        }
    }
    while !input.is_terminal() {
        std::thread::park();
    }
    green
}

/// The words that lead in, and the end.
fn how_to(bench: &Bench) -> String {
    let cluster = &bench.cluster;
    let engine = cluster.docker.namespace.path();
    let mut text = "\nThe cluster stays. In another terminal, as root:\n".to_owned();
    let mut line = |what: &str, command: &str| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {what:<13} {command}");
    };
    line("the cluster", &format!("nsenter --net={engine} env KUBECONFIG={} kubectl get nodes", cluster.kubeconfig.display()));
    if let Some(host) = cluster.docker.host() {
        line("the engine", &format!("DOCKER_HOST={host} docker ps"));
    }
    line("the client", &format!("nsenter --net={} curl 192.168.0.91", bench.client.namespace.path()));
    text.push_str("Here: names of tests play them on this cluster; `install` loads Bellhop's image anew.\n");
    let end = if std::io::stdin().is_terminal() { "Ctrl-D or Ctrl-C".to_owned() } else { format!("kill {}", std::process::id()) };
    let _ = writeln!(text, "{end} takes everything away.");
    text
}
