"""Runs inside a Python of its own: loads vLLM's engine, steps it through the loads, writes the times of the tokens.

usage: stepper.py JOB.json PLAYED.json
"""

import json
import sys
import time
from functools import reduce
from pathlib import Path

sys.dont_write_bytecode = True
# In place of this folder, whose names others have too.
sys.path[0] = str(Path(__file__).resolve().parents[1])

import vllm  # noqa: E402
from vllm import EngineArgs, LLMEngine, SamplingParams  # noqa: E402
from vllm.sampling_params import RequestOutputKind  # noqa: E402

from vllm_sides.loads import WARM_TOKENS, Job, Load  # noqa: E402
from vllm_sides.record import settings  # noqa: E402

try:
    from vllm.utils.argparse_utils import FlexibleArgumentParser
except ImportError:  # Releases before 0.12.
    from vllm.utils import FlexibleArgumentParser


def start(job: Job) -> LLMEngine:
    parser = EngineArgs.add_cli_args(FlexibleArgumentParser())
    arguments = EngineArgs.from_cli_args(parser.parse_args(["--model", job.model, *job.flags]))
    arguments.disable_log_stats = True
    return LLMEngine.from_engine_args(arguments)


def play(engine: LLMEngine, prompts: list[list[int]], concurrency: int, tokens: int) -> list[list]:
    """A closed loop. Of each request: prompt tokens, when it was handed over, the times of its tokens, their number, no error."""
    parameters = SamplingParams(
        temperature=0.0, max_tokens=tokens, ignore_eos=True, detokenize=False, output_kind=RequestOutputKind.DELTA
    )
    requests: list[list] = []

    def hand_over() -> None:
        index = len(requests)
        requests.append([len(prompts[index]), time.perf_counter(), [], 0, ""])
        engine.add_request(str(index), {"prompt_token_ids": prompts[index]}, parameters)

    for _ in range(min(concurrency, len(prompts))):
        hand_over()
    while engine.has_unfinished_requests():
        outputs = engine.step()
        at = time.perf_counter()
        for output in outputs:
            request, came = requests[int(output.request_id)], len(output.outputs[0].token_ids)
            if came:
                request[2].append(at)
                request[3] += came
            if output.finished and len(requests) < len(prompts):
                hand_over()
    return requests


def main() -> None:
    asked, answer = map(Path, sys.argv[1:])
    job = Job(**json.loads(asked.read_text()))
    engine = start(job)
    played = []
    for load in [Load(**load) for load in job.loads]:
        play(engine, job.warm_up(load), load.concurrency, min(WARM_TOKENS, load.output_len))
        played.append(play(engine, job.prompts(load), load.concurrency, load.output_len))
    config = engine.vllm_config
    used = settings(lambda path: reduce(lambda value, name: getattr(value, name, None), path.split("."), config))
    answer.write_text(json.dumps({"requests": played, "version": vllm.__version__, "settings": used}))


if __name__ == "__main__":
    main()
