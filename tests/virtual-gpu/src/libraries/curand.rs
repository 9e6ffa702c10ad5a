//! cuRAND: numbers of the right distribution, not the library's own sequences.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use crate::calls::{device_now, export, put, stream_now};
use crate::driver::work::{Failure, Work};
use crate::driver::{Driver, codes, driver};

const NOT_INITIALIZED: i32 = 101;
const LAUNCH_FAILURE: i32 = 201;
const HANDLE_BASE: u64 = 0xca4d_0000;
const HANDLE_STEP: u64 = 16;

#[derive(Clone, Copy)]
struct Generator {
    stream: u64,
    state: u64,
}

static GENERATORS: LazyLock<Mutex<HashMap<u64, Generator>>> = LazyLock::new(Mutex::default);

fn change<T>(handle: u64, change: impl Fn(&mut Generator) -> T) -> Result<T, i32> {
    let mut all = GENERATORS.lock().unwrap_or_else(|e| e.into_inner());
    all.get_mut(&handle).map(change).ok_or(NOT_INITIALIZED)
}

fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// In 0 (not) to 1 (included).
fn uniform(state: &mut u64) -> f64 {
    ((next(state) >> 11) as f64 + 1.0) / (1u64 << 53) as f64
}

fn normal(state: &mut u64) -> f64 {
    (-2.0 * uniform(state).ln()).sqrt() * (std::f64::consts::TAU * uniform(state)).cos()
}

fn fill(
    handle: u64,
    to: u64,
    count: usize,
    bytes: usize,
    draw: impl Fn(&mut u64, &mut [u8]) + Send + Sync + 'static,
) -> Result<(), i32> {
    let generator = change(handle, |g| {
        let now = *g;
        next(&mut g.state);
        now
    })?;
    let (_, id) = stream_now(generator.stream).map_err(|_| LAUNCH_FAILURE)?;
    let run = move |driver: &Driver, _: usize| {
        let mut state = generator.state;
        let mut values = vec![0; count * bytes];
        values
            .chunks_mut(bytes)
            .for_each(|value| draw(&mut state, value));
        let written = driver.view().copy_in(to, &values);
        written.map_err(|f| {
            Failure::new(codes::ERROR_ILLEGAL_ADDRESS, format!("random numbers: {f}"))
        })?;
        Ok(count as u64)
    };
    driver()
        .enqueue(id, Work::Run(Arc::new(run)))
        .map_err(|_| LAUNCH_FAILURE)
}

export! {
    fn curandCreateGenerator(generator: *mut u64, _kind: i32) {
        device_now().map_err(|_| NOT_INITIALIZED)?;
        let mut all = GENERATORS.lock().unwrap_or_else(|e| e.into_inner());
        let id = HANDLE_BASE + all.len() as u64 * HANDLE_STEP;
        all.insert(id, Generator { stream: 0, state: 0 });
        put(generator, id)
    }
    fn curandDestroyGenerator(generator: u64) {
        change(generator, |_| ())
    }
    fn curandSetStream(generator: u64, stream: u64) {
        change(generator, |g| g.stream = stream)
    }
    fn curandSetPseudoRandomGeneratorSeed(generator: u64, seed: u64) {
        change(generator, |g| g.state = seed)
    }
    fn curandSetGeneratorOffset(generator: u64, offset: u64) {
        change(generator, |g| g.state = g.state.wrapping_add(offset))
    }
    fn curandGenerate(generator: u64, to: u64, count: usize) {
        fill(generator, to, count, 4, |s, out| out.copy_from_slice(&(next(s) as u32).to_le_bytes()))
    }
    fn curandGenerateUniform(generator: u64, to: u64, count: usize) {
        fill(generator, to, count, 4, |s, out| out.copy_from_slice(&(uniform(s) as f32).to_le_bytes()))
    }
    fn curandGenerateUniformDouble(generator: u64, to: u64, count: usize) {
        fill(generator, to, count, 8, |s, out| out.copy_from_slice(&uniform(s).to_le_bytes()))
    }
    fn curandGenerateNormal(generator: u64, to: u64, count: usize, mean: f32, deviation: f32) {
        fill(generator, to, count, 4, move |s, out| out.copy_from_slice(&(mean + deviation * normal(s) as f32).to_le_bytes()))
    }
    fn curandGenerateNormalDouble(generator: u64, to: u64, count: usize, mean: f64, deviation: f64) {
        fill(generator, to, count, 8, move |s, out| out.copy_from_slice(&(mean + deviation * normal(s)).to_le_bytes()))
    }
}
