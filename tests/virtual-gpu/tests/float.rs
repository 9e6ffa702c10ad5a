//! f32, f64 and half instructions: rounding proved by what the exact result allows, edge values included.

mod common;
use common::{HEAD, check, evaluate, exact_sum, f32_edges, f32_of, f64_edges, of_f32, product};

fn f64_of(v: u64) -> f64 {
    f64::from_bits(v)
}

#[test]
fn nearest() {
    let two = vec![f32_edges(), f32_edges()];
    let op = |text: &str, f: fn(f32, f32) -> f32| {
        check(text, "f32", &["f32"; 2], &two, |v| {
            of_f32(f(f32_of(v[0]), f32_of(v[1])))
        })
    };
    op("add.f32 %d, %a, %b;", |a, b| a + b);
    op("add.rn.f32 %d, %a, %b;", |a, b| a + b);
    op("sub.f32 %d, %a, %b;", |a, b| a - b);
    op("mul.rn.f32 %d, %a, %b;", |a, b| a * b);
    op("div.rn.f32 %d, %a, %b;", |a, b| a / b);
    op("copysign.f32 %d, %a, %b;", |a, b| b.copysign(a));
    let three = vec![f32_edges(), f32_edges(), f32_edges()];
    check(
        "fma.rn.f32 %d, %a, %b, %c;",
        "f32",
        &["f32"; 3],
        &three,
        |v| of_f32(f32_of(v[0]).mul_add(f32_of(v[1]), f32_of(v[2]))),
    );
    let one = |text: &str, f: fn(f32) -> f32| {
        check(text, "f32", &["f32"], &[f32_edges()], |v| {
            of_f32(f(f32_of(v[0])))
        })
    };
    one("rcp.rn.f32 %d, %a;", |a| 1.0 / a);
    one("sqrt.rn.f32 %d, %a;", f32::sqrt);
    one("abs.f32 %d, %a;", f32::abs);
    one("neg.f32 %d, %a;", |a| -a);
    let doubles = vec![f64_edges(), f64_edges()];
    let op = |text: &str, f: fn(f64, f64) -> f64| {
        check(text, "f64", &["f64"; 2], &doubles, |v| {
            f(f64_of(v[0]), f64_of(v[1])).to_bits()
        })
    };
    op("add.f64 %d, %a, %b;", |a, b| a + b);
    op("sub.rn.f64 %d, %a, %b;", |a, b| a - b);
    op("mul.rn.f64 %d, %a, %b;", |a, b| a * b);
    op("div.rn.f64 %d, %a, %b;", |a, b| a / b);
    check(
        "sqrt.rn.f64 %d, %a;",
        "f64",
        &["f64"],
        &[f64_edges()],
        |v| f64_of(v[0]).sqrt().to_bits(),
    );
    let three = vec![f64_edges(), f64_edges(), f64_edges()];
    check(
        "fma.rn.f64 %d, %a, %b, %c;",
        "f64",
        &["f64"; 3],
        &three,
        |v| f64_of(v[0]).mul_add(f64_of(v[1]), f64_of(v[2])).to_bits(),
    );
}

/// Is `got` the right neighbour of the exact value `sum + rest`?
fn right_neighbour(got: f32, (sum, rest): (f64, f64), mode: &str) -> bool {
    let compare = |x: f32| {
        f64::from(x)
            .partial_cmp(&sum)
            .unwrap()
            .then(0f64.partial_cmp(&rest).unwrap())
    };
    use std::cmp::Ordering::{Equal, Greater, Less};
    let mode = match mode {
        "rz" if sum < 0.0 || sum == 0.0 && rest < 0.0 => "rp",
        "rz" => "rm",
        other => other,
    };
    match mode {
        "rm" => {
            compare(got) != Greater
                && (compare(got) == Equal || got == f32::MAX || compare(got.next_up()) == Greater)
        }
        _ => {
            compare(got) != Less
                && (compare(got) == Equal || got == f32::MIN || compare(got.next_down()) == Less)
        }
    }
}

