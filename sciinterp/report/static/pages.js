// The pages: one function each, chosen by what stands after the # in the address.
"use strict";
const main = document.getElementById("main");
let index = null;
const dna = () => ["dna", "rna"].includes(index.done.data.kind);
const featureChunk = (j) => load("features-" + Math.floor(j / index.chunk.features)).then((rows) => rows[j % index.chunk.features]);
const sampleChunk = (i) => load("samples-" + Math.floor(i / index.chunk.samples)).then((rows) => rows[i % index.chunk.samples]);
const tag = (verdict) => (verdict ? h("span", { class: "tag " + verdict }, index.verdicts[verdict]) : null);
const concept = (c) => (c >= 0 ? link("concept", c, index.concepts[c]) : "–");

function featuresPage() {
  const f = index.features;
  const pick = h("select", { change: () => table.draw() }, h("option", { value: "" }, "all features"), h("option", { value: "above" }, "beats every baseline"),
    h("option", { value: "none" }, "no concept explains it"), h("option", { value: "selected" }, "selected for a concept"));
  const keep = (j) => f.samples[j] > 0 || pick.value === "" ? { "": true, above: f.verdict[j] === "above", none: f.samples[j] > 0 && (f.f1[j] === null || f.f1[j] < 0.3), selected: f.verdict[j] !== "" }[pick.value] : false;
  const table = dataTable({ caption: "Features", n: index.n_features, sort: 2, keep, extra: h("label", {}, "Show ", pick), columns: [
    { name: "Feature", num: true, get: (j) => j, cell: (j) => link("feature", j, j) },
    { name: "Nearest concept", get: (j) => (f.concept[j] < 0 ? "" : index.concepts[f.concept[j]]), cell: (j) => concept(f.concept[j]) },
    { name: "F1", num: true, digits: 2, get: (j) => f.f1[j] },
    { name: "Verdict", get: (j) => f.verdict[j], text: (j) => (f.verdict[j] ? index.verdicts[f.verdict[j]] : ""), cell: (j) => tag(f.verdict[j]) },
    { name: "Motif at the peak", mono: true, get: (j) => f.motif[j], cell: (j) => f.motif[j] },
    { name: "Density", num: true, digits: 4, get: (j) => f.density[j] },
    { name: "Samples", num: true, get: (j) => f.samples[j] },
    { name: "Families", num: true, get: (j) => f.families[j] },
    { name: "Peak", num: true, digits: 2, get: (j) => f.peak[j] },
  ] });
  return ["Features", [h("p", { class: "soft" }, "The ", show(index.n_features), " features of the autoencoder on ", index.done.model, " at ", index.done.site,
    ". F1 is measured on held-out families; the motif is what prevails around a feature's peaks."), table.node]];
}

