//! Kernels that begin before the one in front has ended: what they may touch before they have waited for it.

mod api;

use std::ffi::CString;

use api::*;

/// Of `CUlaunchAttributeID`.
const PROGRAMMATIC_STREAM_SERIALIZATION: u32 = 6;
const CLUSTER_DIMENSION: u32 = 4;
const NOT_SUPPORTED: i32 = 801;
const LAUNCH_FAILED: i32 = 719;

/// A launch, which may overlap the one in front, and what its kernel does: `w` waits, `b` lets the next one begin; `l`
/// loads a word, `n` by `.nc`, `s` stores it, `a` adds to it, `c` copies it to shared memory, then waits for that: upper
/// case another word.
type Kernel = (bool, &'static str);

struct Pattern {
    kernels: &'static [Kernel],
    /// What is said of it, where it is wrong.
    said: Option<&'static str>,
}

const fn right(kernels: &'static [Kernel]) -> Pattern {
    Pattern {
        kernels,
        said: None,
    }
}

const fn wrong(said: &'static str, kernels: &'static [Kernel]) -> Pattern {
    Pattern {
        kernels,
        said: Some(said),
    }
}

const RACE: &str = "races with a kernel in front";

const PATTERNS: [Pattern; 19] = [
    right(&[(false, "bs"), (true, "bwl")]),
    // What nobody in front writes is read early.
    right(&[(false, "bs"), (true, "Lwl"), (true, "bNwl")]),
    right(&[(false, "L"), (true, "Lws"), (true, "Cwc")]),
    wrong(RACE, &[(false, "bs"), (true, "lw")]),
    wrong(RACE, &[(false, "s"), (true, "lw")]),
    wrong(RACE, &[(false, "s"), (true, "sw")]),
    wrong(RACE, &[(false, "s"), (true, "aw")]),
    wrong(RACE, &[(false, "s"), (true, "cw")]),
    wrong(RACE, &[(false, "l"), (true, "sw")]),
    wrong(RACE, &[(false, "a"), (true, "lw")]),
    // It changes while this kernel lives, waited for or not.
    wrong(RACE, &[(false, "s"), (true, "wn")]),
    // The one before the one in front may still run,
    wrong(RACE, &[(false, "s"), (true, "wL"), (true, "lw")]),
    wrong(
        RACE,
        &[(false, "l"), (true, "wL"), (true, "wL"), (true, "sw")],
    ),
    // and does where nobody waits for it.
    wrong("without griddepcontrol.wait", &[(false, "s"), (true, "bL")]),
    // What does not overlap comes behind all of them.
    right(&[(false, "s"), (false, "l"), (true, "lwL")]),
    right(&[(false, "s"), (true, "wl"), (false, "L"), (true, "lw")]),
    right(&[(false, "s"), (false, "l")]),
    // Alone, or behind something else, there is nothing in front.
    right(&[(true, "lws")]),
    right(&[(true, "sw")]),
];

fn text(does: &str) -> String {
    let mut body = String::new();
    for (at, letter) in does.chars().enumerate() {
        let from = if letter.is_ascii_lowercase() {
            "%rd1"
        } else {
            "%rd2"
        };
        body += &match letter.to_ascii_lowercase() {
            'w' => "griddepcontrol.wait;".to_owned(),
            'b' => "griddepcontrol.launch_dependents;".to_owned(),
            'l' => format!("ld.global.u32 %r{at}, [{from}];"),
            'n' => format!("ld.global.nc.u32 %r{at}, [{from}];"),
            's' => format!("st.global.u32 [{from}], 7;"),
            'a' => format!("atom.global.add.u32 %r{at}, [{from}], 1;"),
            'c' => format!("cp.async.ca.shared.global [room], [{from}], 4; cp.async.wait_all;"),
            other => unreachable!("{other}"),
        };
    }
    format!(
        ".version 9.0\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 a, .param .u64 b) {{ .reg .b32 %r<16>; .reg .b64 %rd<4>; .shared .align 16 .b8 room[16];
        ld.param.u64 %rd1, [a]; ld.param.u64 %rd2, [b]; {body} ret; }}"
    )
}

fn load(does: &str) -> u64 {
    let text = CString::new(text(does)).unwrap();
    let module = get(|m| cuModuleLoadData(m, text.as_ptr()));
    get(|f| cuModuleGetFunction(f, module, c"k".as_ptr()))
}

