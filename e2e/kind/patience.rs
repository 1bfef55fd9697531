//! Waiting for something that takes its time: looking again and again, with a bound.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// From look to look.
const PACE: Duration = Duration::from_millis(200);

/// Looks until a look finds what it wants; after `limit`, what the last one complained of.
pub(crate) fn wait_for<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<T>) -> Result<T> {
    let until = Instant::now() + limit;
    loop {
        let found = look();
        if found.is_ok() || Instant::now() > until {
            return found.with_context(|| format!("{what}: not within {} s", limit.as_secs()));
        }
        std::thread::sleep(PACE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_late_is_found() {
        let mut looks = 0;
        let found = wait_for("the third look", Duration::from_secs(5), || {
            looks += 1;
            anyhow::ensure!(looks == 3, "{looks}");
            Ok(looks)
        });
        assert_eq!(found.ok(), Some(3));
    }

    #[test]
    fn what_never_comes_is_named_with_the_last_complaint() {
        let never: Result<()> = wait_for("a miracle", Duration::ZERO, || anyhow::bail!("nothing happened"));
        assert_eq!(format!("{:#}", never.expect_err("never")), "a miracle: not within 0 s: nothing happened");
    }
}