async function featurePage(j) {
  if (!(j >= 0 && j < index.n_features)) return missing("feature", j);
  const one = await featureChunk(j);
  const f = index.features;
  const wanted = [...new Set(one.examples.map((e) => e.sample))];
  const samples = new Map(await Promise.all(wanted.map(async (i) => [i, await sampleChunk(i)])));
  const peak = f.peak[j];
  const groups = [];
  for (const e of one.examples) {
    if (!groups.length || groups[groups.length - 1][0] !== e.set) groups.push([e.set, []]);
    groups[groups.length - 1][1].push(e);
  }
  const used = new Set();
  const drawn = groups.map(([name, list]) => [h("h3", {}, name === "strongest" ? "Strongest samples, one a family first" : "From the " + name), list.map((e) => {
    const data = samples.get(e.sample);
    data.spans.forEach((r) => used.add(r[2]));
    const value = e.on.reduce((m, r) => Math.max(m, r[1]), 0);
    return h("div", { class: "track" }, h("div", { class: "head" }, link("sample", e.sample, index.samples.id[e.sample]), h("span", { class: "soft" }, "peak " + show(value) + ", family " + index.samples.family[e.sample])),
      h("div", { class: "view", tabindex: "0", role: "region", "aria-label": "sequence of " + index.samples.id[e.sample] }, track({ sequence: data.sequence, length: index.samples.length[e.sample], on: e.on, peak, spans: data.spans, names: index.concepts,
        label: "activation of feature " + j + " along " + index.samples.id[e.sample] })));
  })]);
  const shown = index.structures.filter((i) => samples.has(i));
  const pairs = one.pairs;
  return ["Feature " + j, [
    h("p", { class: "pages" }, j > 0 ? link("feature", j - 1, "Previous feature") : null, j + 1 < index.n_features ? link("feature", j + 1, "Next feature") : null),
    merit([["of positions where it is active", (100 * f.density[j]).toPrecision(3) + "%"], ["samples", show(f.samples[j])], ["families", show(f.families[j])], ["largest activation", show(peak)], ["motif", one.motif || "–"]]),
    h("div", { class: "cols" },
      h("div", {}, h("h2", {}, "Around its peaks"), h("p", { class: "soft" }, "Bits, from the strongest position of " + one.peaks + " samples."), h("div", { class: "view" }, one.logo.some((c) => c.length) ? logo(one.logo, dna()) : "No column holds information.")),
      h("div", {}, h("h2", {}, "How strongly it fires"), h("p", { class: "soft" }, "Largest activation in each sample where it is active."), one.histogram.counts.length ? histogram(one.histogram) : "It is never active here.")),
    h("h2", {}, "Concepts it was tested on"),
    pairs.length ? dataTable({ caption: "Concepts of feature " + j, n: pairs.length, perPage: 12, columns: [
      { name: "Concept", get: (i) => index.concepts[pairs[i].concept] || "", cell: (i) => concept(pairs[i].concept) },
      { name: "Selected", get: (i) => (pairs[i].selected ? "yes" : ""), cell: (i) => (pairs[i].selected ? "yes" : "") },
      { name: "F1", num: true, digits: 2, get: (i) => pairs[i].f1, cell: (i) => show(pairs[i].f1, 2) + " " + range(pairs[i].f1_low, pairs[i].f1_high) },
      { name: "Precision", num: true, digits: 2, get: (i) => pairs[i].precision }, { name: "Recall", num: true, digits: 2, get: (i) => pairs[i].recall }, { name: "AUROC", num: true, digits: 2, get: (i) => pairs[i].auroc },
      { name: "Best baseline", get: (i) => pairs[i].best_baseline, cell: (i) => show(pairs[i].best_baseline) }, { name: "Its F1", num: true, digits: 2, get: (i) => pairs[i].best_baseline_f1 },
      { name: "Difference", num: true, get: (i) => pairs[i].delta_f1, cell: (i) => show(pairs[i].delta_f1, 2) + " " + range(pairs[i].delta_low, pairs[i].delta_high) },
      { name: "q", num: true, digits: 3, get: (i) => pairs[i].q } ] }).node : h("p", { class: "soft" }, "No pair of this feature is in the table of hits."),
    h("h2", {}, "Where it fires"), legend([...used].sort((a, b) => a - b), index.concepts), drawn.length ? drawn : h("p", { class: "soft" }, "In no sample."),
    shown.length ? h("p", {}, "Structures: ", shown.map((i) => [h("a", { href: "#/structure/" + i + "/" + j }, index.samples.id[i]), " "])) : null,
    h("div", { class: "cols" }, neighbours("Active at the same positions (Jaccard)", one.coactive), neighbours("Nearest decoder direction (cosine)", one.similar)),
  ]];
}

const neighbours = (title, rows) => h("div", {}, h("h2", {}, title), rows.length ? h("ul", {}, rows.map(([j, v]) => h("li", {}, link("feature", j, "Feature " + j), " ", show(v), " ", h("span", { class: "soft" }, index.features.motif[j])))) : h("p", { class: "soft" }, "None."));

function samplesPage() {
  const t = index.samples;
  return ["Samples", [dataTable({ caption: "Samples", n: t.id.length, columns: [
    { name: "Sample", get: (i) => t.id[i], cell: (i) => link("sample", i, t.id[i]) }, { name: "Length", num: true, get: (i) => t.length[i] },
    { name: "Family", get: (i) => t.family[i] }, { name: "Structure", get: (i) => (index.structures.includes(i) ? "yes" : ""), cell: (i) => (index.structures.includes(i) ? h("a", { href: "#/structure/" + i }, "show") : "") } ] }).node]];
}