fn launch(f: u64, stream: u64, [a, b]: [u64; 2], attribute: Option<u32>) -> i32 {
    let attribute = attribute.map(|id| {
        let mut attribute = Attribute([id, 0], [0; 16]);
        attribute.1[0] = 1;
        attribute
    });
    let config = Config(
        [1, 1, 1, 1, 1, 1, 0],
        stream,
        attribute.as_slice().as_ptr(),
        attribute.is_some().into(),
    );
    let params = [&raw const a as u64, &raw const b as u64];
    cuLaunchKernelEx(&config, f, params.as_ptr(), std::ptr::null())
}

fn overlap(overlaps: bool) -> Option<u32> {
    overlaps.then_some(PROGRAMMATIC_STREAM_SERIALIZATION)
}

/// One pattern, launched by itself, or from a graph.
fn pattern() {
    let asked = |name| std::env::var(name).unwrap().parse::<usize>().unwrap();
    let pattern = &PATTERNS[asked("PATTERN")];
    begin(0);
    let words = [upload(&[1u32]), upload(&[2u32])];
    let s = stream();
    let kernels: Vec<_> = pattern.kernels.iter().map(|(o, d)| (*o, load(d))).collect();
    let all = || {
        for (overlaps, f) in &kernels {
            ok(launch(*f, s, words, overlap(*overlaps)));
        }
    };
    if asked("GRAPH") == 1 {
        ok(cuStreamBeginCapture_v2(s, 1));
        all();
        let graph = get(|g| cuStreamEndCapture(s, g));
        ok(cuGraphLaunch(
            get(|e| cuGraphInstantiateWithFlags(e, graph, 0)),
            s,
        ));
    } else {
        all();
    }
    let expected = if pattern.said.is_some() {
        LAUNCH_FAILED
    } else {
        0
    };
    assert_eq!(cuStreamSynchronize(s), expected);
}

#[test]
fn a_kernel_waits_before_it_meets_what_is_in_front() {
    let (_kept, path) = configuration("[[device]]\ncompute = 90\n");
    for (at, pattern) in PATTERNS.iter().enumerate() {
        for graph in ["0", "1"] {
            let said = apart(
                &[(
                    "a_kernel_waits_before_it_meets_what_is_in_front",
                    self::pattern,
                )],
                "a_kernel_waits_before_it_meets_what_is_in_front",
                &[
                    ("VGPU_CONFIG", &path),
                    ("VGPU_RACES", "1"),
                    ("PATTERN", &at.to_string()),
                    ("GRAPH", graph),
                ],
                1,
            );
            if std::env::var_os("VGPU_TEST_CASE").is_some() {
                return;
            }
            let kernels = pattern.kernels;
            match pattern.said {
                Some(expected) => assert!(said.contains(expected), "{kernels:?}: {said}"),
                None => assert!(!said.contains("virtual GPU:"), "{kernels:?}: {said}"),
            }
        }
    }
}

/// A copy in between is nothing to overlap, and ends what may still run.
fn behind_a_copy() {
    begin(0);
    let words = [upload(&[1u32]), upload(&[2u32])];
    let s = stream();
    ok(launch(load("s"), s, words, None));
    ok(cuMemsetD32Async(words[1], 3, 1, s));
    ok(launch(load("lw"), s, words, overlap(true)));
    ok(cuStreamSynchronize(s));
}

fn refused() {
    begin(0);
    let words = [upload(&[1u32]), upload(&[2u32])];
    let text = CString::new(text("l").replace("sm_90", "sm_80")).unwrap();
    let module = get(|m| cuModuleLoadData(m, text.as_ptr()));
    let f = get(|f| cuModuleGetFunction(f, module, c"k".as_ptr()));
    assert_eq!(launch(f, 0, words, overlap(true)), NOT_SUPPORTED);
    assert_eq!(launch(f, 0, words, Some(CLUSTER_DIMENSION)), NOT_SUPPORTED);
    ok(launch(f, 0, words, None));
    ok(cuCtxSynchronize());
}

const CASES: [(&str, fn()); 2] = [
    ("a_copy_ends_a_chain", behind_a_copy),
    ("not_every_driver_overlaps", refused),
];

#[test]
fn a_copy_ends_a_chain() {
    let (_kept, path) = configuration("[[device]]\ncompute = 90\n");
    let variables = [("VGPU_CONFIG", &path[..]), ("VGPU_RACES", "1")];
    apart(&CASES, "a_copy_ends_a_chain", &variables, 1);
}

#[test]
fn not_every_driver_overlaps() {
    for device in ["compute = 89", "compute = 90\noverlaps = false"] {
        let (_kept, path) = configuration(&format!("[[device]]\n{device}\n"));
        let variables = [("VGPU_CONFIG", &path[..])];
        apart(&CASES, "not_every_driver_overlaps", &variables, 1);
    }
}
