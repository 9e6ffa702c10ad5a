//! Runs PTX on one card, without the driver.

use std::collections::HashMap;

use virtual_gpu::exec::counters::Counters;
use virtual_gpu::exec::kernel::Kernel;
use virtual_gpu::exec::{KernelFault, Launch, Limits, run};
use virtual_gpu::memory::{Space, View};
use virtual_gpu::ptx::Module;

pub const MEMORY: u64 = 1 << 30;

pub struct Card {
    pub space: Space,
    pub limits: Limits,
    pub seed: u64,
}

impl Card {
    pub fn new() -> Self {
        assert!(virtual_gpu::exec::lanes::machine_is_able());
        let limits = Limits { instructions: 1 << 32, multiprocessors: 128, workers: 2, races: true, strict: true, traffic: true };
        Self { space: Space::new(&[MEMORY]).unwrap(), limits, seed: 1 }
    }

    pub fn view(&self) -> View {
        View::new(self.space.map())
    }

    pub fn alloc(&mut self, bytes: usize) -> u64 {
        self.space.allocate(0, bytes as u64, MEMORY).unwrap()
    }

    pub fn upload<T: Copy>(&mut self, values: &[T]) -> u64 {
        let bytes = std::mem::size_of_val(values);
        let at = self.alloc(bytes);
        // SAFETY: plain numbers are bytes.
        let bytes = unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), bytes) };
        self.view().copy_in(at, bytes).unwrap();
        at
    }

    pub fn download<T: Copy + Default>(&self, at: u64, count: usize) -> Vec<T> {
        let mut values = vec![T::default(); count];
        let bytes = std::mem::size_of_val(&values[..]);
        // SAFETY: plain numbers are bytes, and any bytes are such a number.
        let bytes = unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast::<u8>(), bytes) };
        self.view().copy_out(at, bytes).unwrap();
        values
    }

    pub fn launch(&self, kernel: &Kernel, grid: u32, block: u32, params: &[u64]) -> Result<Counters, KernelFault> {
        let mut bytes = vec![0; kernel.param_bytes()];
        for ((offset, size), value) in kernel.params.iter().zip(params) {
            bytes[*offset..offset + size].copy_from_slice(&value.to_le_bytes()[..*size]);
        }
        let launch = Launch {
            grid: [grid, 1, 1],
            block: [block, 1, 1],
            dynamic_shared: 0,
            params: &bytes,
            seed: self.seed,
            limits: self.limits,
        };
        run(kernel, &launch, &self.view())
    }
}

pub fn kernel(text: &str, name: &str) -> Kernel {
    let module = Module::parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    virtual_gpu::decode::lower(&module, name, &HashMap::new()).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

pub const HEAD: &str = ".version 9.0\n.target sm_90\n.address_size 64\n";
