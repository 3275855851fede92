// One answer of /v1/chat/completions, as it arrives.

import { api, base, errorOf } from "./shared.js";

/** The messages that ask for `exchange`'s answer; `earlier` are the exchanges before it. */
export function messagesOf(earlier, exchange) {
  const messages = earlier.filter(isComplete).flatMap((one) => [
    { role: "user", content: contentOf(one) },
    { role: "assistant", content: one.answer.text },
  ]);
  return [...messages, { role: "user", content: contentOf(exchange) }];
}

/** An answer that failed or was stopped is not what the model has said. */
export const isComplete = ({ answer }) => ["complete", "cut"].includes(answer.state) && answer.text.trim() !== "";

function contentOf({ question, images }) {
  const parts = images.filter(Boolean).map((url) => ({ type: "image_url", image_url: { url } }));
  if (!parts.length) return question;
  return question ? [{ type: "text", text: question }, ...parts] : parts;
}

/**
 * Stream the answer to `messages` into `answer`, calling `changed` with each part of it. Never
 * throws: `answer.state` becomes "complete", "cut" (at a token limit), "stopped" or "failed".
 */
export async function receive(answer, messages, options, signal, changed) {
  const began = performance.now();
  let first = 0, finish = null;
  try {
    for await (const chunk of chunksOf({ ...options, model: answer.model, messages }, signal)) {
      const choice = chunk.choices?.[0], delta = choice?.delta ?? {};
      const thought = delta.reasoning_content ?? delta.reasoning ?? "", text = delta.content ?? "";
      if (thought || text) {
        const now = performance.now();
        if (!first) answer.firstMs = (first = now) - began;
        // Some servers count only at the end; each of their chunks has about one token.
        answer.tokens++;
        answer.seconds = (now - first) / 1000;
      }
      answer.thought += thought;
      answer.text += text;
      finish = choice?.finish_reason ?? finish;
      answer.tokens = chunk.usage?.completion_tokens ?? answer.tokens;
      answer.context = chunk.usage?.total_tokens ?? answer.context;
      changed();
    }
    answer.state = finish === "length" ? "cut" : "complete";
  } catch (error) {
    answer.state = signal.aborted ? "stopped" : "failed";
    answer.error = signal.aborted ? "" : error.message;
  }
}

async function* chunksOf(body, signal) {
  const sent = { stream: true, stream_options: { include_usage: true, continuous_usage_stats: true }, ...body };
  const response = await reached(
    api(base + "/chat/completions", { method: "POST", signal, body: JSON.stringify(sent) }),
    "The gateway cannot be reached: it has stopped, or the network is down.",
  );
  if (!response.ok) throw new Error(await errorOf(response));
  for await (const data of eventsOf(response)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new Error(chunk.error.message);
    yield chunk;
  }
  throw new Error(LOST);
}

const LOST = "The connection was lost before the answer was complete.";

async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  try {
    for (;;) {
      const { value, done } = await reached(reader.read(), LOST);
      if (done) return;
      const lines = (held + value).split("\n");
      held = lines.pop();
      for (const line of lines) if (line.startsWith("data:")) yield line.slice(5).trim();
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Browsers have one TypeError, and no reason, for every failure of a connection. */
async function reached(promise, message) {
  try { return await promise; } catch (error) { throw error instanceof TypeError ? new Error(message) : error; }
}
