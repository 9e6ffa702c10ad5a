//! Models that this program's engine does not run, by their shapes: what a step reads and multiplies, counted by hand; and
//! its own families, which come to the same by either way.

use candlepower::exec::simulated::untimed;
use candlepower::ground::recorder::{Cost, OpRecord};
use candlepower::model::ModelSpec;
use candlepower::parallel::{ShardPlan, Split};
use candlepower::shape::{Role, TensorSpec};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::device::Device;
use super::setup::{config, gpu, shape};

/// Bytes of bf16.
const HALF: u64 = 2;
/// Activations are small beside weights and caches.
const ACTIVATIONS: f64 = 0.002;

fn device(name: &str, gpu_name: &str, tp: usize) -> Device {
    Device::new(&shape(&config(name)), gpu(gpu_name), tp.into(), |_| ())
}

/// Of one rank, in all layers.
fn operations(device: &mut Device, sequences: &[(usize, usize)]) -> Vec<OpRecord> {
    device.start_timeline();
    device.step(sequences);
    device.take_timeline()
}

fn sum(ops: &[OpRecord], name: &str) -> Cost {
    let mut sum = Cost::default();
    let named = ops.iter().filter(|op| op.name == name);
    named.for_each(|op| sum += op.cost);
    sum
}

fn near(what: &str, found: u64, by_hand: u64) {
    let over = found as f64 / by_hand as f64 - 1.0;
    assert!(
        (0.0..ACTIVATIONS).contains(&over),
        "{what}: {found} of {by_hand}"
    );
}

/// Two of eight experts, all of attention and the head: the 12.9 thousand million weights that a token of Mixtral 8x7B is
/// multiplied with, but for the embedding.
#[test]
fn a_token_of_mixtral_reads_two_experts() {
    let mut device = device("mistralai__Mixtral-8x7B-Instruct-v0.1.json", "b200", 1);
    let (layers, hidden, kv, context) = (32, 4096, 1024, 1000);
    let attention = hidden * (hidden + 2 * kv) + hidden * hidden;
    let expert = 3 * hidden * 14_336;
    let active = layers * (attention + 8 * hidden + 2 * expert) + 32_000 * hidden;
    assert_eq!(active, 12_748_587_008);
    let cached = layers * context * 2 * kv;
    let cost = device.step(&[(1, context as usize)]).1.cost;
    near("bytes", cost.bytes, HALF * (active + cached));
    assert_eq!(cost.flops, 2 * active + layers * 4 * context * hidden);
    // 256 tokens reach all eight, and multiply with two each.
    let tokens = vec![(1, 10); 256];
    let all = layers * (attention + 8 * hidden + 8 * expert) + 32_000 * hidden;
    let ops = operations(&mut device, &tokens);
    assert_eq!(sum(&ops, "experts").flops, layers * 256 * 2 * 2 * expert);
    let weights: u64 = ["qkv", "o", "router", "experts", "head"]
        .map(|name| sum(&ops, name).bytes)
        .iter()
        .sum();
    let over = weights as f64 / (HALF * all) as f64 - 1.0;
    assert!((0.0..0.05).contains(&over), "{over}");
}

/// Every second layer of Gemma 2 sees 4,096 tokens, and each has four norms.
#[test]
fn windows_of_gemma_bound_what_is_read() {
    let mut device = device("google__gemma-2-9b-it.json", "h100-sxm", 1);
    let (layers, hidden, heads, kv_heads, head_dim) = (42, 3584, 16, 8, 256);
    let (requests, context, window) = (8, 8000, 4096);
    let q = heads * head_dim;
    let kv = 2 * kv_heads * head_dim;
    let attention = hidden * (q + kv) + q * hidden;
    let weights = layers * (attention + 3 * hidden * 14_336) + 256_000 * hidden;
    let seen = layers / 2 * requests * (context + window);
    let ops = operations(&mut device, &vec![(1, context as usize); requests as usize]);
    let read = sum(&ops, "attend");
    assert_eq!(read.bytes, HALF * (seen * kv + layers * 2 * requests * q));
    assert_eq!(read.flops, 4 * seen * q);
    assert_eq!(
        ops.iter().filter(|op| op.name == "norm").count(),
        4 * 42 + 1
    );
    let products: u64 = ["qkv", "o", "gate_up", "down", "head"]
        .map(|name| sum(&ops, name).flops)
        .iter()
        .sum();
    assert_eq!(products, 2 * requests * weights);
}

