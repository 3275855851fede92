"""Untrusted templates cannot run long, exhaust the memory, or block the event loop."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fakes.backend import FakeBackend
from gateway.harness import ids, served, server, user

import enginix
from enginix.chat.bounds import STEPS
from enginix.chat.growth import MAX_CHARACTERS
from enginix.chat.template import SLOW_SECONDS, ChatTemplate
from enginix.errors import EngineDamaged, RequestError, TemplateTooSlow

MEMORY = 600 << 20
DEEP = "{% for a in range(99999) %}{% for b in range(99999) %}"
HOSTILE = {
    "nested loops": DEEP + "{% endfor %}{% endfor %}",
    "nested loops that write": DEEP + "xxxxxxxx{% endfor %}{% endfor %}",
    "a condition on each item": "{% for a in range(99999) if range(99999)|list|sum < 0 %}"
    "{% endfor %}",
    "a power": "{{ 9 ** (9 ** 9) }}",
    "a product": "{{ 'a' * 10 ** 10 }}",
    "a product of variables": "{% set a = 'a' * 1000000 %}{{ a * 1000000 }}",
    "doubling": "{% set a = 'a' %}" + "{% set a = a ~ a %}" * 40 + "{{ a }}",
    "doubling sums": "{% set a = 'a' %}" + "{% set a = a + a %}" * 40 + "{{ a }}",
    "doubling lists": "{% set a = [1] %}" + "{% set a = a + a %}" * 40 + "{{ a }}",
    "doubling in a block": "{% set a = 'a' %}" + "{% set a %}{{ a }}{{ a }}{% endset %}" * 40,
    "doubling in a namespace": "{% set n = namespace(a='a') %}"
    "{% for i in range(60) %}{% set n.a = n.a ~ n.a %}{% endfor %}",
    "lists of lists": "{% set a = ['x'] %}" + "{% set a = [a, a] %}" * 40 + "{{ a }}",
    "lists of lists as JSON": "{% set a = {} %}"
    + "{% set a = {'b': a, 'c': a} %}" * 40
    + "{{ a|tojson }}",
    "namespaces of namespaces": "{% set a = 1 %}"
    + "{% set a = namespace(b=a, c=a) %}" * 40
    + "{{ a }}",
    "a macro of itself": "{% macro m(n) %}{{ m(n - 1) }}{{ m(n - 1) }}{% endmacro %}{{ m(40) }}",
    "nested calls": "{% macro d(x) %}{{ x }}{{ x }}{% endmacro %}"
    + "{{ "
    + "d(" * 40
    + "'a'"
    + ")" * 40
    + " }}",
    "a long sum": "{% set a = 'a' * 1000000 %}{{ " + " + ".join(["a"] * 5000) + " }}",
    "a width": "{{ 'a'|center(10 ** 10) }}",
    "a width in a format": "{{ '%9999999999d' % 1 }}",
    "a width as an argument": "{{ '%*d' % (999999999, 1) }}",
    "a width in braces": "{{ '{:>9999999999}'.format(1) }}",
    "a width in a method": "{{ 'a'.ljust(10 ** 10) }}",
    "an indent": "{{ messages|tojson(indent=10 ** 10) }}",
    "replacements": "{% set a = 'a' * 1000000 %}{{ a.replace('a', a) }}",
    "replacements by a filter": "{% set a = 'a' * 1000000 %}{{ a|replace('a', a) }}",
    "a joint": "{% set a = 'a' * 1000000 %}{{ a.join(range(99999)|map('string')) }}",
    "a joint by a filter": "{% set a = 'a' * 1000000 %}{{ range(99999)|join(a) }}",
    "centred items": "{{ range(99999)|map('string')|map('center', 1000000)|list|length }}",
    "batches": "{{ [1]|batch(10 ** 9, 'x')|list }}",
    "words": "{{ lipsum(n=10 ** 7) }}",
    "sorted again and again": "{% for a in range(99999) %}{% set b = range(99999)|sort %}"
    "{% endfor %}",
    "found in lists": "{{ range(99999)|select('in', range(99999)|list)|list|length }}",
}
# The compiler refuses it where rendering would.
ALONE = """
import resource, time
resource.setrlimit(resource.RLIMIT_AS, (%d, %d))
from enginix.chat.template import SLOW_SECONDS, ChatTemplate
from enginix.errors import EngineDamaged, RequestError, TemplateTooSlow
for name, source in %r.items():
    began = time.thread_time()
    try:
        text = ChatTemplate({"default": source}).render(
            [{"role": "user", "content": "x"}], seconds=0.3)
        print(name, "is rendered:", len(text))
    except (RequestError, EngineDamaged) as error:
        assert "MemoryError" not in str(error), (name, error)
    spent = time.thread_time() - began
    if spent > 2:
        print(name, "takes", spent)
