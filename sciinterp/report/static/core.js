// Chunks, elements and tables. A chunk is parsed as JSON, never run; text from data becomes text nodes only.
"use strict";
const waiting = new Map();
const loaded = new Map();

function sciinterpChunk(name, text) { // called by the files in data/
  const job = waiting.get(name);
  if (job) job(JSON.parse(text));
}

function addScript(path) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = path;
    script.onload = resolve;
    script.onerror = () => reject(new Error(path + " could not be read"));
    document.head.append(script);
  });
}

function load(name) {
  if (!loaded.has(name)) {
    loaded.set(name, new Promise((resolve, reject) => {
      waiting.set(name, resolve);
      addScript("data/" + name + ".js").catch(reject);
    }));
  }
  return loaded.get(name);
}

const SVG = "http://www.w3.org/2000/svg";
function make(create, tag, attributes, children) {
  const node = create(tag);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") node.addEventListener(key, value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  for (const child of children.flat(4)) if (child !== null && child !== undefined) node.append(child);
  return node;
}
const h = (tag, attributes, ...children) => make((t) => document.createElement(t), tag, attributes, children);
const s = (tag, attributes, ...children) => make((t) => document.createElementNS(SVG, t), tag, attributes, children);

const link = (kind, address, text) => h("a", { href: "#/" + kind + "/" + address }, String(text));
const soft = (...children) => h("p", { class: "soft" }, children);
const absent = (value) => value === null || value === undefined || value === "";
function show(value, asked) {
  const digits = asked === undefined ? 2 : asked;
  if (absent(value)) return "–";
  if (typeof value !== "number") return String(value);
  if (asked === undefined && Number.isInteger(value)) return value.toLocaleString("en");
  const small = value !== 0 && Math.abs(value) < 0.5 * 10 ** -digits;
  return small ? value.toPrecision(1) : value.toFixed(digits);
}
const range = (low, high) => (absent(low) || absent(high) ? "" : " [" + show(low, 2) + ", " + show(high, 2) + "]");
const withRange = (value, low, high) => (absent(value) ? "–" : show(value, 2) + range(low, high));

// What the reader typed: words that must occur in a row, and comparisons such as f1>0.5 with a column.
function parseSearch(text, columns) {
  const key = (name) => name.toLowerCase().replace(/[^a-z0-9]/g, "");
  const words = [];
  const tests = [];
  for (const part of text.toLowerCase().replace(/\s*([<>]=?|=)\s*/g, "$1").split(/\s+/).filter(Boolean)) {
    const match = /^([^<>=]+)([<>]=?|=)(-?[\d.]+(?:e-?\d+)?)$/.exec(part);
    const column = match && columns.find((c) => c.num && c.get && key(c.name).startsWith(key(match[1])));
    if (column) tests.push([column.get, match[2], Number(match[3])]);
    else words.push(part);
  }
  const agrees = ([get, sign, number], i) => {
    const value = get(i);
    if (typeof value !== "number") return false;
    return { "<": value < number, "<=": value <= number, ">": value > number, ">=": value >= number, "=": value === number }[sign];
  };
  return { words, keep: (i) => tests.every((t) => agrees(t, i)) };
}

function ordered(rows, get, descending) {
  const sign = descending ? -1 : 1;
  const value = new Map(rows.map((i) => [i, get(i)]));
  return rows.slice().sort((a, b) => {
    const x = value.get(a);
    const y = value.get(b);
    if (absent(x) || absent(y)) return absent(x) && absent(y) ? a - b : absent(x) ? 1 : -1;
    return x < y ? -sign : x > y ? sign : a - b;
  });
}

