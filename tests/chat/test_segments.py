from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import pytest
import tokenizers
from chat.speech import DEMO
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, models, normalizers, pre_tokenizers, processors, trainers

import enginix.catalog.load as catalog
from enginix.chat.segments import ENTRY_BYTES, MAX_CUTS, SegmentCache
from enginix.chat.tokens import LONG_TEXT, Tokenizer, boundary

CORPUS = [
    "the end of a turn, the <end> and its end|> again",
    "user\nassistant  naïve 你好 👋 ab ba aab",
]
ENDS = ("<|im_end|>", "<|im_start|>", "</s>", "<eot>")
# Found beside those above, in every way that the library knows.
OTHERS = (
    AddedToken("<|im", special=True),
    AddedToken("|>", special=True),
    AddedToken("[LEFT]", lstrip=True, special=True),
    AddedToken("[RIGHT]", rstrip=True, special=True),
    AddedToken("[BOTH]", lstrip=True, rstrip=True, special=True),
    AddedToken("end", normalized=True),
    AddedToken("\n\n", normalized=True),
    AddedToken("<tool>", normalized=False),
)
PIECES = (
    *("<unk>", *ENDS, *(token.content for token in OTHERS)),
    *("<|im_end", "_end|>", "<|", "e", " ", "  ", "\n", "\u00a0", "s>", "</", "E", "é", "e\u0301"),
    *("user", "the end", "ab", "aab", "👨‍👩‍👧‍👦", "你好", "▁", "##ab", "İ", "\u0000"),
)
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=40).map("".join)


def trained(
    model: models.Model, pre_tokenizer: object, normalizer: object = None
) -> tokenizers.Tokenizer:
    library = tokenizers.Tokenizer(model)
    library.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        library.normalizer = normalizer
    trainer = model.get_trainer()
    trainer.special_tokens = [AddedToken("<unk>")]
    if isinstance(trainer, trainers.UnigramTrainer):
        trainer = trainers.UnigramTrainer(special_tokens=["<unk>"], unk_token="<unk>")
    library.train_from_iterator(CORPUS * 3, trainer)
    return with_tokens(library)


def with_tokens(library: tokenizers.Tokenizer, *more: AddedToken) -> tokenizers.Tokenizer:
    ends = [AddedToken(text, special=True) for text in ENDS]
    library.add_tokens([*ends, *OTHERS, *more])
    return library


def byte_level(**options: bool) -> tokenizers.Tokenizer:
    library = trained(models.BPE(), pre_tokenizers.ByteLevel(**options), normalizers.NFC())
    library.post_processor = processors.TemplateProcessing(
        single="</s> $A", pair="$A $B", special_tokens=[("</s>", library.token_to_id("</s>"))]
    )
    return library


def metaspace(scheme: str, model: models.Model) -> tokenizers.Tokenizer:
    return trained(model, pre_tokenizers.Metaspace(prepend_scheme=scheme))


def old_llama() -> tokenizers.Tokenizer:
    """Without a pre-tokenizer: its normalizer writes the spaces, one before each piece."""
    spaces = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return trained(models.BPE(), pre_tokenizers.Split("\n", "isolated"), spaces)


def word_piece() -> tokenizers.Tokenizer:
    return trained(
        models.WordPiece(unk_token="<unk>"),
        pre_tokenizers.BertPreTokenizer(),
        normalizers.BertNormalizer(),
    )


MADE = {
    "byte-level": lambda: byte_level(add_prefix_space=False),
    "byte-level with a space before": lambda: byte_level(add_prefix_space=True),
    "metaspace first": lambda: metaspace("first", models.BPE(unk_token="<unk>", fuse_unk=True)),
    "metaspace always": lambda: metaspace("always", models.BPE()),
    "unigram": lambda: metaspace("first", models.Unigram()),
    "prepended": old_llama,
    "word piece": word_piece,
    "demo": lambda: tokenizers.Tokenizer.from_file(str(DEMO / "tokenizer.json")),
    "demo-llama": lambda: tokenizers.Tokenizer.from_file(
        str(catalog.DIRECTORY / "checkpoints/demo-llama/tokenizer.json")
    ),
}


