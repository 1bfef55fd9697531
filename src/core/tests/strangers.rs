//! Any bytes as frames from the wire, into the whole of what the core does with them: nothing panics, and nothing that a stranger says is repeated.
//!
//! The body is [`ear`]'s, which `fuzz/targets/frame.rs` feeds too; here it always runs, from frames that are nearly right.

use proptest::prelude::*;

mod ear;

/// A who-has for the address that is carried, as the tutorial's client asks it.
const WHO_HAS: [u8; 42] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0x22, 0xfa, 0xb9, 0x3b, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1, 0x52, 0x54, 0x22, 0xfa,
    0xb9, 0x3b, 192, 168, 0, 5, 0, 0, 0, 0, 0, 0, 192, 168, 0, 91,
];

#[test]
fn a_question_for_the_address_is_answered_so_the_ear_hears() {
    assert_eq!(ear::hear_all([WHO_HAS.as_slice()].into_iter()).replies, 1);
}

#[test]
fn a_node_that_answers_is_known_so_the_ear_hears_that_too() {
    let mut answer = WHO_HAS;
    answer[..6].copy_from_slice(&ear::NIC.0);
    answer[21] = 2;
    answer[28..32].copy_from_slice(&ear::NODE.octets());
    answer[38..].copy_from_slice(&ear::OWN.octets());
    assert_eq!(ear::hear_all([answer.as_slice()].into_iter()).learned, 1);
}

proptest! {
    #[test]
    fn no_frames_make_it_panic_or_say_what_it_should_not(frames in prop::collection::vec(frame(), 0..32)) {
        ear::hear_all(frames.iter().map(Vec::as_slice));
    }
}

/// Any bytes, or ARP of which a few bytes are others: of the operation, of a sender, of a target, of anything.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let change = prop_oneof![
        (Just(21), 0..4_u8).boxed(),
        (Just(31), prop::sample::select(vec![2_u8, 3, 5, 91])).boxed(),
        (Just(41), prop::sample::select(vec![2_u8, 3, 5, 91])).boxed(),
        (0..42_usize, any::<u8>()).boxed(),
    ];
    let nearly = prop::collection::vec(change, 0..4).prop_map(|changes| {
        let mut frame = WHO_HAS.to_vec();
        changes.into_iter().for_each(|(at, byte)| frame[at] = byte);
        frame
    });
    prop_oneof![1 => prop::collection::vec(any::<u8>(), 0..80), 4 => nearly]
}
