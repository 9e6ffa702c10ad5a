//! What GPUs are, cost, and what their links deliver, as data: data sheets, measured limits, prices, all-reduce times.
//! Every figure carries its source; one that is not sure is left out, with the reason. All of it was
//! published by others: nothing here was measured by candlepower.

mod all_reduce;
mod card;
mod error;
mod gpu;
mod host_link;
mod interconnect;
mod known;
mod prices;
mod push_link;

pub use all_reduce::{AllReduce, AllReduceCurve, LINKS};
pub use card::{from_toml, read};
pub use error::HardwareError;
pub use gpu::{Capability, Gpu, Link};
pub use host_link::HostLink;
pub use interconnect::{AllReduceRow, AllReduceTable, Interconnect, Statement};
pub use known::{find, known, of_device};
pub use prices::{Price, Prices};
pub use push_link::PushLink;