@cache
def made(name: str) -> tuple[tokenizers.Tokenizer, SegmentCache]:
    library = MADE[name]()
    return library, cached(library)


def cached(
    library: tokenizers.Tokenizer, capacity: int = 1 << 20, seen: list[str] | None = None
) -> SegmentCache:
    """`seen`: gets every text that is tokenized."""

    def encode(texts: Sequence[str]) -> list[list[int]]:
        if seen is not None:
            seen.extend(texts)
        return [one.ids for one in library.encode_batch_fast(texts, add_special_tokens=False)]

    everything = {token.content for token in library.get_added_tokens_decoder().values()}
    found = boundary(library, everything)
    assert found is not None
    return SegmentCache(found, encode, capacity)


@pytest.mark.parametrize("name", MADE)
@given(data=st.data())
def test_the_ids_are_those_of_the_whole_text(name: str, data: st.DataObject) -> None:
    library, cache = made(name)
    history, edited = data.draw(texts), data.draw(texts)
    cut = data.draw(st.integers(0, len(history)))
    # A turn more, an edit in the middle, a shorter history.
    for text in (history, history + edited, history[:cut] + edited + history[cut:], history[:cut]):
        assert list(cache.ids(text)) == library.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("name", MADE)
def test_every_piece_beside_every_other_gives_the_ids_of_the_whole_text(name: str) -> None:
    library, cache = made(name)
    for first in PIECES:
        for second in PIECES:
            text = f"ab{first}{second}{first}ab"
            assert list(cache.ids(text)) == library.encode(text, add_special_tokens=False).ids, text


def boundaries(*tokens: AddedToken) -> list[str]:
    library = byte_level(add_prefix_space=False)
    library.add_tokens(list(tokens))
    found = boundary(library, {*ENDS, *(token.content for token in tokens)})
    return [text for text in (*ENDS, *(t.content for t in tokens)) if found and found.search(text)]


def test_a_text_is_cut_before_the_tokens_between_messages() -> None:
    assert boundaries() == ["<|im_end|>", "<|im_start|>", "</s>", "<eot>"]


@pytest.mark.parametrize(
    ("token", "lost"),
    [
        (AddedToken("<|im_end|>\n", special=True), "<|im_end|>"),
        (AddedToken("x<|im_end|>", special=True), "<|im_end|>"),
        (AddedToken("s</", special=True), "</s>"),
    ],
    ids=["longer", "beginning earlier", "overlapping"],
)
def test_a_token_that_another_may_take_the_place_of_is_no_boundary(
    token: AddedToken, lost: str
) -> None:
    assert lost not in "".join(boundaries(token)).replace(token.content, "")
    assert lost in boundaries()


@pytest.mark.parametrize(
    "token",
    [
        AddedToken("<left>", lstrip=True, special=True),
        AddedToken("<lower>", normalized=True),
        AddedToken(" <space>", special=True),
        AddedToken("<<", special=True),
    ],
    ids=[
        "takes spaces before it",
        "found after normalizing",
        "begins with a space",
        "overlaps itself",
    ],
)
def test_a_token_that_depends_on_the_text_before_it_is_no_boundary(token: AddedToken) -> None:
    assert token.content not in boundaries(token)


def test_nothing_is_cut_where_tokens_depend_on_their_neighbours() -> None:
    assert boundaries(AddedToken("word", single_word=True, normalized=False)) == []


def test_nothing_is_cut_where_merges_are_random() -> None:
    library = byte_level(add_prefix_space=False)
    library.model.dropout = 0.1
    assert boundary(library, ENDS) is None


def test_nothing_is_cut_where_a_post_processor_repeats_the_text() -> None:
    library = byte_level(add_prefix_space=False)
    library.post_processor = processors.TemplateProcessing(single="$A $A", pair="$A $B")
    assert boundary(library, ENDS) is None


