//! One GPU: its data sheet, what was measured on it, and where each value comes from.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Bytes a second and lane, one way, of PCIe 3, 4 and 5 after line coding (8, 16 and 32 GT/s, 128/130).
const PCIE_GB_S_PER_LANE: [(u32, f64); 3] = [(3, 0.985), (4, 1.969), (5, 3.938)];

/// A card as `candlepower gpus --json` prints it and a file of one's own writes it.
///
/// Rates are per card: GB/s are 10^9 bytes a second, TFLOP/s 10^12, dense (no sparsity).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gpu {
    /// As `--gpu` takes it.
    pub name: String,
    pub full_name: String,
    pub compute_capability: Capability,
    /// What the box says, in the seller's GB.
    pub memory_sticker_gb: Option<f64>,
    /// What CUDA reports as total (cudaMemGetInfo), GiB: less than nvidia-smi, less than the sticker.
    pub memory_gib: f64,
    /// Data sheet.
    pub bandwidth_gb_s: f64,
    /// Tensor cores with fp32 accumulate, as all the rates of 8 and 16 bits here.
    pub bf16_tflops: Option<f64>,
    pub fp16_tflops: f64,
    pub fp8_tflops: Option<f64>,
    /// Without tensor cores.
    pub f32_tflops: Option<f64>,
    /// Limit as the card is sold.
    pub power_w: Option<f64>,
    pub pcie_generation: Option<u32>,
    pub pcie_lanes: Option<u32>,
    /// Whether the stock driver lets cards read each other's memory over PCIe.
    pub p2p: Option<bool>,
    pub nvlink_generation: Option<u32>,
    /// All links of the card, both directions together, as data sheets print it.
    pub nvlink_gb_s: Option<f64>,
    /// True where NVLink is a bridge between pairs that is bought apart, so not there by default.
    pub nvlink_bridge: Option<bool>,
    /// Copy within the card's memory, bytes counted once as cuda-samples does.
    pub measured_copy_gb_s: Option<f64>,
    /// Reading weights in decode: a lower bound of what a pure read reaches.
    pub measured_read_gb_s: Option<f64>,
    /// A large matmul in bf16 or fp16.
    pub measured_matmul_tflops: Option<f64>,
    pub measured_fp8_matmul_tflops: Option<f64>,
    pub idle_w: Option<f64>,
    /// Where the value of a key comes from; says `estimated: how` where nobody published it.
    pub sources: BTreeMap<String, String>,
    /// Why a key has no value.
    pub absent: BTreeMap<String, String>,
}

impl Gpu {
    /// TFLOP/s of 16-bit tensor arithmetic: bf16, or fp16 on cards without it.
    pub fn half_tflops(&self) -> f64 {
        self.bf16_tflops.unwrap_or(self.fp16_tflops)
    }

    /// Whether the value of `key` is nobody's figure but worked out from others.
    pub fn is_estimated(&self, key: &str) -> bool {
        let source = self.sources.get(key);
        source.is_some_and(|source| source.starts_with("estimated"))
    }

    /// GB/s of the card's slot, one way; none where the generation or the lanes are not known.
    pub fn pcie_gb_s(&self) -> Option<f64> {
        let generation = self.pcie_generation?;
        let lane = PCIE_GB_S_PER_LANE.iter().find(|(g, _)| *g == generation);
        Some(lane?.1 * f64::from(self.pcie_lanes?))
    }

    /// How two of these cards reach each other as sold: without a bridge, on the stock driver.
    pub fn link(&self) -> Link {
        match self.nvlink_generation {
            Some(generation) if self.nvlink_bridge != Some(true) => Link::NvLink(generation),
            _ if self.p2p == Some(true) => Link::PcieP2p,
            _ => Link::PcieHost,
        }
    }
}

/// How GPUs of one machine reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Link {
    /// Over PCIe and the host's memory: no peer access.
    PcieHost,
    /// Over PCIe from card to card.
    PcieP2p,
    /// A bridge between two cards.
    NvLinkBridge,
    /// Every card with every other at full speed; the generation of NVLink.
    NvLink(u32),
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PcieHost => f.write_str("PCIe without peer access"),
            Self::PcieP2p => f.write_str("PCIe with peer access"),
            Self::NvLinkBridge => f.write_str("an NVLink bridge"),
            Self::NvLink(generation) => write!(f, "NVLink {generation}"),
        }
    }
}

/// CUDA compute capability; later ones compare greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Capability {
    pub major: u32,
    pub minor: u32,
}

impl Capability {
    /// First with bf16 tensor cores.
    pub const BF16: Self = Self { major: 8, minor: 0 };
    /// First with FP8 tensor cores.
    pub const FP8: Self = Self { major: 8, minor: 9 };
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for Capability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('.');
        let parsed = parts.and_then(|(major, minor)| {
            let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
            Some(Self { major, minor })
        });
        parsed.ok_or_else(|| format!("`{text}` is not a compute capability such as 8.9"))
    }
}

impl TryFrom<String> for Capability {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Capability> for String {
    fn from(capability: Capability) -> Self {
        capability.to_string()
    }
}
