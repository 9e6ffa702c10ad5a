"""Runs inside the OpenVINO environment: prints one JSON object of tokens a second.

The continuous-batching pipeline, step by step: all prompts first, then decode steps alone are timed.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import numpy
import openvino
import openvino_genai as genai


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    scheduler = genai.SchedulerConfig()
    scheduler.max_num_batched_tokens = 4096
    scheduler.max_num_seqs = max(job["batches"])
    scheduler.enable_prefix_caching = False
    scheduler.dynamic_split_fuse = False
    scheduler.cache_size = 2
    properties = {"INFERENCE_NUM_THREADS": job["threads"], "PERFORMANCE_HINT": "LATENCY"}
    pipeline = genai.ContinuousBatchingPipeline(job["model"], scheduler, "CPU", properties)
    counter = 0

    def run(prompts, tokens):
        """Times of each step until all requests have ended."""
        nonlocal counter
        config = genai.GenerationConfig(max_new_tokens=tokens, ignore_eos=True, do_sample=False)
        handles = []
        for prompt in prompts:
            ids = openvino.Tensor(numpy.array([prompt], dtype=numpy.int64))
            handles.append(pipeline.add_request(counter, ids, config))
            counter += 1
        times = []
        while pipeline.has_non_finished_requests():
            start = time.perf_counter()
            pipeline.step()
            times.append(time.perf_counter() - start)
        for handle in handles:
            handle.read_all()
        return times

    rates = {}
    run(job["decode_prompts"][:1], 2)
    for length in job["prefills"]:
        prompts = job["prefill_prompts"][str(length)]
        times = [sum(run([prompts[i]], 1)) for i in range(job["repeats"])]
        rates[f"prefill {length}"] = length / statistics.median(times)
    for batch in job["batches"]:
        times = run(job["decode_prompts"][:batch], job["output_len"])
        # Every request is in every one of the last steps, however many the prompts took.
        steps = job["output_len"] - 1
        rates[f"decode x{batch}"] = batch * steps / sum(times[-steps:])
    version = f"openvino-genai {genai.__version__}"
    settings = "continuous batching, precision as it chooses"
    print(json.dumps({"rates": rates, "version": version, "settings": settings}))


main()
