//! Modules, functions, launches; and memory as launches find it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use super::config::Trouble;
use super::pools;
use super::world::{Allocation, Count, World};
use super::{Driver, codes, log};
use crate::exec::kernel::Kernel;
use crate::memory::View;
use crate::ptx::{Module, PtxError, Space};

/// What a block may have of shared memory without asking.
pub const SHARED_UNASKED: u32 = 48 << 10;
pub const MAX_THREADS: u32 = 1024;
const MAX_Z: u32 = 64;
const MAX_GRID_YZ: u32 = 65535;
const MAX_GRID_X: u32 = i32::MAX as u32;

pub struct Loaded {
    pub device: usize,
    pub module: Module,
    pub addresses: HashMap<String, u64>,
    /// Start and size of its variables in device memory.
    pub variables: HashMap<String, (u64, u64)>,
    kernels: Mutex<HashMap<String, u64>>,
}

pub struct Function {
    pub device: usize,
    pub kernel: Kernel,
    /// Dynamic shared memory that was asked for; zero for no wish.
    pub dynamic_limit: AtomicU32,
}

/// Takes memory from a card or one of its pools. `None` if there is not enough.
pub fn allocate(
    world: &mut World,
    driver: &Driver,
    device: usize,
    bytes: u64,
    pool: Option<u64>,
) -> Option<u64> {
    world.cards[device].allocated += 1;
    if world.due(driver, device, Count::Allocation) == Some(Trouble::OutOfMemory) {
        return None;
    }
    let free = world.free_memory(device, driver);
    match pool {
        Some(pool) => {
            if !world.pools.get_mut(&pool)?.take(bytes, free) {
                return None;
            }
        }
        None if pools::rounded(bytes) > free => return None,
        None => world.cards[device].direct += pools::rounded(bytes),
    }
    let total = world.space.total(device);
    let address = world.space.allocate(device, bytes, total).ok()?;
    if let Some(pool) = pool.and_then(|p| world.pools.get(&p)) {
        world.space.share(address, pool.readers);
    }
    world.allocations.insert(
        address,
        Allocation {
            bytes,
            device,
            pool,
        },
    );
    Some(address)
}

/// Gives an allocation back at once. False if there is none at this address.
pub fn release(world: &mut World, address: u64) -> bool {
    let Some(allocation) = world.allocations.remove(&address) else {
        return false;
    };
    world.space.free(address);
    match allocation.pool {
        None => world.cards[allocation.device].direct -= pools::rounded(allocation.bytes),
        Some(pool) => {
            if let Some(pool) = world.pools.get_mut(&pool) {
                pool.give(allocation.bytes);
            }
        }
    }
    true
}

/// The number in `sm_89`.
fn architecture(target: &str) -> u32 {
    let digits = target
        .trim_start_matches("sm_")
        .trim_end_matches(|c: char| c.is_ascii_alphabetic());
    digits.parse().unwrap_or(0)
}

pub fn load(driver: &Driver, device: usize, text: &str) -> Result<Arc<Loaded>, i32> {
    let refuse = |e: &PtxError| {
        log(&e.to_string());
        codes::ERROR_INVALID_PTX
    };
    let module = Module::parse(text).map_err(|e| refuse(&e))?;
    let compute = driver.config.device[device].compute;
    if architecture(&module.target) > compute {
        log(&format!(
            "PTX for {} does not run on a device of compute capability {compute}",
            module.target
        ));
        return Err(codes::ERROR_NO_BINARY_FOR_GPU);
    }
    let mut addresses = HashMap::new();
    let mut variables = HashMap::new();
    let mut world = driver.world();
    let placed =
        |v: &&crate::ptx::Variable| matches!(v.space, Space::Global | Space::Const) && !v.outside;
    for variable in module.variables.iter().filter(placed) {
        let bytes = variable.bytes as u64;
        let address =
            allocate(&mut world, driver, device, bytes, None).ok_or(codes::ERROR_OUT_OF_MEMORY)?;
        addresses.insert(variable.name.clone(), address);
        variables.insert(variable.name.clone(), (address, bytes));
    }
    let mut view = View::new(world.space.map());
    for variable in module.variables.iter().filter(placed) {
        let mut bytes = variable.initial.clone();
        bytes.resize(variable.bytes, 0);
        for (offset, symbol) in &variable.addresses {
            let at = addresses.get(symbol).copied().unwrap_or(0);
            bytes[*offset..offset + size_of::<u64>()].copy_from_slice(&at.to_le_bytes());
        }
        if view.copy_in(addresses[&variable.name], &bytes).is_err() {
            return Err(codes::ERROR_UNKNOWN);
        }
    }
    Ok(Arc::new(Loaded {
        device,
        module,
        addresses,
        variables,
        kernels: Mutex::default(),
    }))
}

