//! Flags of `profile`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::super::common::CommonArgs;
use super::super::values;
use crate::profile::{Phase, ProfileOptions};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    candlepower profile                                     one decode step of one sequence, 512 tokens of context\n  \
    candlepower profile --batch 1,8,32 --context 512,8192 --csv ops.csv --plot roofline.html\n  \
    candlepower profile --phase prefill --context 512 --trace trace.json\n  \
    candlepower profile --model QwQ-32B --layers 2 --batch 1 --json\n  \
    candlepower profile --tp 2 --batch 8\n  \
    candlepower profile --device sim:rtx4090-48g --tp 2 --model QwQ-32B --batch 1,50\n\n\
    A trace opens in https://ui.perfetto.dev")]
pub struct ProfileArgs {
    #[command(flatten)]
    pub common: CommonArgs,

    /// prefill: whole prompts in one step; decode: one token of each sequence
    #[arg(long, value_enum, default_value_t = PhaseFlag::Decode, help_heading = "Step")]
    pub phase: PhaseFlag,
    /// Sequences of the step; several numbers are a sweep
    #[arg(long, value_name = "B[,B...]", value_delimiter = ',', default_value = "1", value_parser = values::positive, help_heading = "Step")]
    pub batch: Vec<usize>,
    /// Tokens of each sequence, those of the step included; several numbers are a sweep
    #[arg(long, value_name = "L[,L...]", value_delimiter = ',', default_value = "512", value_parser = values::positive, help_heading = "Step")]
    pub context: Vec<usize>,
    /// How often each step is run [default: for about three seconds, 4 to 64 times]
    #[arg(long, value_name = "N", value_parser = values::positive, help_heading = "Step")]
    pub steps: Option<usize>,
    /// What times operations on a GPU. auto: its own records of kernels (CUPTI), also within CUDA graphs, where the library is
    /// found; else events. events: around each operation, without graphs
    #[arg(long, value_enum, default_value_t = TimerFlag::Auto, help_heading = "Step")]
    pub timed_by: TimerFlag,

    /// Write every step, layer and operation as a Chrome trace, which Perfetto opens
    #[arg(long, value_name = "FILE.json", help_heading = "Output")]
    pub trace: Option<PathBuf>,
    /// Write the tables as CSV, one line an operation
    #[arg(long, value_name = "FILE.csv", help_heading = "Output")]
    pub csv: Option<PathBuf>,
    /// Write a roofline plot of all operations
    #[arg(long, value_name = "FILE.svg|.html", help_heading = "Output")]
    pub plot: Option<PathBuf>,
}

impl ProfileArgs {
    pub fn profile(&self) -> ProfileOptions {
        ProfileOptions {
            phase: self.phase.into(),
            batch: self.batch.clone(),
            context: self.context.clone(),
            steps: self.steps,
            by_events: self.timed_by == TimerFlag::Events,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PhaseFlag {
    Prefill,
    Decode,
}

impl From<PhaseFlag> for Phase {
    fn from(flag: PhaseFlag) -> Self {
        match flag {
            PhaseFlag::Prefill => Self::Prefill,
            PhaseFlag::Decode => Self::Decode,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TimerFlag {
    Auto,
    Events,
}
