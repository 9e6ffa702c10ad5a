"""Runs inside the OpenVINO environment: the shared checkpoint as OpenVINO's own format.

Weights stay 16-bit in the file; what they are at run time is the engine's choice. usage: to_openvino.py CHECKPOINT OUT
"""

import sys
from pathlib import Path

import openvino
from openvino_tokenizers import convert_tokenizer
from optimum.intel import OVModelForCausalLM
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast


def main() -> None:
    model, out = sys.argv[1], Path(sys.argv[2])
    OVModelForCausalLM.from_pretrained(model, export=True, compile=False, load_in_8bit=False).save_pretrained(out)
    # The pipeline wants a tokenizer, and is only given ids: any one will do.
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2, "a": 3, "b": 4}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    fast.save_pretrained(out)
    encoder, decoder = convert_tokenizer(fast, with_detokenizer=True)
    openvino.save_model(encoder, out / "openvino_tokenizer.xml")
    openvino.save_model(decoder, out / "openvino_detokenizer.xml")


main()
