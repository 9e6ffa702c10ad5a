//! A whole decoder in f64 loops, for what candle-transformers lacks: every rope kind, windows, all biases, experts
//! among dense layers, weights in blocks of FP8.
//!
//! It reads `config.json` itself and shares nothing with the crate. Rope formulas are typed from their papers:
//! RoFormer (2104.09864), position interpolation (2306.15595), YaRN (2309.00071, equations 21 to 23).

use std::collections::{HashMap, HashSet};
use std::f64::consts::TAU;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use serde_json::Value;

pub struct F64Model {
    config: Value,
    weights: HashMap<String, Vec<f64>>,
    /// Whether inputs of weights in FP8 are rounded to e4m3 too.
    pub quantize_activations: bool,
    /// Weights in FP8.
    quantised: HashSet<String>,
}

/// Row-major rows of one width.
type Rows = Vec<Vec<f64>>;

impl F64Model {
    pub fn open(dir: &Path) -> Self {
        let config = std::fs::read(dir.join("config.json")).unwrap();
        // One file, or shards.
        let files = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let is_weights = |file: &PathBuf| {
            let name = file.file_name().unwrap().to_str().unwrap();
            name.starts_with("model") && name.ends_with(".safetensors")
        };
        let loaded = files.filter(is_weights);
        let loaded = loaded.map(|file| candle_core::safetensors::load(file, &Device::Cpu).unwrap());
        let tensors: HashMap<String, candle_core::Tensor> = loaded.flatten().collect();
        let wide = |tensor: candle_core::Tensor| {
            let flat = tensor.flatten_all().unwrap();
            if flat.dtype() == DType::F8E4M3 {
                let codes = flat.to_vec1::<float8::F8E4M3>().unwrap();
                return codes.iter().map(|code| e4m3(code.to_bits())).collect();
            }
            flat.to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap()
        };
        let widths = tensors.iter().map(|(name, tensor)| {
            let width = tensor.dims().last().copied().unwrap();
            (name.clone(), width)
        });
        let widths: HashMap<String, usize> = widths.collect();
        let mut model = Self {
            config: serde_json::from_slice(&config).unwrap(),
            weights: tensors.into_iter().map(|(n, t)| (n, wide(t))).collect(),
            quantize_activations: false,
            quantised: HashSet::new(),
        };
        model.scale_blocks(&widths);
        model
    }

    /// `[position * vocab + token]`.
    pub fn logits(&self, tokens: &[u32]) -> Vec<f32> {
        let hidden = self.size("hidden_size");
        let embedding = &self.weights["model.embed_tokens.weight"];
        let mut x: Rows = tokens
            .iter()
            .map(|&t| embedding[t as usize * hidden..][..hidden].to_vec())
            .collect();
        for layer in 0..self.size("num_hidden_layers") {
            let name = |suffix: &str| format!("model.layers.{layer}.{suffix}");
            let normed = self.norm(&x, &name("input_layernorm.weight"));
            add(&mut x, &self.attention(&normed, layer));
            let normed = self.norm(&x, &name("post_attention_layernorm.weight"));
            let delta = match self.is_sparse(layer) {
                true => self.experts(&normed, &name("mlp")),
                false => self.gated(&normed, &name("mlp")),
            };
            add(&mut x, &delta);
        }
        let x = self.norm(&x, "model.norm.weight");
        let tied = self.config["tie_word_embeddings"] == true;
        let head = if tied {
            "model.embed_tokens"
        } else {
            "lm_head"
        };
        let logits = self.project(&x, head);
        logits.into_iter().flatten().map(|v| v as f32).collect()
    }

    /// Weights in FP8 times the scales of their blocks.
    fn scale_blocks(&mut self, widths: &HashMap<String, usize>) {
        let names: Vec<String> = self.weights.keys().cloned().collect();
        for name in names {
            let Some(weight) = name.strip_suffix("_scale_inv") else {
                continue;
            };
            let block = &self.config["quantization_config"]["weight_block_size"];
            let [rows, columns] = [0, 1].map(|axis| block[axis].as_u64().unwrap() as usize);
            let scales = self.weights.remove(&name).unwrap();
            self.quantised.insert(weight.to_owned());
            let (width, grid) = (widths[weight], widths[&name]);
            let values = self.weights.get_mut(weight).unwrap();
            for (i, value) in values.iter_mut().enumerate() {
                let (row, column) = (i / width, i % width);
                *value *= scales[row / rows * grid + column / columns];
            }
        }
    }

    fn is_sparse(&self, layer: usize) -> bool {
        let has_experts = self.config["model_type"] == "qwen3_moe";
        let step = self.config["decoder_sparse_step"].as_u64().unwrap_or(1);
        let dense = self.config["mlp_only_layers"].as_array();
        let is_dense = dense.is_some_and(|list| list.iter().any(|l| *l == layer));
        has_experts && (layer as u64 + 1).is_multiple_of(step) && !is_dense
    }

