//! `gpus`: the data sheets known to `fit` and `sim`, beside what others measured.

use clap::Args;

use super::common::OutputArgs;
use super::failure::Failure;
use super::output;
use crate::hardware::{self, Gpu, HardwareError, Link};
use crate::report::layout::wrapped;

const HEADER: &str = "\
name                  GiB GB/s GB/s       TFLOP/s   SM    W link
                         sheet meas 16 bit    fp8
";

const LEGEND: [&str; 3] = [
    "GiB: total memory as CUDA reports it, `~` where estimated. GB/s: memory bandwidth of the data sheet, then the most that others measured (copy or read). TFLOP/s: dense tensor rates of the data sheet with fp32 accumulate; `*` fp16, on a card without bf16. SM: compute capability. W: power limit.",
    "link: as sold, on the stock driver; a bridge (GB/s, both directions) is bought apart.",
    "Sources of every figure, and reasons for every gap: candlepower gpus --json",
];
/// A link that is not a bridge's.
const WIDEST_LINK: usize = 20;
/// Where the link begins.
const LINK: usize = 60;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        candlepower gpus\n  \
        candlepower gpus h100-sxm h200 --json        all figures of two cards, with sources\n  \
        candlepower gpus ./my-card.toml              check the file of a card of your own\n\n\
        A card of your own: the keys of --json, of which compute_capability, memory_gib, bandwidth_gb_s and\n\
        fp16_tflops must be there:\n  \
        compute_capability = \"8.9\"\n  \
        memory_gib = 23.5\n  \
        bandwidth_gb_s = 1008\n  \
        fp16_tflops = 165.2")]
pub struct GpusArgs {
    /// Only these: names, or .toml files of cards of your own
    #[arg(value_name = "GPU")]
    gpus: Vec<String>,

    #[command(flatten)]
    output: OutputArgs,
}

pub fn run(args: &GpusArgs) -> Result<(), Failure> {
    let gpus = chosen(&args.gpus).map_err(Failure::usage)?;
    if args.output.json {
        return output::json(&serde_json::json!({ "gpus": gpus }));
    }
    // Narrower than its figures it cannot be.
    let width = output::width();
    let rows: String = gpus.iter().map(|gpu| row(gpu, width)).collect();
    let legend: String = LEGEND
        .iter()
        .map(|line| wrapped(line, 0, 0, width))
        .collect();
    output::result(&format!("{HEADER}{rows}\n{legend}"))
}

fn chosen(names: &[String]) -> Result<Vec<Gpu>, HardwareError> {
    if names.is_empty() {
        return Ok(hardware::known()?.to_vec());
    }
    names.iter().map(|name| hardware::find(name)).collect()
}

fn row(gpu: &Gpu, width: usize) -> String {
    let estimated = gpu.is_estimated("memory_gib");
    let memory_mark = if estimated { "~" } else { "" };
    let half_mark = if gpu.bf16_tflops.is_none() { "*" } else { "" };
    let measured = [gpu.measured_copy_gb_s, gpu.measured_read_gb_s];
    let measured = measured.into_iter().flatten().reduce(f64::max);
    let figures = format!(
        "{:<17} {:>7} {:>4.0} {:>4} {:>6} {:>6} {:>4} {:>4}",
        gpu.name,
        format!("{memory_mark}{:.2}", gpu.memory_gib),
        gpu.bandwidth_gb_s,
        or_dash(measured, 0),
        format!("{half_mark}{:.1}", gpu.half_tflops()),
        or_dash(gpu.fp8_tflops, 1),
        gpu.compute_capability.to_string(),
        or_dash(gpu.power_w, 0),
    );
    let room = width.saturating_sub(LINK);
    let links = wrapped(&link(gpu), 0, 0, room.max(WIDEST_LINK));
    let links = links.trim_end().replace('\n', &format!("\n{:LINK$}", ""));
    format!("{figures} {links}\n")
}

fn or_dash(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
}

fn link(gpu: &Gpu) -> String {
    let nvlink = gpu.nvlink_gb_s;
    if let (Link::NvLink(generation), Some(gb_s)) = (gpu.link(), nvlink) {
        return format!("NVLink {generation}, {gb_s} GB/s");
    }
    let (Some(generation), Some(lanes)) = (gpu.pcie_generation, gpu.pcie_lanes) else {
        return "-".to_owned();
    };
    let peer = match gpu.p2p {
        Some(true) => "P2P",
        Some(false) => "no P2P",
        None => "P2P?",
    };
    let bridge = nvlink.map_or_else(String::new, |gb_s| format!(", bridge {gb_s}"));
    format!("PCIe {generation} x{lanes} {peer}{bridge}")
}
