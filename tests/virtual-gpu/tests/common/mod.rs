//! Runs PTX on one card, without the driver.
#![allow(dead_code)]

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
        let limits = Limits {
            instructions: 1 << 32,
            multiprocessors: 128,
            workers: 2,
            resident: 1 << 10,
            races: true,
            strict: true,
            traffic: true,
        };
        Self {
            space: Space::new(&[MEMORY]).unwrap(),
            limits,
            seed: 1,
        }
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
        let bytes =
            unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast::<u8>(), bytes) };
        self.view().copy_out(at, bytes).unwrap();
        values
    }

    pub fn launch(
        &self,
        kernel: &Kernel,
        grid: u32,
        block: u32,
        params: &[u64],
    ) -> Result<Counters, KernelFault> {
        self.launch_grid(kernel, [grid, 1, 1], block, params)
    }

    pub fn launch_grid(
        &self,
        kernel: &Kernel,
        grid: [u32; 3],
        block: u32,
        params: &[u64],
    ) -> Result<Counters, KernelFault> {
        let mut bytes = vec![0; kernel.param_bytes()];
        for ((offset, size), value) in kernel.params.iter().zip(params) {
            bytes[*offset..offset + size].copy_from_slice(&value.to_le_bytes()[..*size]);
        }
        let launch = Launch {
            grid,
            block: [block, 1, 1],
            dynamic_shared: 0,
            params: &bytes,
            seed: self.seed,
            limits: self.limits,
            remote: None,
        };
        let mut view = self.view();
        view.strict = self.limits.strict;
        run(kernel, &launch, &view)
    }
}

pub fn kernel(text: &str, name: &str) -> Kernel {
    let module = Module::parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    virtual_gpu::decode::lower(&module, name, &HashMap::new())
        .unwrap_or_else(|e| panic!("{e}\n{text}"))
}

pub const HEAD: &str = ".version 9.0\n.target sm_90\n.address_size 64\n";

/// Runs one instruction on every row of `inputs` (columns of bits) and gives back the results' bits.
/// `text` has `%d` for the result and `%a`, `%b`, `%c` for sources, e.g. `add.u32 %d, %a, %b;`.
pub fn evaluate(text: &str, result: &str, sources: &[&str], inputs: &[Vec<u64>]) -> Vec<u64> {
    let count = inputs[0].len();
    let mut body = String::new();
    let mut declare = String::new();
    for (at, ty) in sources.iter().enumerate() {
        let name = ["%a", "%b", "%c", "%e"][at];
        declare += &format!(".reg .{} {name}; ", register(ty));
        body += &format!("ld.global.{} {name}, [%rd3+{}]; ", plain(ty), 8 * at);
    }
    let text = format!(
        "{HEAD}.visible .entry k(.param .u64 from, .param .u64 to, .param .u32 n) {{
            .reg .pred %out; .reg .pred %p; .reg .pred %q; .reg .b32 %r<8>; .reg .b64 %rd<8>; .reg .{} %d; {declare}
            ld.param.u64 %rd1, [from]; ld.param.u64 %rd2, [to]; ld.param.u32 %r1, [n];
            mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mov.u32 %r4, %tid.x; mad.lo.u32 %r5, %r2, %r3, %r4;
            setp.ge.u32 %out, %r5, %r1; @%out ret;
            mad.wide.u32 %rd3, %r5, 32, %rd1; mad.wide.u32 %rd4, %r5, 8, %rd2;
            {body}
            {text}
            st.global.{} [%rd4], %d; ret; }}",
        register(result),
        plain(result),
    );
    let mut card = Card::new();
    let mut rows = vec![0u64; 4 * count];
    for (at, column) in inputs.iter().enumerate() {
        for (row, value) in column.iter().enumerate() {
            rows[4 * row + at] = *value;
        }
    }
    let from = card.upload(&rows);
    let to = card.upload(&vec![0u64; count]);
    let kernel = kernel(&text, "k");
    let threads = 96;
    card.launch(
        &kernel,
        (count as u32).div_ceil(threads),
        threads,
        &[from, to, count as u64],
    )
    .unwrap_or_else(|e| panic!("{e}\n{text}"));
    card.download(to, count)
}