    /// Each row by the experts of its highest scores.
    fn experts(&self, x: &Rows, module: &str) -> Rows {
        let top_k = self.size("num_experts_per_tok");
        let scores = self.project(x, &format!("{module}.gate"));
        let one = |(x, scores): (&Vec<f64>, &Vec<f64>)| {
            let sum: f64 = scores.iter().map(|score| score.exp()).sum();
            let mut chosen: Vec<(f64, usize)> =
                scores.iter().map(|s| s.exp() / sum).zip(0..).collect();
            chosen.sort_by(|a, b| b.0.total_cmp(&a.0));
            chosen.truncate(top_k);
            let total: f64 = chosen.iter().map(|(weight, _)| weight).sum();
            let divisor = if self.config["norm_topk_prob"] == true {
                total
            } else {
                1.0
            };
            let mut out = vec![0.0; x.len()];
            for (weight, expert) in chosen {
                let module = format!("{module}.experts.{expert}");
                let y = self.gated(&vec![x.clone()], &module);
                out.iter_mut()
                    .zip(&y[0])
                    .for_each(|(out, y)| *out += weight / divisor * y);
            }
            out
        };
        x.iter().zip(&scores).map(one).collect()
    }

    fn gated(&self, x: &Rows, module: &str) -> Rows {
        let mut gate = self.project(x, &format!("{module}.gate_proj"));
        let up = self.project(x, &format!("{module}.up_proj"));
        for (gate, up) in gate.iter_mut().flatten().zip(up.iter().flatten()) {
            *gate *= up / (1.0 + (-*gate).exp());
        }
        self.project(&gate, &format!("{module}.down_proj"))
    }

    fn attention(&self, x: &Rows, layer: usize) -> Rows {
        let name = |suffix: &str| format!("model.layers.{layer}.self_attn.{suffix}");
        let heads = self.size("num_attention_heads");
        let group = heads / self.size("num_key_value_heads");
        let d = match self.config.get("head_dim").and_then(Value::as_u64) {
            Some(d) => d as usize,
            None => self.size("hidden_size") / heads,
        };
        let mut q = self.project(x, &name("q_proj"));
        let mut k = self.project(x, &name("k_proj"));
        let v = self.project(x, &name("v_proj"));
        let frequencies = self.frequencies(d);
        for (rows, norm) in [(&mut q, "q_norm.weight"), (&mut k, "k_norm.weight")] {
            for (position, row) in rows.iter_mut().enumerate() {
                for head in row.chunks_exact_mut(d) {
                    if let Some(weight) = self.weights.get(&name(norm)) {
                        self.norm_row(head, weight);
                    }
                    self.rotate(head, position, &frequencies);
                }
            }
        }
        let window = self.window(layer);
        let mut out = vec![vec![0.0; heads * d]; x.len()];
        for (i, out) in out.iter_mut().enumerate() {
            let first = (i + 1).saturating_sub(window);
            for (head, out) in out.chunks_exact_mut(d).enumerate() {
                let query = &q[i][head * d..][..d];
                let at = head / group * d;
                let score = |j: usize| dot(query, &k[j][at..][..d]) / (d as f64).sqrt();
                let weights: Vec<f64> = (first..=i).map(|j| score(j).exp()).collect();
                let sum: f64 = weights.iter().sum();
                for (weight, j) in weights.iter().zip(first..) {
                    for (out, v) in out.iter_mut().zip(&v[j][at..]) {
                        *out += weight / sum * v;
                    }
                }
            }
        }
        self.project(&out, &name("o_proj"))
    }

    /// Tokens that a token of `layer` sees, itself included.
    fn window(&self, layer: usize) -> usize {
        let windowed = self.config["use_sliding_window"] == true;
        if windowed && layer >= self.size("max_window_layers") {
            self.size("sliding_window")
        } else {
            usize::MAX
        }
    }

