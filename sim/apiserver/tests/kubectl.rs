//! To be replaced: the real kubectl against the server.

fn main() {}
