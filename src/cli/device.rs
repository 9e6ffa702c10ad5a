//! `--device`: what computes, or stands for what would.

use anyhow::{anyhow, bail};

use super::common::{CommonArgs, DtypeFlag};
use crate::hardware::{self, Gpu};

const SIMULATED: &str = "sim:";

#[derive(Debug, Clone)]
pub enum Device {
    Cpu,
    /// One such card for each rank.
    Simulated(Box<Gpu>),
}

impl Device {
    /// Checks with it the flags that not every device has.
    pub fn of(args: &CommonArgs) -> anyhow::Result<Self> {
        let device = args.device.as_deref().unwrap_or("cpu");
        if let Some(name) = device.strip_prefix(SIMULATED) {
            let gpu = hardware::find(name).map_err(|e| anyhow!("--device {device}: {e}"))?;
            return Ok(Self::Simulated(Box::new(gpu)));
        }
        match device {
            "cpu" => {}
            "cuda" => bail!(
                "--device cuda needs a build with CUDA, and this one has none; use --device cpu or sim:<gpu>"
            ),
            other => bail!("--device {other} is not a device; use --device cpu or sim:<gpu>"),
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
