//! When a host asks, whom, how often, and what becomes of the entry: the timelines of the neighbor machine.

use std::net::IpAddr;
use std::time::Duration;

use super::List;
use crate::arm::{ArmError, Settings};
use crate::lab::{Answers, Lab, X, Y, asked, packets_to};

/// A busy program's pace.
const PACE: Duration = Duration::from_millis(50);

pub(super) fn add(list: &mut List) {
    let kernel = Settings::default;
    let delay = |seconds| Settings { delay_first_probe: Duration::from_secs(seconds), ..Settings::default() };
    let reachable = |millis| Settings { base_reachable: Duration::from_millis(millis), ..delay(1) };
    list.both("unanswered", "6.2", kernel(), unanswered, "INCOMPLETE; all@0.0 all@1.0 all@2.0; INCOMPLETE; FAILED");
    list.both("asks-again-after-it-failed", "6.2", kernel(), asks_again, "FAILED; all@0.0; INCOMPLETE");
    list.both("packets-wait", "6.2", kernel(), packets_wait, "0 to x; 3 to x; REACHABLE x");
    list.both("unused-entry-grows-stale", "6.2", reachable(2000), grows_stale, "REACHABLE x; STALE x; nobody");
    list.both("probes-thrice-and-fails", "6.2", delay(2), probes, "STALE x; DELAY x; x@2.0 x@3.0 x@4.0; PROBE x; FAILED");
    list.both("answered-probe", "6.2", delay(1), answered_probe, "x@1.0; REACHABLE x");
    list.both(
        "used-entry-that-nobody-confirms",
        "6.2",
        reachable(1000),
        used,
        "x@0.0 x@1.0 x@2.0 all@3.0 all@4.0 all@5.0; packets to x end 3.0",
    );
    list.both("a-packet-that-confirms-ends-the-delay", "6.2", confirming(), confirmed, "DELAY x; nobody; REACHABLE x");
    list.both("a-flow-that-confirms-never-asks", "6.2", reachable(1000), confirmed_flow, "nobody; REACHABLE x");
    let resolicit = Settings { reprobes: 3, ..delay(1) };
    list.both("mcast-resolicit", "6.2", resolicit, resolicits, "x@1.0 x@2.0 x@3.0 all@4.0 all@5.0 all@6.0; PROBE x; FAILED");
    list.both("an-announcement-answers-a-question", "6.2", kernel(), announced_while_incomplete, "1 to x; DELAY x");
    list.v4("an-announcement-revives-what-failed", "6.2", kernel(), revived, "FAILED; STALE x; 1 to x");
    list.v6("an-advertisement-does-not-revive-what-failed", "6.2", kernel(), revived, "FAILED; FAILED; 0 to x");
    let used = Settings { base_reachable: Duration::from_secs(1), ..delay(3) };
    list.both("an-entry-used-shortly-before-is-probed-and-not-stale", "6.2", used, used_before, "DELAY x; x@0.0 x@1.0 x@2.0; FAILED");
    list.both("the-queue-of-waiting-packets-has-an-end", "6.2", kernel(), overflows, "200 to 300 of 400 go to x");
    list.both("an-answer-of-another-ends-a-probe", "6.2", delay(2), another_answers, "PROBE x; REACHABLE y");
    list.v4("a-question-revives-what-failed-v4", "6.2", kernel(), question_revives, "FAILED; STALE x");
    list.v6("a-question-revives-what-failed-v6", "6.2", kernel(), question_revives, "FAILED; DELAY x");
    list.both("an-announcement-does-not-end-a-probe", "6.2", delay(1), announced_while_probed, "PROBE x; PROBE x; FAILED");
}

