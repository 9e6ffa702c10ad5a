//! Matrix products: column-major, inputs of any type, sums in f32 (f64 for f64).

use crate::exec::floats::{
    BF16, E4M3, E5M2, F16, Rounding, TF32, bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16,
};
use crate::memory::{Fault, View};

/// Of `cudaDataType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    F32,
    F64,
    F16,
    Bf16,
    E4m3,
    E5m2,
}

impl Data {
    pub fn numbered(number: i32) -> Option<Self> {
        Some(match number {
            0 => Self::F32,
            1 => Self::F64,
            2 => Self::F16,
            14 => Self::Bf16,
            28 => Self::E4m3,
            29 => Self::E5m2,
            _ => return None,
        })
    }

    pub fn bytes(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::E4m3 | Self::E5m2 => 1,
        }
    }

    pub fn read(self, bytes: &[u8]) -> f64 {
        let half = || u16::from_le_bytes([bytes[0], bytes[1]]);
        match self {
            Self::F32 => f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]).into(),
            Self::F64 => f64::from_le_bytes(std::array::from_fn(|i| bytes[i])),
            Self::F16 => f16_to_f32(half()).into(),
            Self::Bf16 => bf16_to_f32(half()).into(),
            Self::E4m3 => E4M3.decode(bytes[0].into()),
            Self::E5m2 => E5M2.decode(bytes[0].into()),
        }
    }

    pub fn write(self, value: f64, out: &mut [u8]) {
        match self {
            Self::F32 => out.copy_from_slice(&(value as f32).to_le_bytes()),
            Self::F64 => out.copy_from_slice(&value.to_le_bytes()),
            Self::F16 => out.copy_from_slice(&f32_to_f16(value as f32).to_le_bytes()),
            Self::Bf16 => out.copy_from_slice(&f32_to_bf16(value as f32).to_le_bytes()),
            Self::E4m3 => out[0] = E4M3.encode(value, Rounding::Nearest, true) as u8,
            Self::E5m2 => out[0] = E5M2.encode(value, Rounding::Nearest, true) as u8,
        }
    }
}

/// What inputs are cut to before they are multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    None,
    Tf32,
    Bf16,
    F16,
}

