"""The engines, in the order of the first round."""

from .candlepower import Candlepower
from .llama_cpp import LlamaCpp
from .python_engines import MistralRs, OpenVino, Transformers, Vllm

ENGINES = (Candlepower, LlamaCpp, OpenVino, MistralRs, Transformers, Vllm)
# Large, and slow on processors without AVX-512: only when asked for.
ON_REQUEST = {"vllm"}
