//! `fit --recommend`: the cheapest cards that hold a model and a load.

use std::path::Path;
use std::sync::Arc;

use anyhow::{anyhow, bail};

use super::args::{EngineFlag, FitArgs};
use super::wish::Format;
use crate::capacity::Objective;
use crate::cli::console::Console;
use crate::cli::failure::Failure;
use crate::cli::{output, values};
use crate::fit::Engine;
use crate::ground::Progress;
use crate::hardware::Prices;
use crate::recommend::{RecommendOptions, is_gguf, recommend};
use crate::report;

/// Of cards in `--gpu`.
const ALL: &str = "all";
/// Where a price on the command line comes from.
const GIVEN: &str = "--price";
/// Prints what holds; gives the exit code.
pub fn run(args: &FitArgs, engine: Engine) -> Result<u8, Failure> {
    let progress: Arc<dyn Progress> = Arc::new(Console::plain(&args.output));
    let options = options(args, engine)?;
    let found = recommend(&options, &progress)?;
    match (args.output.json, args.recommend.format) {
        (true, _) | (_, Format::Json) => output::json(&found)?,
        (_, Format::Table) => output::result(&report::recommend::text(&found, output::width()))?,
        (_, Format::Markdown) => output::result(&report::recommend::markdown(&found))?,
    }
    Ok(match found.layouts.is_empty() {
        true => super::DOES_NOT_FIT,
        false => 0,
    })
}

/// Of who named none: what most people run of such a model.
pub fn usual_engine(args: &FitArgs) -> EngineFlag {
    match (args.recommend.recommend, is_gguf(&args.model)) {
        (false, _) => EngineFlag::Candlepower,
        (true, true) => EngineFlag::LlamaCpp,
        (true, false) => EngineFlag::Vllm,
    }
}

fn options(args: &FitArgs, engine: Engine) -> Result<RecommendOptions, Failure> {
    let own = &args.recommend;
    let cards = args.gpu.as_deref().unwrap_or(ALL);
    let cards = match cards {
        ALL => Vec::new(),
        listed => listed.split(',').map(str::to_owned).collect(),
    };
    let mut question = args.question(engine);
    question.gpu = None;
    Ok(RecommendOptions {
        question,
        cards,
        request_rate: own.request_rate,
        objective: Objective {
            percentile: own.percentile,
            ..own.slo.clone().unwrap_or_default()
        },
        prices: prices(&own.price).map_err(Failure::Usage)?,
        max_price: own.max_price,
        top: own.top,
    })
}

fn prices(given: &[String]) -> anyhow::Result<Prices> {
    let mut prices = Prices::known()?;
    for given in given {
        let Some((card, usd)) = given.split_once('=') else {
            let file = Prices::read(Path::new(given));
            let file = file.map_err(|error| {
                anyhow!("--price {given}: {error}; give CARD=USD, or a file of prices")
            })?;
            prices = prices.with(file);
            continue;
        };
        let usd = values::positive_number(usd)
            .map_err(|rule| anyhow!("--price {given}: {rule} of US dollars"))?;
        if card.is_empty() {
            bail!("--price {given}: it must name a card before the =");
        }
        prices.set(card, usd, GIVEN);
    }
    Ok(prices)
}
