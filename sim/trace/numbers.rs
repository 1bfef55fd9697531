//! Frames by number, so that a trace holds the bytes of each once.
//!
//! A frame keeps its bytes at one place from NIC to NIC (a copy shares them), so the place is its identity while somebody holds it. The last
//! ones are held here; a frame that turns up after so many others gets a new number and is written again.

use std::collections::VecDeque;

use bellhop_fabric::Frame;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::record::Numbered;

/// Frames that are held: more than are on their way at any time, except in the worst of storms. 65,536 are at most 100 MB, mostly 7 MB.
pub(super) const FRAMES_HELD: usize = 65_536;

/// Gives numbers out.
#[derive(Default)]
pub(super) struct Numbers {
    /// By where the bytes are. Looked up, never walked: places in memory differ from run to run.
    known: HashMap<usize, u64, FixedState>,
    /// Oldest first.
    held: VecDeque<Frame>,
    last: u64,
}

impl Numbers {
    /// The frame with its number, and whether that is new.
    pub(super) fn number(&mut self, frame: &Frame) -> (Numbered, bool) {
        let place = frame.as_ptr().addr();
        if let Some(number) = self.known.get(&place) {
            return (Numbered { number: *number, bytes: frame.clone() }, false);
        }
        if self.held.len() >= FRAMES_HELD
            && let Some(oldest) = self.held.pop_front()
        {
            self.known.remove(&oldest.as_ptr().addr());
        }
        self.last += 1;
        self.known.insert(place, self.last);
        self.held.push_back(frame.clone());
        (Numbered { number: self.last, bytes: frame.clone() }, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_the_number_of_its_frame_and_equal_bytes_have_their_own() {
        let mut numbers = Numbers::default();
        let (one, other) = (Frame::from(&[1; 60][..]), Frame::from(&[1; 60][..]));
        assert_eq!(numbers.number(&one).0.number, 1);
        assert_eq!(numbers.number(&other).0.number, 2);
        let (again, is_new) = numbers.number(&one.clone());
        assert_eq!((again.number, is_new), (1, false));
    }

    #[test]
    fn a_frame_that_turns_up_after_many_others_is_new_again() {
        let mut numbers = Numbers::default();
        let first = Frame::from(&[1; 60][..]);
        numbers.number(&first);
        for _ in 0..FRAMES_HELD {
            numbers.number(&Frame::from(&[2; 60][..]));
        }
        assert_eq!(numbers.known.len(), FRAMES_HELD);
        assert!(numbers.number(&first).1);
    }
}
