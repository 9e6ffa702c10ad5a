"""Runs inside the vLLM environment: prints one JSON object of tokens a second.

vLLM gives whole answers: decode is the difference between a long and a one-token answer.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import vllm


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    engine = vllm.LLM(
        job["model"],
        dtype="bfloat16",
        enforce_eager=True,
        enable_prefix_caching=False,
        skip_tokenizer_init=True,
        max_model_len=1024,
        max_num_seqs=max(job["batches"]),
        gpu_memory_utilization=0.3,
    )

    def run(prompts, tokens):
        parameters = vllm.SamplingParams(temperature=0.0, max_tokens=tokens, ignore_eos=True, detokenize=False)
        inputs = [{"prompt_token_ids": prompt} for prompt in prompts]
        start = time.perf_counter()
        engine.generate(inputs, parameters, use_tqdm=False)
        return time.perf_counter() - start

    rates = {}
    run(job["decode_prompts"][:1], 2)
    for length in job["prefills"]:
        prompts = job["prefill_prompts"][str(length)]
        times = [run([prompts[i]], 1) for i in range(job["repeats"])]
        rates[f"prefill {length}"] = length / statistics.median(times)
    for batch in job["batches"]:
        prompts = job["decode_prompts"][:batch]
        steps = job["output_len"] - 1
        rates[f"decode x{batch}"] = batch * steps / (run(prompts, job["output_len"]) - run(prompts, 1))
    print(json.dumps({"rates": rates, "version": f"vllm {vllm.__version__} (CPU)", "settings": "bfloat16, eager"}))


# Its worker is a process that imports this file again.
if __name__ == "__main__":
    main()
