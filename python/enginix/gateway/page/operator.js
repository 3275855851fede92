// The models: what each of them does, and what an operator can do about it.

import { $, api, apiKey, askForKey, base, errorOf, keyed, make, page, refresh, server } from "./shared.js";
import { condition, configured, facts, figures, replica, summary } from "./model.js";
import { showLog } from "./log.js";

const POLL_MS = 2000, BUSY_MS = 500;

page.addEventListener("status", () => {
  const [look, words] = summary(server);
  $("health").className = "pill " + look;
  $("health").lastElementChild.textContent = words;
  $("version").textContent = server.version;
  $("unlock").hidden = server.state !== "locked";
  document.body.classList.toggle("stale", server.state === "gone");
  if (server.state !== "ok") return;
  keyed($("models"), server.models, (model) => model.id, newCard, updateCard);
  const [kind, told] = configured(server.configuration);
  Object.assign($("configuration"), { className: kind, textContent: told, hidden: !told });
  $("no-models").hidden = server.models.length > 0;
  $("load").hidden = !server.supervised;
});

function newCard(model) {
  const card = make("article", "model");
  const [state, log, lever] = [make("span", "state"), make("button", "quiet", "log"), make("button", "quiet")];
  const head = make("div", "top");
  log.type = lever.type = "button";
  log.setAttribute("aria-label", `Log of ${model.id}`);
  head.append(make("i", "dot"), make("h3", "name grow", model.id), state, log, lever);
  const words = make("p", "why"), quoted = make("details", "quoted"), notice = make("p", "bad");
  notice.setAttribute("role", "alert");
  quoted.append(make("summary", "", "its last log lines"), make("pre"));
  card.append(head, words, quoted, notice, make("dl", "figures"), make("ul", "replicas"), make("div", "facts"));
  log.addEventListener("click", () => showLog(model.id));
  lever.addEventListener("click", () => pull(model.id, lever, notice));
  return card;
}

function updateCard(card, model) {
  const { look, state, words, log } = condition(model);
  card.className = "model " + look;
  const [, , label, logs, lever] = card.querySelector(".top").children;
  label.textContent = state;
  // Only where a supervisor can do it.
  logs.hidden = lever.hidden = !("restarts" in model);
  const loads = model.state === "idle" || model.state === "error";
  lever.dataset.does = loads ? "load" : "unload";
  lever.textContent = lever.dataset.does;
  lever.setAttribute("aria-label", `${lever.dataset.does} ${model.id}`);
  lever.disabled = state === "unloading" || "busy" in lever.dataset;
  card.querySelector(".why").textContent = words;
  const quoted = card.querySelector(".quoted");
  quoted.hidden = !log;
  quoted.lastElementChild.textContent = log || "";
  card.querySelector(".figures").hidden = ["idle", "loading", "failed"].includes(state) || model.state === "error";
  keyed(card.querySelector(".figures"), figures(model), ([name]) => name, ([name]) => {
    const cell = make("div");
    cell.append(make("dt", "", name), make("dd"));
    return cell;
  }, (cell, [, value]) => { cell.lastElementChild.textContent = value; });
  keyed(card.querySelector(".replicas"), model.replicas ?? [], ({ address }) => address, () => make("li"),
    (row, one) => {
      row.className = one.in_rotation ? "" : "out";
      row.textContent = `${one.address}: ${replica(one)}`;
    });
  keyed(card.querySelector(".facts"), facts(model), (fact) => fact, (fact) => make("span", "", fact));
}

/** Load or unload. The status shows it at once; the answer comes when running requests are done. */
async function pull(id, lever, notice) {
  const { does } = lever.dataset;
  lever.dataset.busy = "";
  lever.disabled = true;
  notice.textContent = "";
  try {
    const answer = api(`${base}/models/${does}?wait=false`, { method: "POST", body: JSON.stringify({ model: id }) });
    setTimeout(refresh, 100);
    const response = await answer;
    if (!response.ok) notice.textContent = await errorOf(response);
  } catch (error) {
    notice.textContent = error.message;
  }
  delete lever.dataset.busy;
  refresh();
}

// --- loading another one --------------------------------------------------------------------

$("load").addEventListener("submit", async (event) => {
  event.preventDefault();
  const what = $("load-what").value.trim(), name = $("load-name").value.trim();
  const say = (kind, words) => { $("load-notice").className = kind; $("load-notice").textContent = words; };
  if (!what) return $("load-what").focus();
  const byPath = what.startsWith("/");
  const body = {
    ...(byPath ? { model_path: what, ...(name && { model: name }) } : { model: what }),
    ...($("load-engine").value && { engine: $("load-engine").value }),
    ...($("load-context").value && { max_model_len: Number($("load-context").value) }),
  };
  $("load-go").disabled = true;
  say("faint", `asking for ${what} …`);
  try {
    const response = await api(`${base}/models/load?wait=false`, { method: "POST", body: JSON.stringify(body) });
    if (response.ok) {
      say("faint", `${(await response.json()).id} is being loaded`);
      $("load-what").value = $("load-name").value = "";
    } else say("bad", await errorOf(response));
  } catch (error) {
    say("bad", error.message);
  }
  $("load-go").disabled = false;
  refresh();
});

// --- polling --------------------------------------------------------------------------------

$("unlock").addEventListener("click", () => askForKey());
page.addEventListener("key", async () => {
  // The first may be under way with the old key.
  await refresh();
  await refresh();
  if (server.state === "locked" && apiKey()) askForKey();
});
document.addEventListener("visibilitychange", () => document.hidden || refresh());

async function poll() {
  if (!document.hidden) await refresh();
  const changing = server.models.some((model) => condition(model).look === "loading");
  setTimeout(poll, changing ? BUSY_MS : POLL_MS);
}

refresh().then(() => server.state === "locked" && askForKey());
setTimeout(poll, POLL_MS);
