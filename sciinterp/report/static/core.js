// Chunks, elements and tables. A chunk is parsed as JSON, never run; text from data becomes text nodes only.
"use strict";
const waiting = new Map();
const loaded = new Map();

function sciinterpChunk(name, text) { // called by the files in data/
  const job = waiting.get(name);
  if (job) job(JSON.parse(text));
}

function load(name) {
  if (!loaded.has(name)) {
    loaded.set(name, new Promise((resolve, reject) => {
      waiting.set(name, resolve);
      const script = document.createElement("script");
      script.src = "data/" + name + ".js";
      script.onerror = () => reject(new Error("data/" + name + ".js could not be read"));
      document.head.append(script);
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
  for (const child of children.flat(3)) if (child !== null && child !== undefined) node.append(child);
  return node;
}
const h = (tag, attributes, ...children) => make((t) => document.createElement(t), tag, attributes, children);
const s = (tag, attributes, ...children) => make((t) => document.createElementNS(SVG, t), tag, attributes, children);

const link = (kind, number, text) => h("a", { href: "#/" + kind + "/" + number }, String(text));
const show = (value, asked) => {
  const digits = asked === undefined ? 2 : asked;
  if (value === null || value === undefined || value === "") return "–";
  if (typeof value !== "number") return String(value);
  if (asked === undefined && Number.isInteger(value)) return value.toLocaleString("en");
  return value !== 0 && Math.abs(value) < 0.5 * 10 ** -digits ? value.toPrecision(1) : value.toFixed(digits);
};
const range = (low, high) => "[" + show(low, 2) + ", " + show(high, 2) + "]";

// A table over columns {name, get(i), text(i)?, cell(i)?, num?, mono?}; sorted and filtered by row number.
function dataTable({ caption, columns, n, sort, down, perPage = 50, extra, keep }) {
  let order = Array.from({ length: n }, (_, i) => i);
  let page = 0;
  let sorted = sort === undefined ? -1 : sort;
  let descending = down !== false;
  let words = null;
  const body = h("tbody");
  const status = h("span", { role: "status" });
  const search = h("input", { type: "search", autocomplete: "off", input: () => { page = 0; draw(); } });
  const back = h("button", { type: "button", click: () => { page -= 1; draw(); } }, "Previous");
  const next = h("button", { type: "button", click: () => { page += 1; draw(); } }, "Next");
  const heads = columns.map((column, c) => h("th", { scope: "col", class: column.num ? "num" : null },
    column.get ? h("button", { type: "button", click: () => {
      descending = sorted === c ? !descending : Boolean(column.num);
      sorted = c; page = 0; draw();
    } }, column.name) : h("span", {}, column.name)));
  const text = (i) => columns.map((c) => (c.text ? c.text(i) : c.get ? c.get(i) : "")).join(" ").toLowerCase();
  function draw() {
    const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let rows = order;
    if (keep) rows = rows.filter(keep);
    if (wanted.length) {
      words = words || Array.from({ length: n }, (_, i) => text(i));
      rows = rows.filter((i) => wanted.every((w) => words[i].includes(w)));
    }
    if (sorted >= 0) {
      const get = columns[sorted].get;
      const sign = descending ? -1 : 1;
      rows = rows.slice().sort((a, b) => {
        const x = get(a), y = get(b);
        const nox = x === null || x === undefined || x === "", noy = y === null || y === undefined || y === "";
        if (nox || noy) return nox && noy ? a - b : nox ? 1 : -1;
        return x < y ? -sign : x > y ? sign : a - b;
      });
    }
    const pages = Math.max(1, Math.ceil(rows.length / perPage));
    page = Math.min(Math.max(page, 0), pages - 1);
    heads.forEach((head, c) => {
      if (c === sorted) head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    body.replaceChildren(...rows.slice(page * perPage, (page + 1) * perPage).map((i) => h("tr", {}, columns.map((c) =>
      h("td", { class: c.num ? "num" : c.mono ? "mono" : null }, c.cell ? c.cell(i) : show(c.get(i), c.digits))))));
    const first = rows.length ? page * perPage + 1 : 0;
    status.textContent = first.toLocaleString("en") + " to " + Math.min((page + 1) * perPage, rows.length).toLocaleString("en")
      + " of " + rows.length.toLocaleString("en") + (rows.length < n ? " (" + n.toLocaleString("en") + " in all)" : "");
    back.disabled = page === 0;
    next.disabled = page >= pages - 1;
  }
  draw();
  const node = h("div", {},
    h("div", { class: "tools" }, h("label", {}, "Search ", search), extra || null),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
      h("table", {}, h("caption", { class: "hide" }, caption), h("thead", {}, h("tr", {}, heads)), body)),
    h("div", { class: "pages" }, back, next, status));
  return { node, draw: () => { page = 0; draw(); } };
}

const facts = (rows) => h("dl", { class: "facts" }, rows.filter(Boolean).map(([k, ...v]) => [h("dt", {}, k), h("dd", {}, v)]));
const merit = (rows) => h("dl", { class: "merit" }, rows.map(([k, v]) => h("div", {}, h("dt", {}, k), h("dd", {}, v))));
