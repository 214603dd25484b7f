// The lists: features, samples, concepts and candidates, each a table to search and sort.
"use strict";
const main = document.getElementById("main");
let index = null;
let colours = null; // of concepts, by number
const dna = () => ["dna", "rna"].includes(index.done.data.kind);
const blockOf = (starts, i) => { let lo = 0; let hi = starts.length; while (hi - lo > 1) { const mid = (lo + hi) >> 1; if (starts[mid] <= i) lo = mid; else hi = mid; } return lo; };
const fromBlock = (name, starts, i) => { const b = blockOf(starts, i); return load(name + "-" + b).then((rows) => rows[i - starts[b]]); };
const fromEven = (name, size, i) => load(name + "-" + Math.floor(i / size)).then((rows) => rows[i % size]);
const featureData = (j) => fromEven("features", index.chunk.features, j);
const conceptData = (c) => fromEven("concepts", index.chunk.concepts, c);
const evidenceData = (k) => fromEven("candidates", index.chunk.candidates, k);
const sampleData = (i) => fromBlock("samples", index.chunk.samples, i);
const trackData = (i) => fromBlock("tracks", index.chunk.tracks, i);
const tag = (verdict) => (verdict ? h("span", { class: "tag " + verdict.replace(/ /g, "-") }, index.verdicts[verdict]) : null);
const concept = (c) => (c >= 0 ? link("concept", c, index.concepts[c]) : "–");
const numberOf = (i) => index.samples.start ? index.samples.start[i] : 0;
const missing = (kind, number) => ["Not here", [h("p", {}, "There is no " + kind + (number >= 0 ? " " + number : " of this number") + ".")]];
const families = () => (index.done.judged || index.done.held_out).families; // that scores were measured on
const HELD_OUT = { test: "held out", calibration: "calibration", train: "training", "": "" };
const COMPARE = "words, or e.g. f1>0.5";

function featuresPage() {
  const f = index.features;
  const pick = h("select", { change: () => table.reset() }, [["", "all features"], ["above", "above every baseline"], ["selected", "selected for a concept"],
    ["none", "no tested concept reaches F1 " + index.floor]].map(([value, text]) => h("option", { value }, text)));
  const state = kept.get("pick" + location.hash) || "";
  pick.value = state;
  const keep = (j) => {
    kept.set("pick" + location.hash, pick.value);
    if (pick.value === "") return true;
    if (f.samples[j] === 0) return false;
    return { above: f.verdict[j] === "above", none: f.f1[j] === null || f.f1[j] < index.floor, selected: f.verdict[j] !== "" }[pick.value];
  };
  const table = dataTable({ caption: "Features", n: index.n_features, sort: 2, keep, hint: COMPARE, extra: h("label", {}, "Show ", pick), columns: [
    { name: "Feature", num: true, get: (j) => j, cell: (j) => link("feature", j, j) },
    { name: "Nearest concept", wide: true, get: (j) => (f.concept[j] < 0 ? "" : index.concepts[f.concept[j]]), cell: (j) => concept(f.concept[j]), why: "The tested concept with the highest F1" },
    { name: "F1", num: true, digits: 2, get: (j) => f.f1[j], why: "On " + families() + "; of choosing where it was selected for the concept and not by all folds, as its page says" },
    { name: "Selected, and", get: (j) => f.verdict[j], text: (j) => (f.verdict[j] ? index.verdicts[f.verdict[j]] : ""), cell: (j) => tag(f.verdict[j]), why: "Of the features chosen for a concept on training families: how it stands to the baselines" },
    { name: "Motif at the peak", mono: true, get: (j) => f.motif[j], cell: (j) => f.motif[j], why: "Capital from 1.5 bits, small from 0.5, else a dot" },
    { name: "Density", num: true, digits: 4, get: (j) => f.density[j], why: "Share of positions where it is active: " + index.active },
    { name: "Samples", num: true, get: (j) => f.samples[j], why: "Where it is active: " + index.active },
    { name: "Families", num: true, get: (j) => f.families[j], why: "Where it is active: " + index.active },
    { name: "Peak", num: true, digits: 2, get: (j) => f.peak[j], why: "Its largest activation" },
    f.stability ? { name: "Stability", num: true, digits: 2, get: (j) => f.stability[j], why: "Smaller of decoder and encoder cosine to its match in dictionaries of other seeds, mean" } : null,
  ].filter(Boolean) });
  return ["Features", [soft("The ", show(index.n_features), " features of the autoencoder on ", index.done.model, " at ", index.done.site,
    ". Nearest is the tested concept with the highest F1 on ", families(), ": it was looked up there, so it describes a feature and is no result. Results are on ",
    h("a", { href: "#/concepts" }, "Concepts"), ", one feature each, chosen on training families. The motif is what prevails around a feature's peaks.",
    f.stability ? null : " Stability over seeds was not measured (sciinterp run --full does)."),
    (index.done.labels || []).map((l) => h("p", {}, "Label ", h("strong", {}, l.name), ": ", l.says)), table.node]];
}

