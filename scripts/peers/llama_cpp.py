"""llama.cpp, compiled from the sources that the sdist of llama-cpp-python carries, and its own benchmarks."""

import json
import os
import shutil
import statistics
from pathlib import Path

from .engine import POLITE, RUNNERS, Engine, call
from .loads import INPUT_LEN, REPEATS, Work, decode, prefill

# The newest on PyPI when this was written; another one is another comparison.
LLAMA_CPP_PYTHON = "0.3.36"
BUILD_JOBS = 2
CMAKE = {
    "CMAKE_BUILD_TYPE": "Release",
    "GGML_NATIVE": "ON",
    "BUILD_SHARED_LIBS": "OFF",
    "LLAMA_CURL": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_SERVER": "OFF",
    "LLAMA_BUILD_TOOLS": "ON",
}
# A prompt, or the prompts of a batch, in one piece, as the other engines take them.
MICRO_BATCH = 2048
BATCH = 4096
# It allots whole blocks of cells to a sequence.
CELLS = 256


class LlamaCpp(Engine):
    name = "llama.cpp"
    packages = ("cmake==4.4.4", "ninja==1.13.2", "gguf==0.19.0", "scikit-build-core==1.1.2")

    @property
    def pin(self) -> str:
        return f"llama-cpp-python=={LLAMA_CPP_PYTHON} built with {super().pin}"

    def build(self) -> None:
        sdist, build, tools = self.folder / "sdist", self.folder / "build", self.folder / "bin"
        package = f"llama_cpp_python-{LLAMA_CPP_PYTHON}"
        pip = [*POLITE, self.python, "-m", "pip", "download", "-q", "--no-deps", "--no-build-isolation"]
        # pip asks the build backend for metadata: scikit-build-core is there for that.
        environment = os.environ | {"PATH": f"{tools}:{os.environ['PATH']}"}
        call([*pip, "--no-binary", ":all:", f"llama-cpp-python=={LLAMA_CPP_PYTHON}", "-d", sdist], self.log, env=environment)
        call(["tar", "xzf", sdist / f"{package}.tar.gz", "-C", sdist], self.log)
        # One made elsewhere would keep its paths.
        shutil.rmtree(build, ignore_errors=True)
        source = sdist / package / "vendor" / "llama.cpp"
        flags = [f"-D{name}={value}" for name, value in CMAKE.items()]
        cmake = [*POLITE, tools / "cmake"]
        call([*cmake, "-S", source, "-B", build, "-G", "Ninja", *flags], self.log, env=environment)
        targets = ["--target", "llama-bench", "llama-batched-bench"]
        call([*cmake, "--build", build, "-j", BUILD_JOBS, *targets], self.log, env=environment)

    def gguf(self, model: Path) -> Path:
        return model.with_name(model.name + "-bf16.gguf")

    def prepare(self, model: Path) -> None:
        if not self.gguf(model).exists():
            part = self.gguf(model).with_suffix(".part")
            call([*POLITE, self.python, RUNNERS / "to_gguf.py", model, part], self.log)
            part.rename(self.gguf(model))

    def run(self, model: Path, work: Work) -> dict[str, float]:
        """The better of its two attention kernels, load by load."""
        self.settings = "bf16 weights, f16 KV, the better of flash attention on and off; it makes its own token ids"
        rates: dict[str, float] = {}
        found = [*self.prefills(model, work), *self.decodes(model, work)]
        for load, rate in found:
            rates[load] = max(rates.get(load, 0.0), rate)
        return rates

    def tool(self, name: str, model: Path, work: Work, *arguments: object) -> str:
        common = ["-m", self.gguf(model), "-t", work.threads, "-b", BATCH, "-ub", MICRO_BATCH]
        return call([self.folder / "build" / "bin" / name, *common, *arguments], self.log)

    def prefills(self, model: Path, work: Work) -> list[tuple[str, float]]:
        if not work.prefills:
            return []
        lengths = ",".join(map(str, work.prefills))
        rows = json.loads(self.tool("llama-bench", model, work, "-p", lengths, "-n", 0, "-fa", "0,1", "-r", REPEATS, "-o", "json"))
        self.version = f"llama.cpp {rows[0]['build_commit']} of llama-cpp-python {LLAMA_CPP_PYTHON}"
        return [prefill_row(row) for row in rows]

    def decodes(self, model: Path, work: Work) -> list[tuple[str, float]]:
        if not work.batches:
            return []
        longest = -(-(INPUT_LEN + work.output_len) // CELLS) * CELLS
        batches = ",".join(map(str, work.batches))
        found = []
        for attention in ("off", "on"):
            output = self.tool("llama-batched-bench", model, work, "-c", max(work.batches) * longest, "-fa", attention,
                               "-npp", INPUT_LEN, "-ntg", work.output_len, "-npl", batches, "--output-format", "jsonl")
            found += [decode_row(json.loads(line)) for line in output.splitlines() if line.startswith("{")]
        return found


def prefill_row(row: dict) -> tuple[str, float]:
    """A row of llama-bench."""
    return prefill(row["n_prompt"]), statistics.median(row["samples_ts"])


def decode_row(row: dict) -> tuple[str, float]:
    """A line of llama-batched-bench."""
    return decode(row["pl"]), row["speed_tg"]
