//! A kernel as it is run: a flat list of instructions with register slots in place of names.

use super::access::Transfer;
use super::atomic::Atomic;
use super::barrier::BarrierForm;
use super::copy_async::CopyAsync;
use super::exchange::{Exchange, Vote};
use super::lanes::{Alu, Args};
use super::matrix::{LoadMatrix, Product};
use super::order::Order;
use super::registers::Slot;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    Always,
    If(Slot),
    Unless(Slot),
}

pub enum Action {
    Alu(Alu, Args),
    /// To an instruction's index.
    Branch(usize),
    Exit,
    Load(Box<Transfer>),
    Store(Box<Transfer>),
    Atomic(Box<Atomic>),
    Exchange(Box<Exchange>),
    Vote(Box<Vote>),
    /// `bar.warp.sync` with the register of its mask.
    WarpBarrier(Slot),
    Barrier(Box<BarrierForm>),
    LoadMatrix(Box<LoadMatrix>),
    Product(Box<Product>),
    CopyAsync(Box<CopyAsync>),
    CopyCommit,
    /// Waits until at most this many groups are open.
    CopyWait(usize),
    Fence(Order),
    /// `nanosleep`: whoever sleeps waits for others.
    Sleep,
    Nothing,
    /// Until the kernels in front are done.
    AwaitFront,
    /// A counter that grows, into a register (wide or not).
    Clock(Slot, bool),
    Trap,
    /// `__assertfail`, with the local address of its parameters: message, file, line.
    Assert(u64),
    /// `vprintf`: accepted, its text is not formatted.
    Print,
}

pub struct Instruction {
    pub action: Action,
    pub guard: Guard,
    pub line: u32,
}

/// Values that a thread is born with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Special {
    Thread(usize),
    Threads(usize),
    Block(usize),
    Blocks(usize),
    Lane,
    Warp,
    Warps,
    LanesEqual,
    LanesBelow,
    LanesUpTo,
    LanesAbove,
    LanesFrom,
    DynamicShared,
    TotalShared,
    Multiprocessor,
    Multiprocessors,
    Grid,
}

pub struct Kernel {
    pub name: String,
    pub code: Vec<Instruction>,
    pub rows: usize,
    pub predicates: usize,
    /// (slot, wide, bits): registers that hold a constant.
    pub constants: Vec<(Slot, bool, u64)>,
    pub specials: Vec<(Special, Slot)>,
    pub shared_bytes: usize,
    pub local_bytes: usize,
    /// Offset and size of each parameter.
    pub params: Vec<(usize, usize)>,
    pub max_threads: Option<u32>,
}

impl Kernel {
    pub fn param_bytes(&self) -> usize {
        self.params
            .last()
            .map_or(0, |(offset, bytes)| offset + bytes)
    }
}
