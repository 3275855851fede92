"""Tokenizes texts with llama.cpp's own tokenizer, as a program of the triton-cpu runtime.

usage: python llama_tokenize.py VOCABULARY.gguf...
in:    one JSON string a line
out:   for each file one JSON line: the ids of each text, or null when llama.cpp refuses the file
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from ctypes import POINTER, c_bool, c_char_p, c_int32, c_void_p
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "triton-repo" / "gguf" / "tensorrt_llm" / "1"))

from llama_cpp import load_library


def main() -> None:
    library = load_library()
    library.llama_tokenize.restype = c_int32
    library.llama_tokenize.argtypes = [
        *(c_void_p, c_char_p, c_int32, POINTER(c_int32), c_int32, c_bool, c_bool)
    ]
    texts = [json.loads(line).encode() for line in sys.stdin if line.strip()]
    for path in sys.argv[1:]:
        parameters = library.llama_model_default_params()
        parameters.vocab_only = True
        model = library.llama_model_load_from_file(os.fsencode(path), parameters)
        found = None
        if model:
            vocabulary = library.llama_model_get_vocab(model)
            found = [_tokenize(library, vocabulary, text) for text in texts]
            library.llama_model_free(model)
        print(json.dumps(found), flush=True)


def _tokenize(library: ctypes.CDLL, vocabulary: int, text: bytes) -> list[int]:
    ids = (c_int32 * (len(text) + 8))()
    # Plain text: no special tokens are parsed and no BOS is added.
    count = library.llama_tokenize(vocabulary, text, len(text), ids, len(ids), False, False)
    return list(ids[:count])


if __name__ == "__main__":
    main()
