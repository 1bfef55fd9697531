//! The file's grammar: YAML text in, a checked [`crate::Scenario`] or a refusal with file, line and caret out.
//!
//! `file` holds the keys as they are written, `check*` compares them with each other, `refusal` renders what is wrong.
//! Files are read here and nowhere else. A file is untrusted: sizes are capped, nothing panics.

mod check;
mod check_expect;
mod check_timeline;
mod expect;
mod file;
mod load;
mod refusal;
#[cfg(test)]
mod tests;
mod values;

pub use load::{files, load, parse};
pub use refusal::Refusal;