def test_a_new_turn_tokenizes_only_what_is_new() -> None:
    library, _ = made("byte-level")
    seen: list[str] = []
    cache = cached(library, seen=seen)
    history = "<|im_start|>user\nthe end<|im_end|>\n<|im_start|>assistant\nab"
    cache.ids(history)
    seen.clear()
    cache.ids(f"{history}<|im_end|>\n<|im_start|>user\nmore")
    assert seen == ["<|im_start|>user\nmore"]


def test_a_repeated_segment_is_tokenized_once() -> None:
    library, _ = made("byte-level")
    seen: list[str] = []
    cached(library, seen=seen).ids("<|im_end|>ab" * 3)
    assert seen == ["<|im_end|>ab"]


def test_what_was_used_least_recently_is_forgotten() -> None:
    library, _ = made("byte-level")
    seen: list[str] = []
    cache = cached(library, 3 * ENTRY_BYTES, seen)
    for text in ("<eot>a", "<eot>b", "<eot>a", "<eot>e", "<eot>a", "<eot>b"):
        cache.ids(text)
    assert seen == ["<eot>a", "<eot>b", "<eot>e", "<eot>b"]


def test_a_text_larger_than_the_cache_is_tokenized_all_the_same() -> None:
    library, _ = made("byte-level")
    text = "<eot>" + "the end " * 500
    assert list(cached(library, 10).ids(text)) == library.encode(text, add_special_tokens=False).ids


def test_the_rest_of_a_text_full_of_boundaries_is_one_segment() -> None:
    library, _ = made("byte-level")
    seen: list[str] = []
    text = "<eot>a" * (MAX_CUTS + 9)
    ids = cached(library, seen=seen).ids(text)
    assert list(ids) == library.encode(text, add_special_tokens=False).ids
    assert seen == ["<eot>a", "<eot>a" * 10]


def test_one_cache_serves_many_threads() -> None:
    library, _ = made("byte-level")
    cache = cached(library, 8 * ENTRY_BYTES)
    histories = [
        "".join(f"<eot>{turn} the end" for turn in range(start, start + 9)) for start in range(20)
    ]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(cache.ids, histories * 20))
    whole = [library.encode(text, add_special_tokens=False).ids for text in histories]
    assert [list(ids) for ids in found] == whole * 20


def test_a_long_chat_is_tokenized_as_any_text_is() -> None:
    tokenizer = Tokenizer.load(DEMO)
    chat = "<|im_start|>user\nGood \ud83d\n<think>morning<|im_end|>\n" * (LONG_TEXT // 20)
    assert list(tokenizer.encode_chat(chat)) == tokenizer.encode(chat)
    assert list(tokenizer.encode_chat(chat)) == tokenizer.encode(chat)
    assert list(tokenizer.encode_chat("short")) == tokenizer.encode("short")


# Not spaces: the library fails where a token that takes the spaces after it meets one with them.
spellings = st.text("a<>|", min_size=1, max_size=4)
flags = st.sampled_from(["plain"] * 6 + ["lstrip", "rstrip", "normalized"])


@given(
    tokens=st.dictionaries(spellings, flags, min_size=1, max_size=6),
    texts=st.lists(st.text("a<>| ", max_size=12), min_size=1, max_size=4),
)
def test_any_added_tokens_leave_the_ids_those_of_the_whole_text(
    tokens: dict[str, str], texts: list[str]
) -> None:
    library = tokenizers.Tokenizer(models.BPE(vocab={"a": 0, "aa": 1, "<": 2}, merges=[("a", "a")]))
    library.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    library.add_tokens(
        [
            AddedToken(text, **{"normalized": False, **({} if flag == "plain" else {flag: True})})
            for text, flag in tokens.items()
        ]
    )
    found = boundary(library, tokens.keys())
    if found is None:
        return
    cache = SegmentCache(found, lambda parts: [one.ids for one in library.encode_batch_fast(parts)])
    for text in (*texts, "".join([*texts, *tokens])):
        assert list(cache.ids(text)) == library.encode(text).ids
