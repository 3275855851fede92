// How to use the chosen model from other programs.

import { $, apiKey, askForKey, base, copyButton, make, page, server, shellQuoted } from "./shared.js";

const key = () => apiKey() || "sk-dummy";

const SNIPPETS = {
  curl: (model) => `curl ${base}/chat/completions \\
  -H 'Content-Type: application/json' \\${apiKey() && `
  -H ${shellQuoted(`Authorization: Bearer ${key()}`)} \\`}
  -d '{"model": ${JSON.stringify(model).replaceAll("'", "'\\''")}, "stream": true,
       "messages": [{"role": "user",
                     "content": "What is the capital of France?"}]}'`,
  Python: (model) => `from openai import OpenAI

client = OpenAI(base_url="${base}", api_key=${JSON.stringify(key())})
stream = client.chat.completions.create(
    model=${JSON.stringify(model)},
    messages=[{"role": "user", "content": "Hello!"}],
    stream=True,
)
for chunk in stream:
    print(chunk.choices[0].delta.content or "", end="")`,
  OpenWebUI: () => `${isLocal ? `# A container reaches this gateway if it was started with --host 0.0.0.0.
` : ""}docker run -p 3000:8080 \\
  --add-host=host.docker.internal:host-gateway \\
  -e OPENAI_API_BASE_URL=${isLocal ? base.replace(location.hostname, "host.docker.internal") : base} \\
  -e OPENAI_API_KEY=${shellQuoted(key())} \\
  ghcr.io/open-webui/open-webui:main`,
  "Claude Code": (model) => `ANTHROPIC_BASE_URL=${location.origin} \\
ANTHROPIC_AUTH_TOKEN=${shellQuoted(key())} \\
ANTHROPIC_MODEL=${shellQuoted(model)} claude`,
  Codex: (model) => `# ~/.codex/config.toml${apiKey() && `
# export ENGINIX_API_KEY=${shellQuoted(key())}`}
model = ${JSON.stringify(model)}
model_provider = "enginix"

[model_providers.enginix]
name = "enginix"
base_url = "${base}"
wire_api = "responses"${apiKey() && `
env_key = "ENGINIX_API_KEY"`}`,
};
const isLocal = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);

let chosen = "curl";
const tabs = Object.keys(SNIPPETS).map((name) => {
  const tab = Object.assign(make("button", "quiet", name), { type: "button" });
  tab.setAttribute("role", "tab");
  tab.setAttribute("aria-controls", "snippet-panel");
  tab.addEventListener("click", () => choose(name));
  return tab;
});
$("tabs").append(...tabs);
// As in every list of tabs: Tab enters it, the arrows choose.
$("tabs").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const place = tabs.findIndex((tab) => tab.textContent === chosen);
  const next = tabs[(place + step + tabs.length) % tabs.length];
  choose(next.textContent);
  next.focus();
});

function choose(name) {
  chosen = name;
  for (const tab of tabs) {
    const selected = tab.textContent === chosen;
    tab.setAttribute("aria-selected", selected);
    tab.tabIndex = selected ? 0 : -1;
  }
  show();
}

function show() {
  const text = SNIPPETS[chosen]($("model").value || server.models[0]?.id || "MODEL");
  // Writing the same text again would undo a selection.
  if ($("snippet").textContent !== text) $("snippet").textContent = text;
  $("change-key").textContent = apiKey() ? "change key" : "enter key";
}

// The chat's choice of model.
$("model").addEventListener("change", show);
page.addEventListener("status", show);
page.addEventListener("key", show);
$("change-key").addEventListener("click", askForKey);
copyButton($("copy"), () => $("snippet").textContent);
choose(chosen);
