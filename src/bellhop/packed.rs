//! A Service in little room: what a write has to look at, as JSON.
//!
//! The structs of one Service take several times the room of their text, most of it empty places, and there may be thousands of Services, each looked at
//! again when it is written, which is seldom. What a write looks at is [`bellhop_api::render`]'s to say.

use bellhop_api::render;
use k8s_openapi::api::core::v1::Service;

/// What a write looks at of a Service.
pub(crate) struct Packed(Box<str>);

impl Packed {
    /// Packs it.
    pub(crate) fn new(service: &Service) -> Self {
        // Keys are strings and numbers are whole: neither this nor reading it back can fail.
        Self(serde_json::to_string(&render::looked_at(service)).unwrap_or_default().into())
    }

    /// The Service without what no write looks at.
    pub(crate) fn unpack(&self) -> Option<Service> {
        serde_json::from_str(&self.0).ok()
    }
}