"""


def test_no_hostile_template_takes_long_or_much_memory() -> None:
    program = ALONE % (MEMORY, MEMORY, HOSTILE)
    path = str(Path(enginix.__path__[0]).parent)
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=120,
        env={"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


@pytest.mark.parametrize(
    ("source", "limit"),
    [
        ("{% for a in range(99999) %}{% for b in range(99) %}{% endfor %}{% endfor %}", STEPS),
        ("{% set a = 'a' * 1000000 %}{% for i in range(99) %}{{ a }}{% endfor %}", MAX_CHARACTERS),
    ],
)
def test_a_refusal_names_its_limit(source: str, limit: int) -> None:
    with pytest.raises(RequestError, match=str(limit)):
        ChatTemplate({"default": source}).render(user("x"), seconds=60)


def test_a_template_that_is_too_slow_names_its_time_limit() -> None:
    slow = "{% for a in range(99999) %}{% set b = range(9999)|sort %}{% endfor %}"
    with pytest.raises(RequestError, match=r"ran for more than 0\.1 s"):
        ChatTemplate({"default": slow}).render(user("x"), seconds=0.1)


def test_other_renderings_have_budgets_of_their_own() -> None:
    template = ChatTemplate(
        {"default": "{% for a in range(99999) %}{{ messages[0].content }}{% endfor %}"}
    )
    for _ in range(11):
        assert len(template.render(user("x"))) == 99999


@pytest.mark.parametrize("deep", ["{{ " + "(" * 500 + "1" + ")" * 500 + " }}", "{% if 1 %}" * 300])
def test_a_template_that_is_nested_deeply_is_refused_when_it_is_compiled(deep: str) -> None:
    with pytest.raises(EngineDamaged, match="chat template"):
        ChatTemplate({"default": deep})


async def test_a_slow_template_does_not_delay_other_requests() -> None:
    """After its first time-out it runs in a process of its own, and other requests continue."""
    loops = "{% for a in range(99999) %}{% set b = range(500)|sort %}{% endfor %}"
    slow = ChatTemplate({"default": loops})
    hostile = served(FakeBackend(ids("Hello")), name="slow", aliases=(), template=slow)
    models = (served(FakeBackend(ids("Hello"))), hostile)
    async with server(*models) as client:
        path, asked = "/v1/chat/completions", {"messages": user("Hi")}
        waiting = asyncio.create_task(
            client.post(path, json={"model": "slow", **asked}, timeout=60)
        )
        answered = 0
        while not waiting.done():
            answer = await client.post(path, json={"model": "demo", **asked})
            assert answer.status_code == 200
            answered += 1
        refused = await waiting
        await hostile.render_process.close()
    assert refused.status_code == 400
    assert "ran for more than" in refused.text
    assert slow.slow
    assert answered > 20


def test_a_template_counts_as_slow_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = ChatTemplate({"default": "{% for a in range(99999) %}{{ a }}{% endfor %}"})
    with pytest.raises(TemplateTooSlow):
        slow.render(user("Hi"), seconds=0.0)
    assert slow.slow
    after = time.monotonic() + SLOW_SECONDS
    monkeypatch.setattr(time, "monotonic", lambda: after)
    assert not slow.slow