// A table over columns {name, get(i), text(i)?, cell(i)?, num?, mono?, wide?, why?}; sorted and filtered by row number.
const kept = new Map(); // what the reader chose in each table, for when they come back to it
function dataTable({ caption, columns, n, sort, down, perPage = 50, extra, keep, hint, bare }) {
  const state = kept.get(caption + location.hash) || { search: "", sorted: sort === undefined ? -1 : sort, descending: down !== false, page: 0 };
  kept.set(caption + location.hash, state);
  const all = Array.from({ length: n }, (_, i) => i);
  let words = null;
  const body = h("tbody");
  const status = h("span", { role: "status" });
  const search = h("input", { type: "search", autocomplete: "off", placeholder: hint, value: state.search, input: () => { state.page = 0; draw(); } });
  const turn = (by) => { state.page += by; draw(); };
  const back = h("button", { type: "button", click: () => turn(-1) }, "Previous");
  const next = h("button", { type: "button", click: () => turn(1) }, "Next");
  const sortBy = (c) => {
    state.descending = state.sorted === c ? !state.descending : Boolean(columns[c].num);
    state.sorted = c;
    state.page = 0;
    draw();
  };
  const heads = columns.map((column, c) => h("th", { scope: "col", class: column.num ? "num" : null, title: column.why },
    column.get ? h("button", { type: "button", click: () => sortBy(c) }, column.name) : column.head || h("span", {}, column.name)));
  const text = (i) => columns.map((c) => (c.text ? c.text(i) : c.get ? c.get(i) : "")).join(" ").toLowerCase();
  function chosen() {
    let rows = keep ? all.filter(keep) : all;
    const wanted = parseSearch(search.value, columns);
    rows = rows.filter(wanted.keep);
    if (wanted.words.length) {
      words = words || all.map(text);
      rows = rows.filter((i) => wanted.words.every((w) => words[i].includes(w)));
    }
    return state.sorted >= 0 ? ordered(rows, columns[state.sorted].get, state.descending) : rows;
  }
  function draw() {
    state.search = search.value;
    const rows = chosen();
    const pages = Math.max(1, Math.ceil(rows.length / perPage));
    state.page = Math.min(Math.max(state.page, 0), pages - 1);
    heads.forEach((head, c) => {
      if (c === state.sorted) head.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    const kind = (c) => [c.num && "num", c.mono && "mono", c.wide && "wide", c.strip && "strip"].filter(Boolean).join(" ") || null;
    const shown = rows.slice(state.page * perPage, (state.page + 1) * perPage);
    body.replaceChildren(...shown.map((i) => h("tr", {}, columns.map((c) =>
      h("td", { class: kind(c) }, c.cell ? c.cell(i) : show(c.get(i), c.digits))))));
    if (!shown.length) body.append(h("tr", {}, h("td", { colspan: columns.length, class: "soft" }, "No row fits.")));
    const first = rows.length ? state.page * perPage + 1 : 0;
    const last = Math.min((state.page + 1) * perPage, rows.length);
    status.textContent = show(first) + " to " + show(last) + " of " + show(rows.length) + (rows.length < n ? " (" + show(n) + " in all)" : "");
    back.disabled = state.page === 0;
    next.disabled = state.page >= pages - 1;
    back.hidden = next.hidden = pages === 1;
  }
  draw();
  const node = h("div", {},
    bare ? null : h("div", { class: "tools" }, h("label", {}, "Search ", search), extra || null),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
      h("table", {}, h("caption", { class: "hide" }, caption), h("thead", {}, h("tr", {}, heads)), body)),
    h("div", { class: "pages", hidden: Boolean(bare) && n <= perPage }, back, next, status));
  return { node, draw, reset: () => { state.page = 0; draw(); } };
}

const facts = (rows) => h("dl", { class: "facts" }, rows.filter(Boolean).map(([k, ...v]) => [h("dt", {}, k), h("dd", {}, v)]));
const merit = (rows) => h("dl", { class: "merit" }, rows.filter(Boolean).map(([k, v]) => h("div", {}, h("dt", {}, k), h("dd", {}, v))));
const button = (text, click, more) => h("button", { type: "button", click, ...more }, text);

const redraws = []; // drawings that depend on the theme or the window, of the page shown
const leaving = []; // what to do when the page shown is left
function isDark() {
  const theme = document.documentElement.dataset.theme;
  return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}
