//! Programs: futures that the driver polls in a fixed order, and can freeze or kill.
//!
//! Nothing is spawned. A program that is woken is polled at the driver's next turn, in the order of the programs' keys; one that is taken
//! out is dropped in mid-flight, as a process is by SIGKILL. What the programs are is their makers' business.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;

use crate::trace::ProgramChange;

/// Which program. They are polled in this order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// Scheduler, controllers, and what else a cluster has once.
    ControlPlane,
    /// kubelet and kube-proxy of a node.
    Node(String),
    /// The replica of Bellhop on a node.
    Bellhop(String),
    /// Something that the operator typed, by number.
    Operator(usize),
}

impl Key {
    /// As traces call it; what an operator types is there as an action.
    pub(crate) fn traced(&self) -> Option<String> {
        match self {
            Self::ControlPlane => Some("control-plane".to_owned()),
            Self::Node(machine) => Some(format!("node {machine}")),
            Self::Bellhop(machine) => Some(format!("bellhop {machine}")),
            Self::Operator(_) => None,
        }
    }
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Which.
    pub(crate) key: Key,
    /// An error, or a panic with its message.
    pub(crate) result: Result<(), String>,
}

type Body = Pin<Box<dyn Future<Output = anyhow::Result<()>>>>;

/// A program, and whether it wants to be polled.
struct Program {
    body: Body,
    /// It stands still: it is not polled, and what woke it meanwhile is kept.
    frozen: bool,
    flag: Arc<Flag>,
    waker: Waker,
}

/// Set when a program is woken; wakes the driver too.
struct Flag {
    woken: AtomicBool,
    driver: Arc<Driver>,
}

/// What all programs tell the driver.
#[derive(Default)]
struct Driver {
    /// Some program was woken since all were looked at: without it there is none to look for, which is asked at every event of the fabric.
    woken: AtomicBool,
    waker: AtomicWaker,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Relaxed);
        self.driver.woken.store(true, Ordering::Relaxed);
        self.driver.waker.wake();
    }
}

/// All programs that run.
#[derive(Default)]
pub(crate) struct Programs {
    running: BTreeMap<Key, Program>,
    driver: Arc<Driver>,
    /// What became of programs since somebody asked.
    changes: Vec<(Key, ProgramChange)>,
}

impl Programs {
    /// Starts a program in place of the one that has the same key, if any.
    pub(crate) fn start(&mut self, key: Key, body: impl Future<Output = anyhow::Result<()>> + 'static) {
        let flag = Arc::new(Flag { woken: AtomicBool::new(true), driver: Arc::clone(&self.driver) });
        let waker = Waker::from(Arc::clone(&flag));
        self.changes.push((key.clone(), ProgramChange::Started));
        self.driver.woken.store(true, Ordering::Relaxed);
        self.running.insert(key, Program { body: Box::pin(body), frozen: false, flag, waker });
    }

    /// Drops a program where it stands. `false` if there is none.
    pub(crate) fn kill(&mut self, key: &Key) -> bool {
        let killed = self.running.remove(key).is_some();
        if killed {
            self.changes.push((key.clone(), ProgramChange::Killed));
        }
        killed
    }

    /// What became of programs since the last call, in order.
    pub(crate) fn take_changes(&mut self) -> Vec<(Key, ProgramChange)> {
        std::mem::take(&mut self.changes)
    }

    /// Lets a program stand still, or go on. Nothing happens if there is none.
    pub(crate) fn set_frozen(&mut self, key: &Key, frozen: bool) {
        if let Some(program) = self.running.get_mut(key)
            && program.frozen != frozen
        {
            program.frozen = frozen;
            self.changes.push((key.clone(), if frozen { ProgramChange::Frozen } else { ProgramChange::Thawed }));
            // What woke it while it stood still.
            self.driver.woken.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it runs.
    pub(crate) fn runs(&self, key: &Key) -> bool {
        self.running.contains_key(key)
    }

    /// Whether some program wants to be polled.
    pub(crate) fn any_woken(&self) -> bool {
        self.driver.woken.load(Ordering::Relaxed)
            && self.running.values().any(|program| !program.frozen && program.flag.woken.load(Ordering::Relaxed))
    }

    /// Polls every program that is woken, once, in order; and says which of them ended.
    pub(crate) fn poll_woken(&mut self) -> Vec<Ended> {
        let mut ended = Vec::new();
        if !self.driver.woken.swap(false, Ordering::Relaxed) {
            return ended;
        }
        for (key, program) in &mut self.running {
            if program.frozen || !program.flag.woken.swap(false, Ordering::Relaxed) {
                continue;
            }
            let mut context = Context::from_waker(&program.waker);
            let result = match catch_unwind(AssertUnwindSafe(|| program.body.as_mut().poll(&mut context))) {
                Ok(Poll::Pending) => continue,
                Ok(Poll::Ready(result)) => result.map_err(|error| error.to_string()),
                Err(panic) => Err(format!("panicked: {}", words(&*panic))),
            };
            ended.push(Ended { key: key.clone(), result });
        }
        for Ended { key, result } in &ended {
            self.running.remove(key);
            let change = result.as_ref().map_or_else(|words| ProgramChange::Failed(words.clone()), |()| ProgramChange::Ended);
            self.changes.push((key.clone(), change));
        }
        ended
    }

    /// Ends when some program is woken, or at `until`. Time passes meanwhile, if it is paused.
    pub(crate) async fn wait(&self, until: tokio::time::Instant) {
        let mut sleep = std::pin::pin!(tokio::time::sleep_until(until));
        poll_fn(|context| {
            self.driver.waker.register(context.waker());
            if self.any_woken() {
                return Poll::Ready(());
            }
            sleep.as_mut().poll(context)
        })
        .await;
    }
}

/// What a panic said.
pub(crate) fn words(panic: &(dyn std::any::Any + Send)) -> &str {
    panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word")
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    #[test]
    fn a_frozen_program_is_not_polled_and_its_wakes_are_kept() {
        let (polls, notify) = (Rc::new(Cell::new(0)), Rc::new(tokio::sync::Notify::new()));
        let (counted, woken) = (Rc::clone(&polls), Rc::clone(&notify));
        let mut programs = Programs::default();
        let key = Key::Bellhop("a".to_owned());
        programs.start(key.clone(), async move {
            loop {
                counted.set(counted.get() + 1);
                woken.notified().await;
            }
        });
        assert!(programs.poll_woken().is_empty());
        programs.set_frozen(&key, true);
        notify.notify_one();
        assert!(!programs.any_woken());
        programs.poll_woken();
        assert_eq!(polls.get(), 1);
        programs.set_frozen(&key, false);
        assert!(programs.any_woken());
        programs.poll_woken();
        assert_eq!(polls.get(), 2);
    }

    #[test]
    fn a_program_that_is_started_in_place_of_a_frozen_one_runs() {
        let mut programs = Programs::default();
        let key = Key::Bellhop("a".to_owned());
        programs.start(key.clone(), std::future::pending());
        programs.set_frozen(&key, true);
        programs.start(key.clone(), async { Ok(()) });
        assert_eq!(programs.poll_woken().len(), 1);
    }
}