/// A token of Llama 4 sees those of its own run of 8,192; every fourth layer has no runs.
#[test]
fn a_chunk_begins_anew() {
    let text = json!({
        "model_type": "llama4_text", "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 128, "intermediate_size": 512, "intermediate_size_mlp": 512,
        "num_local_experts": 4, "num_experts_per_tok": 1, "interleave_moe_layer_step": 2, "vocab_size": 512,
        "max_position_embeddings": 131_072,
    });
    let mut device = Device::new(&shape(&text), gpu("h100-sxm"), 1.into(), |_| ());
    let flops = |device: &mut Device, sequence| {
        let ops = operations(device, &[sequence]);
        sum(&ops, "attend").flops / (4 * 256)
    };
    assert_eq!(flops(&mut device, (1, 8192)), 4 * 8192);
    assert_eq!(flops(&mut device, (1, 8193)), 3 + 8193);
    assert_eq!(
        flops(&mut device, (1, 10_000)),
        3 * (10_000 - 8192) + 10_000
    );
    // Two tokens before the border see all, the two behind it themselves.
    let runs = 8191 + 8192 + 1 + 2;
    assert_eq!(
        flops(&mut device, (4, 8194)),
        3 * runs + 8191 + 8192 + 8193 + 8194
    );
}

/// DeepSeek-V2-Lite on two ranks: heads are shared, latents are not.
#[test]
fn latents_are_read_whole_by_every_rank() {
    let mut device = device("deepseek-ai__DeepSeek-V2-Lite-Chat.json", "h200", 2);
    let (layers, hidden, heads, context) = (27, 2048, 16 / 2, 3000);
    let (rank, rope, nope, value) = (512, 64, 128, 128);
    let query = heads * (nope + rope) * hidden;
    let latent = (rank + rope) * hidden;
    let unpack = heads * (nope + value) * rank;
    let output = heads * value * hidden;
    let ops = operations(&mut device, &[(1, context as usize)]);
    let products = sum(&ops, "qkv");
    assert_eq!(products.flops, 2 * layers * (query + latent + unpack));
    near(
        "qkv",
        products.bytes,
        HALF * layers * (query + latent + unpack),
    );
    assert_eq!(sum(&ops, "o").flops, 2 * layers * output);
    let attend = sum(&ops, "attend");
    let cached = HALF * layers * context * (rank + rope);
    let passing = HALF * layers * heads * (2 * rank + rope);
    assert_eq!(attend.bytes, cached + passing);
    assert_eq!(
        attend.flops,
        2 * layers * context * heads * (2 * rank + rope)
    );
    // Six of 64 experts in all layers but the first, and two that every token takes.
    let expert = 3 * hidden * 1408 / 2;
    assert_eq!(sum(&ops, "experts").flops, 2 * 26 * 6 * expert);
    let dense = 3 * hidden * 10_944 / 2 + 26 * 2 * expert;
    let shared = sum(&ops, "gate_up").flops + sum(&ops, "down").flops;
    assert_eq!(shared, 2 * dense);
}

/// Prompts unpack what they see, their earlier steps' tokens again.
#[test]
fn prompts_unpack_latents() {
    let mut device = device("deepseek-ai__DeepSeek-V2-Lite-Chat.json", "h200", 1);
    let (layers, hidden, heads) = (27, 2048, 16);
    let made = |rows: u64, unpacked: u64| {
        let (query, latent) = (heads * 192 * hidden, 576 * hidden);
        2 * layers * (rows * (query + latent) + unpacked * heads * 256 * 512)
    };
    for (context, unpacked) in [(256, 256), (512, 512)] {
        let ops = operations(&mut device, &[(256, context)]);
        assert_eq!(sum(&ops, "qkv").flops, made(256, unpacked));
        let before = context as u64 - 256;
        let pairs = 256 * before + 256 * 257 / 2;
        let attend = sum(&ops, "attend").flops;
        assert_eq!(attend, 2 * layers * pairs * heads * (192 + 128));
    }
}

/// A longer context, and more heads for a rank, are never faster; the cache of latents is a small part of the step.
#[test]
fn latents_cost_more_with_the_context() {
    let name = "deepseek-ai__DeepSeek-V3.json";
    let seconds = |tp: usize, context: usize| device(name, "b200", tp).seconds(&[(1, context); 32]);
    let [short, long] = [1000, 30_000].map(|context| seconds(8, context));
    assert!(long > 1.05 * short && long < 3.0 * short, "{short} {long}");
    assert!(seconds(16, 1000) < short);
}

