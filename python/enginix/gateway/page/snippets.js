// How to use the chosen model from other programs.

import { $, base, copyButton, make } from "./shared.js";

const SNIPPETS = {
  curl: (model) => `curl ${base}/chat/completions \\
  -H 'Content-Type: application/json' \\
  -d '{"model": "${model}", "stream": true,
       "messages": [{"role": "user",
                     "content": "What is the capital of France?"}]}'`,
  Python: (model) => `from openai import OpenAI

client = OpenAI(base_url="${base}", api_key="sk-dummy")
stream = client.chat.completions.create(
    model="${model}",
    messages=[{"role": "user", "content": "Hello!"}],
    stream=True,
)
for chunk in stream:
    print(chunk.choices[0].delta.content or "", end="")`,
  OpenWebUI: () => `docker run -p 3000:8080 \\
  --add-host=host.docker.internal:host-gateway \\
  -e OPENAI_API_BASE_URL=${base.replace(/localhost|127\.0\.0\.1/, "host.docker.internal")} \\
  -e OPENAI_API_KEY=sk-dummy \\
  ghcr.io/open-webui/open-webui:main`,
  "Claude Code": (model) => `ANTHROPIC_BASE_URL=${location.origin} \\
ANTHROPIC_AUTH_TOKEN=sk-dummy \\
ANTHROPIC_MODEL=${model} claude`,
  Codex: (model) => `# ~/.codex/config.toml
model = "${model}"
model_provider = "enginix"

[model_providers.enginix]
name = "enginix"
base_url = "${base}"
wire_api = "responses"`,
};
let chosen = "curl";
function snippet() {
  $("tabs").replaceChildren(...Object.keys(SNIPPETS).map((name) => {
    const tab = make("button", "quiet", name);
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-selected", name === chosen);
    tab.onclick = () => { chosen = name; snippet(); };
    return tab;
  }));
  $("snippet").textContent = SNIPPETS[chosen]($("model").value || "demo");
}
// The chat's choice of model.
$("model").addEventListener("change", snippet);
copyButton($("copy"), () => $("snippet").textContent);
snippet();
