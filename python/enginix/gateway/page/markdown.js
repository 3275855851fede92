// Markdown as DOM nodes. A model's text becomes text nodes and nothing else, so whatever it writes
// stays text. One top-level block is one child of the box: while an answer grows, only its last
// block is made anew, and a selection in the others survives.

import { copyButton, make } from "./shared.js";

// Deeper nesting stays text: it could be as deep as an answer is long.
const DEEPEST = 8;
const FENCE = /^( *)(`{3,}|~{3,})[ \t]*([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})[ \t]+(.*)$/;
const RULE = /^ {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^([ \t]*)([-*+]|\d{1,9}[.)])(?:[ \t]+|$)/;
const INDENTED = /^(?: {2}|\t)/;
const COLUMNS = /^[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;
// What could run to the end of the text and fail there has a limit.
const SPAN = new RegExp([
  /(?<![`\\])(?<ticks>`{1,9})(?!`)(?<code>[^]{1,2000}?)(?<!`)\k<ticks>(?!`)/,
  /\\(?<escaped>[!-/:-@[-`{-~])/,
  /!?\[(?<label>[^[\]\n]{1,500})\]\(<?(?<href>[^\s()<>]{1,2000}(?:\([^\s()<>]{0,200}\)[^\s()<>]{0,200})?)>?(?:[ \t]+"[^"\n]{0,200}")?\)/,
  /(?<bare>https?:\/\/[^\s<>"`|]{0,1999}[^\s<>"`|.,;:!?'*_~)\]])/,
  /(?<two>\*\*|~~|(?<!\w)__)(?!\s)(?<inside>[^]{1,1000}?)(?<!\s)\k<two>(?![*~_])/,
  /(?<![\w*_\\])(?<one>[*_])(?![\s*_])(?<within>[^\n]{1,1000}?)(?<![\s*_])\k<one>(?![\w*_])/,
  /(?<br><br ?\/?>)/,
].map((part) => part.source).join("|"), "g");

const blank = (line) => line === undefined || !line.trim();
const width = (space) => space.replaceAll("\t", "    ").length;
const closes = (line, fence) => line.trim().startsWith(fence) && !line.trim().replaceAll(fence[0], "");
const isItem = (item, indent) => item && width(item[1]) < width(indent) + 2;
const isNumber = (mark) => /\d/.test(mark);
const cells = (line) => line.trim().replace(/^\||(?<!\\)\|$/g, "").split(/(?<!\\)\|/).map((cell) => cell.trim());
const side = (cell) => (cell.endsWith(":") ? (cell.startsWith(":") ? "center" : "right") : "");

/** The line without up to `columns` columns of leading space. */
function dedent(line, columns) {
  const [space] = /^[ \t]*/.exec(line);
  let at = 0;
  for (let gone = 0; gone < columns && at < space.length; at++) gone += width(space[at]);
  return line.slice(at);
}

// Kind of block -> whether one starts at a line, the line after its end, its element.
const KINDS = {
  code: {
    starts: (lines, at) => FENCE.test(lines[at]),
    end(lines, at) {
      const fence = FENCE.exec(lines[at])[2];
      do at++; while (at < lines.length && !closes(lines[at], fence));
      return at + 1;
    },
    element(lines) {
      const box = make("div", "code"), head = make("div", "code-head"), pre = make("pre");
      const button = Object.assign(make("button", "quiet", "copy"), { type: "button" });
      const code = make("code", "", codeOf(lines));
      copyButton(button, () => code.textContent);
      head.append(make("span", "", FENCE.exec(lines[0])[3].trim().slice(0, 40)), button);
      // A long line is scrolled with the keyboard, too.
      pre.tabIndex = 0;
      pre.append(code);
      box.append(head, pre);
      return box;
    },
  },
  heading: {
    starts: (lines, at) => HEADING.test(lines[at]),
    end: (_, at) => at + 1,
    element([line]) {
      const [, marks, text] = HEADING.exec(line);
      // h1 and h2 are the page's own.
      return spans(make("h" + Math.min(marks.length + 2, 6)), text.replace(/(?:^|[ \t])#+[ \t]*$/, ""));
    },
  },
  rule: {
    starts: (lines, at) => RULE.test(lines[at]),
    end: (_, at) => at + 1,
    element: () => make("hr"),
  },
  quote: {
    starts: (lines, at) => QUOTE.test(lines[at]),
    end(lines, at) {
      while (QUOTE.test(lines[at] ?? "")) at++;
      return at;
    },
    element: (lines, depth) => blocks(make("blockquote"), lines.map((line) => line.replace(QUOTE, "")), depth + 1),
  },
  list: {
    starts: (lines, at) => ITEM.test(lines[at]),
    end(lines, at) {
      const [, indent, mark] = ITEM.exec(lines[at]);
      while (++at < lines.length) {
        const line = lines[at], item = ITEM.exec(line);
        if (blank(line)) {
          let next = at;
          while (next < lines.length && blank(lines[next])) next++;
          if (next === lines.length || !(INDENTED.test(lines[next]) || ITEM.test(lines[next]))) return at;
          at = next - 1;
        } else if (RULE.test(line) || (isItem(item, indent) && isNumber(item[2]) !== isNumber(mark))) return at;
        else if (!item && !INDENTED.test(line) && (blank(lines[at - 1]) || kindAt(lines, at) !== "paragraph")) return at;
      }
      return at;
    },
    element(lines, depth) {
      const [, indent, mark] = ITEM.exec(lines[0]);
      const list = make(isNumber(mark) ? "ol" : "ul"), items = [];
      if (isNumber(mark)) list.start = parseInt(mark, 10);
      let inside = 0;
      for (const line of lines) {
        const item = ITEM.exec(line);
        if (isItem(item, indent)) {
          inside = width(item[0]);
          items.push([line.slice(item[0].length).replace(/^\[([ xX])\] /, (_, x) => (x === " " ? "☐ " : "☑ "))]);
        } else items.at(-1).push(dedent(line, inside));
      }
      list.append(...items.map((item) => blocks(make("li"), item, depth + 1)));
      return list;
    },
  },
  table: {
    starts: (lines, at) => lines[at].includes("|") && !blank(lines[at + 1]) && COLUMNS.test(lines[at + 1]),
    end(lines, at) {
      while (!blank(lines[at]) && lines[at].includes("|")) at++;
      return at;
    },
    element([head, columns, ...rows]) {
      const box = make("div", "table"), table = make("table");
      const sides = cells(columns).map(side);
      for (const line of [head, ...rows]) {
        table.insertRow().append(...cells(line).slice(0, sides.length).map((text, column) => {
          const cell = spans(make(line === head ? "th" : "td"), text);
          cell.style.textAlign = sides[column];
          return cell;
        }));
      }
      box.tabIndex = 0;
      box.append(table);
      return box;
    },
  },
  paragraph: {
    starts: () => true,
    end(lines, at) {
      do at++; while (!blank(lines[at]) && kindAt(lines, at) === "paragraph");
      return at;
    },
    element: (lines) => spans(make("p"), lines.map((line) => line.trim()).join("\n")),
  },
};

const kindAt = (lines, at) => Object.keys(KINDS).find((name) => KINDS[name].starts(lines, at));

function codeOf([first, ...lines]) {
  const [, indent, fence] = FENCE.exec(first);
  if (lines.length && closes(lines.at(-1), fence)) lines.pop();
  return lines.map((line) => dedent(line, indent.length)).join("\n");
}

function* split(lines) {
  for (let at = 0; at < lines.length;) {
    if (blank(lines[at])) { at++; continue; }
    const kind = kindAt(lines, at), end = KINDS[kind].end(lines, at);
    yield [kind, lines.slice(at, end)];
    at = end;
  }
}

function blocks(box, lines, depth) {
  if (depth > DEEPEST) box.append(lines.join("\n"));
  else for (const [kind, own] of split(lines)) box.append(KINDS[kind].element(own, depth));
  return box;
}

function spans(node, text, depth = 0) {
  let from = 0;
  for (const found of depth > DEEPEST ? [] : text.matchAll(SPAN)) {
    node.append(text.slice(from, found.index), span(found[0], found.groups, depth + 1));
    from = found.index + found[0].length;
  }
  node.append(text.slice(from));
  if (!depth) node.dir = "auto";
  return node;
}

function span(whole, { code, escaped, label, href, bare, two, inside, within, br }, depth) {
  if (code) return make("code", "", code.replaceAll("\n", " ").replace(/^ (.*\S.*) $/, "$1"));
  if (escaped) return escaped;
  if (br) return make("br");
  if (inside) return spans(make(two === "~~" ? "del" : "strong"), inside, depth);
  if (within) return spans(make("em"), within, depth);
  // An image is a link as well: loading it would tell its server of this chat.
  const to = href ?? bare;
  if (!URL.canParse(to) || !["http:", "https:", "mailto:"].includes(new URL(to).protocol)) return whole;
  const link = Object.assign(make("a"), { href: to, title: to, target: "_blank", rel: "noopener noreferrer" });
  return bare ? (link.append(bare), link) : spans(link, label, depth);
}

const shown = new WeakMap();

/** Make `box` show `text`; call it again as the text grows. */
export function showMarkdown(box, text) {
  const wanted = [...split(text.replace(/\r\n?/g, "\n").split("\n"))];
  const keys = wanted.map(([, lines]) => lines.join("\n"));
  const before = shown.get(box) ?? [];
  let same = 0;
  while (same < before.length && before[same] === keys[same]) same++;
  // A growing code block keeps its element: its button may have the focus.
  const code = box.children[same]?.querySelector(":scope > pre > code");
  if (code && wanted[same]?.[0] === "code" && before[same].split("\n", 1)[0] === wanted[same][1][0]) {
    code.textContent = codeOf(wanted[same++][1]);
  }
  while (box.children.length > same) box.lastChild.remove();
  box.append(...wanted.slice(same).map(([kind, lines]) => KINDS[kind].element(lines, 0)));
  shown.set(box, keys);
}
