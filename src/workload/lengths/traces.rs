//! Lengths of published traces, as their quantiles.

use super::Side;

/// From the shortest to the longest, 5 % apart.
const QUANTILES: usize = 21;

/// What was published of the requests of a service.
#[derive(Debug, PartialEq, Eq)]
pub struct Trace {
    /// As the flags take it.
    pub name: &'static str,
    /// Where its figures come from, with their date.
    pub source: &'static str,
    /// Requests that they were taken from.
    pub requests: usize,
    /// Prompt tokens.
    pub input: [usize; QUANTILES],
    /// Output tokens.
    pub output: [usize; QUANTILES],
}

/// Taken from whole files but for the first, whose set is not published as lengths.
pub const TRACES: [Trace; 4] = [
    Trace {
        name: "sharegpt",
        source: "prompts that vLLM's serving benchmark draws from ShareGPT V3 (at most 1,024 tokens in, 2,048 in all), \
in tokens of Llama 3, and what Llama 3 8B answered within the lengths of the set's own answers, none left out but the \
17 without a token: LambdaLabsML/vllm-benchmark, results of 320 prompts of 2024-09-07",
        requests: 320,
        input: [
            4, 8, 10, 12, 16, 22, 27, 35, 45, 59, 77, 122, 178, 242, 306, 338, 392, 480, 612, 692,
            933,
        ],
        output: [
            3, 8, 12, 17, 22, 26, 41, 59, 97, 146, 184, 216, 251, 290, 321, 353, 392, 431, 489,
            571, 780,
        ],
    },
    Trace {
        name: "azure-conv",
        source: "Azure's LLM inference trace of 2023-11-16, conversations, 58 minutes (Azure/AzurePublicDataset, CC-BY \
4.0; Splitwise, ISCA 2024)",
        requests: 19_366,
        input: [
            2, 181, 207, 372, 387, 396, 403, 414, 703, 984, 1020, 1045, 1071, 1097, 1130, 1189,
            1315, 1876, 2734, 4083, 14_050,
        ],
        output: [
            7, 41, 54, 67, 77, 85, 91, 96, 103, 113, 129, 151, 177, 217, 384, 395, 400, 411, 424,
            451, 1000,
        ],
    },
    Trace {
        name: "azure-code",
        source: "Azure's LLM inference trace of 2023-11-16, code completion, 58 minutes (Azure/AzurePublicDataset, CC-BY \
4.0; Splitwise, ISCA 2024)",
        requests: 8_819,
        input: [
            3, 75, 147, 232, 385, 578, 770, 938, 1075, 1261, 1469, 1690, 1909, 2163, 2433, 2744,
            3192, 3920, 5187, 7303, 7437,
        ],
        output: [
            6, 6, 7, 7, 8, 9, 9, 10, 11, 12, 13, 14, 16, 18, 20, 24, 29, 39, 55, 90, 1899,
        ],
    },
    Trace {
        name: "mooncake",
        source: "Mooncake's conversation trace of 59 minutes (kvcache-ai/Mooncake, FAST25-release/traces, 2025-02)",
        requests: 12_031,
        input: [
            891, 901, 964, 1261, 1662, 2306, 3263, 4251, 4993, 5870, 6909, 8187, 9570, 11_238,
            13_196, 15_367, 17_869, 21_464, 27_367, 39_550, 126_195,
        ],
        output: [
            1, 10, 24, 46, 100, 156, 213, 256, 291, 322, 350, 375, 399, 423, 447, 472, 504, 543,
            597, 698, 2000,
        ],
    },
];

impl Trace {
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        TRACES.iter().find(|trace| trace.name == name)
    }

    fn quantiles(&self, side: Side) -> &[usize; QUANTILES] {
        match side {
            Side::Input => &self.input,
            Side::Output => &self.output,
        }
    }

    pub(super) fn most(&self, side: Side) -> usize {
        self.quantiles(side)[QUANTILES - 1]
    }

    /// The length below which that share of the requests is, from 0 to 1.
    pub(super) fn at(&self, side: Side, share: f64) -> usize {
        let quantiles = self.quantiles(side);
        let place = share * (QUANTILES - 1) as f64;
        let below = (place as usize).min(QUANTILES - 2);
        let (low, high) = (quantiles[below] as f64, quantiles[below + 1] as f64);
        (low + (high - low) * (place - below as f64)).round() as usize
    }
}
