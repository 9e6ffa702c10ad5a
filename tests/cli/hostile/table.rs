//! What is tried and how it must end.

use std::time::Duration;

use super::child::{End, run};

/// Of anything that is refused.
pub const MOST_MIB: i64 = 200;
/// On a machine that does other things beside.
pub const LIMIT: Duration = Duration::from_secs(60);

pub struct Case {
    pub what: &'static str,
    pub args: Vec<String>,
    says: &'static str,
}

pub fn case(what: &'static str, args: &[&str], says: &'static str) -> Case {
    Case {
        what,
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        says,
    }
}

/// No signal, no panic, and no more memory than any refusal may take.
pub fn ended_well(case: &Case, end: &End, code: i32, most_mib: i64) {
    let Case { what, says, .. } = case;
    println!(
        "{what:<44} exit {:?}, {:>4} MiB, {:.2} s",
        end.status.code(),
        end.peak_mib,
        end.took.as_secs_f64()
    );
    assert_eq!(end.status.code(), Some(code), "{what}: {end:?}");
    assert!(
        end.stderr.contains(says),
        "{what}: {says:?} is not in {end:?}"
    );
    assert!(!end.stderr.contains("panicked"), "{what}: {end:?}");
    assert!(end.peak_mib < most_mib, "{what}: {} MiB", end.peak_mib);
}

/// Each with exit code 2, a sentence and nothing on stdout.
pub fn refused(cases: &[Case]) {
    cases.iter().for_each(|case| refused_in(&[], case));
}

/// The same, with these variables set.
pub fn refused_in(env: &[(&str, &str)], case: &Case) {
    let end = run(&case.args, env, None, LIMIT);
    ended_well(case, &end, 2, MOST_MIB);
    assert_eq!(end.stdout, "", "{}", case.what);
    let said = end.stderr.len();
    assert!(said < 6000, "{}: {said} bytes", case.what);
}