async function samplePage(i) {
  if (!(i >= 0 && i < index.samples.id.length)) return missing("sample", i);
  const one = await sampleChunk(i);
  const used = [...new Set(one.spans.map((r) => r[2]))].sort((a, b) => a - b);
  const box = h("div");
  let zoom = 1, most = 12;
  const draw = () => box.replaceChildren(...one.tracks.slice(0, most).map(([j, on], k) => {
    const peak = on.reduce((m, r) => Math.max(m, r[1]), 0);
    return h("div", { class: "track" }, h("div", { class: "head" }, link("feature", j, "Feature " + j), h("span", { class: "soft" }, "peak " + show(peak) + " of " + show(index.features.peak[j])), index.features.concept[j] >= 0 ? h("span", {}, concept(index.features.concept[j])) : null),
      h("div", { class: "view", tabindex: "0", role: "region", "aria-label": "track of feature " + j }, track({ sequence: one.sequence, length: index.samples.length[i], on, peak, spans: k % 6 === 0 ? one.spans : [], names: index.concepts, zoom, label: "activation of feature " + j })));
  }));
  draw();
  return [index.samples.id[i], [
    facts([["Family", index.samples.family[i]], ["Positions", show(index.samples.length[i])], one.facts.length ? ["Facts on the whole sample", one.facts.join("; ")] : null,
      index.structures.includes(i) ? ["Structure", h("a", { href: "#/structure/" + i }, "show")] : null]),
    legend(used, index.concepts),
    h("div", { class: "tools" }, h("button", { type: "button", click: () => { zoom *= 1.6; draw(); } }, "Wider"), h("button", { type: "button", click: () => { zoom /= 1.6; draw(); } }, "Narrower"),
      one.tracks.length > most ? h("button", { type: "button", click: (e) => { most = one.tracks.length; e.target.disabled = true; draw(); } }, "All " + one.tracks.length + " tracks") : null,
      h("span", {}, "The strongest features of this sample, each on its own scale.")),
    one.tracks.length ? box : h("p", { class: "soft" }, "No feature is active in this sample.")]];
}

async function conceptsPage() {
  const rows = (await load("concepts")).map((r) => r.row || {});
  return ["Concepts", [dataTable({ caption: "Concepts", n: rows.length, sort: 2, columns: [
    { name: "Concept", get: (i) => index.concepts[i], cell: (i) => concept(i) }, { name: "Feature", num: true, get: (i) => rows[i].feature, cell: (i) => (rows[i].feature === null || rows[i].feature === undefined ? "–" : link("feature", rows[i].feature, rows[i].feature)) },
    { name: "F1", num: true, digits: 2, get: (i) => rows[i].f1, cell: (i) => show(rows[i].f1, 2) + " " + range(rows[i].f1_low, rows[i].f1_high) },
    { name: "Difference", num: true, get: (i) => rows[i].delta_f1, cell: (i) => show(rows[i].delta_f1, 2) + " " + range(rows[i].delta_low, rows[i].delta_high) },
    { name: "Verdict", get: (i) => rows[i].verdict || "", text: (i) => (rows[i].verdict ? index.verdicts[rows[i].verdict] : ""), cell: (i) => (rows[i].verdict ? tag(rows[i].verdict) : "not tested") },
    ...index.baselines.map((b) => ({ name: b, num: true, digits: 2, get: (i) => (rows[i].baselines ? rows[i].baselines[b] : null) })),
    { name: "q", num: true, digits: 3, get: (i) => rows[i].q } ] }).node]];
}

async function conceptPage(c) {
  const all = await load("concepts");
  if (!(c >= 0 && c < all.length)) return missing("concept", c);
  const { row, pairs, samples, n_samples } = all[c];
  return [index.concepts[c], [
    row ? [h("p", {}, tag(row.verdict)), merit([["feature selected on training families", row.feature === null ? "–" : link("feature", row.feature, row.feature)], ["F1 on held-out families " + range(row.f1_low, row.f1_high), show(row.f1, 2)], ["precision", show(row.precision, 2)], ["recall", show(row.recall, 2)], ["difference to the best baseline " + range(row.delta_low, row.delta_high), show(row.delta_f1, 2)]]),
      h("h2", {}, "Beside the baselines"), facts(Object.entries(row.baselines).map(([name, v]) => [name, show(v, 2)]))] : h("p", { class: "soft" }, "This concept was not tested."),
    h("h2", {}, "Features tested on it"), pairs.length ? dataTable({ caption: "Features of this concept", n: pairs.length, perPage: 25, columns: [
      { name: "Feature", num: true, get: (i) => pairs[i].feature, cell: (i) => link("feature", pairs[i].feature, pairs[i].feature) }, { name: "Selected", get: (i) => (pairs[i].selected ? "yes" : ""), cell: (i) => (pairs[i].selected ? "yes" : "") },
      { name: "F1", num: true, digits: 2, get: (i) => pairs[i].f1, cell: (i) => show(pairs[i].f1, 2) + " " + range(pairs[i].f1_low, pairs[i].f1_high) }, { name: "Precision", num: true, digits: 2, get: (i) => pairs[i].precision }, { name: "Recall", num: true, digits: 2, get: (i) => pairs[i].recall },
      { name: "Motif", mono: true, get: (i) => index.features.motif[pairs[i].feature], cell: (i) => index.features.motif[pairs[i].feature] } ] }).node : h("p", { class: "soft" }, "None is in the table of hits."),
    h("h2", {}, "Samples that carry it"), h("p", { class: "soft" }, show(n_samples) + " in all."), h("ul", { class: "legend" }, samples.map((i) => h("li", {}, link("sample", i, index.samples.id[i]))))]];
}

