//! `bellhop-e2e`: plays scenario files on real kernels. `e2e/run` builds what it needs and calls it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use bellhop_e2e::conformance::Options;
use bellhop_e2e::kind::suite::NodeImage;
use bellhop_e2e::kind::{self, Family, Proxy};
use bellhop_e2e::suite::{self, Suite, UNPLAYABLE};
use bellhop_e2e::world::{NetnsWorld, Programs};
use bellhop_scenario::PlayError;
use clap::{Parser, Subcommand};

/// Plays scenario files on real Linux kernels, in network namespaces. Needs root.
#[derive(Debug, Parser)]
#[command(name = "bellhop-e2e", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Play all files of a folder, or those named, several at once
    Suite {
        /// Where scenarios are
        #[arg(long, default_value = "scenarios")]
        scenarios: PathBuf,
        /// Where captures, logs and transcripts go
        #[arg(long, default_value = "target/e2e")]
        out: PathBuf,
        /// How many at once
        #[arg(long, default_value_t = 8)]
        jobs: usize,
        /// Names of scenarios, without .yaml
        names: Vec<String>,
    },
    /// Make the fidelity suite's experiments on this kernel, and compare with the simulator
    Fidelity {
        /// How many at once
        #[arg(long, default_value_t = 24)]
        jobs: usize,
        /// Beginnings of names; all experiments without
        names: Vec<String>,
    },
    /// Run the tests on real Kubernetes: a kind cluster, and a client on the nodes' own LAN
    Kind {
        /// How kube-proxy brings packets to pods
        #[arg(long, value_enum, default_value = "iptables")]
        proxy: Proxy,
        /// Which addresses the cluster has
        #[arg(long, value_enum, default_value = "ipv4")]
        family: Family,
        /// Let the cluster stay when the tests are over, and play the tests that are typed then
        #[arg(long)]
        keep: bool,
        /// A node image of the engine at hand
        #[arg(long, conflicts_with = "node_image")]
        image: Option<String>,
        /// The folder that kind-config/node-image/build made; the engine is then one of our own
        #[arg(long, required_unless_present = "image")]
        node_image: Option<PathBuf>,
        /// An archive with Bellhop's image
        #[arg(long)]
        bellhop: PathBuf,
        /// The program out of it, for the operator's commands
        #[arg(long)]
        program: PathBuf,
        /// An archive with the image of the version before, called bellhop:previous
        #[arg(long)]
        previous: PathBuf,
        /// The program out of it
        #[arg(long)]
        previous_program: PathBuf,
        /// An archive with the image that stands in for luksa/kubia
        #[arg(long)]
        kubia: PathBuf,
        /// Where an engine of our own keeps its data
        #[arg(long, default_value = "target/kind")]
        cache: PathBuf,
        /// Where captures and logs go
        #[arg(long, default_value = "target/e2e/kind")]
        out: PathBuf,
        /// Where scenarios are
        #[arg(long, default_value = "scenarios")]
        scenarios: PathBuf,
        /// Names of tests or of scenarios, without .yaml; the usual ones without
        names: Vec<String>,
    },
    /// Ask our API server and a real one the same, and compare the answers
    Conformance {
        /// A cluster that is there already; without it a control plane is started in namespaces of its own
        #[arg(long)]
        kubeconfig: Option<PathBuf>,
        /// The binary that is etcd, kube-apiserver and kube-controller-manager
        #[arg(long, env = "BELLHOP_KUBE", default_value = "target/kind/kube")]
        kube: PathBuf,
        /// Write what the real server answers into sim/conformance/recorded
        #[arg(long)]
        record: bool,
        /// Where the report and the logs go
        #[arg(long, default_value = "target/e2e")]
        out: PathBuf,
        /// Names of themes; all without
        themes: Vec<String>,
    },
    /// Play one file and print what every machine showed
    Play {
        /// The scenario
        file: PathBuf,
        /// Where captures and logs go
        #[arg(long)]
        out: PathBuf,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Suite { scenarios, out, jobs, names } => play_all(scenarios, out, jobs, &names),
        Command::Fidelity { jobs, names } => fidelity(jobs, &names),
        Command::Kind {
            proxy,
            family,
            keep,
            image,
            node_image,
            bellhop,
            program,
            previous,
            previous_program,
            kubia,
            cache,
            out,
            scenarios,
            names,
        } => node_image.map(NodeImage::Made).or_else(|| image.map(NodeImage::Named)).context("no node image").and_then(|node| {
            kind(kind::suite::Options {
                proxy,
                family,
                keep,
                names,
                scenarios,
                node,
                bellhop,
                program,
                previous,
                previous_program,
                kubia,
                cache,
                out,
            })
        }),
        Command::Conformance { kubeconfig, kube, record, out, themes } => conformance(&Options { kubeconfig, kube, record, out, themes }),
        Command::Play { file, out } => play_one(file, out),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Root, or a word about it.
fn root() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("NOTHING WAS TESTED: network namespaces need root (sudo e2e/run)");
    }
    Ok(())
}

