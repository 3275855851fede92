// What the parts of the page share: requests with the key, the server's status, copying.

export const $ = (id) => document.getElementById(id);
export const base = location.origin + "/v1";

/** An element with a class and a text; markup in the text stays text. */
export const make = (tag, name, text) =>
  Object.assign(document.createElement(tag), { className: name || "", textContent: text ?? "" });

/** A word of a shell's command; in single quotes a shell reads everything as it is. */
export const shellQuoted = (text) =>
  /^[\w./:@-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;

/**
 * Make `parent` have one child for each item, in their order. Children stay what they are, so that
 * the focus, a selection and what is unfolded survive an update.
 */
export function keyed(parent, items, keyOf, create, update = () => {}) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  items.forEach((item, place) => {
    const key = String(keyOf(item));
    let child = old.get(key);
    // Two items may have one key.
    old.delete(key);
    if (!child) {
      child = create(item);
      child.dataset.key = key;
    }
    if (parent.children[place] !== child) parent.insertBefore(child, parent.children[place] ?? null);
    update(child, item);
  });
  while (parent.children.length > items.length) parent.lastElementChild.remove();
}

// Private windows may refuse storage; the page works without it.
export const store = {
  get(name) {
    try { return localStorage.getItem(name); } catch { return null; }
  },
  set(name, value) {
    try { value ? localStorage.setItem(name, value) : localStorage.removeItem(name); } catch { /* not kept */ }
  },
};

// --- the API key ----------------------------------------------------------------------------

let key = store.get("enginix.key") || "";
let asking = null, refused = false;

/** The key that requests carry; "" without one. */
export const apiKey = () => key;

export class KeyNeeded extends Error {
  constructor() { super("this server wants an API key"); }
}

/** Ask for a key; resolves to whether one was entered. */
export function askForKey() {
  $("key-error").textContent = refused && key ? "The server does not know this key." : "";
  asking ??= new Promise((done) => {
    const dialog = $("locked");
    $("key").value = key;
    dialog.returnValue = "";
    dialog.addEventListener("close", () => {
      asking = null;
      const entered = dialog.returnValue === "ok";
      if (entered) setKey($("key").value.trim());
      done(entered);
    }, { once: true });
    dialog.showModal();
    $("key").select();
  });
  return asking;
}

function setKey(value) {
  key = value;
  refused = false;
  store.set("enginix.key", key);
  page.dispatchEvent(new Event("key"));
}

/**
 * `fetch` with the key. If the server wants one, ask for it and try again; KeyNeeded when the user
 * closes the dialog. `quiet` never asks: for what the page does by itself.
 */
export async function api(path, { quiet = false, ...options } = {}) {
  for (;;) {
    const sent = key;
    const headers = { "Content-Type": "application/json", ...(sent && { Authorization: "Bearer " + sent }) };
    const response = await fetch(path, { ...options, headers });
    if (response.status !== 401) return response;
    // Another request may have asked meanwhile.
    const current = sent === key;
    if (current) refused = Boolean(sent);
    if (quiet) throw new KeyNeeded();
    if (current && !(await askForKey())) throw new KeyNeeded();
  }
}

/** The message of a response that is an error, whatever its body is. */
export async function errorOf(response) {
  try { return (await response.json()).error.message; } catch { return `HTTP ${response.status}`; }
}

// --- the server's status --------------------------------------------------------------------

/**
 * "status" after every poll (`server` has what was learnt), "key" when the key changes.
 */
export const page = new EventTarget();

/** `state`: "connecting", "ok", "locked" (a key is needed) or "gone"; the rest is /v1/status. */
export const server = { state: "connecting", models: [], version: "", stopping: false };

let polling = null;

/** Poll the status now; resolves when the page has shown it. */
export function refresh() {
  polling ??= poll().finally(() => { polling = null; });
  return polling;
}

async function poll() {
  try {
    const response = await api("/v1/status", { quiet: true });
    if (!response.ok) throw new Error(await errorOf(response));
    Object.assign(server, await response.json(), { state: "ok" });
  } catch (error) {
    server.state = error instanceof KeyNeeded ? "locked" : "gone";
  }
  page.dispatchEvent(new Event("status"));
}

// --- copying --------------------------------------------------------------------------------

/** Copy a text; resolves to whether it worked. Without TLS browsers offer the old way only. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch { /* not a secure context, or not allowed */ }
  const area = Object.assign(document.createElement("textarea"), { value: text, className: "offscreen" });
  // Inside an open dialog, because everything else is inert then.
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  const focused = document.activeElement;
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  focused?.focus();
  return copied;
}

/** A button that copies what `text()` gives, and says so. */
export function copyButton(button, text) {
  button.addEventListener("click", async () => {
    button.textContent = (await copy(text())) ? "copied" : "select it and copy by hand";
    setTimeout(() => { button.textContent = "copy"; }, 1500);
  });
}