function samplesPage() {
  const t = index.samples;
  const columns = [
    { name: "Sample", wide: true, get: (i) => t.id[i], cell: (i) => link("sample", i, t.id[i]) },
    { name: "Length", num: true, get: (i) => t.length[i] },
    { name: "Family", wide: true, get: (i) => t.family[i] },
    t.part.some(Boolean) ? { name: "Part", get: (i) => HELD_OUT[t.part[i]], why: "Which part of the split its family is in" } : null,
    t.chrom ? { name: "Place", get: (i) => t.start[i], text: (i) => t.chrom[i], cell: (i) => t.chrom[i] + ":" + (t.start[i] + 1).toLocaleString("en") } : null,
    index.structures.length ? { name: "Structure", get: (i) => (index.structures.includes(i) ? "yes" : ""), cell: (i) => (index.structures.includes(i) ? link("structure", i, "show") : "") } : null,
  ];
  return ["Samples", [dataTable({ caption: "Samples", n: t.id.length, hint: COMPARE, columns: columns.filter(Boolean) }).node]];
}

async function conceptsPage() {
  const rows = await load("concepts");
  const at = (i) => rows[i] || {};
  const counted = index.baselines.filter((b) => b.kind !== "ceiling");
  return ["Concepts", [
    soft("For each concept the feature and its threshold were chosen on training families and measured once on ", families(), ", beside every baseline; where not all folds chose the feature that is named, the scores are those of choosing and not of that feature. ",
      rows.length < index.concepts.length ? show(index.concepts.length - rows.length) + " further concepts are annotated but were not tested. " : "", "Verdicts: ", index.legend, "."),
    dataTable({ caption: "Concepts", n: index.concepts.length, sort: 2, hint: COMPARE, columns: [
      { name: "Concept", wide: true, get: (i) => index.concepts[i], text: (i) => index.concepts[i] + " " + (at(i).name || ""), cell: (i) => [concept(i), at(i).name && at(i).name !== index.concepts[i] ? h("span", { class: "under" }, at(i).name) : null, at(i).same_as ? h("span", { class: "under" }, "at the same positions as " + at(i).same_as) : null] },
      { name: "Feature", num: true, get: (i) => at(i).feature, cell: (i) => (absent(at(i).feature) ? "–" : link("feature", at(i).feature, at(i).feature)) },
      { name: "F1", num: true, get: (i) => at(i).f1, cell: (i) => [withRange(at(i).f1, at(i).f1_low, at(i).f1_high), at(i).choosing ? h("span", { class: "under" }, at(i).choosing) : null], why: "On " + families() + ", with the interval over families" },
      { name: "Best baseline", get: (i) => at(i).best_baseline || "", cell: (i) => (at(i).best_baseline ? at(i).best_baseline + " " + show(at(i).best_baseline_f1, 2) : "–") },
      { name: "Difference", num: true, get: (i) => at(i).delta_f1, cell: (i) => withRange(at(i).delta_f1, at(i).delta_low, at(i).delta_high), why: "F1 less that of the best counted baseline; the interval begins at the least lower end over all counted ones" },
      { name: "Verdict", get: (i) => at(i).verdict || "", text: (i) => (at(i).verdict ? index.verdicts[at(i).verdict] : "not tested"), cell: (i) => tag(at(i).verdict) || h("span", { class: "soft" }, "not tested") },
      { name: "q above", num: true, digits: 3, get: (i) => at(i).q_above, why: "Over concepts: that the feature lies above every counted baseline" },
      { name: "q", num: true, digits: 3, get: (i) => at(i).q, why: "Family permutation, maximum over features" },
      ...counted.map((b) => ({ name: b.name, num: true, digits: 2, get: (i) => (at(i).baselines ? at(i).baselines[b.name] : null), why: "F1 of this baseline" })),
    ] }).node]];
}

