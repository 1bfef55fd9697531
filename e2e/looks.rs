//! Whether everything that looks still sees: a look that died would turn every expectation about what it saw into a guess.
//!
//! Each look says when it begins to see and when it cannot see any more; the world asks at the end, and fails ([`bellhop_scenario::WorldError`]).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// All looks of a run, by name, and what is wrong with each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Looks(Arc<Mutex<BTreeMap<String, Option<String>>>>);

impl Looks {
    /// A look that has not seen anything yet.
    pub(crate) fn opens(&self, look: &str) {
        self.set(look, Some("it never began".to_owned()));
    }

    /// It sees.
    pub(crate) fn sees(&self, look: &str) {
        self.set(look, None);
    }

    /// It does not see any more, and why.
    pub(crate) fn fails(&self, look: &str, why: impl ToString) {
        self.set(look, Some(why.to_string()));
    }

    /// The looks that do not see, in words.
    pub(crate) fn blind(&self) -> Option<String> {
        let looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let blind: Vec<_> =
            looks.iter().filter_map(|(look, why)| Some(format!("the look at {look} is blind: {}", why.as_ref()?))).collect();
        if blind.is_empty() { None } else { Some(blind.join("; ")) }
    }

    fn set(&self, look: &str, why: Option<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(look.to_owned(), why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_is_blind_until_it_sees_and_when_it_fails() {
        let looks = Looks::default();
        assert_eq!(looks.blind(), None);
        looks.opens("Service");
        assert_eq!(looks.blind().as_deref(), Some("the look at Service is blind: it never began"));
        looks.sees("Service");
        assert_eq!(looks.blind(), None);
        looks.fails("Service", "status 500");
        assert_eq!(looks.blind().as_deref(), Some("the look at Service is blind: status 500"));
    }
}