fn bytes(ty: &str) -> usize {
    ty.trim_start_matches(|c: char| c.is_ascii_alphabetic())
        .parse::<usize>()
        .unwrap()
        / 8
}

fn register(ty: &str) -> String {
    format!("b{}", (8 * bytes(ty)).max(16))
}

fn plain(ty: &str) -> String {
    format!("b{}", 8 * bytes(ty))
}

/// Edge values of a width, and some without a pattern.
pub fn edges(bits: u32) -> Vec<u64> {
    let mask = if bits == 64 {
        u64::MAX
    } else {
        (1 << bits) - 1
    };
    let top = 1u64 << (bits - 1);
    let mut found = vec![
        0,
        1,
        2,
        3,
        7,
        mask,
        mask - 1,
        top,
        top - 1,
        top + 1,
        0x55,
        mask / 3,
        31,
        32,
        33,
        63,
        64,
        65,
    ];
    let mut state = 0x1234_5678_9abc_def1u64;
    for _ in 0..8 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        found.push(state);
    }
    found.into_iter().map(|v| v & mask).collect()
}

pub fn f32_edges() -> Vec<u64> {
    let mut found: Vec<f32> = vec![
        0.0,
        -0.0,
        1.0,
        -1.0,
        1.5,
        -2.5,
        0.1,
        3.0,
        1e-3,
        12345.678,
        -7.25,
        1e30,
        -1e-30,
        f32::MAX,
        f32::MIN,
        f32::MIN_POSITIVE,
        f32::from_bits(1),
        f32::from_bits(0x807f_ffff),
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        0.5,
        2.5,
        4294967296.0,
        255.5,
        65520.0,
        1e-8,
    ];
    found.push(16777217.0);
    found.into_iter().map(|v| v.to_bits().into()).collect()
}

pub fn f64_edges() -> Vec<u64> {
    let found: Vec<f64> = vec![
        0.0,
        -0.0,
        1.0,
        -1.0,
        1.5,
        -2.5,
        0.1,
        3.0,
        1e-3,
        12345.678,
        1e300,
        -1e-300,
        f64::MAX,
        f64::MIN_POSITIVE,
        f64::from_bits(1),
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
        0.5,
        2.5,
        1e19,
        -1e19,
        3e9,
        1e-40,
        1.0 + 1e-12,
    ];
    found.into_iter().map(f64::to_bits).collect()
}

/// Every combination of the columns' values.
pub fn product(columns: &[Vec<u64>]) -> Vec<Vec<u64>> {
    let total: usize = columns.iter().map(Vec::len).product();
    let mut step = 1;
    let mut out = Vec::new();
    for column in columns {
        out.push(
            (0..total)
                .map(|row| column[row / step % column.len()])
                .collect(),
        );
        step *= column.len();
    }
    out
}

/// Compares every row; `expect` gets a row's sources and says what the result must be.
pub fn check(
    text: &str,
    result: &str,
    sources: &[&str],
    columns: &[Vec<u64>],
    expect: impl Fn(&[u64]) -> u64,
) {
    let inputs = product(columns);
    let found = evaluate(text, result, sources, &inputs);
    let float = |bits: u64| match result {
        "f32" => f64::from(f32::from_bits(bits as u32)),
        "f64" => f64::from_bits(bits),
        _ => 0.0,
    };
    let mask = if bytes(result) == 8 {
        u64::MAX
    } else {
        (1 << (8 * bytes(result))) - 1
    };
    for (row, got) in found.iter().enumerate() {
        let values: Vec<u64> = inputs.iter().map(|c| c[row]).collect();
        let want = expect(&values) & mask;
        let got = got & mask;
        let same = got == want || float(got).is_nan() && float(want).is_nan();
        assert!(
            same,
            "{text} of {values:x?}: {got:#x} ({}), not {want:#x} ({})",
            float(got),
            float(want)
        );
    }
}

pub fn s32(v: u64) -> i32 {
    v as u32 as i32
}
pub fn f32_of(v: u64) -> f32 {
    f32::from_bits(v as u32)
}
pub fn of_f32(v: f32) -> u64 {
    v.to_bits().into()
}

/// The exact sum as a float and what is left over, which has the sign of the difference.
pub fn exact_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let part = sum - a;
    (sum, (a - (sum - part)) + (b - part))
}