async function candidatesPage() {
  const rows = await load("candidates");
  const at = sampleNumbers();
  const kinds = [...new Set(rows.map((r) => String(r.kind)))];
  const pick = h("select", { change: () => table.reset() }, h("option", { value: "-1" }, "every kind"), kinds.map((k, i) => h("option", { value: i }, k + " (" + show(rows.filter((r) => String(r.kind) === k).length) + ")")));
  const keep = (i) => pick.value === "-1" || String(rows[i].kind) === kinds[Number(pick.value)];
  const place = (r) => (absent(r.start) ? "–" : absent(r.end) ? show(r.start + 1) : show(r.start + 1) + " to " + show(r.end));
  const table = dataTable({ caption: "Candidates", n: rows.length, sort: rows.some((r) => r.concept) ? 7 : 6, keep, hint: COMPARE, extra: h("label", {}, "Show ", pick), columns: [
    { name: "Candidate", num: true, get: (i) => i, cell: (i) => link("candidate", i + 1, i + 1) },
    { name: "Kind", get: (i) => String(rows[i].kind || "") },
    { name: "Claim", wide: true, get: (i) => String(rows[i].claim || "").replace(/^candidate: /, "") },
    !rows.some((r) => r.concept) ? null : { name: "Concept", wide: true, get: (i) => rows[i].concept || "", cell: (i) => { const c = index.concepts.indexOf(rows[i].concept); return c >= 0 ? concept(c) : show(rows[i].concept); } },
    { name: "Sample", wide: true, get: (i) => rows[i].sample || "", cell: (i) => (at.has(rows[i].sample) ? link("sample", at.get(rows[i].sample), rows[i].sample) : show(rows[i].sample)) },
    { name: "Positions", num: true, get: (i) => rows[i].start, cell: (i) => place(rows[i]) },
    { name: "Feature", num: true, get: (i) => rows[i].feature, cell: (i) => (absent(rows[i].feature) ? "–" : link("feature", rows[i].feature, rows[i].feature)) },
    { name: "Probability", num: true, digits: 2, get: (i) => rows[i].probability, why: "Calibrated on planted truths" },
    { name: "q", num: true, digits: 3, get: (i) => rows[i].q, why: "Against decoys" },
    { name: "Score", num: true, digits: 2, get: (i) => rows[i].score, why: "Ranks within a kind" },
    { name: "Why it might be wrong", wide: true, get: (i) => rows[i].reason_against || "" },
  ].filter(Boolean) });
  return ["Candidates", [soft("A candidate is a claim that no source states; none has been confirmed. Positions count from 1."), rows.length ? table.node : soft("There is none, or discovery was not run.")]];
}

let byId = null;
const sampleNumbers = () => { byId = byId || new Map(index.samples.id.map((id, i) => [id, i])); return byId; };
