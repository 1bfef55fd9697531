//! Any bytes as frames from the wire, into all that the program does with them: the core's parser, announcer and table of the nodes' MACs behind
//! `Network::handle_frame`. What must hold stands with the property test that always runs.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../src/core/tests/ear.rs"]
mod ear;

fuzz_target!(|bytes: &[u8]| {
    // One after the other, as they come: each is as long as its first byte says.
    let mut rest = bytes;
    let frames = std::iter::from_fn(|| {
        let (length, after) = rest.split_first()?;
        let (frame, next) = after.split_at(after.len().min(usize::from(*length)));
        rest = next;
        Some(frame)
    });
    ear::hear_all(frames);
});