fn play_all(scenarios: PathBuf, out: PathBuf, jobs: usize, names: &[String]) -> Result<u8> {
    root()?;
    let all = bellhop_scenario::files(&scenarios).with_context(|| format!("failed to list {}", scenarios.display()))?;
    let name = |path: &PathBuf| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    if let Some(unknown) = names.iter().find(|wanted| !all.iter().any(|path| name(path) == **wanted)) {
        bail!("no scenario `{unknown}` under {}", scenarios.display());
    }
    let files: Vec<PathBuf> = all.into_iter().filter(|path| names.is_empty() || names.contains(&name(path))).collect();
    if files.is_empty() {
        bail!("no scenario under {}", scenarios.display());
    }
    let count = suite::run(&Suite { files, jobs, out })?;
    if count.skipped > 0 {
        println!("{} not playable here", count.skipped);
    }
    println!("{} passed, {} failed", count.passed, count.failed);
    // Nothing played is nothing shown, and whoever names a scenario wants it played.
    let unplayed = count.passed == 0 || (count.skipped > 0 && !names.is_empty());
    Ok(u8::from(count.failed > 0 || unplayed))
}

fn fidelity(jobs: usize, names: &[String]) -> Result<u8> {
    root()?;
    let simulator = std::env::current_exe()?.with_file_name("bellhop-sim");
    Ok(u8::from(!bellhop_e2e::fidelity::run(&simulator, jobs, names)?))
}

fn kind(mut options: kind::suite::Options) -> Result<u8> {
    root()?;
    // Absolute paths: an engine of our own has a folder of its own.
    std::fs::create_dir_all(&options.cache).and_then(|()| std::fs::create_dir_all(&options.out))?;
    let programs = [&mut options.bellhop, &mut options.program, &mut options.previous, &mut options.previous_program, &mut options.kubia];
    for path in programs.into_iter().chain([&mut options.cache, &mut options.out]) {
        *path = path.canonicalize().with_context(|| format!("failed to find {}", path.display()))?;
    }
    Ok(u8::from(!kind::suite::run(&options)?))
}

fn conformance(options: &Options) -> Result<u8> {
    if options.kubeconfig.is_none() {
        root()?;
    }
    Ok(u8::from(!bellhop_e2e::conformance::run(options)?))
}

fn play_one(file: PathBuf, out: PathBuf) -> Result<u8> {
    root()?;
    let scenario = match bellhop_scenario::load(&file) {
        Ok(scenario) => scenario,
        Err(refusal) => bail!("{refusal}"),
    };
    let beside = std::env::current_exe()?;
    let programs = Programs { bellhop: beside.with_file_name("bellhop"), sim: beside.with_file_name("bellhop-sim") };
    let mut world = NetnsWorld::new(programs, out);
    match bellhop_scenario::play(&scenario, &mut world) {
        Ok(outcome) => {
            print!("{outcome}");
            Ok(outcome.exit_code())
        }
        Err(error @ PlayError::Unplayable(_)) => {
            println!("{error}");
            Ok(UNPLAYABLE)
        }
        Err(error) => bail!("{error}"),
    }
}
