//! `fit --recommend`: the first layout is the cheapest that holds, by the test's own enumeration; its commands run; a
//! wish that nothing holds is told what comes nearest.

mod cheapest;
mod command;

use candlepower::recommend::{Recommendation, Recommended};

use crate::cli_support::{Outcome, run};

/// `fit --recommend --json` with these flags, which have no spaces of their own.
fn asked(flags: &str) -> Outcome {
    let mut args = vec!["fit", "--recommend", "--json"];
    args.extend(flags.split_whitespace());
    run(&args)
}

fn recommended(flags: &str) -> Recommendation {
    let outcome = asked(flags).succeeded();
    serde_json::from_value(outcome.json()).unwrap()
}

/// In flags of `fit`, with the settings that were judged.
fn flags(layout: &Recommended) -> String {
    let experts = match layout.expert_parallel {
        true => " --expert-parallel",
        false => "",
    };
    format!(
        "--gpu {} --gpus {} --tp {}{experts}",
        layout.gpu, layout.gpus, layout.tp
    )
}
