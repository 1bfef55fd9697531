//! Continuous pings and curls: judged request by request.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::{Case, Verdict, between};
use crate::action::{Action, Target};
use crate::duration::{moment, words};
use crate::expectation::{AnsweredBy, PingWanted, When, Window};
use crate::history::{Echo, Request};
use crate::observation::{CurlFailure, DECIDED};
use crate::outcome::Blind;

/// Judges a ping.
pub(super) fn ping(case: &Case<'_>, from: &str, to: IpAddr, wanted: PingWanted) -> Verdict {
    let window = case.window();
    let all = case.history.pings(from, to);
    let within: Vec<_> = all.iter().copied().filter(|echo| echo.sent >= window.from && echo.sent <= window.until).collect();
    if within.is_empty() {
        return Verdict::failed(format!("{from} sent no echo request to {to} in {}", between(window)));
    }
    match wanted {
        PingWanted::Answered(true) => requests(case, &within, |echo| echo.answer.ok_or_else(|| (echo.sent, "no answer".to_owned()))),
        PingWanted::Answered(false) => {
            let silent = |echo: &Echo| echo.answer.map_or(Ok(echo.sent), |at| Err((at, format!("answered at {}", moment(at)))));
            requests(case, &within, silent)
        }
        PingWanted::Lost(most) => {
            if let Some((since, until)) = silence(case, from, to, &within) {
                return Verdict::failed(format!("{from} sent no echo request to {to} from {} to {}", moment(since), moment(until)));
            }
            let lost = within.iter().filter(|echo| echo.answer.is_none()).count();
            let text = format!("{lost} of {} requests unanswered", within.len());
            if lost as u64 <= most { Verdict::passed(text) } else { Verdict::failed(text) }
        }
        PingWanted::LongestGap(most) => {
            // The whole window, also where nothing was sent: the file says that somebody asks throughout.
            let (since, gap) = longest_gap(&within, window);
            let text = format!("longest {}, from {}", words(gap), moment(since));
            if gap <= most + case.slack { Verdict::passed(text) } else { Verdict::failed(text) }
        }
    }
}

/// A stretch of the window in which no request was sent: a machine that is off or stands still loses none.
fn silence(case: &Case<'_>, from: &str, to: IpAddr, echoes: &[Echo]) -> Option<(Duration, Duration)> {
    let window = case.window();
    let actions = case.scenario.timeline.iter().flat_map(|step| &step.actions);
    let intervals = actions.filter_map(|action| match action {
        Action::Ping { from: Target::Machine(asker), to: asked, every, .. } if asker == from && *asked == to => Some(*every),
        _ => None,
    });
    // A request may be late by as much as it takes to send it, and of what was sent just before the end nothing is said yet.
    let longest = 2 * intervals.max().unwrap_or_default() + DECIDED + case.slack;
    let mut sent: Vec<_> = echoes.iter().map(|echo| echo.sent).collect();
    sent.sort_unstable();
    let mut before = window.from;
    for at in sent.into_iter().chain([window.until.min(case.scenario.stop)]) {
        if at.saturating_sub(before) > longest {
            return Some((before, at));
        }
        before = at;
    }
    None
}

/// The longest stretch of a window without an answer arriving, and when it began.
fn longest_gap(echoes: &[Echo], window: Window) -> (Duration, Duration) {
    let mut answers: Vec<_> = echoes.iter().filter_map(|echo| echo.answer).collect();
    answers.sort_unstable();
    let (mut longest, mut before) = ((window.from, Duration::ZERO), window.from);
    for at in answers.into_iter().chain([window.until]) {
        let gap = at.saturating_sub(before);
        if gap > longest.1 {
            longest = (before, gap);
        }
        before = before.max(at);
    }
    longest
}

/// How long a client was blind, once it had seen the address.
pub(crate) fn blind(from: &str, to: IpAddr, echoes: &[Echo]) -> Blind {
    let first = echoes.iter().filter_map(|echo| echo.answer).min();
    let Some(first) = first else { return Blind { from: from.to_owned(), to, longest: None, since: Duration::ZERO } };
    let after: Vec<_> = echoes.iter().copied().filter(|echo| echo.answer.map_or(echo.sent, |at| at) >= first).collect();
    let sent = || after.iter().map(|echo| echo.sent);
    let window = Window { from: sent().min().unwrap_or(first), until: sent().max().unwrap_or(first) };
    let (since, longest) = longest_gap(&after, window);
    Blind { from: from.to_owned(), to, longest: Some(longest), since }
}