#[test]
fn directed() {
    let finite: Vec<u64> = f32_edges()
        .into_iter()
        .filter(|v| f32_of(*v).is_finite())
        .collect();
    for mode in ["rz", "rm", "rp"] {
        let inputs = product(&[finite.clone(), finite.clone(), finite.clone()]);
        let run = |text: &str| evaluate(text, "f32", &["f32"; 3], &inputs);
        let add = run(&format!("add.{mode}.f32 %d, %a, %b;"));
        let mul = run(&format!("mul.{mode}.f32 %d, %a, %b;"));
        let fma = run(&format!("fma.{mode}.f32 %d, %a, %b, %c;"));
        for row in 0..inputs[0].len() {
            let [a, b, c] = std::array::from_fn(|i| f64::from(f32_of(inputs[i][row])));
            for (name, got, exact) in [
                ("add", add[row], exact_sum(a, b)),
                ("mul", mul[row], (a * b, 0.0)),
                ("fma", fma[row], exact_sum(a * b, c)),
            ] {
                let got = f32_of(got);
                if got.is_infinite() {
                    assert!(
                        exact.0.abs() >= f64::from(f32::MAX),
                        "{name}.{mode} of {a} {b} {c}"
                    );
                    continue;
                }
                assert!(
                    right_neighbour(got, exact, mode),
                    "{name}.{mode} of {a:e} {b:e} {c:e}: {got:e}, exact {exact:?}"
                );
            }
        }
    }
    // Division and root: the result times the divisor is exact in f64 but for its rounding to 53 bits, so compare products.
    let positive: Vec<u64> = [1.0f32, 3.0, 7.0, 0.1, 1e20, 2.5, 10.0]
        .iter()
        .map(|v| of_f32(*v))
        .collect();
    let inputs = product(&[positive.clone(), positive]);
    let down = evaluate("div.rm.f32 %d, %a, %b;", "f32", &["f32"; 2], &inputs);
    let up = evaluate("div.rp.f32 %d, %a, %b;", "f32", &["f32"; 2], &inputs);
    for row in 0..down.len() {
        let [a, b] = [
            f64::from(f32_of(inputs[0][row])),
            f64::from(f32_of(inputs[1][row])),
        ];
        let (low, high) = (f32_of(down[row]), f32_of(up[row]));
        assert!(
            f64::from(low) * b <= a
                && f64::from(high) * b >= a
                && (low == high || low.next_up() == high)
        );
    }
}

#[test]
fn flush_and_saturate() {
    let two = vec![f32_edges(), f32_edges()];
    let flush = |v: f32| {
        if v.is_subnormal() {
            0f32.copysign(v)
        } else {
            v
        }
    };
    check("add.ftz.f32 %d, %a, %b;", "f32", &["f32"; 2], &two, |v| {
        of_f32(flush(flush(f32_of(v[0])) + flush(f32_of(v[1]))))
    });
    check("mul.ftz.f32 %d, %a, %b;", "f32", &["f32"; 2], &two, |v| {
        of_f32(flush(flush(f32_of(v[0])) * flush(f32_of(v[1]))))
    });
    let clamp = |v: f32| if v.is_nan() { 0.0 } else { v.clamp(0.0, 1.0) };
    check("add.sat.f32 %d, %a, %b;", "f32", &["f32"; 2], &two, |v| {
        of_f32(clamp(f32_of(v[0]) + f32_of(v[1])) + 0.0)
    });
    check(
        "cvt.sat.f32.f32 %d, %a;",
        "f32",
        &["f32"],
        &[f32_edges()],
        |v| of_f32(clamp(f32_of(v[0])) + 0.0),
    );
}

#[test]
fn extremes_and_tests() {
    let two = vec![f32_edges(), f32_edges()];
    let smaller = |a: f32, b: f32| {
        if a.is_nan() {
            b
        } else if b.is_nan() {
            a
        } else if a == b {
            if a.is_sign_negative() { a } else { b }
        } else {
            a.min(b)
        }
    };
    check("min.f32 %d, %a, %b;", "f32", &["f32"; 2], &two, |v| {
        of_f32(smaller(f32_of(v[0]), f32_of(v[1])))
    });
    check("max.f32 %d, %a, %b;", "f32", &["f32"; 2], &two, |v| {
        of_f32(-smaller(-f32_of(v[0]), -f32_of(v[1])))
    });
    check("max.NaN.f32 %d, %a, %b;", "f32", &["f32"; 2], &two, |v| {
        let (a, b) = (f32_of(v[0]), f32_of(v[1]));
        of_f32(if a.is_nan() || b.is_nan() {
            f32::NAN
        } else {
            -smaller(-a, -b)
        })
    });
    type Test = fn(f32, f32) -> bool;
    let tests: [(&str, Test); 14] = [
        ("eq", |a, b| a == b),
        ("ne", |a, b| a != b && !a.is_nan() && !b.is_nan()),
        ("lt", |a, b| a < b),
        ("le", |a, b| a <= b),
        ("gt", |a, b| a > b),
        ("ge", |a, b| a >= b),
        ("equ", |a, b| a == b || a.is_nan() || b.is_nan()),
        ("neu", |a, b| a != b),
        ("ltu", |a, b| a < b || a.is_nan() || b.is_nan()),
        ("leu", |a, b| a <= b || a.is_nan() || b.is_nan()),
        ("gtu", |a, b| a > b || a.is_nan() || b.is_nan()),
        ("geu", |a, b| a >= b || a.is_nan() || b.is_nan()),
        ("num", |a, b| !a.is_nan() && !b.is_nan()),
        ("nan", |a, b| a.is_nan() || b.is_nan()),
    ];
    for (name, f) in tests {
        check(
            &format!("setp.{name}.f32 %p, %a, %b; selp.u32 %d, 1, 0, %p;"),
            "u32",
            &["f32"; 2],
            &two,
            |v| f(f32_of(v[0]), f32_of(v[1])).into(),
        );
        check(
            &format!("set.{name}.f32.f32 %d, %a, %b;"),
            "f32",
            &["f32"; 2],
            &two,
            |v| of_f32(f(f32_of(v[0]), f32_of(v[1])).into()),
        );
    }
}