async function candidatesPage() {
  const { rows } = await load("candidates");
  const flat = (v, k) => (v !== null && typeof v === "object" ? Object.entries(v).flatMap(([a, b]) => flat(b, k ? k + "." + a : a)) : [[k, show(v)]]);
  const at = new Map(index.samples.id.map((id, i) => [id, i]));
  return ["Candidates", [h("p", { class: "soft" }, "A candidate is a claim that no source states; none has been confirmed."), rows.length ? dataTable({ caption: "Candidates", n: rows.length, columns: [
    { name: "Kind", get: (i) => rows[i].kind || "" }, { name: "Sample", get: (i) => rows[i].sample || "", cell: (i) => (at.has(rows[i].sample) ? link("sample", at.get(rows[i].sample), rows[i].sample) : show(rows[i].sample)) },
    { name: "Start", num: true, get: (i) => rows[i].start }, { name: "End", num: true, get: (i) => rows[i].end }, { name: "Concept", get: (i) => rows[i].concept || "" },
    { name: "Feature", num: true, get: (i) => rows[i].feature, cell: (i) => (rows[i].feature === null ? "–" : link("feature", rows[i].feature, rows[i].feature)) },
    { name: "Score", num: true, digits: 2, get: (i) => rows[i].score }, { name: "Probability", num: true, digits: 2, get: (i) => rows[i].probability }, { name: "q", num: true, digits: 3, get: (i) => rows[i].q },
    { name: "Why it might be wrong", get: (i) => rows[i].reason_against || "" },
    { name: "Evidence", text: (i) => JSON.stringify(rows[i].evidence || ""), cell: (i) => (rows[i].evidence ? h("details", {}, h("summary", {}, "show"), facts(flat(rows[i].evidence, ""))) : "–") } ] }).node : h("p", { class: "soft" }, "There is none, or discovery was not run.")]];
}

async function mapPage() {
  if (!index.map) return ["Map", [h("p", { class: "soft" }, "The decoder directions of the autoencoder were not given.")]];
  const m = await load("map");
  const f = index.features;
  const side = h("div", { class: "side", role: "status" }, h("p", { class: "soft" }, "Click a point, or press an arrow key on the map."));
  const canvas = h("canvas", { tabindex: "0", role: "application", "aria-label": "Map of " + index.n_features + " features; arrow keys move between points, Enter opens" });
  const colour = (j) => (f.concept[j] >= 0 && f.f1[j] >= 0.5 ? colourOf(f.concept[j]) : f.samples[j] ? "#9aa3ad" : "#d5d9de");
  const open = (j) => { location.hash = "#/feature/" + j; };
  const onPick = (j, near) => side.replaceChildren(h("h2", {}, link("feature", j, "Feature " + j)), facts([["Nearest concept", concept(f.concept[j])], ["F1", show(f.f1[j], 2)], ["Density", show(f.density[j], 4)], ["Motif", f.motif[j] || "–"]]), h("h3", {}, "Near it on the map"), h("ul", {}, near.map((k) => h("li", {}, link("feature", k, "Feature " + k)))));
  scatter(canvas, { x: m.x, y: m.y, colour, onPick, onOpen: open });
  return ["Map", [h("p", { class: "soft" }, "Each point is a feature: ", m.method, " (", m.explained.map((v) => (100 * v).toFixed(1) + "%").join(" and "), " of the variance). Coloured where a concept reaches F1 0.5."), h("div", { class: "mapwrap" }, canvas, side)]];
}

