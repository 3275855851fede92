// The end of a server's log, in a dialog that follows it.

import { $, api, base, copyButton, errorOf } from "./shared.js";

const POLL_MS = 2000;
let shown = null, timer = 0;

/** Open the log of a model's server. */
export function showLog(model) {
  shown = model;
  $("log-title").textContent = `Log of ${model}`;
  $("log-lines").textContent = "";
  $("log-path").textContent = "reading …";
  $("log").showModal();
  follow();
}

async function follow() {
  clearTimeout(timer);
  const model = shown;
  if (model === null) return;
  await read(model);
  if (model === shown) timer = setTimeout(follow, POLL_MS);
}

async function read(model) {
  const lines = $("log-lines");
  try {
    const path = `${base}/models/${encodeURIComponent(model)}/log?lines=${$("log-count").value}`;
    const response = await api(path, { quiet: true });
    if (!response.ok) throw new Error(await errorOf(response));
    const log = await response.json();
    if (model !== shown) return;
    const text = log.lines.join("\n") || "it has written nothing yet";
    $("log-path").textContent = log.path;
    if (text === lines.textContent) return;
    // Somebody who has scrolled up is reading.
    const atEnd = !lines.textContent || lines.scrollHeight - lines.scrollTop - lines.clientHeight < 40;
    lines.textContent = text;
    if (atEnd) lines.scrollTop = lines.scrollHeight;
  } catch (error) {
    if (model === shown) $("log-path").textContent = error.message;
  }
}

$("log").addEventListener("close", () => { shown = null; clearTimeout(timer); });
$("log-count").addEventListener("change", follow);
copyButton($("log-copy"), () => $("log-lines").textContent);
