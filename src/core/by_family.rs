//! At most one thing for each address family.
//!
//! Two places instead of a map: there are two families, and thousands of Services hold one of these. What the things are is not known here.

use crate::object::Family;

/// At most one `T` for each family. IPv4 comes first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByFamily<T> {
    v4: Option<T>,
    v6: Option<T>,
}

impl<T> ByFamily<T> {
    /// Nothing for either.
    pub const NONE: Self = Self { v4: None, v6: None };

    /// What there is for a family.
    pub fn get(&self, family: Family) -> Option<&T> {
        match family {
            Family::V4 => self.v4.as_ref(),
            Family::V6 => self.v6.as_ref(),
        }
    }

    /// This for a family from now on. Returns what was there.
    pub fn insert(&mut self, family: Family, value: T) -> Option<T> {
        self.place(family).replace(value)
    }

    /// Nothing for a family from now on. Returns what was there.
    pub fn remove(&mut self, family: Family) -> Option<T> {
        self.place(family).take()
    }

    /// What there is, with its family.
    pub fn iter(&self) -> impl Iterator<Item = (Family, &T)> {
        [Family::V4, Family::V6].into_iter().filter_map(|family| Some((family, self.get(family)?)))
    }

    /// What there is.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.v4.iter().chain(&self.v6)
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.v4.is_none() && self.v6.is_none()
    }

    fn place(&mut self, family: Family) -> &mut Option<T> {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}

impl<T> Default for ByFamily<T> {
    fn default() -> Self {
        Self::NONE
    }
}

impl<T> FromIterator<(Family, T)> for ByFamily<T> {
    fn from_iter<I: IntoIterator<Item = (Family, T)>>(things: I) -> Self {
        let mut by_family = Self::NONE;
        for (family, thing) in things {
            by_family.insert(family, thing);
        }
        by_family
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_has_its_own_place() {
        let mut by_family: ByFamily<&str> = [(Family::V6, "six")].into_iter().collect();
        assert_eq!(by_family.insert(Family::V4, "four"), None);
        assert_eq!(by_family.iter().collect::<Vec<_>>(), [(Family::V4, &"four"), (Family::V6, &"six")]);
        assert_eq!((by_family.insert(Family::V6, "sechs"), by_family.remove(Family::V4)), (Some("six"), Some("four")));
        assert_eq!((by_family.values().collect::<Vec<_>>(), by_family.is_empty()), (vec![&"sechs"], false));
    }
}
