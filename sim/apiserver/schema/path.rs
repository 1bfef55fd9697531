//! Where a value is in its object.

use std::fmt;

/// Where a value is in its object. Written out only for what is wrong with it: nearly always nothing is.
pub(super) enum Path<'a> {
    /// The object itself.
    Top,
    /// A field of what is there.
    Key(&'a Self, &'a str),
    /// An item of the list that is there.
    Index(&'a Self, usize),
}

impl Path<'_> {
    pub(super) fn is_top(&self) -> bool {
        matches!(self, Path::Top)
    }

    /// Whether it is this field of the object, or below it.
    pub(super) fn starts_with(&self, field: &str) -> bool {
        match self {
            Path::Top => false,
            Path::Key(Path::Top, key) => *key == field,
            Path::Key(path, _) | Path::Index(path, _) => path.starts_with(field),
        }
    }
}

/// `spec.ports[0].port`.
impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Top => Ok(()),
            Path::Key(Path::Top, key) => f.write_str(key),
            Path::Key(path, key) => write!(f, "{path}.{key}"),
            Path::Index(path, index) => write!(f, "{path}[{index}]"),
        }
    }
}
