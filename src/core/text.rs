//! Texts that somebody else wrote, as much of them as belongs into a message.
//!
//! A message is for a person, and Kubernetes refuses a condition with a long one: then nothing at all would stand on the object.

use std::borrow::Cow;

/// As much as a person needs to find the place in a manifest.
const QUOTED_MAX: usize = 64;

/// A condition's message; Kubernetes takes 32,768 characters.
const MESSAGE_MAX: usize = 2048;

/// The beginning of a text that is quoted in a message.
pub fn quoted(text: &str) -> Cow<'_, str> {
    cut(text, QUOTED_MAX)
}

/// The beginning of a message.
pub fn message(text: &str) -> Cow<'_, str> {
    cut(text, MESSAGE_MAX)
}

fn cut(text: &str, length: usize) -> Cow<'_, str> {
    match text.char_indices().nth(length) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters_and_a_short_one_is_left() {
        assert_eq!(quoted("eth0"), "eth0");
        assert_eq!(quoted(&"é".repeat(1000)).chars().count(), QUOTED_MAX + 1);
    }
}
