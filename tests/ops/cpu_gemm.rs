//! The CPU's linear layer: right against f64, and the same bits in every batch.

use crate::common::random::Random;
use candlepower::ops::cpu::gemm::{Gemm, linear, linear_with};
use candlepower::ops::cpu::kernel_portable::Portable;
use candlepower::ops::cpu::packing::Activations;
use candlepower::ops::cpu::panel::{Element, PanelElement, Source, pack, packed_len, unpack_row};
use candlepower::ops::cpu::tile::MicroKernel;
use candlepower::ops::cpu::workers::Workers;
use candlepower::ops::row;
use half::{bf16, f16};

/// One linear layer, its weight in both layouts.
struct Case<W> {
    n: usize,
    k: usize,
    rows: usize,
    activations: Activations,
    plain: Vec<W>,
    packed: Vec<W>,
    x: Vec<f32>,
    bias: Option<Vec<f32>>,
}

/// Padding of activation and output rows, so that a stride mistaken for a width shows.
const X_PAD: usize = 3;
const OUT_PAD: usize = 5;

impl<W: PanelElement> Case<W> {
    fn new(random: &mut Random, (rows, n, k): (usize, usize, usize), of: fn(f32) -> W) -> Self {
        let plain = random.vec(n * k, of);
        let mut packed = vec![W::ZERO; packed_len::<W>(n, k)];
        pack(
            Source {
                values: &plain,
                stride: k,
                rows: n,
                k,
            },
            0,
            &mut packed,
        );
        let x = random.vec(rows * (k + X_PAD), |x| x);
        let bias = (random.unit() > 0.0).then(|| random.vec(n, |x| x));
        Self {
            n,
            k,
            rows,
            activations: Activations::F32,
            plain,
            packed,
            x,
            bias,
        }
    }

    fn job(&self) -> Gemm<'_, W> {
        Gemm {
            x: &self.x,
            ldx: self.k + X_PAD,
            rows: self.rows,
            activations: self.activations,
            w: &self.packed,
            n: self.n,
            k: self.k,
            scales: None,
            bias: self.bias.as_deref(),
            ldo: self.n + OUT_PAD,
        }
    }

    fn in_bf16(self) -> Self {
        let activations = Activations::Bf16;
        Self {
            activations,
            ..self
        }
    }

    /// A row of activations as the weights meet it.
    fn met(&self, row: usize) -> impl Iterator<Item = f32> {
        let row = &self.x[row * (self.k + X_PAD)..][..self.k];
        let rounds = self.activations == Activations::Bf16 && W::ELEMENT == Element::Bf16;
        row.iter().map(move |&x| match rounds {
            true => bf16::from_f32(x).to_f32(),
            false => x,
        })
    }

    fn out(&self) -> Vec<f32> {
        vec![f32::NAN; self.rows * (self.n + OUT_PAD)]
    }

    fn check(&self, out: &[f32], what: &str) {
        for row in 0..self.rows {
            let x: Vec<f32> = self.met(row).collect();
            for column in 0..self.n {
                let w = &self.plain[column * self.k..][..self.k];
                let products = x
                    .iter()
                    .zip(w)
                    .map(|(x, w)| f64::from(*x) * f64::from(w.to_f32()));
                let bias = self
                    .bias
                    .as_ref()
                    .map_or(0.0, |bias| f64::from(bias[column]));
                let want = products.sum::<f64>() + bias;
                let got = f64::from(out[row * (self.n + OUT_PAD) + column]);
                let tolerance = 1e-6 * (1.0 + self.k as f64);
                assert!(
                    (got - want).abs() <= tolerance,
                    "{what} {}x{}x{} at {row},{column}: {got} not {want}",
                    self.rows,
                    self.n,
                    self.k
                );
            }
            let end = (row + 1) * (self.n + OUT_PAD);
            assert!(
                out[end - OUT_PAD..end].iter().all(|x| x.is_nan()),
                "{what} wrote past its row"
            );
        }
    }
}

const SHAPES: [(usize, usize, usize); 18] = [
    (1, 1, 1),
    (1, 16, 8),
    (1, 130, 37),
    (2, 33, 17),
    (3, 64, 896),
    (4, 15, 9),
    (5, 48, 64),
    (6, 100, 31),
    (7, 17, 513),
    (8, 96, 1030),
    (9, 47, 33),
    (10, 64, 50),
    (11, 20, 129),
    (12, 88, 300),
    (13, 80, 65),
    (121, 40, 600),
    (245, 49, 70),
    (3, 20, 0),
];

