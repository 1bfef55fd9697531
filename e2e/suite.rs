//! The suite: each scenario in a process of its own, some at once, one line for each.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::process::mortal;

/// The exit code of a play that this world cannot do: automake's "skipped".
pub const UNPLAYABLE: u8 = 77;

/// How far the first plays begin apart. A play is busy while it begins (a cluster is made, manifests are applied) and mostly waits after that. With
/// eight that begin at once on two cores, what a scenario expects within three seconds comes late.
const APART: Duration = Duration::from_secs(2);

/// What to play, and how.
#[derive(Clone, Debug)]
pub struct Suite {
    /// Scenario files.
    pub files: Vec<PathBuf>,
    /// How many at once.
    pub jobs: usize,
    /// A folder for each scenario is made below this one.
    pub out: PathBuf,
}

/// How many passed and failed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    /// Played, and everything held.
    pub passed: usize,
    /// Played, and something did not hold, or could not be played to the end.
    pub failed: usize,
    /// Not playable here.
    pub skipped: usize,
}

/// Plays everything and prints a line for each.
pub fn run(suite: &Suite) -> Result<Count> {
    let queue = Mutex::new(longest_first(&suite.files));
    let count = Mutex::new(Count::default());
    std::thread::scope(|scope| {
        for job in 0..suite.jobs.clamp(1, suite.files.len().max(1)) {
            let (queue, count) = (&queue, &count);
            scope.spawn(move || {
                std::thread::sleep(APART * u32::try_from(job).unwrap_or_default());
                while let Some(file) = queue.lock().ok().and_then(|mut queue| queue.pop()) {
                    let line = play(&file, &suite.out);
                    if let Ok(mut count) = count.lock() {
                        println!("{}", line.unwrap_or_else(|error| Line::failed(&file, &format!("{error:#}"))).counted(&mut count));
                    }
                }
            });
        }
    });
    count.into_inner().context("a thread of the suite panicked")
}

/// The last is taken first: long ones must not come last.
fn longest_first(files: &[PathBuf]) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        files.iter().map(|file| (bellhop_scenario::load(file).map_or(Duration::ZERO, |it| it.stop), file.clone())).collect();
    files.sort();
    files.into_iter().map(|(_, file)| file).collect()
}

/// A line of the report.
struct Line {
    passed: Option<bool>,
    text: String,
}

impl Line {
    fn failed(file: &Path, why: &str) -> Self {
        Self { passed: Some(false), text: format!("FAILED {}: {why}", file.display()) }
    }

    fn counted(self, count: &mut Count) -> String {
        match self.passed {
            Some(true) => count.passed += 1,
            Some(false) => count.failed += 1,
            None => count.skipped += 1,
        }
        self.text
    }
}

/// Plays one file in a process of its own. What it printed stays in `transcript.txt`.
fn play(file: &Path, out: &Path) -> Result<Line> {
    let name = file.file_stem().context("a file without a name")?.to_string_lossy().into_owned();
    let out = out.join(&name);
    // What an earlier run left would be taken for this one's.
    let _ = std::fs::remove_dir_all(&out);
    std::fs::create_dir_all(&out)?;
    let began = Instant::now();
    let mut command: Command = mortal(std::env::current_exe()?);
    let output = command.arg("play").arg(file).arg("--out").arg(&out).output().context("failed to start a play")?;
    let printed = [output.stdout, output.stderr].concat();
    std::fs::write(out.join("transcript.txt"), &printed)?;
    let printed = String::from_utf8_lossy(&printed).into_owned();
    let seconds = began.elapsed().as_secs_f64();
    let (passed, word) = match output.status.code() {
        Some(0) => (Some(true), "ok"),
        Some(code) if code == i32::from(UNPLAYABLE) => (None, "NOT PLAYABLE"),
        _ => (Some(false), "FAILED"),
    };
    let mut text = format!("{word:<6} {name:<34} {seconds:6.1} s");
    if passed != Some(true) {
        let failed = printed.lines().filter(|line| line.starts_with('×') || line.starts_with("error") || line.starts_with("not playable"));
        text.extend(failed.map(|line| format!("\n         {line}")));
        text.push_str(&format!("\n         see {}", out.display()));
    }
    Ok(Line { passed, text })
}