/// Of every family that fit knows: no weight is left out of a step that reaches all experts, or there is a reason why
/// it has no time.
#[test]
fn every_family_is_timed_or_refused() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/fit/");
    let text = std::fs::read_to_string(format!("{dir}families.json")).unwrap();
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    let (mut timed, mut refused) = (0, Vec::new());
    for row in rows {
        let (name, shape) = (row["model"].as_str().unwrap(), shape(&row["config"]));
        if untimed(&shape).is_some() {
            refused.push(name.to_owned());
            continue;
        }
        timed += 1;
        let plan = ShardPlan::split(&shape, Split::from(1)).unwrap();
        let held = |tensor: &TensorSpec| {
            let is_head = tensor.shape.last() == Some(&shape.hidden_size);
            match tensor.role {
                Role::Norm | Role::Tower | Role::Other | Role::Mixer => false,
                Role::Embedding => shape.tie_word_embeddings && is_head,
                _ => true,
            }
        };
        let weights = plan.weight_bytes(0, |tensor, elements| {
            u64::from(held(tensor)) * tensor.bytes(elements, HALF as usize)
        });
        let mut device = Device::new(&shape, gpu("b200"), 1.into(), |_| ());
        let (time, output) = device.step(&vec![(1, 2); 2048]);
        let read = output.cost.bytes as f64 / weights as f64;
        assert!(
            read > 0.999 && !time.is_zero(),
            "{name}: {read} of its weights"
        );
    }
    assert!(timed > 40, "{timed}");
    let says = |part: &str| refused.iter().any(|name| name.contains(part));
    assert!(
        says("gemma-3n") && says("Jamba") && !says("gemma-3-") && !says("Mixtral"),
        "{refused:?}"
    );
    // One family's latents with an indexer, and without.
    assert!(
        says("GLM-5") && !says("DeepSeek-V3") && !says("GLM-4.5"),
        "{refused:?}"
    );
}

/// A configuration of the four families, and what it is split over.
fn own() -> impl Strategy<Value = (Value, Split)> {
    let sizes = (1_usize..4, 1_usize..4, 0_usize..3, 1_usize..5, 0_usize..3);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (0_usize..4, sizes, flags, 0_usize..3).prop_map(|(family, sizes, flags, ranks)| {
        let (hidden, kv_heads, group, layers, width) = sizes;
        let (tied, bias, fp8, whole) = flags;
        let (kv_heads, tp) = (4 * kv_heads, 1 << ranks);
        let family = ["llama", "qwen2", "qwen3", "qwen3_moe"][family];
        let mut config = json!({
            "model_type": family, "hidden_size": 512 * hidden, "num_hidden_layers": layers,
            "num_attention_heads": kv_heads << group, "num_key_value_heads": kv_heads, "head_dim": 128,
            "intermediate_size": 512 << width, "vocab_size": 1000 + 8 * hidden, "max_position_embeddings": 4096,
            "tie_word_embeddings": tied, "attention_bias": bias, "mlp_bias": bias, "torch_dtype": "bfloat16",
            "rms_norm_eps": 1e-6, "rope_theta": 10_000.0,
        });
        if family == "qwen3_moe" {
            config["num_experts"] = json!(8 << width);
            config["num_experts_per_tok"] = json!(1 + group);
            config["moe_intermediate_size"] = json!(512 << group);
            config["mlp_only_layers"] = json!([1]);
        }
        if fp8 {
            config["quantization_config"] =
                json!({"quant_method": "fp8", "weight_block_size": [128, 128]});
        }
        let expert_parallel = whole && family == "qwen3_moe";
        (config, Split { tp, expert_parallel })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whether the engine names each tensor or a shape sums them up: bytes, FLOPs and time are the same.
    #[test]
    fn own_families_cost_the_same_by_their_shapes(
        (config, split) in own(),
        sequences in prop::collection::vec((1_usize..40, 0_usize..3000), 1..20),
    ) {
        let spec = ModelSpec::from_json(&config.to_string(), "config.json").unwrap();
        let (own, read) = (spec.shape(), shape(&config));
        prop_assume!(ShardPlan::split(&own, split).is_ok());
        let sequences: Vec<(usize, usize)> = sequences
            .into_iter()
            .map(|(rows, before)| (rows, before + rows))
            .collect();
        let card = gpu("h100-sxm");
        let [own, read] = [own, read].map(|shape| {
            let (time, output) = Device::new(&shape, card.clone(), split, |_| ()).step(&sequences);
            (time.as_nanos(), output.cost.bytes, output.cost.flops)
        });
        prop_assert_eq!(own, read);
    }
}
