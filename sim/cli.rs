//! The program `bellhop-sim`: plays scenarios, and serves the in-memory API and a node's agent to the real-kernel suite.
//!
//! Without arguments it plays the tutorial. Exit codes: 0 fine, 1 an expectation failed, 2 bad input or usage, 3 an invariant broken,
//! 4 not converged, 5 Bellhop crashed (design §6), 6 the simulator itself failed. What is printed by `run` depends on the file and the seed alone.

mod apiserver;
mod diff;
mod embedded;
mod explain;
mod fidelity;
mod list;
mod new;
mod node;
mod recording;
mod replay;
mod run;
mod schema;
mod shrink;
mod sweep;

use std::io::{IsTerminal, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use crate::Planted;
use crate::sweep::trial::SIMULATOR;

/// Bad input, or usage.
const BAD_INPUT: u8 = 2;

/// Plays Bellhop on a simulated LAN. Without a command: the tutorial, with one power failure at the end.
#[derive(Debug, Parser)]
#[command(
    name = "bellhop-sim",
    version,
    after_help = "Exit codes of run and sweep: 0 fine, 1 an expectation failed, 2 bad input, 3 a promise was broken, 4 not converged, 5 Bellhop crashed,\n\
                  6 the simulator itself failed\n\nExamples:\n  bellhop-sim run scenarios/leadership/leader-dies.yaml --seed 7\n  \
                  bellhop-sim explain scenarios/leadership/leader-dies.yaml --at 17s\n  \
                  bellhop-sim replay target/sim/leader-dies\n  bellhop-sim list"
)]
struct Cli {
    /// Whether to color the output; NO_COLOR is honored.
    #[arg(long, value_enum, default_value_t = Color::Auto, global = true)]
    color: Color,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Play scenario files and judge them.
    Run {
        /// Scenario files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Draw from this seed instead of the file's own.
        #[arg(long)]
        seed: Option<u64>,
        /// Plant a bug in every replica of Bellhop, to see it caught.
        #[arg(long, value_name = "BUG")]
        plant: Option<Planted>,
        /// Where each run leaves its folder, with trace.jsonl and wire.pcapng.
        #[arg(long, value_name = "DIR", default_value = recording::FOLDER)]
        out: PathBuf,
        /// Write neither trace nor capture.
        #[arg(long)]
        no_trace: bool,
    },
    /// Play a trace's scenario again and say whether the same happens. Exit code 1: it does not.
    Replay {
        /// A trace.jsonl, or the folder of a run.
        file: PathBuf,
    },
    /// Say where two traces part and why. Exit code 1: they do.
    Diff {
        /// A trace.jsonl, or the folder of a run.
        first: PathBuf,
        /// Another.
        second: PathBuf,
    },
    /// Say in sentences what happened to an address and why.
    Explain(explain::Arguments),
    /// List the scenarios of a folder by theme, a line about each.
    List {
        /// The folder; `scenarios` here, or in Bellhop's source.
        folder: Option<PathBuf>,
        /// How to print it.
        #[arg(long, value_enum, default_value_t = list::Output::Table)]
        output: list::Output,
    },
    /// Write a scenario to begin with, commented, that plays as it stands.
    New {
        /// Its name, which no other has.
        name: String,
        /// The folder of its theme.
        #[arg(long, default_value = "failover")]
        theme: String,
        /// Where the themes are; `scenarios` here, or in Bellhop's source.
        #[arg(long)]
        folder: Option<PathBuf>,
    },
    /// Play what seeds draw: faults of every class, in any order; every promise is held to.
    Sweep(sweep::Arguments),
    /// Turn a scenario that fails into the smallest one found that still fails for the same cause.
    Shrink {
        /// The scenario file: one that a sweep left, or any other.
        file: PathBuf,
        /// Below it the result is written, into scenarios/drawn.
        #[arg(long, default_value = recording::FOLDER)]
        out: PathBuf,
        /// The bug that was planted when it failed.
        #[arg(long, value_enum, value_name = "BUG")]
        plant: Option<Planted>,
    },
    /// Print the grammar of scenario files as a JSON Schema.
    Schema,
    /// Make the fidelity suite's experiments on the simulated host; `e2e/run fidelity` compares them with a kernel.
    Fidelity {
        /// How to print what was seen.
        #[arg(long, value_enum, default_value_t = fidelity::Output::Table)]
        output: fidelity::Output,
    },
    /// Serve the in-memory Kubernetes API over HTTP; prints a kubeconfig.
    Apiserver {
        /// Where to listen; port 0 takes a free one.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// Write the kubeconfig here too.
        #[arg(long)]
        kubeconfig: Option<PathBuf>,
        /// Run scheduler and controllers beside it, and seed what a cluster begins with.
        #[arg(long)]
        models: bool,
        /// kube-proxy's mode in the seeded ConfigMap.
        #[arg(long, default_value = "ipvs")]
        proxy_mode: String,
        /// strictARP in the seeded ConfigMap.
        #[arg(long)]
        strict_arp: bool,
        /// The IPv6 network of Services' cluster addresses, as in fd00:10:96::/112: makes the cluster dual-stack.
        #[arg(long)]
        service_cidr_v6: Option<ipnet::Ipv6Net>,
        /// Seconds without a heartbeat after which a node is NotReady; Kubernetes' default is 50.
        #[arg(long)]
        node_monitor_grace_period: Option<u64>,
        /// Nodes for a Deployment's pods in turn, as in porter-layer2=worker-p001,worker-p002.
        #[arg(long = "place", value_name = "DEPLOYMENT=NODE,NODE")]
        places: Vec<String>,
        /// Uids and generated names come from it.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Be kubelet and kube-proxy of a node whose network namespace this process is in.
    Node(node::Arguments),
    /// Answer HTTP as a pod: You've hit NAME.
    Pod {
        /// The pod's name.
        #[arg(long)]
        name: String,
        /// Where to listen.
        #[arg(long, default_value = "0.0.0.0:8080")]
        listen: SocketAddr,
    },
}

/// The whole program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let color = match cli.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
    };
    log_if_asked(matches!(cli.command, Some(Command::Apiserver { .. } | Command::Node(_))));
    let done = match cli.command {
        None => run::tutorial(color),
        Some(Command::Run { files, seed, plant, out, no_trace }) => {
            let out = Some(out).filter(|_| !no_trace);
            run::files(&files, run::How { seed, plant, color, out: out.as_deref() })
        }
        Some(Command::Replay { file }) => replay::replay(&file),
        Some(Command::Diff { first, second }) => diff::diff(&first, &second),
        Some(Command::Explain(arguments)) => arguments.run(),
        Some(Command::List { folder, output }) => list::list(folder, output),
        Some(Command::New { name, theme, folder }) => new::new(&name, &theme, folder),
        Some(Command::Sweep(arguments)) => arguments.sweep(),
        Some(Command::Shrink { file, out, plant }) => shrink::file(&file, &out, plant),
        Some(Command::Schema) => schema::schema(),
        Some(Command::Fidelity { output }) => fidelity::run(output),
        Some(Command::Apiserver {
            listen,
            kubeconfig,
            models,
            proxy_mode,
            strict_arp,
            service_cidr_v6,
            node_monitor_grace_period,
            places,
            seed,
        }) => {
            let server = apiserver::Server {
                listen,
                kubeconfig,
                models,
                proxy_mode,
                strict_arp,
                service_cidr_v6,
                node_monitor_grace_period,
                places,
                seed,
            };
            server.run()
        }
        Some(Command::Node(arguments)) => arguments.run(),
        Some(Command::Pod { name, listen }) => bellhop_models::run_pod(&name, listen).map(|()| 0),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(BAD_INPUT)
        }
    }
}

/// Where scenarios are unless somebody says: here, or in Bellhop's source.
fn scenarios() -> PathBuf {
    let here = PathBuf::from("scenarios");
    if here.is_dir() { here } else { PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios")) }
}

/// To standard output; a reader that has gone is no error.
fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Log lines of the programs inside, on standard error: with RUST_LOG, and warnings of servers in any case.
fn log_if_asked(serves: bool) {
    let asked = std::env::var_os("RUST_LOG").is_some();
    if asked || serves {
        let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
        let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        // The machine's time of day says nothing about a run in virtual time.
        if serves { lines.init() } else { lines.without_time().init() }
    }
}