async function structurePage(i, j) {
  if (!index.structures.includes(i)) return missing("structure of sample", i);
  const [trace, data] = await Promise.all([load("structure-" + i), sampleChunk(i)]);
  const options = data.tracks.map((t) => t[0]);
  const canvas = h("canvas", { class: "structure", tabindex: "0", role: "img", "aria-label": "alpha carbon trace of " + index.samples.id[i] + "; arrow keys turn it" });
  const box = h("div", {}, canvas);
  const pick = h("select", { change: () => draw() }, options.map((k) => h("option", { value: k, selected: k === j }, "feature " + k)));
  const draw = () => {
    const on = (data.tracks.find((t) => t[0] === Number(pick.value)) || [0, []])[1];
    const fresh = canvas.cloneNode();
    box.replaceChildren(fresh);
    structure(fresh, trace, new Map(on), on.reduce((m, r) => Math.max(m, r[1]), 0));
  };
  draw();
  return ["Structure of " + index.samples.id[i], [h("p", { class: "soft" }, "Chain ", trace.chain, ", ", show(100 * trace.matched, 1), "% of the sequence found in it. Orange: the feature is active. Drag to turn, or use the arrow keys."), h("div", { class: "tools" }, h("label", {}, "Colour by ", pick), link("sample", i, "Tracks of this sample")), box]];
}

function aboutPage() {
  const d = index.done;
  return ["About", [facts([["Model", d.model], ["Site", d.site], ["Samples", show(d.data.n) + " of " + show(d.data.n_in) + " read (" + d.data.kind + ")"], ["Dropped", Object.entries(d.data.dropped).map(([k, v]) => v + " " + k).join("; ") || "none"],
    ["Annotations", d.annotations ? d.annotations.sources.map((r) => r.source + " (" + show(r.rows) + ")").join(", ") : "none given"], ["Families", d.split ? show(d.split.n_families) + " by " + (d.split.by || "family") : "no split"],
    ...Object.entries(d.licences).map(([k, v]) => ["Licence: " + k, v])]), h("p", {}, "Families were held out from the autoencoder and from the associations, not from the model's own pre-training.")]];
}

const missing = (kind, number) => ["Not here", [h("p", {}, "There is no " + kind + " " + number + ".")]];
const routes = { "": featuresPage, feature: featurePage, samples: samplesPage, sample: samplePage, concepts: conceptsPage, concept: conceptPage, candidates: candidatesPage, map: mapPage, structure: structurePage, about: aboutPage };
const HOME = { feature: "", sample: "samples", concept: "concepts", structure: "samples" };

async function route() {
  const [name, ...numbers] = location.hash.replace(/^#\/?/, "").split("/");
  if (!Object.hasOwn(routes, name)) { if (name !== "main") location.hash = "#/"; return; }
  const asked = location.hash;
  const [title, body] = await routes[name](...numbers.map((v) => (/^\d+$/.test(v) ? Number(v) : -1)));
  if (asked !== location.hash) return;
  const heading = h("h1", { tabindex: "-1" }, title);
  main.replaceChildren(heading, ...body.flat(3).filter((x) => x !== null));
  document.title = title + " · Feature browser";
  for (const a of document.querySelectorAll("#nav a")) {
    if (a.hash === "#/" + (HOME[name] !== undefined ? HOME[name] : name)) a.setAttribute("aria-current", "page"); else a.removeAttribute("aria-current");
  }
  scrollTo(0, 0);
  if (route.moved) heading.focus({ preventScroll: true });
  route.moved = true;
  document.documentElement.dataset.page = asked || "#/";
}

document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});
document.getElementById("go").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = document.getElementById("goto").value.trim();
  const low = text.toLowerCase();
  if (/^\d+$/.test(text) && Number(text) < index.n_features) { location.hash = "#/feature/" + Number(text); return; }
  let at = index.concepts.findIndex((n) => n.toLowerCase().includes(low));
  if (low && at >= 0) { location.hash = "#/concept/" + at; return; }
  at = index.samples.id.findIndex((n) => n.toLowerCase().includes(low));
  if (low && at >= 0) location.hash = "#/sample/" + at;
});
load("index").then((value) => { index = value; addEventListener("hashchange", route); return route(); })
  .catch((error) => main.replaceChildren(h("p", {}, error.message)));
