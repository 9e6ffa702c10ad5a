//! How long ranks wait, as the environment says.

use std::env;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::error::Wish;

/// Seconds.
const RANGE: RangeInclusive<f64> = 1e-3..=1e6;

/// The seconds that the variable `name` holds; `None`: it is not set.
///
/// # Errors
/// It holds something else.
pub fn variable(name: &'static str) -> Result<Option<Duration>, Wish> {
    let Ok(value) = env::var(name) else {
        return Ok(None);
    };
    let seconds = value.trim().parse().ok();
    match seconds.filter(|seconds| RANGE.contains(seconds)) {
        Some(seconds) => Ok(Some(Duration::from_secs_f64(seconds))),
        None => {
            let (least, most) = (RANGE.start(), RANGE.end());
            let rule = format!("it must be a number of seconds from {least} to {most}");
            Err(Wish::Variable { name, value, rule })
        }
    }
}
