//! The file's grammar: YAML text in, a checked [`crate::Scenario`] or a refusal with file, line and caret out.
//!
//! `file`, `topology`, `fault` and `expect` hold the keys as they are written, `check*` compares them with each other, `refusal` renders what is wrong.
//! Files are read here and nowhere else. A file is untrusted: sizes are capped, nothing panics.

mod check;
mod check_expect;
mod check_fault;
mod check_probes;
mod check_size;
mod check_timeline;
mod check_topology;
mod expect;
mod fault;
mod file;
#[cfg(test)]
mod hostile;
mod load;
mod place;
mod quantities;
mod refusal;
mod schema;
mod spanned;
#[cfg(test)]
mod tests;
mod topology;
mod values;

pub(crate) use check_expect::known_version;
pub(crate) use load::read_value;
pub use load::{files, load, parse, parse_in};
pub use refusal::Refusal;
pub use schema::schema;
