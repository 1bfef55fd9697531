//! Any bytes as a trace file: records or an error with its line; and what can be read is compared with itself, as `diff` does.
#![no_main]

use std::io::Cursor;
use std::path::Path;

use bellhop_sim::trace::{Difference, ReadError, Reader, difference};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(mut reader) = open(bytes) {
        while let Ok(Some(_)) = reader.next_record() {}
    }
    if let (Ok(left), Ok(right)) = (open(bytes), open(bytes)) {
        assert!(!matches!(difference(left, right), Ok(Difference::Some(_))), "a trace differs from itself");
    }
});

fn open(bytes: &[u8]) -> Result<Reader, ReadError> {
    Reader::new(Path::new("trace.jsonl"), Box::new(Cursor::new(bytes.to_vec())))
}
