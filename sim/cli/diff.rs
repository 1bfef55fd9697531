//! `bellhop-sim diff`: where two traces part. Exit codes as diff(1) has them: 0 the same, 1 different, 2 no traces.

use std::path::Path;

use super::print;
use crate::trace::{Difference, Reader, difference};

/// The traces differ.
pub(super) const DIFFERENT: u8 = 1;

/// Compares two traces, or the traces in two folders.
pub(super) fn diff(first: &Path, second: &Path) -> anyhow::Result<u8> {
    match difference(Reader::open(first)?, Reader::open(second)?)? {
        Difference::None { records } => {
            print(&format!("The traces are the same: {records} records.\n"))?;
            Ok(0)
        }
        Difference::Some(parting) => {
            print(&format!("first:  {}\nsecond: {}\n\n{parting}", first.display(), second.display()))?;
            Ok(DIFFERENT)
        }
    }
}
