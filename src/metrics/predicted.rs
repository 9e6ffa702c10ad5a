//! What a prediction has not observed: virtual time is no measure of the machine that works it out.

use super::NotObserved;
use crate::ground::results::Run;

const NOTHING_MEASURED: &str = "nothing was measured: the device is simulated";
const NO_HOST: &str = "raw capacity has no host in it: a server profile adds one";

/// Of the machine and its cards.
const UNSEEN: [&str; 17] = [
    "avg_gpu_mem_percent",
    "avg_gpu_power_watts",
    "avg_gpu_temp_C",
    "avg_gpu_clock_gr_mhz",
    "avg_gpu_clock_mem_mhz",
    "cpu_percent",
    "ram_percent",
    "energy_j",
    "energy_per_output_token_j",
    "energy_by",
    "energy_per_token_j",
    "output_tokens_per_s_per_watt",
    "kwh_per_million_output_tokens",
    "idle_power_watts",
    "energy_above_idle_j",
    "energy_above_idle_per_output_token_j",
    "peak_rss_bytes",
];

/// Gives the nulls of a simulated run their reason. Time on the host is predicted where `has_server`, and
/// else not there.
pub fn mark_predicted(run: &mut Run, has_server: bool) {
    let mut nulls = NotObserved(std::mem::take(&mut run.not_observed));
    for name in UNSEEN {
        nulls.note::<f64>(name, None, NOTHING_MEASURED);
    }
    let extended = &mut run.extended;
    for (name, value) in [
        ("mean_host_ms_per_step", &mut extended.mean_host_ms_per_step),
        ("host_share_percent", &mut extended.host_share_percent),
    ] {
        if !has_server {
            *value = nulls.note(name, None, NO_HOST);
        }
    }
    run.not_observed = nulls.0;
}
