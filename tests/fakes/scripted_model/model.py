"""Stands in for TensorRT-LLM inside the real Triton: generates a script's text for the prompt.

The script is a file of JSON, read anew for every request: a list of rules, of which the first one
that fits counts. A rule's conditions are regular expressions, looked for in a part of the prompt:
`prompt` (all of it), `tools` (what stands between <tools> and </tools>), `guide` (what the request
is held to); `results` is the exact number of tool responses. `say` is the whole assistant turn.
What the prompt has of it already, because the gateway began the turn, is left out. `end` is "stop",
or "length": then white space before `say` fills the turn up to the request's limit, so that the
limit cuts exactly there.

Prompts are ChatML, as the demo checkpoint's template writes it. A prompt that no rule fits gets
ELSE, so that what agents ask beside the conversation (titles, summaries) finds an answer.
"""

import json
import re
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils
from tokenizers import Tokenizer

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
ELSE = {"say": "Nothing is scripted for this prompt."}
ASSISTANT = "<|im_start|>assistant\n"
FILLING_AT_ONCE = 512


def scalar(request, name, default):
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return default if tensor is None else tensor.as_numpy().reshape(-1).tolist()[0]


def stop_words(request):
    tensor = pb_utils.get_input_tensor_by_name(request, "stop_words_list")
    if tensor is None:
        return []
    ids, ends = tensor.as_numpy()[0].tolist()
    starts = [0, *ends]
    return [ids[start:end] for start, end in zip(starts, ends, strict=False) if end > start]


def fits(rule, prompt, guide):
    """Whether all conditions of a rule hold."""
    tools = prompt.partition("<tools>")[2].partition("</tools>")[0]
    results = prompt.count("<tool_response>")
    if rule.get("results", results) != results:
        return False
    parts = {"prompt": prompt, "tools": tools, "guide": guide}
    return all(re.search(rule[name], parts[name], re.S) for name in parts if name in rule)


def resume(say, prompt):
    """`say` without the part of it with which the prompt ends."""
    prefix = prompt.rpartition(ASSISTANT)[2] if ASSISTANT in prompt else ""
    for start in range(len(prefix)):
        if say.startswith(prefix[start:]):
            return say[len(prefix) - start :]
    return say


def before_a_stop_word(ids, words):
    for end in range(1, len(ids) + 1):
        for word in words:
            if ids[:end][-len(word) :] == word:
                return ids[: end - len(word)]
    return ids


class TritonPythonModel:
    def initialize(self, args):
        parameters = json.loads(args["model_config"])["parameters"]
        self.script = Path(parameters["script"]["string_value"])
        self.tokenizer = Tokenizer.from_file(parameters["tokenizer"]["string_value"])

    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            try:
                for chunk, last in self.chunks(request):
                    gone = sender.is_cancelled()
                    sender.send(
                        self.response(request, [] if gone else chunk),
                        flags=FINAL if last or gone else 0,
                    )
                    if gone:
                        break
            except Exception as error:
                failure = pb_utils.TritonError(f"the script cannot be followed: {error!r}")
                sender.send(pb_utils.InferenceResponse(error=failure), flags=FINAL)

    def chunks(self, request):
        """Every token on its own, the filling in large pieces; and whether it is the last."""
        ids, filling = self.answer(request)
        for start in range(0, filling, FILLING_AT_ONCE):
            yield self.space * min(FILLING_AT_ONCE, filling - start), False
        if not ids:
            yield [], True
        for place, token in enumerate(ids, start=1):
            yield [token], place == len(ids)

    def answer(self, request):
        """The token ids of the turn, and how many tokens of white space come before them."""
        prompt_ids = pb_utils.get_input_tensor_by_name(request, "input_ids").as_numpy()[0]
        prompt = self.tokenizer.decode(prompt_ids.tolist(), skip_special_tokens=False)
        guide = scalar(request, "guided_decoding_guide", b"").decode()
        rules = [*json.loads(self.script.read_text(encoding="utf-8")), ELSE]
        rule = next(rule for rule in rules if fits(rule, prompt, guide))
        ids = self.tokenizer.encode(resume(rule["say"], prompt), add_special_tokens=False).ids
        limit = scalar(request, "request_output_len", 0)
        if rule.get("end", "stop") == "length":
            return ids[:limit], max(0, limit - len(ids))
        return before_a_stop_word(ids[:limit], stop_words(request)), 0

    @property
    def space(self):
        return self.tokenizer.encode("\n", add_special_tokens=False).ids[:1]

    def response(self, request, ids):
        tensors = [
            pb_utils.Tensor("output_ids", np.array([[ids]], np.int32).reshape(1, 1, len(ids))),
            pb_utils.Tensor("sequence_length", np.array([[len(ids)]], np.int32)),
            pb_utils.Tensor("output_log_probs", np.zeros((1, 1, len(ids)), np.float32)),
        ]
        # Triton's stub frees the others without holding Python's lock: Python 3.12 crashes.
        names = request.requested_output_names()
        return pb_utils.InferenceResponse([one for one in tensors if one.name() in names])
