//! Linear layers of e4m3 weights with block scales: right against f64, and the same bits in every batch.

use crate::common::random::Random;
use candlepower::ops::cpu::gemm::{Gemm, linear_with};
use candlepower::ops::cpu::kernel_portable::Portable;
use candlepower::ops::cpu::packing::Activations;
use candlepower::ops::cpu::panel::{PanelElement, Source, pack, packed_len};
use candlepower::ops::cpu::scales::Scales;
use candlepower::ops::cpu::tile::MicroKernel;
use candlepower::ops::cpu::workers::Workers;
use float8::F8E4M3;

/// Calls `$body` with `$kernel` bound to each kernel that this host has.
macro_rules! each_kernel {
    ($kernel:ident => $body:expr) => {{
        let $kernel = Portable;
        $body;
        each_fused_kernel!($kernel, _name => $body);
    }};
}

const CASES: usize = 300;
const NAN: u8 = 0x7f;
/// Padding of activation and output rows, so that a stride mistaken for a width shows.
const X_PAD: usize = 3;
const OUT_PAD: usize = 5;

/// Any number: subnormal ones and the largest too.
fn e4m3(random: &mut Random) -> F8E4M3 {
    let bits = random.bits() as u8;
    F8E4M3::from_bits(if bits & NAN == NAN { bits - 1 } else { bits })
}

/// One layer: parts stacked along n, each with blocks of its own along n.
struct Case {
    rows: usize,
    n: usize,
    k: usize,
    plain: Vec<F8E4M3>,
    packed: Vec<F8E4M3>,
    x: Vec<f32>,
    bias: Option<Vec<f32>>,
    values: Vec<f32>,
    grid_columns: usize,
    block: [usize; 2],
    runs: Vec<(usize, usize)>,
    column_offset: usize,
}

impl Case {
    fn new(random: &mut Random, rows: usize, n: usize, k: usize, block: [usize; 2]) -> Self {
        let plain: Vec<F8E4M3> = (0..n * k).map(|_| e4m3(random)).collect();
        let mut packed = vec![<F8E4M3 as PanelElement>::ZERO; packed_len::<F8E4M3>(n, k)];
        let source = Source {
            values: &plain,
            stride: k,
            rows: n,
            k,
        };
        pack(source, 0, &mut packed);
        let column_offset = random.within(0..block[1]);
        let grid_columns = (column_offset + k).div_ceil(block[1]);
        let (mut runs, mut first) = (Vec::new(), 0);
        while first < n {
            runs.push((first, runs.len()));
            // A part ends where it likes; the next one begins anywhere in a block.
            first += match random.within(0..3) {
                0 => 1 + random.within(0..block[0]),
                _ => block[0],
            };
        }
        let values = random.units(runs.len() * grid_columns);
        let bias = (random.within(0..2) == 0).then(|| random.units(n));
        Self {
            rows,
            n,
            k,
            plain,
            packed,
            x: random.units(rows * (k + X_PAD)),
            bias,
            values,
            grid_columns,
            block,
            runs,
            column_offset,
        }
    }

    fn job(&self) -> Gemm<'_, F8E4M3> {
        Gemm {
            x: &self.x,
            ldx: self.k + X_PAD,
            rows: self.rows,
            activations: Activations::F32,
            w: &self.packed,
            n: self.n,
            k: self.k,
            scales: Some(Scales {
                values: &self.values,
                grid_columns: self.grid_columns,
                block: self.block,
                runs: &self.runs,
                column_offset: self.column_offset,
                first_row: 0,
            }),
            bias: self.bias.as_deref(),
            ldo: self.n + OUT_PAD,
        }
    }

    fn out(&self) -> Vec<f32> {
        vec![f32::NAN; self.rows * (self.n + OUT_PAD)]
    }

    fn scale(&self, row: usize, column: usize) -> f64 {
        let run = self.runs.iter().rfind(|(first, _)| *first <= row).unwrap();
        let block = (self.column_offset + column) / self.block[1];
        f64::from(self.values[run.1 * self.grid_columns + block])
    }

    /// Each element within a few f32 roundings of the sum of its terms' sizes.
    fn check(&self, out: &[f32]) {
        for row in 0..self.rows {
            let x = &self.x[row * (self.k + X_PAD)..];
            for column in 0..self.n {
                let bias = self.bias.as_ref().map_or(0.0, |b| f64::from(b[column]));
                let (mut want, mut size) = (bias, bias.abs());
                let weights = &self.plain[column * self.k..][..self.k];
                for (i, (x, weight)) in x.iter().zip(weights).enumerate() {
                    let term = f64::from(*x) * weight.to_f64() * self.scale(column, i);
                    want += term;
                    size += term.abs();
                }
                let got = f64::from(out[row * (self.n + OUT_PAD) + column]);
                assert!(
                    (got - want).abs() <= 1e-6 * size,
                    "{} x {} x {}, blocks of {:?} from {}, at {row}, {column}: {got}, not {want}",
                    self.rows,
                    self.n,
                    self.k,
                    self.block,
                    self.column_offset
                );
            }
            let end = (row + 1) * (self.n + OUT_PAD);
            assert!(out[end - OUT_PAD..end].iter().all(|x| x.is_nan()));
        }
    }
}