/// Judges a curl.
pub(super) fn curl(case: &Case<'_>, from: &str, url: &str, status: Option<u16>, by: Option<&AnsweredBy>) -> Verdict {
    let window = case.window();
    let all = case.history.curls(from, url);
    let within: Vec<_> = all.iter().filter(|request| request.started >= window.from && request.started <= window.until).cloned().collect();
    if within.is_empty() {
        return Verdict::failed(format!("{from} made no request to {url} in {}", between(window)));
    }
    let verdict = requests(case, &within, |request| fits(case, request, status, by));
    let (Some(AnsweredBy::Pods(wanted)), true) = (by, verdict.passed) else { return verdict };
    match case.when {
        When::Never(_) => verdict,
        When::Always(_) => pods_of_all(&within, *wanted),
        When::Eventually(_) => pods_by(&within, *wanted, window),
    }
}

/// Whether exactly so many pods answered.
fn pods_of_all(requests: &[Request], wanted: usize) -> Verdict {
    let pods: BTreeSet<_> = requests.iter().filter_map(pod).collect();
    let text = format!("{} requests answered by {}", requests.len(), pods.iter().copied().collect::<Vec<_>>().join(", "));
    if pods.len() == wanted { Verdict::passed(text) } else { Verdict::failed(text) }
}

/// When so many pods had answered.
fn pods_by(requests: &[Request], wanted: usize, window: Window) -> Verdict {
    let mut pods = BTreeSet::new();
    for request in requests {
        pods.extend(pod(request));
        if pods.len() >= wanted && request.ended <= window.until {
            return Verdict::came_true(request.ended);
        }
    }
    Verdict::failed(format!("only {} by {}", pods.into_iter().collect::<Vec<_>>().join(", "), moment(window.until)))
}

/// Whether one request was answered as wanted, and when.
fn fits(case: &Case<'_>, request: &Request, status: Option<u16>, by: Option<&AnsweredBy>) -> Result<Duration, (Duration, String)> {
    let other = |text: String| Err((request.started, text));
    let answer = match &request.result {
        Ok(answer) => answer,
        Err(failure) => return other(failed(failure)),
    };
    if status.is_some_and(|status| status != answer.status) {
        return other(format!("status {}", answer.status));
    }
    if let Some(AnsweredBy::PodsOn(target)) = by {
        let node = pod(request).and_then(|pod| case.history.node_of_pod(pod));
        match case.history.machine(target, request.ended) {
            Ok(wanted) if node == Some(wanted.as_str()) => {}
            Ok(_) => return other(format!("answered from {}: {}", node.unwrap_or("an unknown node"), answer.body.trim())),
            Err(why) => return other(why),
        }
    }
    Ok(request.ended)
}

/// A failure in curl's words.
pub(crate) fn failed(failure: &CurlFailure) -> String {
    match failure {
        CurlFailure::CouldNotConnect(why) => format!("could not connect: {why}"),
        CurlFailure::TimedOut => "timed out".to_owned(),
        CurlFailure::Reset => "connection reset".to_owned(),
        CurlFailure::Other(why) => why.clone(),
    }
}

/// The pod that answered, from luksa/kubia's `You've hit <pod>`.
fn pod(request: &Request) -> Option<&str> {
    request.result.as_ref().ok()?.body.trim().strip_prefix("You've hit ")
}

/// Judges requests one by one: `Ok` is when it was as wanted, `Err` when it was not, and what instead.
fn requests<T>(case: &Case<'_>, requests: &[T], fits: impl Fn(&T) -> Result<Duration, (Duration, String)>) -> Verdict {
    let window = case.window();
    let mut last = String::new();
    for request in requests {
        match (fits(request), case.when) {
            (Ok(at), When::Eventually(_)) if at <= window.until => return Verdict::came_true(at),
            (Ok(at), When::Never(_)) => return Verdict::failed(format!("it was so at {}", moment(at))),
            (Err((at, instead)), When::Always(_)) => return Verdict::failed(format!("at {}: {instead}", moment(at))),
            (Err((_, instead)), When::Eventually(_)) => last = instead,
            _ => {}
        }
    }
    match case.when {
        When::Eventually(_) => Verdict::failed(format!("not by {}: {last}", moment(window.until))),
        When::Always(_) | When::Never(_) => Verdict::passed(format!("{} requests", requests.len())),
    }
}
