// Conversations, kept in this browser over a reload.
//
// A conversation is { id, changed, exchanges }; an exchange is { question, images, answer }. Each has
// a key of its own, so that two tabs do not overwrite each other's.

const PREFIX = "enginix.chat.";
const MOST = 50;
// Browsers allow about five million characters per site.
const MOST_CHARACTERS = 4e6;

const kept = new Map();

/** Newest first. */
export const conversations = () => [...kept.values()].reverse().sort((a, b) => b.changed - a.changed);

/** The first line of the first question. */
export const titleOf = ({ exchanges: [first] }) =>
  first ? first.question.trim().split("\n", 1)[0].slice(0, 80) || "image" : "new chat";

export const newConversation = () => ({
  id: Date.now().toString(36) + Math.random().toString(36).slice(2, 8),
  changed: Date.now(),
  exchanges: [],
});

/** Keep it and forget the oldest ones beyond the limits; returns whether it will outlive the page. */
export function keep(conversation) {
  conversation.changed = Date.now();
  // Of two in one millisecond, the later one is last in the map.
  kept.delete(conversation.id);
  kept.set(conversation.id, conversation);
  for (const old of conversations().slice(MOST)) forget(old);
  const whole = JSON.stringify(conversation);
  // Without its images, if they are too large.
  return write(conversation, whole) || write(conversation, JSON.stringify(conversation, withoutImages));
}

const withoutImages = (key, value) => (key === "images" ? value.map(() => "") : value);

function write({ id }, text) {
  if (text.length > MOST_CHARACTERS / 2) return false;
  for (;;) {
    try {
      if (stored(id) + text.length <= MOST_CHARACTERS) {
        localStorage.setItem(PREFIX + id, text);
        return true;
      }
    } catch (error) {
      // A private window may refuse to keep anything.
      if (error.name !== "QuotaExceededError") return false;
    }
    const old = conversations().filter((one) => one.id !== id).at(-1);
    if (!old) return false;
    forget(old);
  }
}

/** Characters of all conversations but one. */
function stored(id) {
  return keys().reduce((sum, key) => sum + (key === PREFIX + id ? 0 : localStorage.getItem(key).length), 0);
}

export function forget({ id }) {
  kept.delete(id);
  try { localStorage.removeItem(PREFIX + id); } catch { /* nothing was kept */ }
}

function keys() {
  try { return Object.keys(localStorage).filter((key) => key.startsWith(PREFIX)); } catch { return []; }
}

function read(key) {
  const id = key.slice(PREFIX.length);
  try {
    const found = JSON.parse(localStorage.getItem(key));
    // The tab that was receiving an answer was closed.
    for (const { answer } of found.exchanges) if (answer.state === "running") answer.state = "stopped";
    kept.set(id, found);
  } catch { kept.delete(id); }
}

keys().forEach(read);

/** Call `changed` with the id of a conversation that another tab has changed. */
export function onOthersChange(changed) {
  addEventListener("storage", ({ key }) => {
    if (!key?.startsWith(PREFIX)) return;
    read(key);
    changed(key.slice(PREFIX.length));
  });
}
