//! Flags of `generate`.

use clap::{ArgGroup, ArgMatches, Args};

use super::super::common::CommonArgs;
use super::super::values;
use crate::session::Generation;

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("input").required(true).multiple(true).args(["prompt", "prompt_ids"])))]
#[command(after_help = "Examples:\n  \
    candlepower generate --model ./my-model --prompt 'The capital of France is'\n  \
    candlepower generate --model ./my-model --chat --prompt 'What is a benchmark?' --temperature 0.7 --top-p 0.9\n  \
    candlepower generate --model ./my-model --prompt-ids 1,2,3 --prompt-ids 7,8 --max-tokens 8 --json")]
pub struct GenerateArgs {
    #[command(flatten)]
    pub common: CommonArgs,

    /// Text to continue; may be repeated, all prompts run as one batch
    #[arg(
        long,
        value_name = "TEXT",
        required_unless_present = "prompt_ids",
        help_heading = "Prompt"
    )]
    pub prompt: Vec<String>,
    /// Token ids to continue, taken as they are; may be repeated
    #[arg(long, value_name = "1,2,3", value_parser = values::token_ids, help_heading = "Prompt")]
    pub prompt_ids: Vec<Vec<u32>>,
    /// Both kinds in the order of the command line.
    #[arg(skip)]
    pub inputs: Vec<Input>,
    /// Put each text into the model's chat template as a user's message
    #[arg(long, help_heading = "Prompt")]
    pub chat: bool,

    /// Output tokens at most [default: 128, or what the context leaves]
    #[arg(long, value_name = "N", value_parser = values::positive, help_heading = "Output")]
    pub max_tokens: Option<usize>,
    /// Go on after the model's end token
    #[arg(long, help_heading = "Output")]
    pub ignore_eos: bool,
    /// Log-probabilities of each token and its N best alternatives, in the JSON
    #[arg(long, value_name = "N", value_parser = values::whole, requires = "json", help_heading = "Output")]
    pub logprobs: Option<usize>,

    /// 0 takes the most likely token
    #[arg(long, value_name = "T", default_value_t = 0.0, value_parser = values::temperature, help_heading = "Sampling")]
    pub temperature: f32,
    /// Only the K most likely tokens; 0 is all
    #[arg(long, value_name = "K", default_value_t = 0, value_parser = values::whole, help_heading = "Sampling")]
    pub top_k: usize,
    /// Only the most likely tokens that make up P
    #[arg(long, value_name = "P", default_value_t = 1.0, value_parser = values::probability, help_heading = "Sampling")]
    pub top_p: f32,
}

/// One prompt, by its place among those of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    Text(usize),
    Ids(usize),
}

impl GenerateArgs {
    /// How each prompt is continued.
    pub fn generation(&self, prompt: Vec<u32>) -> Generation {
        let mut generation = Generation::new(prompt);
        generation.max_tokens = self.max_tokens;
        generation.ignore_eos = self.ignore_eos;
        generation.temperature = self.temperature;
        generation.top_k = self.top_k;
        generation.top_p = self.top_p;
        generation.seed = self.common.seed;
        generation.logprobs = self.logprobs;
        generation
    }

    /// Notes in which order texts and ids were given; only the raw matches know.
    pub fn order_inputs(&mut self, matches: &ArgMatches) {
        let indices = |name| matches.indices_of(name).into_iter().flatten().enumerate();
        let texts = indices("prompt").map(|(i, at)| (at, Input::Text(i)));
        let ids = indices("prompt_ids").map(|(i, at)| (at, Input::Ids(i)));
        let mut inputs: Vec<(usize, Input)> = texts.chain(ids).collect();
        inputs.sort_by_key(|(at, _)| *at);
        self.inputs = inputs.into_iter().map(|(_, input)| input).collect();
    }
}
