//! Sums with the residual and the norm behind them: the bits of both kernels, one after the other.

use candlepower::ops::{Kernels, Norm};

use super::*;

const EPS: f32 = 1e-5;
/// Elements of 16 bytes, at most.
const UNIT: usize = 8;

/// Rows of a step on one rank: what it adds, the residual, the norm, and a row behind each that nobody may write.
struct Rows {
    message: Message,
    residual: Vec<f32>,
    norm: Norm,
}

impl Rows {
    fn random(random: &mut Random, member: &Member, widest: usize) -> Self {
        let message = Message {
            seed: random.bits(),
            rows: random.within(1..20),
            width: UNIT * random.within(1..widest / UNIT + 1),
            dtype: random.pick(&DTYPES),
            manner: Manner::Shots(Shots::One),
        };
        let mut residual = random.units(message.len());
        residual.resize(message.len() + message.width, UNTOUCHED);
        let weight = Tensor::from_vec(random.units(message.width), message.width, &Device::Cpu);
        let weight = weight.unwrap().to_device(&member.gpu().candle()).unwrap();
        Self {
            message,
            residual,
            norm: Norm { weight, eps: EPS },
        }
    }

    fn buffer(&self, member: &Member, numbers: &[f32]) -> Buffer {
        let Message {
            rows, width, dtype, ..
        } = self.message;
        member.send(numbers, (rows + 1, width), dtype)
    }

    /// The residual and its norm, by `work` on what is added, the residual and the norm's place.
    fn run(&self, member: &Member, work: impl Fn(&Buffer, &Buffer, &Buffer)) -> [Vec<f32>; 2] {
        let x = self.buffer(member, &self.residual);
        let out = self.buffer(member, &vec![UNTOUCHED; self.residual.len()]);
        work(&self.message.send(member), &x, &out);
        [values(&x), values(&out)]
    }
}

fn bits_are_those_of_both(ranks: usize, route: Route) {
    on_ranks(ranks, route, 64 << 10, None, |member| {
        let mut random = Random(ranks as u64);
        for _ in 0..8 {
            let rows = Rows::random(&mut random, member, 600);
            let Rows { message, norm, .. } = &rows;
            let count = message.rows;
            let expected = rows.run(member, |delta, x, out| {
                message.reduce(member, delta);
                let added = member.cuda.add_norm(x, Some(delta), norm, count, out);
                added.unwrap();
            });
            let found = rows.run(member, |delta, x, out| {
                assert!(member.exchange.norms(delta).unwrap());
                let added = member.exchange.all_reduce_norm(delta, x, norm, count, out);
                added.unwrap();
                // It is left as it was.
                let own = values(&message.send(member));
                assert_eq!(differences(delta, &own), 0, "{message:?}");
            });
            for (found, expected) in found.iter().zip(&expected) {
                let pairs = found.iter().zip(expected);
                let wrong = pairs.filter(|(f, e)| f.to_bits() != e.to_bits()).count();
                assert_eq!(wrong, 0, "rank {} of {ranks}: {message:?}", member.rank);
                let behind = &found[message.len()..];
                assert!(behind.iter().all(|x| *x == UNTOUCHED), "{message:?}");
            }
        }
    });
}

/// On a machine that looks for races and numbers that nobody wrote, and whose memory is as weak as PTX allows.
fn on(test: &str, route: Route) {
    for ranks in [2, 4] {
        let machine = Machine::new(ranks, route == Route::Peers)
            .with("VGPU_STRICT", 1)
            .with("VGPU_RACES", 1)
            .with("VGPU_WEAK", 1);
        if machine.is_inside(test) {
            return bits_are_those_of_both(Gpu::count().unwrap(), route);
        }
    }
}

#[test]
fn over_host_memory() {
    on("exchange::norms::over_host_memory", Route::Host);
}

#[test]
fn over_peers() {
    on("exchange::norms::over_peers", Route::Peers);
}

/// Rows that are no whole units, and rows that are longer than a slot.
#[test]
fn what_does_not_fit_is_refused() {
    if !Machine::new(2, false).is_inside("exchange::norms::what_does_not_fit_is_refused") {
        return;
    }
    on_ranks(2, Route::Host, SMALL_SLOTS, None, |member| {
        let slot = SMALL_SLOTS / 2 / size_of::<f32>();
        for (width, takes) in [(slot, true), (slot + UNIT, false), (slot - 1, false)] {
            let send = || member.send(&vec![1.0; width], (1, width), DType::F32);
            let (delta, x, out) = (send(), send(), send());
            assert_eq!(member.exchange.norms(&delta).unwrap(), takes, "{width}");
            if takes {
                continue;
            }
            let weight = (*send()).flatten_all().unwrap();
            let norm = Norm { weight, eps: EPS };
            let refused = member.exchange.all_reduce_norm(&delta, &x, &norm, 1, &out);
            let told = refused.unwrap_err().to_string();
            assert!(told.contains("1 rows of"), "{told}");
        }
    });
}
