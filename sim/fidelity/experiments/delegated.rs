//! The delegated announcer of §6.3: a leader answers with node X's MAC, and X itself is silent. What a Linux client sees of it.

use std::time::Duration;

use super::List;
use crate::arm::{ArmError, Settings};
use crate::lab::{Answers, LEADER, Lab, X, Y, asked, packets_to};
use crate::wire::Heard;

/// The reference's flow: twenty packets a second, none of which confirms.
const PACE: Duration = Duration::from_millis(50);

pub(super) fn add(list: &mut List) {
    let short = |reprobes| Settings {
        base_reachable: Duration::from_secs(1),
        delay_first_probe: Duration::from_secs(1),
        reprobes,
        ..Settings::default()
    };
    list.both("row-1-the-leader-answers-with-x", "6.3", Settings::default(), first_packet, "REACHABLE x; 1 to x, 0 to the leader");
    list.both("rows-2-and-3-a-cycle-loses-nothing", "6.3", short(0), cycle, "x@0.0 x@1.0 x@2.0 all@3.0; 0 lost; FAILED is seen");
    list.both("row-5-without-the-leader-the-flow-ends", "6.3", short(0), leader_silent, "FAILED; 0 of the last 10 to x; 1 to x");
    list.both("row-6-x-dies-and-y-is-announced", "6.3", Settings::default(), moved, "1 to x; 0 to x, 1 to y; DELAY y");
    list.both("row-7-with-mcast-resolicit-it-never-fails", "6.3", short(3), resolicited, "x@0.0 x@1.0 x@2.0 all@3.0; 0 lost");
    list.both("row-8-x-answers-what-is-asked-of-it-alone", "6.3", short(0), owner_answers, "everybody is asked 0 times; 0 lost");
}

/// The leader answers everybody's question with X; nobody answers what is asked of X alone.
const DELEGATED: Answers = Answers { everybody: Some(X), alone: None };

fn first_packet(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let vip = lab.vip(0);
    let start = lab.now();
    lab.packet(vip)?;
    let notes = lab.attend(start + Duration::from_millis(200), DELEGATED)?;
    let entry = lab.entry(vip)?;
    lab.say(entry);
    lab.say(format!("{} to x, {} to the leader", packets_to(&notes, X), packets_to(&notes, LEADER)));
    Ok(())
}

/// One turn: the reachable time, a delay of 1 s, three probes that X does not answer, FAILED, and the next packet asks everybody. A slow
/// client (its next packet comes 400 ms later) has FAILED in its table until then.
fn cycle(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let vip = lab.vip(0);
    let known = lab.resolve(vip, X)?;
    let notes = lab.flow(vip, PACE, false, known + Duration::from_secs(7), DELEGATED)?;
    let first = first_question(&notes);
    let turn = notes.iter().filter(|(at, _)| *at < first + Duration::from_millis(3500)).copied().collect();
    lab.say(asked(&turn, vip, first));
    // Of a packet every 50 ms for 7 s none may be missing.
    lab.say(format!("{} lost", 140_usize.saturating_sub(packets_to(&notes, X))));
    let other = lab.vip(1);
    lab.stale(other)?;
    let start = lab.now();
    lab.packet(other)?;
    lab.attend(start + Duration::from_millis(4600), DELEGATED)?;
    let entry = lab.entry(other)?;
    lab.say(format!("{entry} is seen"));
    Ok(())
}

/// The leader falls silent after the first answer; when it is back it announces X once.
fn leader_silent(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let vip = lab.vip(0);
    let known = lab.resolve(vip, X)?;
    lab.flow(vip, PACE, false, known + Duration::from_secs(9), Answers::default())?;
    // Nobody sends for as long as a resolution takes to fail.
    let quiet = lab.now() + Duration::from_millis(3500);
    lab.until(quiet)?;
    let entry = lab.entry(vip)?;
    lab.say(entry);
    let start = lab.now();
    let notes = lab.flow(vip, PACE, false, start + Duration::from_millis(500), Answers::default())?;
    lab.say(format!("{} of the last 10 to x", packets_to(&notes, X)));
    // An announcement is taken by what is INCOMPLETE now, in both families.
    let announcement = lab.announcement(vip, X);
    lab.tell(&announcement)?;
    let start = lab.now();
    lab.packet(vip)?;
    let notes = lab.until(start + Duration::from_millis(100))?;
    lab.say(format!("{} to x", packets_to(&notes, X)));
    Ok(())
}

fn moved(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let vip = lab.vip(0);
    let start = lab.now();
    lab.packet(vip)?;
    let notes = lab.attend(start + Duration::from_millis(100), DELEGATED)?;
    lab.say(format!("{} to x", packets_to(&notes, X)));
    let announcement = lab.announcement(vip, Y);
    lab.tell(&announcement)?;
    let start = lab.now();
    lab.packet(vip)?;
    let notes = lab.until(start + Duration::from_millis(100))?;
    lab.say(format!("{} to x, {} to y", packets_to(&notes, X), packets_to(&notes, Y)));
    let entry = lab.entry(vip)?;
    lab.say(entry);
    Ok(())
}

/// The fourth probe is for everybody, and the leader hears it.
fn resolicited(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let vip = lab.vip(0);
    let known = lab.resolve(vip, X)?;
    let notes = lab.flow(vip, PACE, false, known + Duration::from_secs(6), DELEGATED)?;
    let first = first_question(&notes);
    let turn = notes.iter().filter(|(at, _)| *at < first + Duration::from_millis(3250)).copied().collect();
    lab.say(asked(&turn, vip, first));
    lab.say(format!("{} lost", 120_usize.saturating_sub(packets_to(&notes, X))));
    Ok(())
}

fn owner_answers(lab: &mut Lab<'_>) -> Result<(), ArmError> {
    let vip = lab.vip(0);
    let known = lab.resolve(vip, X)?;
    let notes = lab.flow(vip, PACE, false, known + Duration::from_secs(6), Answers { everybody: Some(X), alone: Some(X) })?;
    let everybody = notes.iter().filter(|(_, heard)| matches!(heard, Heard::Ask { alone: None, .. })).count();
    lab.say(format!("everybody is asked {everybody} times"));
    lab.say(format!("{} lost", 120_usize.saturating_sub(packets_to(&notes, X))));
    Ok(())
}

/// When the host first asked.
fn first_question(notes: &crate::lab::Notes) -> Duration {
    notes.iter().find(|(_, heard)| matches!(heard, Heard::Ask { .. })).map_or(Duration::ZERO, |(at, _)| *at)
}
