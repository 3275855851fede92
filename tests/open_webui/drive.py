"""Uses Open WebUI in a browser, as a program of its environment: Playwright is installed there.

usage: python drive.py URL BROWSER SCREENSHOTS

Prints one JSON object per step: what a person sees after it.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect, sync_playwright

URL, BROWSER, SCREENSHOTS = sys.argv[1], sys.argv[2], Path(sys.argv[3])
CAPITAL, WEATHER = "What is the capital of France?", "What is the weather in Paris?"
ANSWER = re.compile("The capital of France is Paris")
TOOL = '''
class Tools:
    def get_weather(self, city: str) -> str:
        """
        Get the current weather in a city.
        :param city: The name of the city.
        """
        return '{"city": "%s", "temperature_c": 10}' % city
'''
ENDLESS = {
    "id": "endless",
    "name": "Endless",
    "base_model_id": "demo",
    "meta": {"description": ""},
    "params": {"max_tokens": 40_000, "custom_params": {"ignore_eos": "true"}},
    "is_active": True,
}


def main() -> None:
    expect.set_options(timeout=30_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=BROWSER, args=["--no-sandbox", "--no-proxy-server"]
        )
        page = browser.new_page()
        sign_up(page)
        make_tool_and_model(page)
        choose(page)
        chat(page)
        call_tool(page)
        stop(page)
        browser.close()


def show(page: Page, step: str, **seen: Any) -> None:
    page.screenshot(path=SCREENSHOTS / f"{step}.png")
    print(json.dumps({"step": step, **seen}), flush=True)


def sign_up(page: Page) -> None:
    page.goto(URL)
    page.get_by_role("button", name="Get started").click()
    page.get_by_placeholder("Enter Your Full Name").fill("Zoë")
    page.get_by_placeholder("Enter Your Email").fill("zoe@example.org")
    page.get_by_placeholder("Enter Your Password").fill("a long Password 1")
    page.get_by_role("button", name="Create Admin Account").click()
    page.get_by_text("Okay, Let's Go!").click()
    expect(page.locator("#chat-input")).to_be_visible()


def make_tool_and_model(page: Page) -> None:
    """Through its API: its editors are no part of a chat."""
    headers = {"Authorization": f"Bearer {page.evaluate('localStorage.token')}"}
    tool = {"id": "weather", "name": "Weather", "content": TOOL, "meta": {"description": "Weather"}}
    for path, body in (("tools", tool), ("models", ENDLESS)):
        made = page.request.post(f"{URL}/api/v1/{path}/create", headers=headers, data=body)
        assert made.ok, made.text()


def new_chat(page: Page, model: str) -> list[str]:
    """The models to choose from."""
    page.goto(URL)
    page.get_by_role("button", name="Selected model").click()
    models = page.locator("[data-value]").filter(visible=True)
    expect(models.filter(has_text="Endless")).to_be_visible()
    names = [str(each.get_attribute("data-value")) for each in models.all()]
    page.locator(f"[data-value={model}]").click()
    return names


def ask(page: Page, question: str) -> None:
    page.locator("#chat-input").click()
    page.keyboard.type(question)
    page.keyboard.press("Enter")


def messages(page: Page) -> str:
    return page.locator("#messages-container").inner_text()


def choose(page: Page) -> None:
    names = new_chat(page, "demo")
    chosen = page.get_by_role("button", name="Selected model: demo")
    expect(chosen).to_be_visible()
    show(page, "choose", models=names)


def chat(page: Page) -> None:
    ask(page, CAPITAL)
    expect(page.locator("#messages-container")).to_contain_text(ANSWER)
    show(page, "chat", messages=messages(page))
    page.get_by_role("button", name="Regenerate").last.click()
    page.get_by_role("menu").get_by_text("Try Again").click()
    # Both answers are kept, and the second one is shown.
    expect(page.get_by_text("2/2")).to_be_visible()
    expect(page.locator("#messages-container")).to_contain_text(ANSWER)
    show(page, "regenerate", messages=messages(page))
    expect(page).not_to_have_title(re.compile("^(New Chat|Open WebUI)"))
    show(page, "title", title=page.title())


def call_tool(page: Page) -> None:
    new_chat(page, "demo")
    page.get_by_role("button", name="Integrations").click()
    page.get_by_role("menu").get_by_text("Tools").click()
    page.get_by_role("menu").get_by_text("Weather").click()
    page.keyboard.press("Escape")
    ask(page, WEATHER)
    expect(page.locator("#messages-container")).to_contain_text("10 degrees in Paris")
    show(page, "tool", messages=messages(page))


def stop(page: Page) -> None:
    new_chat(page, "endless")
    ask(page, CAPITAL)
    expect(page.locator("#messages-container")).to_contain_text("Paris")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)
    show(page, "stop", messages=messages(page)[:400])


main()
