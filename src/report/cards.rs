//! How GPUs are set up and joined, in words.

use super::number::number;
use crate::ground::results::{GpuInfo, GpuLink, GpuProcess};

const MIB: f64 = (1_u64 << 20) as f64;

/// What a card told, in a line.
pub fn card(card: &GpuInfo) -> String {
    let parts = [
        pcie(card),
        power(card),
        clock(card),
        switch("ECC", card.ecc),
        switch("MIG", card.mig),
        card.numa_node.map(|node| format!("NUMA node {node}")),
        card.other_processes.as_deref().and_then(others),
    ];
    let told: Vec<String> = parts.into_iter().flatten().collect();
    let told = match told.is_empty() {
        true => "told nothing".to_owned(),
        false => told.join(", "),
    };
    format!("{} at {}: {told}", card.index, card.pci_bus_id)
}

/// Pairs of GPUs by what lies between them.
pub fn links(links: &[GpuLink]) -> Vec<String> {
    let mut kinds: Vec<(String, Vec<String>)> = Vec::new();
    for link in links {
        let [one, other] = link.gpus;
        let (kind, pair) = (between(link), format!("{one}-{other}"));
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, pairs)) => pairs.push(pair),
            None => kinds.push((kind, vec![pair])),
        }
    }
    let lines = kinds.into_iter();
    lines
        .map(|(kind, pairs)| format!("{kind}: {}", pairs.join(" ")))
        .collect()
}

fn pcie(card: &GpuInfo) -> Option<String> {
    let (generation, width) = (card.pcie_generation?, card.pcie_width?);
    let most = card.pcie_generation_max.zip(card.pcie_width_max);
    let most = most.map(|(generation, width)| format!(" (at most {generation} x{width})"));
    Some(format!(
        "PCIe {generation} x{width}{}",
        most.unwrap_or_default()
    ))
}

fn power(card: &GpuInfo) -> Option<String> {
    let limit = number(card.power_limit_watts?);
    let usual = card.power_limit_default_watts;
    let usual = usual.map(|watts| format!(" (by default {})", number(watts)));
    Some(format!("{limit} W{}", usual.unwrap_or_default()))
}

/// Where it is held below what the card can.
fn clock(card: &GpuInfo) -> Option<String> {
    let (held, most) = (card.application_sm_clock_mhz?, card.sm_clock_max_mhz?);
    (held < most).then(|| format!("SM clock set to {held} of {most} MHz"))
}

fn switch(what: &str, on: Option<bool>) -> Option<String> {
    let state = if on? { "on" } else { "off" };
    Some(format!("{what} {state}"))
}

fn others(processes: &[GpuProcess]) -> Option<String> {
    let one = |process: &GpuProcess| match process.memory_bytes {
        Some(bytes) => format!("{} ({} MiB)", process.pid, number(bytes as f64 / MIB)),
        None => process.pid.to_string(),
    };
    let all: Vec<String> = processes.iter().map(one).collect();
    (!all.is_empty()).then(|| format!("used by process {}", all.join(" and ")))
}

fn between(link: &GpuLink) -> String {
    let path = link.path.as_deref().unwrap_or("unknown path");
    let nvlink = if link.nvlink == Some(true) {
        ", NVLink"
    } else {
        ""
    };
    let p2p = match link.p2p {
        Some(true) => ", P2P",
        Some(false) => ", no P2P",
        None => "",
    };
    format!("{path}{nvlink}{p2p}")
}
