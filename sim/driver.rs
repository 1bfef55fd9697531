//! How time passes: the fabric's queue in nanoseconds, tokio's timers in milliseconds, and programs in between (simulation.md §2).
//!
//! One turn: let everything run that can run at this moment; then go to the next moment, the fabric's or tokio's, whichever is earlier.
//! The runtime's clock is paused and its `event_interval` endless, so that one yield means "everything runnable has run".

use bellhop::env::Clock;
use bellhop_core::time::Instant;
use bellhop_scenario::Seen;

use crate::invariants::bounds::REQUESTS_PER_MINUTE;
use crate::stage::{Alarm, Stage};
use crate::trace::What;

const MILLISECOND: u64 = 1_000_000;

/// Turns of polling without a moment passing after which somebody is taken to run in circles: a relist of thousands takes hundreds.
const TURNS_MAX: u32 = 4_000;

impl Stage {
    /// Lets time pass up to a moment of the world, that moment included.
    pub(crate) async fn run_until(&mut self, until: Instant) -> Result<(), String> {
        loop {
            self.settle().await;
            if let Some(failure) = self.failure.take() {
                return Err(failure);
            }
            let event = self.lan.fabric.borrow().next_event();
            let alarm = self.alarms.keys().next().map(|(at, _)| *at);
            let target = event.into_iter().chain(alarm).min().unwrap_or(until).min(until);
            let floor = Instant::from_nanos(target.as_nanos() / MILLISECOND * MILLISECOND);
            if floor > self.clock.tokio() {
                self.programs.wait(self.clock.at(floor)).await;
                self.come_to(self.clock.tokio().min(target));
            } else if alarm.is_some_and(|at| at <= target) {
                self.come_to(target);
                self.ring();
            } else if event.is_some_and(|at| at <= target) {
                self.step(until);
            } else {
                self.come_to(until);
                return Ok(());
            }
        }
    }

    /// Lets everything run that can run now.
    async fn settle(&mut self) {
        for turn in 0.. {
            for ended in self.programs.poll_woken() {
                self.handle_ended(ended);
            }
            self.bury();
            self.tell_programs();
            tokio::task::yield_now().await;
            self.lan.tell();
            if !self.programs.any_woken() {
                return;
            }
            if turn > TURNS_MAX {
                self.end_circle();
                return;
            }
        }
    }

    /// Somebody keeps the others from letting time pass. A replica of Bellhop that floods the API server is ended, so that the run can be judged: what
    /// it did is on record, and no promise allows it. Anybody else's circle is a fault of the simulator.
    fn end_circle(&mut self) {
        let now = self.clock.now();
        let Some((machine, requests)) = self.eye.busiest(now).filter(|(_, requests)| *requests > REQUESTS_PER_MINUTE) else {
            self.failure = Some("some program runs in circles without letting time pass".to_owned());
            return;
        };
        let text = format!("killed Bellhop on {machine}: it made {requests} requests without letting time pass");
        self.eye.log().say(now, Seen::Note { text });
        self.kill_bellhop(&machine);
    }

    /// Writes down which programs started and ended.
    fn tell_programs(&mut self) {
        for (key, change) in self.programs.take_changes() {
            if let Some(program) = key.traced() {
                self.tape.say(self.clock.now(), What::Program { program, change });
            }
        }
    }

    /// Moves the fabric's time on; no event of it lies in between. One that is due at that very moment has not happened yet then, but what
    /// programs send now is not dated back to the event before.
    fn come_to(&mut self, moment: Instant) {
        let mut fabric = self.lan.fabric.borrow_mut();
        fabric.pass(moment);
        self.clock.set_fabric(fabric.now());
    }

    /// Lets events of the fabric happen, until one of them concerns a program or time must pass in tokio too.
    fn step(&mut self, until: Instant) {
        let alarm = self.alarms.keys().next().map_or(Instant::FAR_FUTURE, |(at, _)| *at);
        let limit = Instant::from_nanos(self.clock.tokio().as_nanos() + MILLISECOND - 1).min(until);
        loop {
            {
                let mut fabric = self.lan.fabric.borrow_mut();
                if fabric.next_event().is_none_or(|at| at > limit || at >= alarm) {
                    return;
                }
                fabric.step();
                self.clock.set_fabric(fabric.now());
            }
            self.lan.tell();
            self.finish_pings();
            if self.programs.any_woken() {
                return;
            }
        }
    }

    /// The next alarm.
    fn ring(&mut self) {
        match self.alarms.pop_first() {
            Some((_, Alarm::StopPing(ping))) => self.lan.fabric.borrow_mut().stop_ping(ping),
            Some((_, Alarm::Curl(curling))) => self.curl_again(curling),
            Some((_, Alarm::EndFault(id))) => self.end_fault(id),
            Some((_, Alarm::Flap(id, carrier))) => self.flap(id, carrier),
            Some((_, Alarm::PowerOn(machine))) => self.note_failure(|stage| stage.power_on(&machine)),
            Some((_, Alarm::StartAgain(machine))) => self.note_failure(|stage| stage.start_again(&machine)),
            None => {}
        }
    }

    /// Something that the world itself does by an alarm, and that must not fail.
    fn note_failure(&mut self, act: impl FnOnce(&mut Self) -> Result<(), String>) {
        if let Err(why) = act(self) {
            self.failure = Some(why);
        }
    }

    /// Tells what pings with a count have printed when they are over.
    pub(crate) fn finish_pings(&mut self) {
        if self.counted.is_empty() {
            return;
        }
        let fabric = self.lan.fabric.borrow();
        let (now, zero, log) = (fabric.now(), self.zero, self.eye.log());
        self.counted.retain(|ping, (run, started)| {
            if !fabric.ping_is_done(*ping) {
                return true;
            }
            let text = fabric.ping_text(*ping).to_owned();
            // ping exits with 1 when nothing answered, with 2 when it could not begin (iputils, ping(8)).
            let exit = if text.starts_with("ping:") { 2 } else { i32::from(!text.contains("bytes from")) };
            log.say(now, Seen::Output { run: *run, started: started.saturating_since(zero), text, exit });
            false
        });
    }
}
