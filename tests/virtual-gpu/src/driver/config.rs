//! What machine to be: from the file named by VGPU_CONFIG and a few variables of the environment.

use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error, StrDeserializer};

const GIB: f64 = (1u64 << 30) as f64;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Order of streams, blocks and warps.
    pub seed: u64,
    /// A read of memory that was never written is a fault, not poison.
    pub strict: bool,
    /// Look for races in shared memory.
    pub races: bool,
    /// Count sectors and bank conflicts.
    pub traffic: bool,
    /// Move `.approx` results within their error bounds, by this seed; 0 leaves them.
    pub disturb: u32,
    /// Threads for blocks.
    pub workers: usize,
    /// Instructions of warps after which a block counts as endless.
    pub instructions: u64,
    /// Seconds that a synchronisation may wait for something that nobody will do.
    pub patience: u64,
    /// Where to write what each kernel did, as JSON, at the end.
    pub report: Option<String>,
    /// Calls that may lock a driver while a collective is open are faults.
    pub locks: bool,
    /// Kernels of one device may use another's memory.
    pub peer_access: bool,
    /// Atomic operations reach the host and other devices as one step, which PCIe does not do.
    pub atomics: bool,
    /// Blocks of one launch see each other's stores late too, as PTX's model of memory allows.
    pub weak: bool,
    /// Memory is counted and never touched: kernels, products, collectives and copies do nothing.
    pub unbacked: bool,
    pub cupti: Tracer,
    pub device: Vec<Device>,
    pub fault: Vec<Planned>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Device {
    pub name: String,
    pub memory_gib: f64,
    /// What a context takes from it.
    pub context_mib: u64,
    /// Major and minor compute capability, as 89.
    pub compute: u32,
    /// Where the compute capability allows it, does the driver let kernels overlap?
    pub overlaps: bool,
    pub multiprocessors: u32,
    pub shared_kib_per_block: u32,
    pub shared_kib_per_multiprocessor: u32,
    pub l2_mib: u32,
    pub clock_mhz: u32,
    pub memory_clock_mhz: u32,
    pub bus_bits: u32,
    pub telemetry: Telemetry,
    /// Its place on the bus, whatever its ordinal is.
    #[serde(skip)]
    pub place: usize,
}

/// What NVML tells: each list is gone through, one value a reading, over and over.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    pub power_watts: Vec<f64>,
    pub power_limit_watts: f64,
    pub celsius: Vec<u32>,
    pub clock_mhz: Vec<u32>,
    pub memory_clock_mhz: Vec<u32>,
    pub utilisation: Vec<u32>,
    /// Bits of nvmlClocksEventReasons.
    pub throttle: Vec<u64>,
    pub fan: Vec<u32>,
    /// Without it the total-energy counter is refused.
    pub energy_counter: bool,
    pub driver: String,
    pub power_limit_default_watts: f64,
    /// Of the PCIe link, and the most that card and slot can do.
    pub pcie_generation: u32,
    pub pcie_generation_max: u32,
    pub pcie_width: u32,
    pub pcie_width_max: u32,
    /// Cards of one node and bridge meet at that bridge, others further off.
    pub numa_node: u32,
    pub bridge: u32,
    /// Without these the card refuses to tell, as many do.
    pub application_clock_mhz: Option<u32>,
    pub ecc: Option<bool>,
    pub mig: Option<bool>,
    /// Of other programs; this one is listed beside them once it has a context.
    pub process: Vec<Process>,
}

/// Another program on a card.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    pub pid: u32,
    pub mib: u64,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    LaunchFailure,
    EccError,
    OutOfMemory,
    IllegalAddress,
    /// Nothing of what it was given is ever done, and it says no word.
    Hangs,
    /// It has fallen off the bus.
    Dies,
    /// NCCL hears no more of a peer.
    RemoteError,
}

/// How CUPTI behaves.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Tracer {
    #[default]
    Well,
    /// Of a toolkit before all that have such records,
    Old,
    /// or behind those that are known.
    New,
    /// Another tool has it.
    Busy,
    /// It asks for rights that the program has not.
    Unprivileged,
    /// Buffers hold one record.
    Tiny,
    /// One record in so many finds no room, and is counted.
    Drops,
    /// The last record is never told.
    Silent,
    /// One kernel is not the program's.
    Stranger,
    /// Kernels have no times.
    Timeless,
}

impl std::str::FromStr for Tracer {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let text: StrDeserializer<'_, Error> = text.into_deserializer();
        Self::deserialize(text)
    }
}

/// A fault on demand: at the n-th launch of a device (or allocation, for out-of-memory), from 1, or at its n-th
/// collective.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Planned {
    pub kind: Trouble,
    #[serde(default)]
    pub device: usize,
    #[serde(default)]
    pub at: u64,
    #[serde(default)]
    pub collective: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 1,
            strict: false,
            races: false,
            traffic: false,
            disturb: 0,
            workers: 2,
            instructions: 1 << 33,
            patience: 60,
            report: None,
            locks: false,
            peer_access: false,
            atomics: false,
            weak: false,
            unbacked: false,
            cupti: Tracer::Well,
            device: vec![Device::default()],
            fault: Vec::new(),
        }
    }
}

