//! Sweeps: situations that a seed draws, played by the thousand; and what is done with one that fails.
//!
//! [`draw`] expands a seed to an explicit scenario text *first*, so that whatever fails is a file: it is played again, explained and shrunk ([`shrink`]) like
//! any other. [`trial`] plays one text and says what became of it; [`report`] puts many together. Nothing here knows time or threads of the real
//! world: the command line does.

pub(crate) mod class;
pub(crate) mod draw;
pub(crate) mod report;
pub(crate) mod shrink;
pub(crate) mod trial;
