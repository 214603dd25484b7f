// Sort, search and filter the tables of the report. Static: no data is ever read as code.
"use strict";
(() => {
  const text = (node) => node.textContent.toLowerCase();
  for (const table of document.querySelectorAll("table[data-tools]")) {
    const body = table.tBodies[0];
    const rows = Array.from(body.rows);
    const words = rows.map(text);
    const heads = Array.from(table.tHead.rows[0].cells);
    const tools = document.getElementById(table.dataset.tools);
    const search = tools.querySelector("input[type=search]");
    const kind = tools.querySelector("select");
    const only = tools.querySelector("input[type=checkbox]");
    const status = tools.querySelector("[role=status]");
    const value = (row, column) => {
      const cell = row.cells[column];
      if (cell.dataset.v === undefined) return text(cell).trim();
      return cell.dataset.v === "" ? null : Number(cell.dataset.v);
    };
    const filter = () => {
      const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      rows.forEach((row, i) => {
        const keep = wanted.every((word) => words[i].includes(word))
          && (!kind || kind.value === "" || row.dataset.kind === kind.value)
          && (!only || !only.checked || row.dataset.found === "1");
        row.hidden = !keep;
        shown += keep;
      });
      status.textContent = shown + " of " + rows.length + " rows";
    };
    heads.forEach((head, column) => {
      const button = head.querySelector("button");
      if (!button) return;
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "descending"
          || (head.getAttribute("aria-sort") === null && !head.classList.contains("num"));
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "ascending" : "descending");
        const sign = down ? 1 : -1;
        const keyed = rows.map((row, i) => [value(row, column), i, row]);
        keyed.sort(([a, i], [b, j]) => {
          if (a === null || b === null) return a === b ? i - j : a === null ? 1 : -1;
          return a < b ? -sign : a > b ? sign : i - j;
        });
        body.append(...keyed.map((entry) => entry[2]));
      });
    });
    search.addEventListener("input", filter);
    if (kind) kind.addEventListener("change", filter);
    if (only) only.addEventListener("change", filter);
    filter();
    tools.hidden = false;
  }
  const theme = document.getElementById("theme");
  theme.hidden = false;
  theme.addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });
  const folded = () => document.querySelectorAll("details:not(td details)");
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = Array.from(folded()).filter((part) => !part.open);
    for (const part of opened) part.open = true;
  });
  addEventListener("afterprint", () => {
    for (const part of opened) part.open = false;
  });
  const links = new Map(Array.from(document.querySelectorAll("nav.contents a"), (a) => [a.hash.slice(1), a]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links.values()) link.removeAttribute("aria-current");
      links.get(entry.target.id).setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-10% 0px -80% 0px" });
  for (const id of links.keys()) seen.observe(document.getElementById(id));
})();
