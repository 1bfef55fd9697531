//! Calling `ip` and `nft`, and saying what they said when they failed.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::runner::RunError;

/// Runs a program to its end.
pub(super) fn run(program: &str, arguments: &[&str]) -> Result<String, RunError> {
    run_with_input(program, arguments, "")
}

/// Runs a program that reads `input`.
pub(super) fn run_with_input(program: &str, arguments: &[&str], input: &str) -> Result<String, RunError> {
    let fail = |what: &dyn std::fmt::Display| RunError(format!("{program} {}: {what}", arguments.join(" ")));
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| fail(&error))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).map_err(|error| fail(&error))?;
    }
    let output = child.wait_with_output().map_err(|error| fail(&error))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(fail(&String::from_utf8_lossy(&output.stderr).trim()))
    }
}

/// Writes a sysctl of the network namespace that this process is in.
pub(super) fn sysctl(name: &str, value: &str) -> Result<(), RunError> {
    let path = format!("/proc/sys/net/{name}");
    std::fs::write(&path, value).map_err(|error| RunError(format!("{path}: {error}")))
}
