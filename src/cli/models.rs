//! `models`: the cards, and what each of them is; `models M`: what a checkpoint is.

use clap::Args;
use serde::Serialize;

use super::common::OutputArgs;
use super::console::Console;
use super::failure::Failure;
use super::output;
use crate::hub::{CARDS, Card};
use crate::model::ModelSpec;
use crate::report;
use crate::session::description::describe;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  candlepower models\n  candlepower models ./my-model\n  candlepower models Qwen/Qwen3-8B --json\n  candlepower models unsloth/Qwen3-8B-GGUF:Q4_K_M\n  candlepower bench --model QwQ-32B --layers 2"
)]
pub struct ModelsArgs {
    /// Say what this one is: directory, config.json, GGUF file, hub id (org/name, org/name:Q4_K_M) or card
    #[arg(value_name = "M")]
    model: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    hub_id: &'static str,
    parameters: u64,
    runnable: bool,
    #[serde(flatten)]
    spec: ModelSpec,
}

pub fn run(args: &ModelsArgs) -> Result<(), Failure> {
    if let Some(model) = &args.model {
        let console = Console::plain(&args.output);
        let description = describe(model, &console)?;
        return match args.output.json {
            true => output::json(&description),
            false => output::result(&report::model::text(&description, output::width())),
        };
    }
    let rows = CARDS.iter().map(row).collect::<Result<Vec<_>, _>>()?;
    if args.output.json {
        return output::json(&serde_json::json!({ "models": rows }));
    }
    let mut text = format!(
        "{:<29} {:<9} {:>6} {:>6} {:>6} {:>8} {:>7}\n",
        "name", "family", "params", "layers", "hidden", "heads/kv", "context"
    );
    for row in &rows {
        let spec = &row.spec;
        let heads = format!("{}/{}", spec.num_attention_heads, spec.num_key_value_heads);
        let remark = if row.runnable { "" } else { "  not yet" };
        text += &format!(
            "{:<29} {:<9} {:>5.1}B {:>6} {:>6} {:>8} {:>7}{}\n",
            row.name,
            spec.architecture.name(),
            row.parameters as f64 / 1e9,
            spec.num_hidden_layers,
            spec.hidden_size,
            heads,
            spec.max_position_embeddings,
            remark
        );
    }
    output::result(&text)
}

fn row(card: &'static Card) -> Result<Row, Failure> {
    let file = format!("card {}", card.name);
    let spec = ModelSpec::from_json(card.config_json, &file).map_err(Failure::run)?;
    Ok(Row {
        name: card.name,
        hub_id: card.hub_id,
        parameters: spec.parameters(),
        runnable: spec.check_runnable(&file).is_ok(),
        spec,
    })
}
