//! What a long life does to an engine: memory, threads and files stay what they were, and a request costs the
//! last time what it cost the first.
//!
//! Short forms run always. The long ones, by environment: `CANDLEPOWER_LOAD_SECONDS=3600` for the load on a
//! real engine, `CANDLEPOWER_LOAD_REQUESTS=1000000` on the simulated device, `CANDLEPOWER_LOAD_STARTS=10000`.

mod common;
#[path = "load/process.rs"]
mod process;
#[path = "load/simulated.rs"]
mod simulated;
#[path = "load/starts.rs"]
mod starts;
#[path = "load/tiny.rs"]
mod tiny;

/// A number of the environment.
fn asked(name: &str, default: usize) -> usize {
    let told = std::env::var(name).ok();
    told.map_or(default, |text| text.parse().unwrap())
}
