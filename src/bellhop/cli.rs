//! The command line.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use bellhop_api::keys;
use clap::{Args, Parser, Subcommand, ValueEnum};
use tokio::net::TcpListener;

use crate::check::report::Output;
use crate::metrics::Observer;
use crate::{Config, check, http, install, system, uninstall};

/// Answers ARP for the addresses of LoadBalancer Services, so that a bare-metal cluster needs nothing else on its LAN.
#[derive(Debug, Parser)]
#[command(name = "bellhop", version, arg_required_else_help = true, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Our own lines. The Kubernetes client's would say each failed attempt of an outage, which is said once by us.
const LOG_FILTER: &str = "info,kube_client=off,kube_runtime=off";

const EXAMPLES: &str = "Examples:
  bellhop check --pre
  bellhop manifests | kubectl apply -f -
  bellhop check
  bellhop run --node-name \"$(hostname)\" --kubeconfig ~/.kube/config";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run: watch the cluster, lead by the Lease, announce
    Run(RunOptions),
    /// Print the CustomResourceDefinitions as YAML, for kubectl apply -f -
    Crds,
    /// Print the installation as YAML, for kubectl apply -f -
    Manifests(install::Choices),
    /// Look whether the cluster is fit for Bellhop, and Bellhop well in it; exits with 1 if not
    Check(CheckOptions),
    /// Take everything away that an installation made, also when its program is gone
    Uninstall(UninstallOptions),
    /// Print the version
    Version,
}

#[derive(Args, Debug)]
struct RunOptions {
    /// The Kubernetes node that this runs on; also its identity as a candidate for the Lease
    #[arg(long, value_name = "NAME", env = "NODE_NAME")]
    node_name: String,
    /// The cluster to serve; without it, the one that this pod runs in
    #[arg(long, value_name = "FILE", env = "KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// Where the Lease is
    #[arg(long, value_name = "NAMESPACE", env = "BELLHOP_NAMESPACE", default_value = keys::NAMESPACE)]
    namespace: String,
    /// Serve /metrics here
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:7475")]
    metrics_listen: SocketAddr,
    /// Serve /healthz and /readyz here
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7476")]
    probe_listen: SocketAddr,
    /// How the log is written to standard error
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormat,
    /// What to log, as tracing's filters have it (info, bellhop=debug)
    #[arg(long, value_name = "FILTER", env = "BELLHOP_LOG", default_value = LOG_FILTER)]
    log: String,
    /// Let nodes carry addresses that are labelled node.kubernetes.io/exclude-from-external-load-balancers
    #[arg(long)]
    ignore_exclude_label: bool,
}

/// Which cluster, as kubectl has it.
#[derive(Args, Debug)]
struct Access {
    /// The kubeconfig; without it kubectl's own
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context in it
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Where Bellhop is installed
    #[arg(long, short, value_name = "NAMESPACE", default_value = keys::NAMESPACE)]
    namespace: String,
}

#[derive(Args, Debug)]
struct CheckOptions {
    #[command(flatten)]
    access: Access,
    /// Before an installation: only what it needs of the cluster
    #[arg(long)]
    pre: bool,
    /// How to print what was found
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

#[derive(Args, Debug)]
struct UninstallOptions {
    #[command(flatten)]
    access: Access,
    /// Say what would go, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Take the kind Eip away too, and all Eips with it
    #[arg(long)]
    crds: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

/// Does what the command line says.
pub fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().command {
        Command::Run(options) => run(options)?,
        Command::Crds => print!("{}", crds()?),
        Command::Manifests(choices) => print!("{}", install::yaml(&choices)?),
        Command::Check(options) => return runtime()?.block_on(check(options)),
        Command::Uninstall(options) => return runtime()?.block_on(uninstall(options)),
        Command::Version => println!("bellhop {}", env!("CARGO_PKG_VERSION")),
    }
    Ok(ExitCode::SUCCESS)
}

async fn check(CheckOptions { access, pre, output }: CheckOptions) -> anyhow::Result<ExitCode> {
    let client = system::client_of_user(access.kubeconfig.as_deref(), access.context.as_deref()).await?;
    let report = check::run(&client, &check::Options { namespace: access.namespace, before: pre }).await;
    print!("{}", report.text(output));
    Ok(if report.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn uninstall(UninstallOptions { access, dry_run, crds, yes }: UninstallOptions) -> anyhow::Result<ExitCode> {
    let client = system::client_of_user(access.kubeconfig.as_deref(), access.context.as_deref()).await?;
    let out = &mut std::io::stdout();
    let options = uninstall::Options { namespace: access.namespace, dry_run, crds };
    if !dry_run && !yes {
        let would = uninstall::run(&client, &uninstall::Options { dry_run: true, ..options.clone() }, out).await?;
        if would > 0 && !is_agreed()? {
            println!("Nothing was changed.");
            return Ok(ExitCode::FAILURE);
        }
    }
    if uninstall::run(&client, &options, out).await? == 0 {
        println!("Nothing of Bellhop is there.");
    }
    Ok(ExitCode::SUCCESS)
}

/// Services lose their addresses: a person says yes to that, or a script says `--yes`.
fn is_agreed() -> anyhow::Result<bool> {
    anyhow::ensure!(std::io::stdin().is_terminal(), "nobody is there to be asked: give --yes, or look first with --dry-run");
    print!("Go on? Services lose their addresses. [y/N] ");
    std::io::Write::flush(&mut std::io::stdout())?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("failed to start the runtime")
}

/// Our CustomResourceDefinitions, as YAML documents.
pub fn crds() -> anyhow::Result<String> {
    let documents = bellhop_api::crds().into_iter().map(|crd| {
        // By way of JSON's value, which orders keys and leaves out what is not there.
        let value = serde_json::to_value(crd)?;
        Ok(format!("---\n{}", serde_saphyr::to_string(&value)?))
    });
    documents.collect::<anyhow::Result<String>>().context("failed to write the CustomResourceDefinitions as YAML")
}

fn run(options: RunOptions) -> anyhow::Result<()> {
    start_log(&options)?;
    runtime()?.block_on(serve(options))
}

fn start_log(options: &RunOptions) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(&options.log).with_context(|| format!("`{}` is no log filter", options.log))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match options.log_format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

/// The program, its metrics and its signals, as one future: it ends when the program does.
async fn serve(options: RunOptions) -> anyhow::Result<()> {
    let env = system::env(options.kubeconfig.as_deref()).await?;
    let (observer, observations) = Observer::new();
    let metrics = listen(options.metrics_listen, "--metrics-listen").await?;
    let probes = listen(options.probe_listen, "--probe-listen").await?;
    let shutdown = env.shutdown.clone();
    let config = Config {
        namespace: options.namespace,
        ignore_exclude_label: options.ignore_exclude_label,
        observations: Some(observations),
        ..Config::new(options.node_name.as_str())
    };
    tokio::select! {
        biased;
        result = crate::run(config, env) => result,
        result = system::cancel_at_signal(shutdown) => result,
        never = http::serve(metrics, probes, observer) => match never {},
    }
}

async fn listen(address: SocketAddr, option: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("failed to listen on {address} ({option})"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_crds_in_deploy_are_those_that_the_program_prints() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/crds.yaml");
        let deployed = std::fs::read_to_string(path).expect("deploy/crds.yaml");
        assert!(deployed == crds().expect("valid"), "write it anew: cargo run -p bellhop -- crds > deploy/crds.yaml");
    }
}
