// What stands after the # in the address chooses the page.
"use strict";
const routes = { "": featuresPage, feature: featurePage, samples: samplesPage, sample: samplePage, concepts: conceptsPage, concept: conceptPage,
  candidates: candidatesPage, candidate: candidatePage, map: mapPage, structure: structurePage, about: aboutPage };
const HOME = { feature: "", sample: "samples", concept: "concepts", structure: "samples", candidate: "candidates" };

async function route() {
  const [name, ...numbers] = location.hash.replace(/^#\/?/, "").split("/");
  if (!Object.hasOwn(routes, name)) { if (name !== "main") location.hash = "#/"; return; }
  const asked = location.hash;
  for (const leave of leaving.splice(0)) leave();
  redraws.length = 0;
  const [title, body] = await routes[name](...numbers.map((v) => (/^\d+$/.test(v) ? Number(v) : -1)));
  if (asked !== location.hash) return;
  const heading = h("h1", { tabindex: "-1" }, title);
  main.replaceChildren(heading, ...body.flat(4).filter((x) => x !== null && x !== undefined));
  document.title = title + " · Feature browser";
  for (const a of document.querySelectorAll("#nav a")) {
    if (a.hash === "#/" + (HOME[name] !== undefined ? HOME[name] : name)) a.setAttribute("aria-current", "page");
    else a.removeAttribute("aria-current");
  }
  for (const draw of redraws) draw(); // once more, now that widths are known
  scrollTo(0, 0);
  if (route.moved) heading.focus({ preventScroll: true });
  route.moved = true;
  document.documentElement.dataset.page = asked || "#/";
}

const failed = (error) => main.replaceChildren(h("h1", {}, "This page could not be shown"), h("p", {}, error.message));
document.getElementById("theme").addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  for (const draw of redraws) draw();
});
addEventListener("resize", () => { for (const draw of redraws) draw(); });
document.getElementById("go").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = document.getElementById("goto");
  const text = field.value.trim();
  const low = text.toLowerCase();
  const number = /^(?:feature\s*)?(\d+)$/i.exec(text);
  field.setCustomValidity("");
  if (number && Number(number[1]) < index.n_features) { location.hash = "#/feature/" + Number(number[1]); return; }
  const at = (names) => { const exact = names.findIndex((n) => n.toLowerCase() === low); return exact >= 0 ? exact : names.findIndex((n) => n.toLowerCase().includes(low)); };
  const c = low ? at(index.concepts) : -1;
  const i = low && c < 0 ? at(index.samples.id) : -1;
  if (c >= 0) location.hash = "#/concept/" + c;
  else if (i >= 0) location.hash = "#/sample/" + i;
  else if (low) { field.setCustomValidity("No feature, concept or sample has this name."); field.reportValidity(); }
});
document.getElementById("goto").addEventListener("input", (event) => event.target.setCustomValidity(""));
load("index").then((value) => {
  index = value;
  colours = conceptColours(index.concepts);
  addEventListener("hashchange", () => route().catch(failed));
  return route();
}).catch(failed);