impl Cut {
    fn apply(self, value: f32) -> f32 {
        match self {
            Self::None => value,
            Self::Tf32 => TF32.decode(TF32.encode(value.into(), Rounding::Away, false)) as f32,
            Self::Bf16 => BF16.decode(BF16.encode(value.into(), Rounding::Nearest, false)) as f32,
            Self::F16 => F16.decode(F16.encode(value.into(), Rounding::Nearest, false)) as f32,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Matrix {
    pub at: u64,
    pub data: Data,
    pub leading: usize,
    pub stride: i64,
    pub transposed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    None,
    Relu,
    Gelu,
}

#[derive(Clone, Copy, Debug)]
pub struct Product {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub alpha: f64,
    pub beta: f64,
    pub a: Matrix,
    pub b: Matrix,
    pub c: Matrix,
    pub d: Matrix,
    pub batch: usize,
    pub cut: Cut,
    /// A vector of m, added to each column.
    pub bias: Option<(u64, Data)>,
    pub activation: Activation,
    /// Where scales of A, B and D are, if there are.
    pub scales: [u64; 3],
}

const LANES: usize = 8;
const ROWS: usize = 4;
const COLUMNS: usize = 4;
/// Multiplications from which a second core is worth starting.
const WORTH_SHARING: usize = 1 << 18;

/// `rows` x `columns` of a matrix, row by row, each row padded to whole vectors.
fn packed(
    view: &mut View,
    matrix: &Matrix,
    batch: usize,
    rows: usize,
    columns: usize,
    rows_first: bool,
    cut: Cut,
) -> Result<Vec<f32>, Fault> {
    let (leading, size) = (matrix.leading, matrix.data.bytes());
    // Columns lie `leading` apart in memory.
    let (inner, outer) = if rows_first {
        (rows, columns)
    } else {
        (columns, rows)
    };
    let mut bytes = vec![0u8; ((outer - 1) * leading + inner) * size];
    let at = matrix
        .at
        .wrapping_add_signed(matrix.stride * (batch * size) as i64);
    view.copy_out(at, &mut bytes)?;
    let width = columns.next_multiple_of(LANES);
    let mut out = vec![0f32; rows * width];
    for r in 0..rows {
        for c in 0..columns {
            let index = if rows_first {
                c * leading + r
            } else {
                r * leading + c
            };
            let from = &bytes[index * size..(index + 1) * size];
            let value = match matrix.data {
                Data::F32 => f32::from_le_bytes([from[0], from[1], from[2], from[3]]),
                Data::Bf16 => bf16_to_f32(u16::from_le_bytes([from[0], from[1]])),
                Data::F16 => f16_to_f32(u16::from_le_bytes([from[0], from[1]])),
                other => other.read(from) as f32,
            };
            out[r * width + c] = if cut == Cut::None {
                value
            } else {
                cut.apply(value)
            };
        }
    }
    Ok(out)
}

/// Sums of products of `ROWS` rows with `COLUMNS` others.
#[target_feature(enable = "avx2,fma")]
fn tile(a: &[&[f32]; ROWS], b: &[&[f32]; COLUMNS]) -> [[f32; COLUMNS]; ROWS] {
    let mut sums = [[[0f32; LANES]; COLUMNS]; ROWS];
    for at in (0..a[0].len()).step_by(LANES) {
        for (r, row) in a.iter().enumerate() {
            for (c, column) in b.iter().enumerate() {
                let (x, y) = (&row[at..at + LANES], &column[at..at + LANES]);
                for lane in 0..LANES {
                    sums[r][c][lane] = x[lane].mul_add(y[lane], sums[r][c][lane]);
                }
            }
        }
    }
    sums.map(|row| row.map(|lanes| lanes.iter().sum()))
}

/// `out[r * n + c]` = row r of a times row c of b.
fn multiply(a: &[f32], b: &[f32], m: usize, n: usize, width: usize, out: &mut [f32]) {
    let blocks = |first: usize, out: &mut [f32]| {
        let rows = out.len() / n;
        for r in (0..rows).step_by(ROWS) {
            let row = |i: usize| &a[(first + (r + i).min(rows - 1)) * width..][..width];
            let rows_of_a = [row(0), row(1), row(2), row(3)];
            for c in (0..n).step_by(COLUMNS) {
                let column = |i: usize| &b[(c + i).min(n - 1) * width..][..width];
                // SAFETY: the machine was found able before the driver began.
                let sums =
                    unsafe { tile(&rows_of_a, &[column(0), column(1), column(2), column(3)]) };
                for (i, line) in sums.iter().enumerate().take(rows - r) {
                    for (j, sum) in line.iter().enumerate().take(n - c) {
                        out[(r + i) * n + c + j] = *sum;
                    }
                }
            }
        }
    };
    let workers = if m * n * width >= WORTH_SHARING && m > ROWS {
        crate::driver::driver().config.workers
    } else {
        1
    };
    let share = m.div_ceil(workers).next_multiple_of(ROWS);
    std::thread::scope(|scope| {
        for (at, part) in out.chunks_mut(share * n).enumerate() {
            if workers == 1 {
                blocks(0, part);
            } else {
                scope.spawn(move || blocks(at * share, part));
            }
        }
    });
}

fn exact(view: &mut View, p: &Product, batch: usize) -> Result<Vec<f64>, Fault> {
    let mut element = |matrix: &Matrix, row: usize, column: usize| {
        let index = if matrix.transposed {
            row * matrix.leading + column
        } else {
            column * matrix.leading + row
        };
        let at = matrix.at.wrapping_add_signed(
            (matrix.stride * batch as i64 + index as i64) * matrix.data.bytes() as i64,
        );
        view.read(at, 8).map(f64::from_bits)
    };
    let mut out = vec![0.0; p.m * p.n];
    for r in 0..p.m {
        for c in 0..p.n {
            for i in 0..p.k {
                out[r * p.n + c] += element(&p.a, r, i)? * element(&p.b, i, c)?;
            }
        }
    }
    Ok(out)
}

fn scale(view: &mut View, at: u64) -> Result<f64, Fault> {
    if at == 0 {
        Ok(1.0)
    } else {
        view.read(at, 4)
            .map(|bits| f32::from_bits(bits as u32).into())
    }
}

/// D = activation(alpha * op(A) * op(B) + beta * C + bias)
pub fn run(view: &mut View, p: &Product) -> Result<(), Fault> {
    if p.m == 0 || p.n == 0 {
        return Ok(());
    }
    let alpha = p.alpha * scale(view, p.scales[0])? * scale(view, p.scales[1])?;
    let scale_d = scale(view, p.scales[2])?;
    for batch in 0..p.batch {
        let sums: Vec<f64> = if p.k == 0 {
            vec![0.0; p.m * p.n]
        } else if p.a.data == Data::F64 {
            exact(view, p, batch)?
        } else {
            let a = packed(view, &p.a, batch, p.m, p.k, !p.a.transposed, p.cut)?;
            let b = packed(view, &p.b, batch, p.n, p.k, p.b.transposed, p.cut)?;
            let mut out = vec![0f32; p.m * p.n];
            multiply(&a, &b, p.m, p.n, p.k.next_multiple_of(LANES), &mut out);
            out.into_iter().map(f64::from).collect()
        };
        finish(view, p, batch, alpha, scale_d, &sums)?;
    }
    Ok(())
}

fn finish(
    view: &mut View,
    p: &Product,
    batch: usize,
    alpha: f64,
    scale_d: f64,
    sums: &[f64],
) -> Result<(), Fault> {
    let place = |m: &Matrix, column: usize| {
        let index = m.stride * batch as i64 + (column * m.leading) as i64;
        m.at.wrapping_add_signed(index * m.data.bytes() as i64)
    };
    let mut bias = Vec::new();
    if let Some((at, data)) = p.bias {
        bias = vec![0; p.m * data.bytes()];
        view.copy_out(at, &mut bias)?;
    }
    let mut before = vec![0; p.m * p.c.data.bytes()];
    let mut after = vec![0; p.m * p.d.data.bytes()];
    for c in 0..p.n {
        if p.beta != 0.0 {
            view.copy_out(place(&p.c, c), &mut before)?;
        }
        for r in 0..p.m {
            let mut value = alpha * sums[r * p.n + c];
            if p.beta != 0.0 {
                value += p.beta * p.c.data.read(&before[r * p.c.data.bytes()..]);
            }
            if let Some((_, data)) = p.bias {
                value += data.read(&bias[r * data.bytes()..]);
            }
            value = match p.activation {
                Activation::None => value,
                Activation::Relu => value.max(0.0),
                // The form with tanh, as cuBLAS has it.
                Activation::Gelu => {
                    0.5 * value
                        * (1.0
                            + (0.797_884_560_802_865_4 * (value + 0.044_715 * value.powi(3)))
                                .tanh())
                }
            };
            let size = p.d.data.bytes();
            p.d.data
                .write(value * scale_d, &mut after[r * size..(r + 1) * size]);
        }
        view.copy_in(place(&p.d, c), &after)?;
    }
    Ok(())
}