impl Loaded {
    /// Was this kernel asked for before?
    pub fn knows(&self, name: &str) -> bool {
        self.kernels
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .contains_key(name)
    }
}

/// The handle of a module's kernel, decoded at its first use.
pub fn function(driver: &Driver, loaded: &Loaded, name: &str) -> Result<u64, i32> {
    let mut known = loaded.kernels.lock().unwrap_or_else(|e| e.into_inner());
    if let Some(handle) = known.get(name) {
        return Ok(*handle);
    }
    if !loaded.module.functions.get(name).is_some_and(|f| f.entry) {
        return Err(codes::ERROR_NOT_FOUND);
    }
    let kernel = crate::decode::lower(&loaded.module, name, &loaded.addresses).map_err(|e| {
        log(&format!("kernel {name}: {e}"));
        codes::ERROR_INVALID_PTX
    })?;
    let function = Function {
        device: loaded.device,
        kernel,
        dynamic_limit: AtomicU32::new(0),
    };
    let mut world = driver.world();
    let handle = world.handle();
    world.functions.insert(handle, Arc::new(function));
    known.insert(name.to_owned(), handle);
    Ok(handle)
}

impl Function {
    pub fn max_threads(&self) -> u32 {
        self.kernel
            .max_threads
            .unwrap_or(MAX_THREADS)
            .min(MAX_THREADS)
    }

    /// Dynamic shared memory that a launch may ask for.
    pub fn dynamic_allowed(&self) -> u32 {
        let unasked = SHARED_UNASKED.saturating_sub(self.kernel.shared_bytes as u32);
        let asked = self.dynamic_limit.load(Ordering::Relaxed);
        if asked > 0 { asked } else { unasked }
    }
}

/// Refuses a launch that a real card refuses.
pub fn check(
    driver: &Driver,
    function: &Function,
    grid: [u32; 3],
    block: [u32; 3],
    shared: u32,
) -> Result<(), i32> {
    let config = &driver.config.device[function.device];
    let name = &function.kernel.name;
    let threads = block
        .iter()
        .try_fold(1u32, |n, d| n.checked_mul(*d))
        .unwrap_or(u32::MAX);
    let refuse = |code, why: String| {
        log(&format!("launch of {name} refused: {why}"));
        Err(code)
    };
    if grid.contains(&0) || block.contains(&0) {
        return refuse(
            codes::ERROR_INVALID_VALUE,
            format!("grid {grid:?}, block {block:?}: a size is zero"),
        );
    }
    if grid[0] > MAX_GRID_X || grid[1] > MAX_GRID_YZ || grid[2] > MAX_GRID_YZ {
        return refuse(
            codes::ERROR_INVALID_VALUE,
            format!("a grid of {grid:?}: at most {MAX_GRID_X}, {MAX_GRID_YZ}, {MAX_GRID_YZ}"),
        );
    }
    if threads > MAX_THREADS || block[2] > MAX_Z {
        return refuse(
            codes::ERROR_INVALID_VALUE,
            format!("a block of {block:?}: at most {MAX_THREADS} threads, {MAX_Z} in z"),
        );
    }
    if threads > function.max_threads() {
        return refuse(
            codes::ERROR_INVALID_VALUE,
            format!(
                "{threads} threads: the kernel is compiled for {}",
                function.max_threads()
            ),
        );
    }
    let total = shared + function.kernel.shared_bytes as u32;
    let most = config.shared_kib_per_block << 10;
    if shared > function.dynamic_allowed() || total > most {
        return refuse(
            codes::ERROR_INVALID_VALUE,
            format!(
                "{shared} bytes of dynamic and {} of static shared memory: {} dynamic are set, {most} exist",
                function.kernel.shared_bytes,
                function.dynamic_allowed()
            ),
        );
    }
    Ok(())
}