/// Reachable for 5 to 15 s: longer than the experiment, so that the confirmation is still good when it counts.
fn confirming() -> Settings {
    Settings { base_reachable: Duration::from_secs(10), delay_first_probe: Duration::from_secs(1), ..Settings::default() }
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn say_entry(lab: &mut Lab<'_>, address: IpAddr) -> Result<(), ArmError> {
    let entry = lab.entry(address)?;
    lab.say(entry);
    Ok(())
}

fn unanswered(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let vip = lab.vip(0);
    let start = lab.now();
    lab.packet(vip)?;
    let mut notes = lab.until(start + ms(100))?;
    say_entry(lab, vip)?;
    notes.extend(lab.until(start + ms(2600))?);
    let before = lab.entry(vip)?;
    notes.extend(lab.until(start + ms(3500))?);
    lab.say(asked(&notes, vip, start));
    lab.say(before);
    say_entry(lab, vip)
}

fn asks_again(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let vip = lab.vip(0);
    fail(lab, vip)?;
    say_entry(lab, vip)?;
    let start = lab.now();
    lab.packet(vip)?;
    let notes = lab.until(start + ms(200))?;
    lab.say(asked(&notes, vip, start));
    say_entry(lab, vip)
}

fn packets_wait(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let vip = lab.vip(0);
    let start = lab.now();
    (0..3).try_for_each(|_| lab.packet(vip))?;
    let notes = lab.until(start + ms(300))?;
    lab.say(format!("{} to x", packets_to(&notes, X)));
    let answer = lab.answer(vip, X, X, true);
    let notes = lab.tell(&answer)?;
    lab.say(format!("{} to x", packets_to(&notes, X)));
    say_entry(lab, vip)
}

/// Half to one and a half of two seconds.
fn grows_stale(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let vip = lab.vip(0);
    let known = lab.resolve(vip, X)?;
    let mut notes = lab.until(known + ms(800))?;
    say_entry(lab, vip)?;
    notes.extend(lab.until(known + ms(3400))?);
    say_entry(lab, vip)?;
    lab.say(asked(&notes, vip, known));
    Ok(())
}

fn probes(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let vip = lab.vip(0);
    lab.stale(vip)?;
    say_entry(lab, vip)?;
    let start = lab.now();
    lab.packet(vip)?;
    let mut notes = lab.until(start + ms(100))?;
    say_entry(lab, vip)?;
    notes.extend(lab.until(start + ms(4600))?);
    let probing = lab.entry(vip)?;
    notes.extend(lab.until(start + ms(5600))?);
    lab.say(asked(&notes, vip, start));
    lab.say(probing);
    say_entry(lab, vip)
}

fn answered_probe(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let vip = lab.vip(0);
    lab.stale(vip)?;
    let start = lab.now();
    lab.packet(vip)?;
    let notes = lab.attend(start + ms(2500), Answers { alone: Some(X), ..Answers::default() })?;
    lab.say(asked(&notes, vip, start));
    say_entry(lab, vip)
}

/// A flow without any sign of life from X: when it runs out depends on the draw, what follows does not.
fn used(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let vip = lab.vip(0);
    let known = lab.resolve(vip, X)?;
    let notes = lab.flow(vip, PACE, false, known + ms(9000), Answers::default())?;
    let Some(first) = notes.iter().find(|(_, heard)| matches!(heard, crate::wire::Heard::Ask { .. })).map(|(at, _)| *at) else {
        lab.say("nobody");
        return Ok(());
    };
    let six = notes.iter().filter(|(at, _)| *at < first + ms(5500)).copied().collect();
    lab.say(asked(&six, vip, first));
    let last = notes.iter().rev().find(|(_, heard)| matches!(heard, crate::wire::Heard::Packet { mac: X, .. }));
    let last = last.map_or_else(|| "never".to_owned(), |(at, _)| crate::lab::half_seconds(at.saturating_sub(first)));
    lab.say(format!("packets to x end {last}"));
    Ok(())
}

fn confirmed(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let vip = lab.vip(0);
    lab.stale(vip)?;
    let start = lab.now();
    lab.packet(vip)?;
    let mut notes = lab.until(start + ms(500))?;
    say_entry(lab, vip)?;
    lab.packet_with(None, vip, true)?;
    notes.extend(lab.until(start + ms(1800))?);
    lab.say(asked(&notes, vip, start));
    say_entry(lab, vip)
}

fn confirmed_flow(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let vip = lab.vip(0);
    let known = lab.resolve(vip, X)?;
    let notes = lab.flow(vip, PACE, true, known + ms(5000), Answers::default())?;
    lab.say(asked(&notes, vip, known));
    say_entry(lab, vip)
}

fn resolicits(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let vip = lab.vip(0);
    lab.stale(vip)?;
    let start = lab.now();
    lab.packet(vip)?;
    let mut notes = lab.until(start + ms(6600))?;
    let probing = lab.entry(vip)?;
    notes.extend(lab.until(start + ms(7600))?);
    lab.say(asked(&notes, vip, start));
    lab.say(probing);
    say_entry(lab, vip)
}

/// The packet that waited goes out by the ordinary way, which makes the STALE entry DELAY.
fn announced_while_incomplete(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let vip = lab.vip(0);
    lab.packet(vip)?;
    lab.await_question(vip)?;
    let announcement = lab.announcement(vip, X);
    let notes = lab.tell(&announcement)?;
    lab.say(format!("{} to x", packets_to(&notes, X)));
    say_entry(lab, vip)
}

fn revived(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let vip = lab.vip(0);
    fail(lab, vip)?;
    say_entry(lab, vip)?;
    let announcement = lab.announcement(vip, X);
    lab.tell(&announcement)?;
    say_entry(lab, vip)?;
    let start = lab.now();
    lab.packet(vip)?;
    let notes = lab.until(start + ms(100))?;
    lab.say(format!("{} to x", packets_to(&notes, X)));
    Ok(())
}

/// With a reachable time below delay_first_probe_time, an entry that nobody uses any more is probed all the same.
fn used_before(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let vip = lab.vip(0);
    let known = lab.resolve(vip, X)?;
    let mut notes = lab.until(known + ms(2000))?;
    say_entry(lab, vip)?;
    notes.extend(lab.until(known + ms(8500))?);
    let first = notes.iter().find(|(_, heard)| matches!(heard, crate::wire::Heard::Ask { .. })).map_or(known, |(at, _)| *at);
    lab.say(asked(&notes, vip, first));
    say_entry(lab, vip)
}

/// unres_qlen_bytes (212,992) counts what a packet costs the kernel, not how long it is. How much that is depends a little on how the kernel
/// was built: 832 bytes here.
fn overflows(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let vip = lab.vip(0);
    (0..400).try_for_each(|_| lab.packet(vip))?;
    lab.await_question(vip)?;
    let announcement = lab.announcement(vip, X);
    let mut notes = lab.tell(&announcement)?;
    let until = lab.now() + ms(200);
    notes.extend(lab.until(until)?);
    let count = packets_to(&notes, X);
    lab.say(if (200..300).contains(&count) { "200 to 300 of 400 go to x".to_owned() } else { format!("{count} of 400 go to x") });
    Ok(())
}

fn another_answers(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let vip = lab.vip(0);
    lab.stale(vip)?;
    let start = lab.now();
    lab.packet(vip)?;
    lab.until(start + ms(3500))?;
    say_entry(lab, vip)?;
    let answer = lab.answer(vip, Y, Y, true);
    lab.tell(&answer)?;
    say_entry(lab, vip)
}

/// Its owner asks for the host. To answer is to use the entry where the answer is a packet of IPv6, and is not where it is a frame of ARP.
fn question_revives(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let vip = lab.vip(0);
    fail(lab, vip)?;
    say_entry(lab, vip)?;
    let question = lab.question(vip, X);
    lab.tell(&question)?;
    say_entry(lab, vip)
}

/// X is being probed and says unasked that it is there: no answer, so it fails all the same.
fn announced_while_probed(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let vip = lab.vip(0);
    lab.stale(vip)?;
    let start = lab.now();
    lab.packet(vip)?;
    lab.until(start + ms(1500))?;
    say_entry(lab, vip)?;
    let announcement = lab.announcement(vip, X);
    lab.tell(&announcement)?;
    say_entry(lab, vip)?;
    lab.until(start + ms(4600))?;
    say_entry(lab, vip)
}

/// Makes an entry FAILED: the host asked and nobody answered.
fn fail(lab: &mut Lab<'_>, address: IpAddr) -> Result<(), ArmError> {
    let start = lab.now();
    lab.packet(address)?;
    lab.until(start + ms(3500))?;
    Ok(())
}
