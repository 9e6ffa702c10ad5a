//! Where generic addresses point. Device memory keeps its own addresses; each other space has a window.

use super::registers::Slot;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Known only when the address is.
    Generic,
    Device,
    Shared,
    Local,
    Param,
}

/// No process has memory of its own at these addresses: a stray use on the host stops the program.
pub const SHARED: u64 = 0x2000_0000_0000_0000;
pub const LOCAL: u64 = 0x3000_0000_0000_0000;
pub const PARAM: u64 = 0x4000_0000_0000_0000;
const WINDOW: u64 = 1 << 32;

/// `[register + offset]`, or an address known beforehand.
#[derive(Clone, Copy, Debug)]
pub struct Address {
    pub place: Place,
    pub base: Option<(Slot, bool)>,
    pub offset: i64,
}

/// A generic address to a space and the address in it.
pub fn resolve(address: u64) -> (Place, u64) {
    match address {
        a if a.wrapping_sub(SHARED) < WINDOW => (Place::Shared, a - SHARED),
        a if a.wrapping_sub(LOCAL) < WINDOW => (Place::Local, a - LOCAL),
        a if a.wrapping_sub(PARAM) < WINDOW => (Place::Param, a - PARAM),
        a => (Place::Device, a),
    }
}

/// What `cvta` adds for a space.
pub fn window(place: Place) -> u64 {
    match place {
        Place::Shared => SHARED,
        Place::Local => LOCAL,
        Place::Param => PARAM,
        Place::Generic | Place::Device => 0,
    }
}
