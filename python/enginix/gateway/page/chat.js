// The chat.

import { $, api, base, errorOf, make, page, refresh, server } from "./shared.js";

let conversation = [], running = null;

async function ask(text) {
  conversation.push({ role: "user", content: text });
  $("talk").querySelector(".hint")?.remove();
  $("talk").append(make("div", "said you", text));
  const box = make("div", "said it"), thought = make("div", "thought"), answer = make("div"), count = make("div", "count");
  box.append(thought, answer, count);
  $("talk").append(box);
  running = new AbortController();
  $("send").textContent = "Stop";
  const began = performance.now();
  let first = 0, usage = null;
  try {
    const response = await api(base + "/chat/completions", {
      method: "POST",
      signal: running.signal,
      body: JSON.stringify({
        model: $("model").value, messages: conversation, stream: true, stream_options: { include_usage: true },
        chat_template_kwargs: { enable_thinking: $("thinking").checked },
        ...($("greedy").checked && { temperature: 0 }),
      }),
    });
    if (!response.ok) throw new Error(await errorOf(response));
    for await (const chunk of eventsOf(response)) {
      if (chunk.error) throw new Error(chunk.error.message);
      usage = chunk.usage || usage;
      const delta = chunk.choices[0]?.delta ?? {};
      if (!first && (delta.content || delta.reasoning_content)) first = performance.now();
      thought.textContent += delta.reasoning_content ?? "";
      answer.textContent += delta.content ?? "";
      $("talk").scrollTop = $("talk").scrollHeight;
    }
  } catch (error) {
    if (error.name !== "AbortError") { box.classList.add("error"); answer.textContent += (answer.textContent ? "\n" : "") + error.message; }
  }
  thought.textContent = thought.textContent.trim();
  if (usage && first) {
    const seconds = Math.max(performance.now() - first, 1) / 1000;
    count.textContent = `${usage.completion_tokens} tokens · first after ${Math.round(first - began)} ms · ${Math.round(usage.completion_tokens / seconds)} tokens/s`;
  }
  conversation.push({ role: "assistant", content: answer.textContent });
  running = null;
  $("send").textContent = "Send";
  refresh();
}

async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (held + value).split("\n\n");
    held = blocks.pop();
    for (const block of blocks)
      if (block.startsWith("data: {")) yield JSON.parse(block.slice(6));
  }
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (running) return running.abort();
  const text = $("question").value.trim() || $("question").placeholder;
  $("question").value = "";
  ask(text);
});
$("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); $("form").requestSubmit(); }
});
$("clear").addEventListener("click", () => { running?.abort(); conversation = []; $("talk").replaceChildren(); });

// The models may change at any time; keep the chosen one chosen.
page.addEventListener("status", () => {
  const names = server.models.map((model) => model.id);
  const select = $("model");
  if (String(names) === String([...select.options].map((option) => option.value))) return;
  const chosen = select.value;
  // The tiny demo model knows its answers by heart and little else.
  if (!select.options.length) $("greedy").checked = names[0] === "demo";
  select.replaceChildren(...names.map((name) => new Option(name)));
  if (names.includes(chosen)) select.value = chosen;
  // The snippets name the chosen model.
  select.dispatchEvent(new Event("change"));
});
