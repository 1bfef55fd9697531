//! How the parts of a world tell what happens, while it happens. Clones are the same tape.
//!
//! The fabric and the timeline run on one thread; the API's observers must be `Send`, so its writes wait in a queue and are taken out before
//! anything that happens after them. Without a recorder only the hash over what neither the fabric nor the API hashes is kept.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bellhop_apiserver::{ApiServer, RequestRecord, WriteRecord};
use bellhop_core::time::Instant;
use bellhop_fabric::Event;
use xxhash_rust::xxh3::Xxh3;

use super::jsonl::Lines;
use super::places::Places;
use super::record::{Record, What};
use super::recorder::{Recorded, Recorder};

/// The tape of one world.
#[derive(Clone, Default)]
pub(crate) struct Tape(Rc<Inner>);

#[derive(Default)]
struct Inner {
    recorder: RefCell<Option<Recorder>>,
    /// Over what is said here.
    hash: RefCell<Xxh3>,
    api: Arc<Waiting>,
    /// Whether Bellhop is sending a frame.
    by_bellhop: Cell<bool>,
    /// Whether what is to be recorded is over.
    closed: Cell<bool>,
}

/// What the API told and nobody has recorded yet.
#[derive(Default)]
struct Waiting {
    any: AtomicBool,
    told: Mutex<Vec<Told>>,
}

/// What an API server tells.
enum Told {
    Write(WriteRecord),
    Request(RequestRecord),
}

impl Waiting {
    fn push(&self, told: Told) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push(told);
        self.any.store(true, Ordering::Relaxed);
    }
}

impl Tape {
    /// Records from now on.
    pub(crate) fn record(&self, recorder: Recorder) {
        *self.0.recorder.borrow_mut() = Some(recorder);
    }

    /// From now on only broken promises are recorded.
    pub(crate) fn close(&self) {
        if let Some(recorder) = &mut *self.0.recorder.borrow_mut() {
            self.take_told(recorder);
        }
        self.0.closed.set(true);
    }

    /// An event of the fabric.
    pub(crate) fn event(&self, at: Instant, event: &Event) {
        if self.0.closed.get() {
            return;
        }
        if let Some(recorder) = &mut *self.0.recorder.borrow_mut() {
            self.take_told(recorder);
            recorder.event(at, event, self.0.by_bellhop.get());
        }
    }

    /// Listens to an API server, if somebody records.
    pub(crate) fn observe(&self, api: &ApiServer) {
        if self.0.recorder.borrow().is_some() {
            let (writes, requests) = (Arc::clone(&self.0.api), Arc::clone(&self.0.api));
            api.observe(move |record| writes.push(Told::Write(record.clone())));
            api.observe_requests(move |record| requests.push(Told::Request(record.clone())));
        }
    }

    /// Anything that names no place of the network by its number.
    pub(crate) fn say(&self, at: Instant, what: What) {
        if self.0.closed.get() && !matches!(what, What::Broken { .. }) {
            return;
        }
        let mut line = Vec::new();
        let record = Record { at, what };
        Lines::new(&Places::default(), Instant::ZERO).record(&record, false, &mut line);
        self.0.hash.borrow_mut().update(&line);
        if let Some(recorder) = &mut *self.0.recorder.borrow_mut() {
            self.take_told(recorder);
            recorder.say(at, record.what);
        }
    }

    /// Lets Bellhop send: what the fabric tells meanwhile is its frame.
    pub(crate) fn as_bellhop<R>(&self, send: impl FnOnce() -> R) -> R {
        self.0.by_bellhop.set(true);
        let result = send();
        self.0.by_bellhop.set(false);
        result
    }

    /// The hash of what was said so far.
    pub(crate) fn hash(&self) -> u64 {
        self.0.hash.borrow().digest()
    }

    /// Ends the recording, with the run's hash. `None` if nobody recorded.
    pub(crate) fn finish(&self, hash: u64) -> Option<io::Result<Recorded>> {
        let mut recorder = self.0.recorder.borrow_mut().take()?;
        self.take_told(&mut recorder);
        Some(recorder.finish(hash))
    }

    fn take_told(&self, recorder: &mut Recorder) {
        let api = &self.0.api;
        if !self.0.closed.get() && api.any.load(Ordering::Relaxed) {
            api.any.store(false, Ordering::Relaxed);
            let told = std::mem::take(&mut *api.told.lock().unwrap_or_else(PoisonError::into_inner));
            for told in &told {
                match told {
                    Told::Write(record) => recorder.write(record),
                    Told::Request(record) => recorder.request(record),
                }
            }
        }
    }
}
