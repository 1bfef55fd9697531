//! Each fault by itself, in numbers of frames.

use std::time::Duration;

use super::*;
use crate::wire::{Chance, Shape};

const FRAMES: u64 = 20_000;

fn lane(fault: WireFault) -> Lane {
    let mut lane = Lane::new(1, "cable");
    lane.set_fault(fault, 1, "cable");
    lane
}

/// What becomes of many frames, a millisecond apart.
fn passages(fault: WireFault) -> Vec<Passage> {
    let mut lane = lane(fault);
    (0..FRAMES).map(|number| lane.pass(Instant::from_millis(number), &Latency::default(), 100, None)).collect()
}

fn is_lost(passage: &Passage) -> bool {
    *passage == Passage::Dropped(DropReason::Lost)
}

fn arrival(passage: &Passage) -> Option<Instant> {
    match passage {
        Passage::Arrives { at, .. } => Some(*at),
        Passage::Dropped(_) => None,
    }
}

#[test]
fn frames_arrive_within_the_latency_and_in_order() {
    let mut lane = lane(WireFault::default());
    let mut before = Instant::ZERO;
    for micros in 0..1000 {
        let now = Instant::from_nanos(micros * 1000);
        let at = arrival(&lane.pass(now, &Latency::default(), 60, None)).expect("nothing is wrong");
        assert!(at >= before && at - now >= Duration::from_micros(50) && at - now <= Duration::from_micros(200));
        before = at;
    }
}

#[test]
fn the_share_of_lost_frames_is_the_chance_and_their_runs_are_as_long_as_the_burst() {
    for (burst, mean) in [(1, 1.0..1.2), (5, 4.5..5.5)] {
        let lost: Vec<bool> = passages(WireFault { loss: Chance::percent(5), burst, ..WireFault::default() }).iter().map(is_lost).collect();
        let total = lost.iter().filter(|lost| **lost).count();
        assert!((800..1200).contains(&total), "burst {burst}: {total} of 20,000");
        let runs = lost.chunk_by(|one, next| one == next).filter(|run| run[0]).count();
        let length = total as f64 / runs as f64;
        assert!(mean.contains(&length), "burst {burst}: runs of {length}");
    }
}

#[test]
fn a_certain_loss_loses_everything_and_a_cut_says_that_it_is_one() {
    assert!(passages(WireFault { loss: Chance::CERTAIN, burst: 7, ..WireFault::default() }).iter().all(is_lost));
    assert!(passages(WireFault::cut()).iter().all(|passage| *passage == Passage::Dropped(DropReason::Cut)));
}

#[test]
fn some_frames_come_twice_and_some_broken() {
    let fault = WireFault { duplicate: Chance::percent(10), corrupt: Chance::percent(50), ..WireFault::default() };
    let passages = passages(fault);
    let twice = passages.iter().filter(|passage| matches!(passage, Passage::Arrives { twice: true, .. })).count();
    let broken = passages.iter().filter(|passage| matches!(passage, Passage::Arrives { flipped: Some((0..800, _)), .. })).count();
    let unseen = passages.iter().filter(|passage| matches!(passage, Passage::Arrives { flipped: Some((_, false)), .. })).count();
    assert!((1800..2200).contains(&twice) && (9700..10_300).contains(&broken), "{twice} twice, {broken} broken");
    assert!((1..30).contains(&unseen), "one in a thousand broken frames gets through: {unseen}");
}

#[test]
fn a_frame_that_is_held_back_is_overtaken_and_the_others_stay_in_order() {
    let mut lane = lane(WireFault { reorder: Chance::percent(20), ..WireFault::default() });
    let at: Vec<_> =
        (0..1000).filter_map(|n| arrival(&lane.pass(Instant::from_nanos(n * 50_000), &Latency::default(), 60, None))).collect();
    let overtaken = at.windows(2).filter(|pair| pair[1] < pair[0]).count();
    assert!((150..250).contains(&overtaken), "{overtaken}");
    let late = at.iter().zip(0..).map(|(at, n)| *at - Instant::from_nanos(n * 50_000)).max();
    assert!(late.is_some_and(|late| late > Duration::from_micros(1500) && late <= Duration::from_micros(2400)), "{late:?}");
}

#[test]
fn a_delay_is_added_and_frames_stay_in_order() {
    let delay = Latency { min: Duration::from_millis(10), max: Duration::from_millis(30), shape: Shape::Uniform };
    let at: Vec<_> = passages(WireFault { delay: Some(delay), ..WireFault::default() }).iter().filter_map(arrival).collect();
    assert!(at.is_sorted());
    assert!(at.iter().zip(0..).all(|(at, sent)| *at - Instant::from_millis(sent) >= Duration::from_millis(10)));
}

#[test]
fn a_limited_rate_lets_so_many_bits_through_and_drops_what_its_queue_cannot_hold() {
    // 101 frames of 100 + 24 bytes at once: one on its way out and a hundred behind it; 992 bits take 992 µs at a megabit.
    let mut lane = lane(WireFault { rate: Some(1_000_000), ..WireFault::default() });
    let passages: Vec<_> = (0..150).map(|_| lane.pass(Instant::ZERO, &Latency::default(), 100, None)).collect();
    let at: Vec<_> = passages.iter().filter_map(arrival).collect();
    assert_eq!(at.len(), 101);
    assert!(passages[101..].iter().all(|passage| *passage == Passage::Dropped(DropReason::QueueFull)));
    let last = *at.last().expect("the queue let some through") - Instant::ZERO;
    assert!(last >= Duration::from_micros(101 * 992 + 50) && last <= Duration::from_micros(101 * 992 + 200), "{last:?}");
    assert!(arrival(&lane.pass(Instant::from_millis(200), &Latency::default(), 100, None)).is_some(), "the queue is empty again");
}

#[test]
fn turning_one_fault_off_leaves_every_other_draw_as_it_was() {
    let all = WireFault {
        loss: Chance::percent(10),
        burst: 3,
        duplicate: Chance::percent(10),
        reorder: Chance::percent(10),
        corrupt: Chance::percent(10),
        delay: Some(Latency::default()),
        ..WireFault::default()
    };
    let without_loss = passages(WireFault { loss: Chance::default(), ..all.clone() });
    let survivors = passages(all.clone()).into_iter().zip(&without_loss).filter(|(passage, _)| !is_lost(passage));
    assert!(survivors.clone().count() > 15_000 && survivors.clone().count() < 19_000);
    for (passage, without) in survivors {
        assert_eq!(passage, *without, "loss took frames away and changed none that it left");
    }
    for other in [
        WireFault { duplicate: Chance::default(), ..all.clone() },
        WireFault { reorder: Chance::default(), ..all.clone() },
        WireFault { corrupt: Chance::default(), ..all.clone() },
        WireFault { delay: None, ..all.clone() },
    ] {
        let lost = |fault| passages(fault).iter().map(is_lost).collect::<Vec<_>>();
        assert_eq!(lost(other), lost(all.clone()));
    }
}
