//! What computes, or stands for what would.

use super::error::{SessionError, Wish};
use super::gpus;
use super::options::EngineOptions;
use crate::hardware::{self, Gpu};
use crate::model::WeightType;

const SIMULATED: &str = "sim:";

/// What computes, or stands for what would.
#[derive(Debug, Clone)]
pub enum Device {
    /// The threads of this machine.
    Cpu,
    /// The first GPU of this machine for rank 0, the next for rank 1.
    Cuda,
    /// One such card for each rank.
    Simulated(Box<Gpu>),
}

impl Device {
    /// Checks with it the options that not every device has.
    ///
    /// # Errors
    /// There is no such device, or it cannot do what was asked of it.
    pub fn of(options: &EngineOptions) -> Result<Self, SessionError> {
        let device = Self::name(options);
        if let Some(name) = device.strip_prefix(SIMULATED) {
            let gpu = hardware::find(name).map_err(|source| Wish::Gpu {
                device: device.to_owned(),
                source,
            })?;
            return Ok(Self::Simulated(Box::new(gpu)));
        }
        match device {
            "cpu" => {}
            "cuda" => {
                gpus::check(options)?;
                return Ok(Self::Cuda);
            }
            other => return Err(Wish::Device(other.to_owned()).into()),
        }
        if options.dtype == Some(WeightType::F16) {
            return Err(Wish::CpuType.into());
        }
        Ok(Self::Cpu)
    }

    /// As it was named, or chosen for who named none.
    pub(super) fn name(options: &EngineOptions) -> &str {
        // No driver is woken for a device that was named.
        let default = || if gpus::is_usable() { "cuda" } else { "cpu" };
        options.device.as_deref().unwrap_or_else(default)
    }

    /// Whether its time is virtual and nothing is loaded.
    pub fn is_simulated(&self) -> bool {
        matches!(self, Self::Simulated(_))
    }
}