fn random_cases(mut check: impl FnMut(&mut Random, &Case)) {
    let mut random = Random(5);
    for _ in 0..CASES {
        let block = match random.within(0..4) {
            0 => [128, 128],
            _ => [1 + random.within(0..40), 1 + random.within(0..70)],
        };
        let rows = 1 + random.within(0..20);
        let (n, k) = (1 + random.within(0..100), 1 + random.within(0..400));
        let case = Case::new(&mut random, rows, n, k, block);
        check(&mut random, &case);
    }
}

#[test]
fn kernels_agree_with_f64() {
    random_cases(|_, case| {
        each_kernel!(kernel => {
            let mut out = case.out();
            linear_with(kernel, &case.job(), &mut out);
            case.check(&out);
        });
    });
}

/// Products of one number each: what comes out is the widened number.
#[test]
fn every_number_widens_exactly() {
    let finite = (0..=u8::MAX).filter(|bits| bits & NAN != NAN);
    let numbers: Vec<F8E4M3> = finite.map(F8E4M3::from_bits).collect();
    for scale in [1.0, 0.5] {
        for rows in 1..14 {
            let mut case = Case::new(&mut Random(1), rows, numbers.len(), 1, [1 << 10, 1]);
            case.plain.clone_from(&numbers);
            let source = Source {
                values: &case.plain,
                stride: 1,
                rows: case.n,
                k: 1,
            };
            pack(source, 0, &mut case.packed);
            case.values.fill(scale);
            case.x.fill(1.0);
            case.bias = None;
            each_kernel!(kernel => {
                let mut out = case.out();
                linear_with(kernel, &case.job(), &mut out);
                for row in out.chunks(case.n + OUT_PAD) {
                    for (out, number) in row.iter().zip(&numbers) {
                        assert_eq!(*out, number.to_f32() * scale);
                    }
                }
            });
        }
    }
}

/// Each row alone and among the others, by one thread and by several.
fn same_bits<M: MicroKernel>(kernel: M, case: &Case) -> Vec<f32> {
    let run = |job: &Gemm<'_, F8E4M3>, out: &mut [f32]| linear_with(kernel, job, out);
    let mut alone = case.out();
    let ldo = case.n + OUT_PAD;
    for row in 0..case.rows {
        let job = Gemm {
            x: &case.x[row * (case.k + X_PAD)..],
            rows: 1,
            ..case.job()
        };
        run(&job, &mut alone[row * ldo..]);
    }
    let bits = |out: &[f32]| out.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    for threads in [1, 3] {
        for rows in 1..=case.rows {
            let job = Gemm { rows, ..case.job() };
            let mut out = case.out();
            let mut workers = Workers::new(threads, true).unwrap();
            workers.install(|| run(&job, &mut out));
            let end = (rows - 1) * ldo + case.n;
            assert_eq!(bits(&out[..end]), bits(&alone[..end]), "{rows} rows");
        }
    }
    alone
}

#[test]
fn a_row_is_the_same_bits_in_every_batch_and_kernel() {
    let mut random = Random(11);
    for block in [[128, 128], [48, 700], [5, 9]] {
        let case = Case::new(&mut random, 31, 131, 1100, block);
        same_bits(Portable, &case);
        let mut all = Vec::new();
        each_fused_kernel!(kernel, _name => all.push(same_bits(kernel, &case)));
        for other in &all {
            let bits = |out: &[f32]| out.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(other), bits(&all[0]));
        }
    }
}