    /// Radians a position of each pair, and the factor on the rotated vector.
    fn frequencies(&self, d: usize) -> (Vec<f64>, f64) {
        let theta = self.config["rope_theta"].as_f64().unwrap();
        let plain = (0..d / 2).map(|i| theta.powf(-2.0 * i as f64 / d as f64));
        let scaling = &self.config["rope_scaling"];
        let number = |key: &str| scaling[key].as_f64().unwrap();
        let kind = scaling.get("rope_type").or(scaling.get("type"));
        match kind.and_then(Value::as_str) {
            None => (plain.collect(), 1.0),
            Some("linear") => (plain.map(|f| f / number("factor")).collect(), 1.0),
            Some("llama3") => {
                let (low, high) = (number("low_freq_factor"), number("high_freq_factor"));
                let scaled = plain.map(|f| {
                    // How often the pair turns within the original context.
                    let turns = number("original_max_position_embeddings") * f / TAU;
                    if turns > high {
                        f
                    } else if turns < low {
                        f / number("factor")
                    } else {
                        let kept = (turns - low) / (high - low);
                        kept * f + (1.0 - kept) * f / number("factor")
                    }
                });
                (scaled.collect(), 1.0)
            }
            Some("yarn") => {
                let s = number("factor");
                let context = number("original_max_position_embeddings");
                let beta = |key: &str, default: f64| scaling[key].as_f64().unwrap_or(default);
                // The pair that makes `turns` turns within the original context: r(i) solved for i.
                let pair =
                    |turns: f64| (context / (TAU * turns)).ln() / theta.ln() * (d as f64 / 2.0);
                let low = pair(beta("beta_fast", 32.0)).floor().max(0.0);
                let high = pair(beta("beta_slow", 1.0)).ceil().min(d as f64 - 1.0);
                let scaled = plain.enumerate().map(|(i, f)| {
                    let ramp = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                    (1.0 - ramp) * f + ramp * f / s
                });
                let scaled = scaled.collect();
                let default = 0.1 * s.ln() + 1.0;
                let factor = scaling["attention_factor"].as_f64().unwrap_or(default);
                (scaled, factor)
            }
            Some(other) => panic!("{other}"),
        }
    }

    fn rotate(&self, head: &mut [f64], position: usize, (frequencies, factor): &(Vec<f64>, f64)) {
        let half = head.len() / 2;
        for (i, frequency) in frequencies.iter().enumerate() {
            let (sin, cos) = (position as f64 * frequency).sin_cos();
            let (a, b) = (head[i], head[i + half]);
            head[i] = factor * (a * cos - b * sin);
            head[i + half] = factor * (a * sin + b * cos);
        }
    }

    /// `x Wᵀ + b`, with the bias where the checkpoint has one.
    fn project(&self, x: &Rows, name: &str) -> Rows {
        let name_of_weight = format!("{name}.weight");
        let weight = &self.weights[&name_of_weight];
        let rounded: Rows;
        let x = match self.quantize_activations && self.quantised.contains(&name_of_weight) {
            false => x,
            true => {
                rounded = x.iter().map(|row| self.rounded(row)).collect();
                &rounded
            }
        };
        let bias = self.weights.get(&format!("{name}.bias"));
        let one = |row: &Vec<f64>| {
            let columns = weight.chunks_exact(row.len()).enumerate();
            columns
                .map(|(n, w)| dot(row, w) + bias.map_or(0.0, |b| b[n]))
                .collect()
        };
        x.iter().map(one).collect()
    }

    /// To e4m3, each block of columns by a scale of its own: its largest value becomes 448 (2412.19437, 3.3).
    fn rounded(&self, row: &[f64]) -> Vec<f64> {
        let block = &self.config["quantization_config"]["weight_block_size"][1];
        let blocks = row.chunks(block.as_u64().unwrap() as usize);
        let one = |block: &[f64]| {
            let largest = block.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
            let scale = if largest == 0.0 { 1.0 } else { largest / 448.0 };
            let values = block.iter().map(|v| nearest_e4m3(v / scale) * scale);
            values.collect::<Vec<_>>()
        };
        blocks.flat_map(one).collect()
    }

    fn norm(&self, x: &Rows, name: &str) -> Rows {
        let mut x = x.clone();
        for row in &mut x {
            self.norm_row(row, &self.weights[name]);
        }
        x
    }

    fn norm_row(&self, row: &mut [f64], weight: &[f64]) {
        let eps = self.config["rms_norm_eps"].as_f64().unwrap();
        let scale = (dot(row, row) / row.len() as f64 + eps).sqrt();
        for (v, w) in row.iter_mut().zip(weight) {
            *v = *v / scale * w;
        }
    }

    fn size(&self, key: &str) -> usize {
        self.config[key].as_u64().unwrap() as usize
    }
}

/// A sign, four bits of exponent, three of mantissa.
fn e4m3(code: u8) -> f64 {
    let (exponent, mantissa) = (i32::from(code >> 3 & 15), f64::from(code & 7));
    let size = match exponent {
        0 => mantissa * 2f64.powi(-9),
        _ => (8.0 + mantissa) * 2f64.powi(exponent - 10),
    };
    if code >> 7 == 1 { -size } else { size }
}

/// Four bits from the highest that is set, fewer below 2^-6; ties to even.
fn nearest_e4m3(value: f64) -> f64 {
    let exponent = value.abs().log2().floor().max(-6.0);
    let step = (exponent - 3.0).exp2();
    (value / step).round_ties_even() * step
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(x: &mut Rows, delta: &Rows) {
    for (x, d) in x.iter_mut().flatten().zip(delta.iter().flatten()) {
        *x += d;
    }
}
