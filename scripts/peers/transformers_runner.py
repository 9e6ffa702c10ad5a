"""Runs inside the transformers environment: prints one JSON object of tokens a second.

A plain loop over the model's forward call with its cache: what `generate` does, without its bookkeeping.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(job["threads"])
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=getattr(torch, job["dtype"]))
    model.eval()

    def prefill(prompts):
        start = time.perf_counter()
        out = model(torch.tensor(prompts), use_cache=True, logits_to_keep=1)
        token = out.logits[:, -1].argmax(-1, keepdim=True)
        return time.perf_counter() - start, token, out.past_key_values

    rates = {}
    with torch.inference_mode():
        prefill(job["decode_prompts"][:1])
        for length in job["prefills"]:
            prompts = job["prefill_prompts"][str(length)]
            times = [prefill([prompts[i]])[0] for i in range(job["repeats"])]
            rates[f"prefill {length}"] = length / statistics.median(times)
        for batch in job["batches"]:
            _, token, cache = prefill(job["decode_prompts"][:batch])
            steps = job["output_len"] - 1
            start = time.perf_counter()
            for _ in range(steps):
                out = model(token, past_key_values=cache, use_cache=True)
                token = out.logits[:, -1].argmax(-1, keepdim=True)
            rates[f"decode x{batch}"] = batch * steps / (time.perf_counter() - start)
    version = f"transformers {transformers.__version__}, torch {torch.__version__}"
    print(json.dumps({"rates": rates, "version": version, "settings": job["dtype"]}))


main()
