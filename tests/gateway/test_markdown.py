"""What the chat makes of a model's markdown, in a real browser: elements, and never its HTML."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from fakes.backend import FakeBackend
from gateway.browser import BROWSER, MISSING, Tab, browser
from gateway.harness import served, server

pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason=MISSING),
    pytest.mark.asyncio(loop_scope="module"),
]


# What an element may be. Anything else in the box came from the text.
ELEMENTS = re.compile(
    "div|p|h[3-6]|hr|[uo]l|li|blockquote|table|tbody|tr|t[hd]|pre|code|span|button|br|strong|em|del|a"
)
ATTRIBUTES = {
    "class",
    "dir",
    "href",
    "title",
    "target",
    "rel",
    "start",
    "type",
    "style",
    "tabindex",
}
ORDINARY = [
    ("# One\n\n### Three #", "<h3>One</h3><h5>Three</h5>"),
    ("a **b** *c* __d__ _e_ ~~f~~", "<p>a <b>b</b> <i>c</i> <b>d</b> <i>e</i> <s>f</s></p>"),
    ("***both*** and *a **b** c*", "<p><b><i>both</i></b> and <i>a <b>b</b> c</i></p>"),
    ("2 * 3 * 4, a*b*c, snake_case_name", "<p>2 * 3 * 4, a*b*c, snake_case_name</p>"),
    (r"\*not\* \# `a\*b` ``c`d``", r"<p>*not* # <c>a\*b</c> <c>c`d</c></p>"),
    ("one\ntwo\n\nthree", "<p>one\ntwo</p><p>three</p>"),
    ("- a\n- b\n  - c\n\n- d", "<ul><li>a</li><li>b<ul><li>c</li></ul></li><li>d</li></ul>"),
    ("3. a\n4. b\n- c", "<ol 3><li>a</li><li>b</li></ol><ul><li>c</li></ul>"),
    ("- [x] a\n- [ ] b", "<ul><li>☑ a</li><li>☐ b</li></ul>"),
    (
        "1. a\n   ```\n   b\n     c\n   ```\n2. d",
        "<ol 1><li>a<pre>b\n  c</pre></li><li>d</li></ol>",
    ),
    ("> a\n> - b", "<q><p>a</p><ul><li>b</li></ul></q>"),
    ("a\n\n---\n\nb", "<p>a</p><hr><p>b</p>"),
    ("|a|b|\n|:-|-:|\n|1|2|\n|3|", "<t>a b\n1 2\n3</t>"),
    ("```py\nx = 1\n\n**y**\n```\nafter", "<pre>x = 1\n\n**y**</pre><p>after</p>"),
    ("~~~\n```\n~~~", "<pre>```</pre>"),
    ("```\nnot closed\n", "<pre>not closed\n</pre>"),
    ("[a](https://x.example/b_(c)) https://y.example/z.", "<p>{a} {https://y.example/z}.</p>"),
    ("a | b\nno table", "<p>a | b\nno table</p>"),
]
HOSTILE = [
    "<script>window.hit = 1</script>",
    "<img src=x onerror='window.hit = 1'>",
    "<iframe srcdoc='<script>parent.hit = 1</script>'></iframe>",
    "[a](javascript:window.hit=1) [b](JaVaScRiPt:window.hit=1) [c](data:text/html,x)",
    "[a](java\tscript:window.hit=1) [a](\x01javascript:window.hit=1)",
    "[a](vbscript:x) [a](//evil.example) [a](/v1/models)",
    "![a](https://evil.example/pixel.png) ![b](data:image/svg+xml,x)",
    '[a](https://x.example/"onmouseover="window.hit=1) [<img src=x>](https://x.example)',
    "```<img src=x onerror=window.hit=1>\n</code></pre><script>window.hit=1</script>\n```",
    "|<b>a</b>|\n|-|\n|<svg onload=window.hit=1>|",
    "- <style>*{display:none}</style>\n> <base href=//evil.example>\n# <a href=javascript:x>h</a>",
]
# In the worst order for a parser that looks back; each is answered in well under a second.
LARGE = [
    "'`'.repeat(60000)", "'*a **b '.repeat(15000)", "'['.repeat(60000)", "'> '.repeat(30000)",
    "'- '.repeat(30000)", "'`a ``b '.repeat(12000)", "'\\n'.repeat(60000) + '- a'",
    "'- a\\n\\n'.repeat(20000)",
    "'|'.repeat(20000) + '\\n' + '|-'.repeat(10000) + '\\n|'.repeat(3000)",
    "'_a __b '.repeat(5000)", "'https://a'.repeat(9000)", "'![a]('.repeat(15000)",
    "'```\\na\\n```\\n'.repeat(5000)", "'~~a ~'.repeat(5000)", "'<br'.repeat(30000)",
    "Array.from({length: 1000}, (_, n) => ' '.repeat(n) + '- a').join('\\n')",
]  # fmt: skip
# Short names for what is shown, and the start of a numbered list.
READ = """
const short = { STRONG: "b", EM: "i", DEL: "s", CODE: "c", BLOCKQUOTE: "q" };
const read = (node) => {
  if (node.nodeType === 3) return node.data;
  if (node.matches(".code")) return `<pre>${node.querySelector("code").textContent}</pre>`;
  if (node.matches(".table")) return "<t>" + [...node.querySelectorAll("tr")].map((row) =>
    [...row.cells].map((cell) => cell.textContent).join(" ")).join("\\n") + "</t>";
  const inside = [...node.childNodes].map(read).join("");
  if (node.localName === "a") return `{${inside}}`;
  if (node.localName === "hr") return "<hr>";
  if (node.localName === "p" && node.parentNode.localName === "li") return inside;
  const name = short[node.tagName] ?? node.localName;
  return `<${name}${name === "ol" ? " " + node.start : ""}>${inside}</${name}>`;
};
"""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def tab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Tab]:
    profile: Path = tmp_path_factory.mktemp("browser")
    async with server(served(FakeBackend())) as client, browser(profile) as tab:
        await tab.open(f"{client.base_url}/")
        await tab.until(
            "document.readyState === 'complete' && document.querySelector('#model option')"
        )
        await tab.run(
            "import('/page/markdown.js').then((found) => { Object.assign(window, found);"
            " window.box = document.body.appendChild(document.createElement('div')); })"
        )
        await tab.run(
            f"(() => {{ {READ} window.read = () => [...box.childNodes].map(read).join(''); }})()"
        )
        yield tab


async def shown(tab: Tab, text: str) -> str:
    await tab.run(
        f"(box.replaceWith(window.box = box.cloneNode()), showMarkdown(box, {json.dumps(text)}))"
    )
    return str(await tab.run("read()"))


@pytest.mark.parametrize(("text", "wanted"), ORDINARY)
async def test_markdown_becomes_elements(tab: Tab, text: str, wanted: str) -> None:
    assert await shown(tab, text) == wanted


@pytest.mark.parametrize(("text", "wanted"), ORDINARY)
async def test_an_answer_shown_as_it_grows_ends_as_one_shown_at_once(
    tab: Tab, text: str, wanted: str
) -> None:
    await shown(tab, "")
    await tab.run(
        f"(async (text) => {{ for (let end = 0; end <= text.length; end++)"
        f" showMarkdown(box, text.slice(0, end)); }})({json.dumps(text)})"
    )
    assert await tab.run("read()") == wanted


@pytest.mark.parametrize("text", HOSTILE)
async def test_a_models_html_and_scripts_stay_text(tab: Tab, text: str) -> None:
    await shown(tab, text)
    assert await tab.run("box.innerText.length") > 0
    for name, attributes in await tab.run(
        "[...box.querySelectorAll('*')].map((one) => [one.localName, one.getAttributeNames()])"
    ):
        assert ELEMENTS.fullmatch(name)
        assert set(attributes) <= ATTRIBUTES
    links = await tab.run("[...box.querySelectorAll('a')].map((one) => [one.protocol, one.rel])")
    assert all(link == ["https:", "noopener noreferrer"] for link in links)
    assert await tab.run("window.hit") is None


@pytest.mark.parametrize("text", LARGE)
async def test_no_text_takes_the_page_long(tab: Tab, text: str) -> None:
    await shown(tab, "")
    took = await tab.run(
        f"((from) => (showMarkdown(box, {text}), performance.now() - from))(performance.now())"
    )
    assert took < 2000


async def test_what_is_complete_stays_while_the_rest_grows(tab: Tab) -> None:
    await shown(tab, "first\n\n```\na")
    await tab.run("[window.kept, window.code] = box.children")
    await tab.run("showMarkdown(box, 'first\\n\\n```\\na\\nb\\n```\\nlast')")
    assert await tab.run("kept === box.children[0] && code === box.children[1]")
    assert await tab.run("read()") == "<p>first</p><pre>a\nb</pre><p>last</p>"
