// What a model's status means, in words. Pure: a row of /v1/status in, words out.

import { bytes, count, duration, plural, rate, times } from "./units.js";

// What a signal usually means for a server that was not told to end.
const SIGNALS = {
  SIGKILL: "the kernel does that when memory runs out",
  SIGSEGV: "it crashed",
  SIGABRT: "it crashed",
  SIGBUS: "it crashed",
  SIGILL: "its program needs another processor",
};

/** An error as one sentence, and the log lines it quotes. */
export function lastWords(error) {
  const [first, ...log] = (error || "").split("\n");
  const sentence = first.replace(/; its last log lines \(.*\):$/, "");
  const signal = /was killed by (SIG[A-Z]+)/.exec(sentence)?.[1];
  const why = signal ? SIGNALS[signal] : cause(log);
  return { sentence: sentence + (why ? (signal ? "; " : ": ") + why : ""), log: log.join("\n") };
}

/** The line of a log that most likely says why its server ended. */
function cause(log) {
  // Triton draws tables.
  const lines = log.map((line) => line.trim()).filter((line) => line && !/^[+|]/.test(line));
  const blamed = lines.findLast((line) => /error|exception|fail|cannot|unable|denied|not found|out of memory/i.test(line));
  const line = blamed ?? lines.at(-1) ?? "";
  return line.length > 240 ? line.slice(0, 240) + " …" : line;
}

/** `look`: "ok", "loading", "failing" or "" (idle); `words`: why it is not simply serving. */
export function condition(model, now = Date.now() / 1000) {
  const failure = lastWords(model.last_error);
  // `since` is the server's clock; both run on one machine or are kept in step.
  const since = model.since ? ` for ${duration(Math.max(0, now - model.since))}` : "";
  switch (model.state) {
    case "loading":
      return { look: "loading", state: "loading", words: `loading${since}${model.progress ? `: ${model.progress}` : ""}` };
    case "idle": {
      const demand = model.presence === "on_demand";
      const plain = !model.reason || model.reason.startsWith(`${model.id} is not loaded`);
      const words = demand ? "the next request loads it" : plain ? "not loaded" : model.reason;
      return { look: "", state: "idle", words };
    }
    case "error":
      return {
        look: "failing", state: "restarts" in model ? "failed" : "not answering",
        words: failure.sentence || model.reason, log: failure.log,
      };
  }
  if (model.presence === "closed")
    return { look: "loading", state: "unloading", words: unloading(model) };
  if (!model.healthy) return { look: "failing", state: "not answering", words: model.reason };
  const again = model.restarts && failure.sentence;
  return { look: "ok", state: "loaded", words: again ? `restarted: ${failure.sentence}` : "", log: again ? failure.log : "" };
}

const unloading = ({ running }) =>
  running ? `unloading: ${plural(running, "running request")} may finish first` : "unloading";

/** The figures that change, as [name, value]. */
export function figures(model) {
  const first = model.first_token_seconds;
  return [
    ["tokens/s", rate(model.tokens_per_second ?? 0)],
    ["first token", first == null ? "–" : duration(first)],
    ["running", count(model.running)],
    ["waiting", count(model.waiting)],
  ];
}

/** One of the servers of a model that has several. */
export const replica = ({ in_rotation, reason, running }) =>
  (in_rotation ? `${count(running)} running` : `gets no requests: ${reason}`);

/** What is true for as long as the model is loaded. */
export function facts(model) {
  const restarts = model.restarts && `restarted ${times(model.restarts)}`;
  return [
    model.kind,
    model.quantization,
    model.context && `${count(model.context)} tokens context`,
    model.accuracy && `perplexity ${model.accuracy.perplexity.toFixed(2)} on ${model.accuracy.text}`,
    model.limits && `batch of ${count(model.limits.max_batch_size)}`,
    model.memory_bytes && `${bytes(model.memory_bytes)} memory`,
    model.gpu_memory_bytes && `${bytes(model.gpu_memory_bytes)} on GPU`,
    model.uptime_seconds && `up ${duration(model.uptime_seconds)}`,
    restarts,
    model.reasoning && `reasoning: ${model.reasoning}`,
    model.tools && `tools: ${model.tools}`,
  ].filter(Boolean);
}

/** What is to be said of the files that a supervisor runs: [look, words], or none. */
export function configured(configuration) {
  const { files, error, failed, changing } = configuration ?? {};
  if (error) return ["bad", `Not in force: ${error}`];
  const [name] = Object.keys(failed ?? {});
  if (name) return ["bad", `${name} is not as ${files.join(" and ")} has it: ${lastWords(failed[name]).sentence}`];
  return changing ? ["faint", changing] : ["", ""];
}

/** The whole server in a few words: [look, words]. */
export function summary({ state, stopping, models }) {
  if (state === "connecting") return ["", "looking …"];
  if (state === "locked") return ["failing", "an API key is needed"];
  if (state === "gone") return ["failing", "gateway gone"];
  if (stopping) return ["loading", "stopping"];
  if (!models.length) return ["", "no model yet"];
  const conditions = models.map((model) => ({ id: model.id, ...condition(model) }));
  const named = (look) => conditions.filter((one) => one.look === look);
  const [bad, soon] = [named("failing"), named("loading")];
  const told = (ones, words) =>
    ones.length === 1 ? `${ones[0].id} ${ones[0].state}` : `${plural(ones.length, "model")} ${words}`;
  if (bad.length) return ["failing", told(bad, "not answering")];
  if (soon.length) return ["loading", told(soon, "loading")];
  return named("ok").length ? ["ok", "tokens come out"] : ["", "nothing is loaded"];
}
