// The chat: what is asked, of which model, in which conversation.

import { messagesOf, receive } from "./answer.js";
import { conversations, forget, keep, newConversation, onOthersChange, titleOf } from "./conversations.js";
import { ExchangeView, button, onEnter } from "./exchange.js";
import { readImages, roomFor, thumbnails } from "./images.js";
import { $, make, page, refresh, server, store } from "./shared.js";

// Conversation's id -> what stops the answer that it is waiting for. An answer goes on while another
// conversation is shown.
const running = new Map();
const views = new WeakMap();
let shown = conversations()[0] ?? newConversation();
let images = [];

const chosenModel = () => server.models.find((model) => model.id === $("model").value);
const takesImages = () => chosenModel()?.input_modalities?.includes("image") ?? false;

// --- asking ---------------------------------------------------------------------------------

function send() {
  const question = $("question").value.trim();
  if ((!question && !images.length) || !ask(shown.exchanges.length, question, images)) return;
  $("question").value = "";
  resize();
  images = [];
  showImages();
  $("question").focus();
}

/** Ask at a place of the conversation, dropping what was there and after it; returns whether it did. */
function ask(place, question, pictures) {
  if (running.has(shown.id)) return false;
  if (!chosenModel()) return notice("There is no model to ask.");
  if (pictures.some(Boolean) && !takesImages()) return notice(`${$("model").value} reads text only: choose another model, or ask without the images.`);
  const dropped = shown.exchanges.length - place - 1;
  if (dropped > 0 && !confirm(`This removes the ${dropped === 1 ? "exchange" : `${dropped} exchanges`} after it. Go on?`)) return false;
  notice("");
  const answer = { model: $("model").value, text: "", thought: "", state: "running", error: "", tokens: 0, firstMs: 0, seconds: 0, context: 0 };
  const exchange = { question, images: pictures, answer };
  for (const old of shown.exchanges.splice(place)) views.get(old)?.box.remove();
  shown.exchanges.push(exchange);
  $("talk").querySelector(".hint")?.remove();
  $("talk").append(viewOf(exchange).box);
  follow(true);
  run(shown, exchange);
  return true;
}

async function run(conversation, exchange) {
  const stop = new AbortController(), { answer } = exchange;
  running.set(conversation.id, stop);
  keepOrSay(conversation);
  showState();
  const options = {
    chat_template_kwargs: { enable_thinking: $("thinking").checked },
    ...($("greedy").checked && { temperature: 0 }),
  };
  let frame = 0;
  const show = () => {
    frame = 0;
    views.get(exchange)?.update();
    if (conversation === shown) { follow(); showContext(); }
  };
  await receive(answer, messagesOf(conversation.exchanges.slice(0, -1), exchange), options, stop.signal, () => { frame ||= requestAnimationFrame(show); });
  cancelAnimationFrame(frame);
  // Another answer may have started, or the conversation may be gone.
  if (running.get(conversation.id) === stop) {
    running.delete(conversation.id);
    keepOrSay(conversation);
  }
  show();
  if (document.activeElement === $("stop")) $("talk").focus();
  showState();
  $("said").textContent = answer.state === "complete" ? answer.text : viewOf(exchange).note.textContent;
  refresh();
}

function keepOrSay(conversation) {
  if (!keep(conversation)) notice("This browser has no room for the conversation: it is lost with this page.");
}

const stop = () => running.get(shown.id)?.abort();

// --- showing --------------------------------------------------------------------------------

function viewOf(exchange) {
  if (!views.has(exchange)) {
    const place = () => shown.exchanges.indexOf(exchange);
    // What was pressed goes away. On a phone, a text field would bring the keyboard up.
    const anew = (question) => { if (ask(place(), question, exchange.images)) $("stop").focus(); };
    views.set(exchange, new ExchangeView(exchange, { edit: anew, again: () => anew(exchange.question) }));
  }
  return views.get(exchange);
}

function show(conversation) {
  shown = conversation;
  const hint = make("p", "hint", "Ask something. Answers stream token by token;\nleaving or stopping frees the model at once.");
  $("talk").replaceChildren(...(shown.exchanges.length ? shown.exchanges.map((exchange) => viewOf(exchange).box) : [hint]));
  notice("");
  follow(true);
  showState();
}

function showState() {
  const busy = running.has(shown.id);
  $("send").hidden = busy;
  $("stop").hidden = !busy;
  $("talk").classList.toggle("busy", busy);
  showContext();
  showList();
}

function showContext() {
  const used = shown.exchanges.at(-1)?.answer.context;
  const most = chosenModel()?.max_model_len;
  $("context").textContent = used ? `${used.toLocaleString()}${most ? ` of ${most.toLocaleString()}` : ""} tokens of context used` : "";
}