fn against_f64<W: PanelElement>(of: fn(f32) -> W) {
    let mut random = Random(7);
    for shape in SHAPES {
        let case = Case::new(&mut random, shape, of).in_bf16();
        let mut out = case.out();
        linear(&case.job(), &mut out);
        case.check(&out, "best kernel of bf16");
        let mut out = case.out();
        linear_with(Portable, &case.job(), &mut out);
        case.check(&out, "portable, bf16");
        each_bf16_kernel!(kernel, name => {
            let mut out = case.out();
            linear_with(kernel, &case.job(), &mut out);
            case.check(&out, name);
        });
        let case = Case::new(&mut random, shape, of);
        let mut out = case.out();
        linear(&case.job(), &mut out);
        case.check(&out, "best kernel");
        let mut out = case.out();
        linear_with(Portable, &case.job(), &mut out);
        case.check(&out, "portable");
        each_fused_kernel!(kernel, name => {
            let mut out = case.out();
            linear_with(kernel, &case.job(), &mut out);
            case.check(&out, name);
        });
    }
}

#[test]
fn kernels_agree_with_f64() {
    against_f64(bf16::from_f32);
    against_f64(f16::from_f32);
    against_f64(|x| x);
}

/// Each row alone, and in batches of every size up to `rows`, under one and several threads.
fn same_bits<M: MicroKernel, W: PanelElement>(
    kernel: M,
    activations: Activations,
    of: fn(f32) -> W,
) {
    // More than a block of rows, and an odd k.
    let (rows, n, k) = (260, 131, 1101);
    let case = Case {
        activations,
        ..Case::new(&mut Random(11), (rows, n, k), of)
    };
    let ldo = n + OUT_PAD;
    let mut alone = case.out();
    for row in 0..rows {
        let job = Gemm {
            x: &case.x[row * (k + X_PAD)..],
            rows: 1,
            ..case.job()
        };
        linear_with(kernel, &job, &mut alone[row * ldo..]);
    }
    for threads in [1, 3] {
        let mut workers = Workers::new(threads, false).unwrap();
        for batch in (1..=20).chain([64, 120, 121, 241, rows]) {
            let mut out = case.out();
            workers.install(|| {
                linear_with(
                    kernel,
                    &Gemm {
                        rows: batch,
                        ..case.job()
                    },
                    &mut out,
                )
            });
            for row in 0..batch {
                let bits = |v: &[f32]| v[row * ldo..][..n].iter().map(|x| x.to_bits()).collect();
                let (got, want): (Vec<u32>, Vec<u32>) = (bits(&out), bits(&alone));
                assert_eq!(got, want, "row {row} of {batch} on {threads} threads");
            }
        }
    }
}

#[test]
fn a_row_has_the_same_bits_in_every_batch() {
    same_bits(Portable, Activations::F32, bf16::from_f32);
    same_bits(Portable, Activations::Bf16, bf16::from_f32);
    same_bits(Portable, Activations::F32, |x| x);
}

#[test]
fn a_row_has_the_same_bits_in_every_batch_with_fused_kernels() {
    each_fused_kernel!(kernel, _name => {
        same_bits(kernel, Activations::F32, bf16::from_f32);
        same_bits(kernel, Activations::F32, f16::from_f32);
        same_bits(kernel, Activations::F32, |x| x);
    });
    each_bf16_kernel!(kernel, _name => same_bits(kernel, Activations::Bf16, bf16::from_f32));
}

/// The chain of fused multiply-adds that every element must be, then its bias: in order of k, but of bf16 weights each
/// pair from behind.
fn chain<W: PanelElement>(case: &Case<W>, row: usize, column: usize) -> f32 {
    let x: Vec<f32> = case.met(row).collect();
    let w = &case.plain[column * case.k..][..case.k];
    let together = if W::ELEMENT == Element::Bf16 { 2 } else { 1 };
    let pairs = x.chunks(together).zip(w.chunks(together));
    let steps = pairs.flat_map(|(x, w)| x.iter().zip(w).rev());
    let sum = steps.fold(0.0_f32, |sum, (x, w)| x.mul_add(w.to_f32(), sum));
    case.bias.as_ref().map_or(sum, |bias| sum + bias[column])
}

fn is_the_chain<M: MicroKernel, W: PanelElement>(kernel: M, name: &str, case: &Case<W>) {
    let mut out = case.out();
    linear_with(kernel, &case.job(), &mut out);
    for row in 0..case.rows {
        for column in 0..case.n {
            let got = out[row * (case.n + OUT_PAD) + column];
            let want = chain(case, row, column);
            assert_eq!(
                got.to_bits(),
                want.to_bits(),
                "{name} {}x{}x{} at {row},{column}: {got} not {want}",
                case.rows,
                case.n,
                case.k
            );
        }
    }
}

