//! Terminals: what is typed into one is run in order, with the real programs.

use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bellhop_scenario::{Edit, RunId, Seen};
use serde_json::Value;

use crate::clock::Reporter;
use crate::namespace::{Namespace, run};
use crate::process::mortal;

/// What can be typed.
enum Line {
    Run(RunId, Vec<String>),
    Edit(Edit),
    /// Nothing: whoever waits hears that all before it has ended.
    Sync(Sender<()>),
}

/// A terminal; its commands run in a thread of their own.
#[derive(Clone)]
pub(crate) struct Terminal(Sender<Line>);

/// Where a terminal's commands run.
#[derive(Clone)]
pub(crate) struct Seat {
    /// The machine.
    pub(crate) namespace: Namespace,
    /// The folder that manifests are in.
    pub(crate) folder: PathBuf,
    pub(crate) kubeconfig: PathBuf,
}

impl Terminal {
    /// Opens one.
    pub(crate) fn open(seat: Seat, report: Reporter) -> Self {
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            if let Err(error) = seat.namespace.enter() {
                return report.looks.fails("a terminal", error);
            }
            for line in lines {
                match line {
                    Line::Run(id, argv) => {
                        let started = report.clock.now();
                        let (text, exit) = seat.run(&argv);
                        report.now(Seen::Output { run: id, started, text, exit });
                    }
                    Line::Edit(edit) => {
                        if let Err(error) = seat.edit(&edit) {
                            report.now(Seen::Note { text: format!("kubectl edit {} {} failed: {error:#}", edit.kind, edit.name) });
                        }
                    }
                    Line::Sync(done) => drop(done),
                }
            }
        });
        Self(sender)
    }

    /// Types a command.
    pub(crate) fn run(&self, id: RunId, argv: Vec<String>) {
        let _ = self.0.send(Line::Run(id, argv));
    }

    /// `kubectl edit`.
    pub(crate) fn edit(&self, edit: Edit) {
        let _ = self.0.send(Line::Edit(edit));
    }

    /// Waits until everything typed has ended, but not for ever.
    pub(crate) fn wait(&self, patience: Duration) {
        let (done, wait) = channel();
        let _ = self.0.send(Line::Sync(done));
        let _ = wait.recv_timeout(patience);
    }
}

impl Seat {
    fn command(&self, program: &str) -> Command {
        let mut command = mortal(program);
        command.current_dir(&self.folder).env("KUBECONFIG", &self.kubeconfig);
        // kubectl remembers what an API server can do; each has its own.
        command.env("KUBECACHEDIR", self.kubeconfig.with_extension("cache")).env("LC_ALL", "C.UTF-8");
        command
    }

    /// Both streams, and the exit code (-1: it could not be run, or was killed).
    fn run(&self, argv: &[String]) -> (String, i32) {
        let Some((program, arguments)) = argv.split_first() else { return (String::new(), 0) };
        match self.command(program).args(arguments).output() {
            Ok(output) => {
                let text = [output.stdout, output.stderr].concat();
                (String::from_utf8_lossy(&text).into_owned(), output.status.code().unwrap_or(-1))
            }
            Err(error) => (error.to_string(), -1),
        }
    }

    /// What kubectl's own `edit` does around an editor: get, change, replace.
    fn edit(&self, edit: &Edit) -> Result<()> {
        let namespace = edit.namespace.as_deref().unwrap_or("default");
        let text = run(self.command("kubectl").args(["get", &edit.kind, &edit.name, "-n", namespace, "-o", "json"]))?;
        let mut object: Value = serde_json::from_str(&text).context("kubectl printed something else than JSON")?;
        if let Err(why) = edit.apply(&mut object) {
            bail!(why);
        }
        let file = self.kubeconfig.with_extension("edit.json");
        std::fs::write(&file, object.to_string())?;
        run(self.command("kubectl").args(["replace", "-f"]).arg(&file)).map(drop)
    }
}