/// Each approximation within its stated error of the true value, and exact where it must be.
#[test]
fn approximations() {
    let positive: Vec<u64> = [1.0f32, 2.0, 0.3, 17.0, 1e-3, 1e6, 0.999, 1.0001]
        .iter()
        .map(|v| of_f32(*v))
        .collect();
    let all: Vec<u64> = [-3.5f32, 0.0, 0.7, 10.25, -0.01, 3.0]
        .iter()
        .map(|v| of_f32(*v))
        .collect();
    let near = |text: &str, inputs: &[u64], f: fn(f64) -> f64, bound: f64| {
        for (row, got) in evaluate(text, "f32", &["f32"], &[inputs.to_vec()])
            .into_iter()
            .enumerate()
        {
            let want = f(f32_of(inputs[row]).into());
            let error = (f64::from(f32_of(got)) - want).abs();
            assert!(
                error <= bound * want.abs().max(1e-30) || error <= bound * 0.5,
                "{text} of {}: {}",
                f32_of(inputs[row]),
                f32_of(got)
            );
        }
    };
    near("ex2.approx.f32 %d, %a;", &all, f64::exp2, 2.4e-7);
    near("ex2.approx.ftz.f32 %d, %a;", &all, f64::exp2, 2.4e-7);
    near("lg2.approx.f32 %d, %a;", &positive, f64::log2, 2.4e-7);
    near("rcp.approx.f32 %d, %a;", &positive, |a| 1.0 / a, 1.2e-7);
    near("sqrt.approx.f32 %d, %a;", &positive, f64::sqrt, 1.2e-7);
    near(
        "rsqrt.approx.f32 %d, %a;",
        &positive,
        |a| 1.0 / a.sqrt(),
        1.8e-7,
    );
    near("sin.approx.f32 %d, %a;", &all, f64::sin, 5e-7);
    near("cos.approx.f32 %d, %a;", &all, f64::cos, 5e-7);
    near("tanh.approx.f32 %d, %a;", &all, f64::tanh, 4.9e-4);
    let ends: Vec<u64> = [f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0]
        .iter()
        .map(|v| of_f32(*v))
        .collect();
    check(
        "ex2.approx.f32 %d, %a;",
        "f32",
        &["f32"],
        std::slice::from_ref(&ends),
        |v| of_f32(f32_of(v[0]).exp2()),
    );
    check(
        "rcp.approx.f32 %d, %a;",
        "f32",
        &["f32"],
        std::slice::from_ref(&ends),
        |v| of_f32(1.0 / f32_of(v[0])),
    );
    check("lg2.approx.f32 %d, %a;", "f32", &["f32"], &[ends], |v| {
        of_f32(f32_of(v[0]).log2())
    });
    check(
        "div.full.f32 %d, %a, %b;",
        "f32",
        &["f32"; 2],
        &[vec![of_f32(6.0)], vec![of_f32(3.0)]],
        |_| of_f32(2.0),
    );
}

#[test]
fn unknown_instructions_are_named() {
    for (text, word) in [
        ("frobnicate.u32 %r1, %r2;", "frobnicate"),
        ("add.wrong.u32 %r1, %r2, %r3;", "wrong"),
        ("add.f64 %r1, %r2, %r3;", "F64"),
        (
            "mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%r1}, {%r2}, {%r3}, {%r1};",
            "m8n8k4",
        ),
        ("cvt.rna.satfinite.b128.f32 %r1, %r2;", "cvt"),
    ] {
        let module = format!("{HEAD}.visible .entry k() {{ .reg .b32 %r<9>;\n {text} ret; }}");
        let module = virtual_gpu::ptx::Module::parse(&module).unwrap();
        let error = virtual_gpu::decode::lower(&module, "k", &Default::default())
            .err()
            .expect(text)
            .to_string();
        assert!(error.contains(word) && error.contains("line 5"), "{error}");
    }
}
