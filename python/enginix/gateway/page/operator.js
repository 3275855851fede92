// The models: what each of them does, and what an operator can do about it.

import { $, api, askForKey, base, errorOf, make, page, refresh, server } from "./shared.js";

page.addEventListener("status", () => {
  if (server.state !== "ok") {
    show("failing", server.state === "locked" ? "API key needed" : "gateway gone");
    return;
  }
  // One that waits to be asked for is well.
  const good = server.models.every((model) => model.state === "loaded" || model.state === "idle") && !server.stopping;
  show(good ? "ok" : "failing", server.stopping ? "stopping" : good ? "tokens come out" : "not answering");
  $("version").textContent = server.version;
  $("models").replaceChildren(...server.models.map(card));
});

function show(kind, words) {
  $("health").className = "pill " + kind;
  $("health").lastElementChild.textContent = words;
}

function card(model) {
  const look = { loaded: "ok", idle: "", loading: "loading" }[model.state] ?? "failing";
  const box = make("div", "model " + look);
  const head = make("div", "top");
  head.append(make("i", "dot"), make("span", "name grow", model.id));
  // Only where a supervisor can do it.
  if ("restarts" in model) head.append(lever(model));
  const facts = make("div", "facts");
  const context = model.max_model_len && model.max_model_len.toLocaleString() + " tokens";
  const restarts = model.restarts && `restarted ${model.restarts} times`;
  for (const fact of [model.kind, model.quantization, context, model.reasoning, model.tools, restarts])
    if (fact) facts.append(make("span", "", fact));
  const load = make("div", "load");
  const cells = [["running", model.running], ["waiting", model.waiting]];
  if (model.limits) cells.push(["batch", model.limits.max_batch_size]);
  for (const [name, value] of cells) {
    const cell = make("div");
    cell.append(make("b", "", value), make("small", "", name));
    load.append(cell);
  }
  box.append(head, facts, load);
  if (model.state !== "loaded") box.append(make("p", "", model.progress || model.last_error || model.reason));
  return box;
}

function lever(model) {
  const what = model.state === "idle" || model.state === "error" ? "load" : "unload";
  const button = Object.assign(make("button", "quiet", what), { type: "button" });
  button.addEventListener("click", async () => {
    button.disabled = true;
    const answer = await api(`${base}/models/${what}?wait=false`, { method: "POST", body: JSON.stringify({ model: model.id }) });
    if (!answer.ok) alert(await errorOf(answer));
    refresh();
  });
  return button;
}

refresh().then(() => server.state === "locked" && askForKey().then(refresh));
setInterval(() => document.hidden || refresh(), 3000);
