"""Runs inside the mistral.rs environment: prints one JSON object of tokens a second.

It takes text: the tokenizer beside its model has a word for each token id, and its chat template gives back the
message. Requests that are to run together are all sent before the first answer is read.
"""

import json
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

from mistralrs import ChatCompletionRequest, ModelDType, Runner, Which


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    most = max(job["batches"], default=1)
    model = Which.Plain(job["model"], dtype=getattr(ModelDType, job["dtype"]))
    engine = Runner(model, max_seqs=most, prefix_cache_n=0)

    def stamps(stream):
        return [time.perf_counter() for _ in stream]

    def play(prompts, tokens):
        """When it began, and the times of the tokens of each request."""
        start = time.perf_counter()
        streams = []
        for ids in prompts:
            text = " ".join(map(str, ids))
            if engine.tokenize_text(text, False, None) != ids:
                sys.exit("the tokenizer gives other token ids than those of the job")
            messages = [{"role": "user", "content": text}]
            request = ChatCompletionRequest(
                messages, "default", max_tokens=tokens, temperature=0.0, ignore_eos=True, stream=True
            )
            streams.append(engine.send_chat_completion_request(request))
        with ThreadPoolExecutor(len(streams)) as readers:
            return start, list(readers.map(stamps, streams))

    rates = {}
    play(job["decode_prompts"][:1], 2)
    for length in job["prefills"]:
        prompts = job["prefill_prompts"][str(length)]
        times = []
        for i in range(job["repeats"]):
            start, (tokens,) = play([prompts[i]], 1)
            times.append(tokens[0] - start)
        rates[f"prefill {length}"] = length / statistics.median(times)
    for batch in job["batches"]:
        _, answers = play(job["decode_prompts"][:batch], job["output_len"])
        start, end = max(tokens[0] for tokens in answers), min(tokens[-1] for tokens in answers)
        if end <= start:
            why = "one answer ended before another began: the outputs are too short (--output-len)"
            print(f"decode x{batch} has no rate: {why}", file=sys.stderr)
            continue
        together = sum(start < at <= end for tokens in answers for at in tokens)
        rates[f"decode x{batch}"] = together / (end - start)
    print(json.dumps({"rates": rates, "version": f"mistral.rs {version('mistralrs')}", "settings": job["dtype"]}))


main()
