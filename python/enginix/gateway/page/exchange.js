// One question and its answer on the page.

import { isComplete } from "./answer.js";
import { thumbnails } from "./images.js";
import { showMarkdown } from "./markdown.js";
import { copyButton, make } from "./shared.js";

/** `edit(question)` and `again()` ask anew from here on. */
export class ExchangeView {
  constructor(exchange, { edit, again }) {
    this.exchange = exchange;
    this.edit = edit;
    this.box = make("div", "exchange");
    this.asked = make("article", "said you");
    this.asked.ariaLabel = "You";
    this.showQuestion();
    this.told = make("article", "said it");
    this.told.ariaLabel = exchange.answer.model;
    this.thought = make("details", "thought");
    this.summary = make("summary");
    this.thoughtText = make("div");
    this.thought.append(this.summary, this.thoughtText);
    // The reader's choice is final.
    this.summary.addEventListener("click", () => { this.toggled = true; });
    this.text = make("div", "markdown");
    this.note = make("p", "note");
    this.count = make("div", "count");
    const copy = button("copy");
    copyButton(copy, () => exchange.answer.text);
    this.againButton = button("regenerate", again);
    this.actions = make("div", "actions");
    this.actions.append(copy, this.againButton);
    this.told.append(this.thought, this.text, this.note, this.count, this.actions);
    this.box.append(this.asked, this.askedActions, this.told);
    this.update();
  }

  showQuestion() {
    const { question, images } = this.exchange;
    const text = make("div", "question", question);
    text.dir = "auto";
    this.asked.replaceChildren(...(images.length ? thumbnails(images) : []), text);
    this.askedActions ??= make("div", "actions yours");
    this.askedActions.replaceChildren(button("edit", () => this.editQuestion()));
  }

  editQuestion() {
    const area = make("textarea", "edited");
    area.value = this.exchange.question;
    area.ariaLabel = "Edit your message";
    area.rows = Math.min(8, area.value.split("\n").length + 1);
    const cancel = () => { this.showQuestion(); this.askedActions.firstChild.focus(); };
    const send = () => area.value.trim() && this.edit(area.value.trim());
    onEnter(area, send);
    area.addEventListener("keydown", (event) => { if (event.key === "Escape") cancel(); });
    this.asked.replaceChildren(area);
    this.askedActions.replaceChildren(button("ask again", send), button("cancel", cancel));
    area.focus();
  }

  /** Show the answer as it is now. */
  update() {
    const { answer } = this.exchange, running = answer.state === "running";
    this.thought.hidden = !answer.thought.trim();
    if (!this.toggled) this.thought.open = running && !answer.text;
    this.summary.textContent = running && !answer.text ? "Thinking …" : "Thoughts";
    this.thoughtText.textContent = answer.thought.trim();
    showMarkdown(this.text, answer.text);
    this.told.ariaBusy = running;
    this.told.classList.toggle("waits", running && !answer.text && !answer.thought);
    this.note.textContent = noteOf(this.exchange);
    this.note.classList.toggle("bad", answer.state === "failed");
    this.count.textContent = countOf(answer);
    this.actions.hidden = running;
    this.actions.firstChild.hidden = !answer.text;
  }
}

const LEFT_OUT = "Later questions are sent without this exchange.";

function noteOf(exchange) {
  const { state, error, text } = exchange.answer;
  if (state === "running" || (state === "complete" && isComplete(exchange))) return "";
  const said = {
    failed: `Error: ${error}`,
    stopped: "Stopped.",
    cut: text ? "Cut off at the token limit." : "Cut off at the token limit before the answer began.",
    complete: "The model wrote no answer.",
  }[state];
  return isComplete(exchange) ? said : `${said}\n${LEFT_OUT}`;
}

function countOf({ tokens, firstMs, seconds }) {
  if (!tokens) return "";
  const first = firstMs < 1000 ? `${Math.round(firstMs)} ms` : `${(firstMs / 1000).toFixed(1)} s`;
  // `seconds` begins with the first token. A short answer comes in one piece: then all of its time counts.
  const [rate, of] = seconds > 0.02 ? [(tokens - 1) / seconds, ""] : [tokens / (firstMs / 1000 + seconds), " overall"];
  const speed = ` · ${rate.toFixed(rate < 100 ? 1 : 0)} tokens/s${of}`;
  return `${tokens.toLocaleString()} ${tokens === 1 ? "token" : "tokens"} · first after ${first}${speed}`;
}

/** Call `send` on Enter, but not while an input method composes a word. */
export function onEnter(area, send) {
  area.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  });
}

export function button(text, action) {
  const found = Object.assign(make("button", "quiet", text), { type: "button" });
  if (action) found.addEventListener("click", action);
  return found;
}
