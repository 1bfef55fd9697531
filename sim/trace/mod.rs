//! One typed trace of everything that happened in a run, from which all else is made.
//!
//! ```text
//! record places header    what a trace consists of
//! tape recorder           takes it in while a world runs     numbers, timeline
//! jsonl read merge        trace.jsonl: out, and back in      README.md documents it
//! pcapng capture          wire.pcapng
//! frame words             one line for a frame, one for any record
//! difference              where two traces part
//! story explain           what happened to an address, and why
//! ```
//!
//! Nothing here judges: invariants and expectations are the business of others.

mod capture;
mod difference;
mod explain;
mod frame;
mod header;
mod jsonl;
mod merge;
mod numbers;
mod pcapng;
mod places;
mod read;
mod record;
mod recorder;
pub mod story;
mod tape;
#[cfg(test)]
mod tests;
mod timeline;
mod words;

pub use difference::{Difference, Parting, difference};
pub use explain::{explain, waiting};
pub use frame::Printed;
pub use header::{Header, Played, VERSION};
pub use places::{Machine, MachineIndex, Nic, NicIndex, NicName, Places, SwitchIndex};
pub use read::{End, ReadError, Reader, Trace, file_of, read};
pub use record::{Action, EchoOutcome, Numbered, ObjectKey, Place, ProgramChange, Record, Request, What, Write};
pub use recorder::{Outputs, Recorded, Recorder};
pub use story::Story;
pub(crate) use tape::Tape;
pub(crate) use timeline::action;
pub use words::{line, moment};

/// The trace in a run's folder.
pub const TRACE_FILE: &str = "trace.jsonl";
/// The capture beside it.
pub const CAPTURE_FILE: &str = "wire.pcapng";