/// So every fused kernel gives the bits of every other.
fn one_chain<W: PanelElement>(of: fn(f32) -> W) {
    let mut random = Random(13);
    let odd_shapes = (1..=14).chain([25, 31]).map(|rows| (rows, 167, 29));
    for shape in SHAPES.into_iter().chain(odd_shapes) {
        let case = Case::new(&mut random, shape, of);
        each_fused_kernel!(kernel, name => is_the_chain(kernel, name, &case));
        let case = case.in_bf16();
        each_bf16_kernel!(kernel, name => is_the_chain(kernel, name, &case));
    }
}

#[test]
fn an_element_is_one_chain_of_fused_multiply_adds() {
    one_chain(bf16::from_f32);
    one_chain(f16::from_f32);
    one_chain(|x| x);
}

#[test]
fn no_rows_and_no_columns_are_nothing_to_do() {
    let case = Case::new(&mut Random(3), (4, 20, 8), |x| x);
    linear(
        &Gemm {
            rows: 0,
            ..case.job()
        },
        &mut [],
    );
    linear(
        &Gemm {
            n: 0,
            w: &[],
            bias: None,
            ..case.job()
        },
        &mut [],
    );
}

#[test]
fn a_padded_panel_column_is_zero_and_unpacking_undoes_packing() {
    let (n, k) = (37, 300);
    let plain = Random(5).vec(n * k, bf16::from_f32);
    let mut packed = vec![bf16::ZERO; packed_len::<bf16>(n, k)];
    pack(
        Source {
            values: &plain,
            stride: k,
            rows: n,
            k,
        },
        0,
        &mut packed,
    );
    let mut row = vec![f32::NAN; k];
    for i in 0..n {
        unpack_row(&packed, i, &mut row);
        let want: Vec<f32> = plain[i * k..][..k].iter().map(|x| x.to_f32()).collect();
        assert_eq!(row, want);
    }
    for i in n..n.next_multiple_of(16) {
        unpack_row(&packed, i, &mut row);
        assert!(row.iter().all(|&x| x == 0.0));
    }
}

#[test]
fn stacked_parts_and_slices_pack_as_one_matrix() {
    let (n, k, wide) = (61, 40, 100);
    let whole = Random(6).vec(n * wide, f16::from_f32);
    let columns = 23..23 + k;
    let narrow: Vec<f16> = whole
        .chunks(wide)
        .flat_map(|row| &row[columns.clone()])
        .copied()
        .collect();
    let mut want = vec![f16::ZERO; packed_len::<f16>(n, k)];
    pack(
        Source {
            values: &narrow,
            stride: k,
            rows: n,
            k,
        },
        0,
        &mut want,
    );

    let mut got = vec![f16::ZERO; packed_len::<f16>(n, k)];
    // Out of order, and with part boundaries inside panels and a part within one.
    for part in [39..61, 0..18, 18..21, 21..39] {
        let values = &whole[part.start * wide + columns.start..];
        pack(
            Source {
                values,
                stride: wide,
                rows: part.len(),
                k,
            },
            part.start,
            &mut got,
        );
    }
    assert!(
        got.iter()
            .zip(&want)
            .all(|(a, b)| a.to_bits() == b.to_bits())
    );
}

#[test]
fn argmax_takes_the_first_of_equals_and_reports_nan() {
    assert_eq!(row::argmax(&[1.0, 3.0, 3.0, 2.0]), (1, 3.0));
    assert_eq!(
        row::argmax(&[f32::NEG_INFINITY; 20]),
        (0, f32::NEG_INFINITY)
    );
    let mut long = vec![-5.0; 1003];
    long[1001] = -1.0;
    assert_eq!(row::argmax(&long), (1001, -1.0));
    long[17] = -1.0;
    long[33] = -1.0;
    assert_eq!(row::argmax(&long), (17, -1.0));
    for at in [40, 1002] {
        let mut row = long.clone();
        row[at] = f32::NAN;
        let (index, value) = row::argmax(&row);
        assert_eq!(index as usize, at);
        assert!(value.is_nan());
    }
    assert!(row::argmax(&[]).1.is_nan());
}

#[test]
fn rms_norm_agrees_with_f64() {
    let mut random = Random(8);
    for width in [1, 15, 16, 64, 897] {
        let (x, weight) = (random.vec(width, |x| x), random.vec(width, |x| x));
        let mut out = vec![0.0; width];
        row::rms_norm(&x, &weight, 1e-5, &mut out);
        let mean = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / width as f64;
        for i in 0..width {
            let want = f64::from(x[i]) / (mean + 1e-5).sqrt() * f64::from(weight[i]);
            assert!((f64::from(out[i]) - want).abs() < 1e-6 * (1.0 + want.abs()));
        }
    }
}
