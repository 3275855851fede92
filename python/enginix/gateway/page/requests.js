// What waits and runs now, and a button that stops it.

import { $, api, base, errorOf, keyed, make, page, server } from "./shared.js";
import { count, duration, plural } from "./units.js";

let reading = false;

page.addEventListener("status", async () => {
  if (server.state !== "ok" || reading) return;
  reading = true;
  try {
    const response = await api(base + "/requests", { quiet: true });
    if (response.ok) show((await response.json()).data);
  } catch { /* the next status says what is wrong */ } finally {
    reading = false;
  }
});

function show(requests) {
  $("no-requests").hidden = requests.length > 0;
  $("request-count").textContent = requests.length || "";
  keyed($("requests"), requests, (request) => request.id, newRow, updateRow);
}

function newRow(request) {
  const row = make("li", "request");
  const stop = make("button", "quiet", "stop"), notice = make("small", "bad");
  stop.type = "button";
  stop.setAttribute("aria-label", `Stop the request ${request.id}`);
  notice.setAttribute("role", "alert");
  stop.addEventListener("click", () => cancel(request.id, stop, notice));
  const words = make("div", "grow");
  words.append(make("b", "", request.model), " ", make("span"), make("small", "faint"), make("small", "faint id", request.id), notice);
  row.append(words, stop);
  return row;
}

function updateRow(row, request) {
  const [, progress, details] = row.firstElementChild.children;
  const prompt = request.prompt_tokens && `${count(request.prompt_tokens)} in`;
  const tokens = request.completion_tokens && `${plural(request.completion_tokens, "token")} out`;
  progress.textContent = [`${request.state} for ${duration(request.age_seconds)}`, prompt, tokens].filter(Boolean).join(" · ");
  details.textContent = [request.route, request.client && `from ${request.client}`].filter(Boolean).join(" · ");
}

async function cancel(id, stop, notice) {
  stop.disabled = true;
  stop.textContent = "stopping";
  try {
    const path = `${base}/requests/${encodeURIComponent(id)}/cancel`;
    const response = await api(path, { method: "POST", body: "{}" });
    // A 404: it has ended by itself.
    if (response.ok || response.status === 404) return;
    notice.textContent = await errorOf(response);
  } catch (error) {
    notice.textContent = error.message;
  }
  stop.disabled = false;
  stop.textContent = "stop";
}
