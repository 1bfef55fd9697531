//! What Bellhop and Kubernetes say to each other, and nothing of what follows from it.
//!
//! [`crds`] is the schema of our one kind, [`keys`] are the annotations, labels and conditions, [`parse`] makes core values out of API objects
//! and [`render`] makes patches out of core values. Parsing never fails: what does not parse is part of the value, so that the
//! core can say so on the object, and one bad object spoils no list. There is no client here and no request.

mod crd;
pub mod keys;
pub mod parse;
pub mod render;

pub use crd::{Eip, EipSpec, EipStatus, crds, eip_resource};