function showList() {
  const all = conversations();
  $("chats").textContent = `chats (${all.length})`;
  $("chat-list").replaceChildren(...all.map((conversation) => {
    const row = make("li"), title = titleOf(conversation);
    const open = button(title, () => { show(conversation); toggleList(false); });
    open.className = "row";
    open.ariaCurrent = conversation === shown;
    const remove = button("delete", () => { if (confirm(`Delete “${title}”?`)) drop(conversation); });
    remove.ariaLabel = `Delete ${title}`;
    row.append(open, make("span", "faint", new Date(conversation.changed).toLocaleDateString()), remove);
    return row;
  }));
  $("chats").hidden = !all.length;
  if (!all.length) toggleList(false);
}

function drop(conversation) {
  running.get(conversation.id)?.abort();
  running.delete(conversation.id);
  forget(conversation);
  if (conversation === shown) show(newConversation());
  showList();
  ($("chats").hidden ? $("question") : $("chats")).focus();
}

function toggleList(open) {
  $("chat-list").hidden = !open;
  $("chats").ariaExpanded = open;
}

/** Say `text` above the question; returns false for whoever could not go on. */
function notice(text) {
  $("notice").textContent = text;
  return false;
}

// --- scrolling ------------------------------------------------------------------------------

let following = true, lastTop = 0;

/** Show the newest words, unless the reader has scrolled up. */
function follow(always = false) {
  following ||= always;
  if (following) $("talk").scrollTop = $("talk").scrollHeight;
  lastTop = $("talk").scrollTop;
  $("newest").hidden = following;
}

$("talk").addEventListener("scroll", () => {
  const { scrollTop, scrollHeight, clientHeight } = $("talk");
  if (scrollHeight - scrollTop - clientHeight < 24) following = true;
  else if (scrollTop < lastTop) following = false;
  lastTop = scrollTop;
  $("newest").hidden = following;
});
$("newest").addEventListener("click", () => { follow(true); $("question").focus(); });

// --- the form -------------------------------------------------------------------------------

function resize() {
  $("question").style.height = "auto";
  $("question").style.height = `${Math.min($("question").scrollHeight + 2, 180)}px`;
}

async function attach(files) {
  if (!files.length) return;
  if (!takesImages()) return notice(`${$("model").value} reads text only.`);
  const { images: read, problem } = await readImages(files, roomFor(images));
  images.push(...read);
  notice(problem);
  showImages();
}

function showImages() {
  $("attached").replaceChildren(...thumbnails(images, (place) => { images.splice(place, 1); showImages(); $("question").focus(); }));
}

$("form").addEventListener("submit", (event) => { event.preventDefault(); send(); });
onEnter($("question"), send);
$("question").addEventListener("keydown", (event) => { if (event.key === "Escape") stop(); });
$("question").addEventListener("input", resize);
$("question").addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files];
  if (files.length) { event.preventDefault(); attach(files); }
});
$("stop").addEventListener("click", () => { stop(); $("question").focus(); });
$("attach").addEventListener("click", () => $("files").click());
$("files").addEventListener("change", async () => { await attach([...$("files").files]); $("files").value = ""; });
$("clear").addEventListener("click", () => { show(newConversation()); toggleList(false); $("question").focus(); });
$("chats").addEventListener("click", () => toggleList($("chat-list").hidden));
$("chat-list").addEventListener("keydown", (event) => { if (event.key === "Escape") { toggleList(false); $("chats").focus(); } });

// --- models, other tabs, leaving ------------------------------------------------------------

function showModel() {
  $("attach").hidden = !takesImages();
  showContext();
}

// The models may change at any time; keep the chosen one chosen.
page.addEventListener("status", () => {
  const names = server.models.filter((model) => model.task === "generate").map((model) => model.id);
  const select = $("model"), before = [...select.options].map((option) => option.value);
  if (String(names) !== String(before)) {
    const chosen = select.value || store.get("enginix.model");
    // The tiny demo model knows its answers by heart and little else.
    if (!before.length && names[0] === "demo") $("greedy").checked = true;
    select.replaceChildren(...names.map((name) => new Option(name)));
    if (names.includes(chosen)) select.value = chosen;
    // The snippets name the chosen model.
    select.dispatchEvent(new Event("change"));
  }
  showModel();
});
$("model").addEventListener("change", showModel);
$("model").addEventListener("input", () => store.set("enginix.model", $("model").value));

onOthersChange((id) => {
  if (id === shown.id && !running.has(id)) show(conversations().find((one) => one.id === id) ?? newConversation());
  showList();
});

addEventListener("pagehide", () => {
  for (const [id, stop] of running) {
    // Or else it would be kept as a lost connection.
    stop.abort();
    const conversation = conversations().find((one) => one.id === id);
    if (conversation) keep(conversation);
  }
});

show(shown);