impl Default for Device {
    /// A 4090 with twice the usual memory.
    fn default() -> Self {
        Self {
            name: "NVIDIA GeForce RTX 4090".to_owned(),
            memory_gib: 47.37,
            context_mib: 400,
            compute: 89,
            overlaps: true,
            multiprocessors: 128,
            shared_kib_per_block: 99,
            shared_kib_per_multiprocessor: 100,
            l2_mib: 72,
            clock_mhz: 2520,
            memory_clock_mhz: 10501,
            bus_bits: 384,
            telemetry: Telemetry::default(),
            place: 0,
        }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            power_watts: vec![250.0],
            power_limit_watts: 450.0,
            celsius: vec![55],
            clock_mhz: vec![2520],
            memory_clock_mhz: vec![10501],
            utilisation: vec![90],
            throttle: vec![0],
            fan: vec![40],
            energy_counter: true,
            driver: "580.82.07".to_owned(),
            power_limit_default_watts: 450.0,
            pcie_generation: 4,
            pcie_generation_max: 4,
            pcie_width: 16,
            pcie_width_max: 16,
            numa_node: 0,
            bridge: 0,
            application_clock_mhz: None,
            ecc: Some(false),
            mig: None,
            process: Vec::new(),
        }
    }
}

impl Device {
    pub fn memory(&self) -> u64 {
        (self.memory_gib * GIB) as u64
    }
}

fn variable<T: std::str::FromStr>(name: &str) -> Result<Option<T>, String> {
    let Ok(text) = std::env::var(name) else {
        return Ok(None);
    };
    text.parse()
        .map(Some)
        .map_err(|_| format!("{name}={text}: not a value that this variable takes"))
}

impl Config {
    /// Leaves the devices whose numbers are in `visible`, in its order, up to the first that is none; all if none is.
    fn show(&mut self, visible: &str) {
        for (place, device) in self.device.iter_mut().enumerate() {
            device.place = place;
        }
        let numbers = visible
            .split(',')
            .map(|number| number.trim().parse::<usize>().ok());
        let named = numbers.map_while(|number| self.device.get(number?));
        let shown: Vec<Device> = named.cloned().collect();
        if !shown.is_empty() {
            self.device = shown;
        }
    }

    pub fn read() -> Result<Self, String> {
        let mut config = match std::env::var("VGPU_CONFIG") {
            Err(_) => Self::default(),
            Ok(path) => {
                let text = std::fs::read_to_string(&path)
                    .map_err(|e| format!("VGPU_CONFIG={path}: {e}"))?;
                toml::from_str(&text).map_err(|e| format!("VGPU_CONFIG={path}: {e}"))?
            }
        };
        if config.device.is_empty() {
            config.device.push(Device::default());
        }
        if let Some(count) = variable::<usize>("VGPU_DEVICES")? {
            let last = config.device[config.device.len() - 1].clone();
            config.device.resize(count, last);
        }
        config.show(&std::env::var("CUDA_VISIBLE_DEVICES").unwrap_or_default());
        config.seed = variable("VGPU_SEED")?.unwrap_or(config.seed);
        config.patience = variable("VGPU_PATIENCE")?.unwrap_or(config.patience);
        config.workers = variable("VGPU_WORKERS")?.unwrap_or(config.workers).max(1);
        config.disturb = variable("VGPU_DISTURB")?.unwrap_or(config.disturb);
        config.strict |= variable::<u8>("VGPU_STRICT")?.is_some_and(|v| v != 0);
        config.races |= variable::<u8>("VGPU_RACES")?.is_some_and(|v| v != 0);
        config.weak |= variable::<u8>("VGPU_WEAK")?.is_some_and(|v| v != 0);
        config.locks |= variable::<u8>("VGPU_LOCKS")?.is_some_and(|v| v != 0);
        config.unbacked |= variable::<u8>("VGPU_UNBACKED")?.is_some_and(|v| v != 0);
        config.cupti = variable("VGPU_CUPTI")?.unwrap_or(config.cupti);
        config.report = variable("VGPU_REPORT")?.or(config.report);
        config.traffic |= variable::<u8>("VGPU_TRAFFIC")?.is_some_and(|v| v != 0);
        config.traffic |= config.report.is_some();
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_that_are_shown_keep_their_places() {
        let shown = |visible: &str| {
            let device = vec![Device::default(); 4];
            let mut config = Config {
                device,
                ..Config::default()
            };
            config.show(visible);
            let places = config.device.iter().map(|device| device.place);
            places.collect::<Vec<_>>()
        };
        assert_eq!(shown(""), [0, 1, 2, 3]);
        assert_eq!(shown("2"), [2]);
        assert_eq!(shown("3, 1"), [3, 1]);
        assert_eq!(shown("1,7,0"), [1]);
    }
}
