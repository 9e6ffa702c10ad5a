//! `--device`: what computes, or stands for what would.

use anyhow::{anyhow, bail};

use super::common::{CommonArgs, DtypeFlag};
use super::cuda;
use crate::hardware::{self, Gpu};

const SIMULATED: &str = "sim:";

#[derive(Debug, Clone)]
pub enum Device {
    Cpu,
    /// The first GPU of this machine for rank 0, the next for rank 1.
    Cuda,
    /// One such card for each rank.
    Simulated(Box<Gpu>),
}

impl Device {
    /// Checks with it the flags that not every device has.
    pub fn of(args: &CommonArgs) -> anyhow::Result<Self> {
        // No driver is woken for a device that was named.
        let default = || if cuda::is_usable() { "cuda" } else { "cpu" };
        let device = args.device.as_deref().unwrap_or_else(default);
        if let Some(name) = device.strip_prefix(SIMULATED) {
            let gpu = hardware::find(name).map_err(|e| anyhow!("--device {device}: {e}"))?;
            return Ok(Self::Simulated(Box::new(gpu)));
        }
        match device {
            "cpu" => {}
            "cuda" => {
                cuda::check(args)?;
                return Ok(Self::Cuda);
            }
            other => bail!("--device {other} is not a device; use --device cpu, cuda or sim:<gpu>"),
        }
        if matches!(args.dtype, DtypeFlag::Bf16 | DtypeFlag::F16) {
            bail!(
                "--dtype bf16 and f16 are for GPUs: the CPU kernels compute in f32; use --dtype auto or f32"
            );
        }
        Ok(Self::Cpu)
    }

    pub fn is_simulated(&self) -> bool {
        matches!(self, Self::Simulated(_))
    }
}
