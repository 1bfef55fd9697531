//! The conformance suite: every call of `sim/conformance` against our API server, in process, and against a real one.
//!
//! The real one is started here, in namespaces of our own, or it is any cluster that a kubeconfig names. What to call, and
//! what of an answer counts, is `bellhop-conformance`'s business; which differences may stand is listed in `sim/apiserver/README.md`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bellhop_apiserver::{ApiServer, ClientName, Config};
use bellhop_conformance::call::{Theme, themes};
use bellhop_conformance::differ::differences;
use bellhop_conformance::listed::{README, listed};
use bellhop_conformance::record;
use bellhop_conformance::report::Report;
use bellhop_conformance::run::{Answers, Server, play};
use kube::config::{KubeConfigOptions, Kubeconfig};

mod control_plane;
use control_plane::ControlPlane;

/// What to play, and against whom.
#[derive(Debug)]
pub struct Options {
    /// A cluster that is there already; without one a control plane is started.
    pub kubeconfig: Option<PathBuf>,
    /// The binary that is etcd and kube-apiserver.
    pub kube: PathBuf,
    /// Write what the real server answers into the folder of recorded answers.
    pub record: bool,
    /// Where the report and the logs go.
    pub out: PathBuf,
    /// Names of themes; all without.
    pub themes: Vec<String>,
}

/// Plays all calls against both; prints the table and writes the report. `true` if every call is equal or listed.
pub fn run(options: &Options) -> Result<bool> {
    let themes = chosen(&options.themes)?;
    let out = options.out.join("conformance");
    std::fs::create_dir_all(&out).with_context(|| format!("failed to make {}", out.display()))?;
    // Namespaces first: a thread that is already there would stay outside of them.
    let plane = match &options.kubeconfig {
        Some(_) => None,
        None => Some(ControlPlane::start(&options.kube, &out)?),
    };
    let kubeconfig = options.kubeconfig.clone().or_else(|| plane.as_ref().map(ControlPlane::kubeconfig)).unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("failed to make a runtime")?;
    runtime.block_on(play_both(options, &themes, plane.as_ref(), &kubeconfig))
}

fn chosen(names: &[String]) -> Result<Vec<Theme>> {
    let all = themes()?;
    if let Some(unknown) = names.iter().find(|name| all.iter().all(|theme| theme.name != **name)) {
        bail!("no theme `{unknown}`; there are {}", all.iter().map(|theme| theme.name.as_str()).collect::<Vec<_>>().join(", "));
    }
    Ok(all.into_iter().filter(|theme| names.is_empty() || names.contains(&theme.name)).collect())
}

async fn play_both(options: &Options, themes: &[Theme], plane: Option<&ControlPlane>, kubeconfig: &Path) -> Result<bool> {
    let compact = || plane.map_or(Ok(false), |plane| plane.compact().map(|()| true).map_err(|error| format!("{error:#}")));
    let real = Server { client: client(kubeconfig).await?, compact: Box::new(compact) };
    let in_memory = ApiServer::new(&Config { service_cidr_v6: Some((control_plane::SERVICES_V6, 112)), ..Config::default() });
    let ours = Server {
        client: kube::Client::new(in_memory.client_service(ClientName::from("conformance")), "default"),
        compact: Box::new(|| {
            in_memory.compact();
            Ok(true)
        }),
    };
    let heading = format!("ours: {}\nreal: {}", version(&ours.client).await?, version(&real.client).await?);
    let folder = record::folder();
    let mut listed = listed(README);
    if !options.themes.is_empty() {
        listed.retain(|call, _| options.themes.iter().any(|theme| call.starts_with(&format!("{theme}: "))));
    }
    let (mut report, mut stale) = (Report { may_leave_out: plane.is_none(), ..Report::default() }, Vec::new());
    for theme in themes {
        eprintln!("{}: {} calls", theme.name, theme.calls.len());
        let our_answers = play(&ours, theme).await?;
        let real_answers = play(&real, theme).await?;
        report.add(&theme.name, &our_answers, &answered(&real_answers), &listed);
        if options.record {
            record::write(&folder, &theme.name, &real_answers).context("failed to record the answers")?;
        } else if plane.is_some() {
            stale.extend(changed(theme, &real_answers, &folder)?);
        }
    }
    report.close(&listed);
    println!("{heading}\n{}", report.text());
    stale.iter().for_each(|call| println!("recorded otherwise, so `cargo test` holds ours to something else (--record): {call}"));
    println!("{}", report.sum());
    let file = |ending: &str| options.out.join(format!("conformance.{ending}"));
    std::fs::write(file("md"), report.markdown(&heading)).context("failed to write the report")?;
    std::fs::write(file("json"), format!("{:#}\n", report.json(&heading))).context("failed to write the report")?;
    Ok(report.good() && stale.is_empty())
}

/// What was answered, by the names of the calls.
fn answered(answers: &Answers) -> BTreeMap<String, serde_json::Value> {
    answers.iter().filter_map(|(name, answer)| Some((name.clone(), answer.clone()?))).collect()
}

/// Calls that the real server answers otherwise than it is recorded.
fn changed(theme: &Theme, answers: &Answers, folder: &Path) -> Result<Vec<String>> {
    let recorded = record::read(folder, &theme.name).context("failed to read the recorded answers")?;
    let differs = |name: &String, answer: &serde_json::Value| recorded.get(name).is_none_or(|old| !differences(old, answer).is_empty());
    Ok(answered(answers).iter().filter(|(name, answer)| differs(name, answer)).map(|(name, _)| format!("{}: {name}", theme.name)).collect())
}

async fn client(kubeconfig: &Path) -> Result<kube::Client> {
    let read = Kubeconfig::read_from(kubeconfig).with_context(|| format!("failed to read {}", kubeconfig.display()))?;
    let mut config =
        kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.context("failed to use the kubeconfig")?;
    // A 504 is an answer, too.
    config.default_retry = false;
    kube::Client::try_from(config).context("failed to make a client")
}

async fn version(client: &kube::Client) -> Result<String> {
    Ok(client.apiserver_version().await.context("the server says no version")?.git_version)
}
