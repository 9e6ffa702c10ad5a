//! `fit`: will this model run on that hardware, and if not, what is the nearest change that does.

mod args;
mod recommend;
mod wish;

use anyhow::bail;

use super::console::Console;
use super::failure::Failure;
use super::output;
use crate::fit::{Engine, LoadQuantization, Release};
use crate::report;
use args::EngineFlag;

pub use args::FitArgs;

/// The exit code of an answer that nothing fits.
const DOES_NOT_FIT: u8 = 3;

/// Prints the answers; gives the exit code.
pub fn run(args: &FitArgs) -> Result<u8, Failure> {
    let console = Console::plain(&args.output);
    let engine = engine(args).map_err(Failure::Usage)?;
    if args.recommend.recommend {
        return recommend::run(args, engine);
    }
    let mut answers = args.question(engine).answers(&console)?;
    if args.output.json {
        if !args.explain {
            answers.iter_mut().for_each(|answer| answer.explain.clear());
        }
        match answers.as_slice() {
            [answer] if args.gpus.len() < 2 => output::json(answer)?,
            answers => output::json(&answers)?,
        }
    } else {
        output::result(&report::fit::text(&answers, args.explain, output::width()))?;
    }
    match answers.iter().any(|answer| answer.fits) {
        true => Ok(0),
        false => Ok(DOES_NOT_FIT),
    }
}

fn engine(args: &FitArgs) -> anyhow::Result<Engine> {
    let chosen = args.engine.unwrap_or_else(|| recommend::usual_engine(args));
    let engine = match chosen {
        EngineFlag::Vllm => Engine::Vllm(args.vllm_version.unwrap_or(Release::USUAL)),
        EngineFlag::Candlepower => Engine::Candlepower,
        EngineFlag::Sglang => Engine::Sglang,
        EngineFlag::LlamaCpp => Engine::LlamaCpp(args.llama_cpp()),
    };
    match (chosen, args.quantization) {
        (_, None)
        | (EngineFlag::LlamaCpp, Some(LoadQuantization::Gguf(_)))
        | (EngineFlag::Vllm | EngineFlag::Sglang, Some(_)) => {}
        (EngineFlag::LlamaCpp, Some(_)) => {
            bail!(
                "--engine llama.cpp takes a type of GGUF files for --quantization, such as Q4_K_M"
            )
        }
        (EngineFlag::Candlepower, Some(_)) => bail!(
            "--quantization is for the other engines: --engine candlepower runs a checkpoint as it is; name another, or leave it out"
        ),
    }
    let others = [
        (args.of_vllm(), EngineFlag::Vllm, "vllm"),
        (args.of_llama_cpp(), EngineFlag::LlamaCpp, "llama.cpp"),
    ];
    for (flag, wanted, name) in others {
        if let Some(flag) = flag
            && chosen != wanted
        {
            bail!(
                "{flag} is for --engine {name}, and --engine is {}; add --engine {name} or leave it out",
                engine.name()
            );
        }
    }
    Ok(engine)
}
