//! Memory of all virtual devices: one address space, reserved and touched only where used, with gaps
//! between allocations and a record of what was never written.

mod arena;
mod bus;
mod chain;
mod copies;
mod regions;
mod space;
mod view;
mod written;

pub use bus::{Bus, GRANULE, Write};
pub use chain::{Chain, Footprint};
pub use regions::{Fault, FaultKind, Map, Region};
pub use space::{OutOfMemory, Space, device_of, own_addresses};
pub use view::View;
