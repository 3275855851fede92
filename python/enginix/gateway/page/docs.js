// The API description: /openapi.json as a list to read.

import { $, make, shellQuoted } from "./shared.js";

const METHODS = ["get", "post", "put", "patch", "delete"];
const NEEDS = {
  key: "Needs an API key, where the gateway has any.",
  admin: "Needs an operator's API key, where the gateway's keys have names; else any key, where it has any.",
};
let schemas = {};

const resolved = (schema) => (schema?.$ref ? schemas[schema.$ref.split("/").pop()] ?? {} : schema ?? {});

/** A schema as a type: "string", "list of integer", "Tool or null", "'low' or 'high'". */
function typeOf(schema) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  const either = schema.anyOf ?? schema.oneOf;
  if (either) return [...new Set(either.map(typeOf))].join(" or ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" or ");
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.type === "array") return `list of ${typeOf(schema.items ?? {})}`;
  return [schema.type ?? "anything"].flat().join(" or ");
}

const LIMITS = {
  minimum: "at least", exclusiveMinimum: "more than", maximum: "at most", exclusiveMaximum: "less than",
  minLength: "length at least", maxLength: "length at most", minItems: "items at least", maxItems: "items at most",
};

function limitsOf(schema) {
  const parts = [schema, ...(schema.anyOf ?? [])];
  return Object.entries(LIMITS).flatMap(([key, words]) =>
    parts.filter((part) => key in part).map((part) => `${words} ${part[key]}`));
}

/** One field. The fields of objects in it follow when they are unfolded. */
function field(name, schema, required, depth) {
  const text = make("dd");
  const notes = [required && "required", ...limitsOf(schema)];
  if (schema.default != null) notes.push(`default ${JSON.stringify(schema.default)}`);
  text.append(make("span", "type", typeOf(schema)), make("span", "faint", notes.filter(Boolean).map((note) => ` · ${note}`).join("")));
  if (schema.description) text.append(make("div", "", schema.description));
  const inner = [schema, schema.items, ...(schema.anyOf ?? []), ...(schema.anyOf ?? []).map((one) => one.items)]
    .filter((one) => one?.$ref && resolved(one).properties);
  for (const one of depth < 4 ? inner : []) {
    const more = make("details");
    more.append(make("summary", "", typeOf(one)));
    more.addEventListener("toggle", () => more.children.length > 1 || more.append(fields(resolved(one), depth + 1)));
    text.append(more);
  }
  return [make("dt", "", name), text];
}

function fields(schema, depth = 0) {
  const list = make("dl", "fields");
  for (const [name, one] of Object.entries(schema.properties ?? {}))
    list.append(...field(name, one, schema.required?.includes(name), depth));
  return list;
}

function operation(method, path, described) {
  const box = make("details", "operation"), summary = make("summary");
  summary.append(make("span", "method", method.toUpperCase()), make("span", "path", path), make("span", "faint", described.summary));
  box.append(summary);
  if (described.description) box.append(make("p", "", described.description));
  const needs = NEEDS[described["x-needs"]];
  if (needs) box.append(make("p", "faint", needs));
  const parameters = described.parameters ?? [];
  if (parameters.length) {
    const list = make("dl", "fields");
    for (const one of parameters) list.append(...field(`${one.name} (${one.in})`, one.schema ?? {}, one.required, 0));
    box.append(make("h4", "", "Parameters"), list);
  }
  const body = resolved(described.requestBody?.content?.["application/json"]?.schema);
  if (body.properties) {
    box.append(make("h4", "", "Body"));
    if (body.description) box.append(make("p", "faint", body.description));
    box.append(fields(body));
  }
  const answers = Object.entries(described.responses ?? {}).filter(([status]) => status !== "422");
  box.append(make("h4", "", "Answers"));
  for (const [status, answer] of answers)
    box.append(make("div", "", `${status}: ${answer.description} (${Object.keys(answer.content ?? {}).join(", ") || "no body"})`));
  const url = shellQuoted(location.origin + path);
  const json = described.requestBody ? ` \\\n  -H 'Content-Type: application/json' -d '{ … }'` : "";
  box.append(make("pre", "", `curl ${method === "get" ? "" : `-X ${method.toUpperCase()} `}${url}${json}`));
  // What the search looks in.
  box.dataset.words = [path, described.summary, ...Object.keys(body.properties ?? {})].join(" ").toLowerCase();
  return box;
}

async function show() {
  const api = await (await fetch("openapi.json")).json();
  schemas = api.components?.schemas ?? {};
  $("version").textContent = api.info.version;
  const groups = new Map();
  for (const [path, methods] of Object.entries(api.paths))
    for (const method of METHODS.filter((one) => one in methods)) {
      const tag = methods[method].tags?.[0] ?? "Other";
      if (!groups.has(tag)) groups.set(tag, make("section"));
      groups.get(tag).append(operation(method, path, methods[method]));
    }
  for (const [tag, section] of groups) section.prepend(make("h2", "", tag));
  $("groups").replaceChildren(...groups.values());
}

$("find").addEventListener("input", () => {
  const wanted = $("find").value.trim().toLowerCase();
  for (const section of $("groups").children) {
    const operations = [...section.querySelectorAll(".operation")];
    for (const one of operations) one.hidden = !one.dataset.words.includes(wanted);
    section.hidden = operations.every((one) => one.hidden);
  }
});

show().catch((error) => $("groups").replaceChildren(make("p", "bad", `the description cannot be read: ${error.message}`)));
