// The pages of one thing: a feature, a sample, a concept, a candidate, the map, a structure.
"use strict";
const WHOLE = 170; // positions up to which a sample is drawn whole beside a feature
const WINDOW = 70; // positions on either side of the peak otherwise

function exampleTrack(e, data, { peak, feature, mark }) {
  const i = e.sample;
  const length = index.samples.length[i];
  const best = e.on.reduce((m, r) => (r[1] > m[1] ? r : m), [mark ? mark[0] : 0, 0]);
  const base = e.from || 0;
  const text = e.from === undefined ? data.sequence : e.sequence;
  const known = e.from === undefined ? length : base + (text.length || 400);
  const centre = mark ? Math.floor((mark[0] + mark[1]) / 2) : best[0];
  const from = length <= WHOLE ? 0 : Math.max(base, Math.min(centre - WINDOW, known - 2 * WINDOW - 1));
  const to = length <= WHOLE ? length : Math.min(known, from + 2 * WINDOW + 1);
  const sequence = text.slice(from - base, to - base);
  const name = index.samples.id[i];
  const words = [best[1] ? "peak " + show(best[1]) + " at " + show(best[0] + 1 + numberOf(i)) : "not active", "family " + index.samples.family[i], HELD_OUT[index.samples.part[i]]];
  if (to - from < length) words.push("positions " + show(from + 1) + " to " + show(to) + " of " + show(length));
  return h("div", { class: "track" },
    h("div", { class: "head" }, link("sample", i + (length > index.chunk.tile ? "/" + feature + "/" + best[0] : ""), name), h("span", { class: "soft" }, words.filter(Boolean).join(", "))),
    h("div", { class: "view", tabindex: "0", role: "region", "aria-label": "sequence of " + name },
      track({ sequence, from, to, on: e.on, peak, spans: data.spans, names: index.concepts, colours, mark, label: "Feature " + feature + " along " + name + ": " + said(e.on, text, base) })));
}

async function examplesDrawn(list, options) {
  const data = new Map(await Promise.all([...new Set(list.map((e) => e.sample))].map(async (i) => [i, await sampleData(i)])));
  return list.map((e) => exampleTrack(e, data.get(e.sample), options));
}

const SETS = { strongest: "Strongest samples, one a family first", "upper quarter": "From the upper quarter of its peaks", "second quarter": "From the second quarter",
  "third quarter": "From the third quarter", "lowest quarter": "From the lowest quarter" };
function neighbours(title, why, rows) {
  return h("div", {}, h("h3", {}, title), rows.length ? h("ul", { class: "plain" }, rows.map(([j, v]) => h("li", {}, link("feature", j, "Feature " + j), " ", show(v), " ",
    h("span", { class: "soft mono" }, index.features.motif[j]), index.features.concept[j] >= 0 && index.features.f1[j] >= 0.3 ? [" ", concept(index.features.concept[j])] : null))) : soft("None."), soft(why));
}

function turnedPart(t) {
  const e = t.example;
  return [h("h3", {}, t.concept), facts([["Gain of the judge's score", show(t.gain, 2), range(t.low, t.high)], ["Random features", show(t.gain_random, 2)],
    ...(t.others || []).map((d) => [TURNED[d.kind] ? TURNED[d.kind][0].replace(/^./, (c) => c.toUpperCase()) : d.kind, show(d.gain, 2), [range(d.low, d.high), " ", h("span", { class: "soft" }, d.kind === "means" ? "" : d.direction)]]), ["Divergence elsewhere, nats a token", show(t.divergence, 3)], ["Samples of the test families, families", show(t.n_samples) + ", " + show(t.n_families)], ["More than zero and than random features", t.control ? "yes" : "not shown"]]),
    h("div", { class: "view" }, doseCurves(t.doses, "Gain against divergence elsewhere, " + t.concept)),
    e ? [soft("In " + e.sample + ": the sequence, and the most probable letters at " + show(e.positions.length) + (e.positions.length === 1 ? " hidden position" : " hidden positions") + " before and after."),
      h("div", { class: "view", tabindex: "0", role: "region", "aria-label": "a sequence before and after" }, h("pre", {}, ["given  " + e.own, "before " + e.before, "after  " + e.after, "       " + e.changed].join("\n")))] : null];
}

async function featurePage(j) {
  if (!(j >= 0 && j < index.n_features)) return missing("feature", j);
  const one = await featureData(j);
  const f = index.features;
  const peak = f.peak[j];
  const drawn = await examplesDrawn(one.examples, { peak, feature: j });
  const shown = [];
  one.examples.forEach((e, k) => {
    if (!k || one.examples[k - 1].set !== e.set) shown.push(h("h3", {}, SETS[e.set] || e.set));
    shown.push(drawn[k]);
  });
  // Those it is strongest in first.
  const modelled = [...new Set([...one.examples.map((e) => e.sample).filter((i) => index.structures.includes(i)), ...index.structures])].slice(0, 24);
  const stable = f.stability ? f.stability[j] : undefined;
  const pairs = one.pairs;
  return ["Feature " + j, [
    h("p", { class: "pages" }, j > 0 ? link("feature", j - 1, "Previous feature") : null, j + 1 < index.n_features ? link("feature", j + 1, "Next feature") : null, index.map ? link("map", j, "On the map") : null),
    merit([["of positions where it is active: " + index.active, (100 * f.density[j]).toPrecision(3) + "%"], ["samples", show(f.samples[j])], ["families", show(f.families[j])], ["largest activation", show(peak)],
      ["motif", one.motif ? h("span", { class: "mono" }, one.motif) : "–"], stable === undefined ? null : ["stability over seeds" + (absent(stable) ? ": not compared" : stable >= 0.7 ? ": comes back" : ": may not come back"), show(stable, 2)]]),
    f.stability ? null : soft("Whether it comes back with another seed was not measured (sciinterp run --full does)."),
    h("div", { class: "cols" },
      h("div", {}, h("h2", {}, "Around its peaks"), soft("Bits, from the strongest position of " + one.peaks + " samples."), h("div", { class: "view" }, one.logo.some((c) => c.length) ? logo(one.logo, dna()) : "No column holds information.")),
      h("div", {}, h("h2", {}, "How strongly it fires"), soft("Largest activation in each of the " + show(f.samples[j]) + " samples where it is active."), one.histogram.counts.length ? histogram(one.histogram, "Samples by their largest activation") : "It is never active here.")),
    h("h2", {}, "Concepts it was tested on"),
    pairs.length ? dataTable({ caption: "Concepts of feature " + j, n: pairs.length, perPage: 12, bare: pairs.length < 12, columns: [
      { name: "Concept", wide: true, get: (i) => index.concepts[pairs[i].concept] || "", cell: (i) => concept(pairs[i].concept) },
      { name: "Selected", get: (i) => (pairs[i].selected ? "yes" : ""), cell: (i) => (pairs[i].selected ? ["yes", pairs[i].choosing ? h("span", { class: "under" }, "F1 " + pairs[i].choosing) : null] : ""), why: "The feature chosen for this concept on training families" },
      { name: "F1", num: true, get: (i) => pairs[i].f1, cell: (i) => withRange(pairs[i].f1, pairs[i].f1_low, pairs[i].f1_high) },
      { name: "Precision", num: true, digits: 2, get: (i) => pairs[i].precision }, { name: "Recall", num: true, digits: 2, get: (i) => pairs[i].recall }, { name: "AUROC", num: true, digits: 2, get: (i) => pairs[i].auroc },
      { name: "Best baseline", wide: true, get: (i) => pairs[i].best_baseline, cell: (i) => show(pairs[i].best_baseline) }, { name: "Its F1", num: true, digits: 2, get: (i) => pairs[i].best_baseline_f1 },
      { name: "Difference", num: true, get: (i) => pairs[i].delta_f1, cell: (i) => withRange(pairs[i].delta_f1, pairs[i].delta_low, pairs[i].delta_high) },
      { name: "q", num: true, digits: 3, get: (i) => pairs[i].q } ] }).node : soft("None of its pairs is in the table of hits, which keeps the selected pair of each concept and the strongest others."),
    (index.done.labels || []).filter((l) => l.features[j]).map((l) => h("p", {}, "Carries the label ", h("strong", {}, l.name), ": correlation " + show(l.features[j].correlation, 2) + " beyond family, selected in " + (100 * l.features[j].frequency).toFixed(0) + "% of draws, q " + show(l.features[j].q, 3) + ".")),
    one.lies.length ? [h("h3", {}, "Where its activity lies"), soft("All samples, no test: the share of its summed activation inside a concept, and how many times the concept's share of positions that is."),
      h("ul", { class: "plain" }, one.lies.map(([c, share, lift]) => h("li", {}, concept(c), " ", h("strong", {}, (100 * share).toFixed(0) + "%"), " ", h("span", { class: "soft" }, show(lift, 1) + " times its share of positions"))))] : null,
    (one.turned || []).length ? [h("h2", {}, "What turning it does"), one.turned.map(turnedPart)] : null,
    h("h2", {}, "Where it fires"), shown.length ? shown : soft("In no sample."),
    modelled.length ? h("p", {}, "On structures: ", modelled.map((i) => [link("structure", i + "/" + j, index.samples.id[i]), " "])) : null,
    h("h2", {}, "Neighbours"),
    h("div", { class: "cols" }, neighbours("Active at the same positions", "Jaccard index of the positions where both are active (" + index.active + ").", one.coactive), neighbours("Nearest decoder direction", "Cosine.", one.similar)),
  ]];
}

async function samplePage(i, j, at) {
  if (!(i >= 0 && i < index.samples.id.length)) return missing("sample", i);
  const [one, packed] = await Promise.all([sampleData(i), trackData(i)]);
  const tracks = unpack(packed);
  const length = index.samples.length[i];
  const name = index.samples.id[i];
  const f = index.features;
  const rows = [...tracks].map(([feature, t]) => {
    let k = 0;
    t.value.forEach((v, m) => { if (v > t.value[k]) k = m; });
    return { feature, peak: t.value[k], at: t.at[k] * packed.width, n: t.at.length };
  });
  rows.sort((a, b) => b.peak - a.peak || a.feature - b.feature);
  const start = numberOf(i);
  const head = facts([["Family", index.samples.family[i], index.samples.part[i] ? " (" + HELD_OUT[index.samples.part[i]] + ")" : ""], ["Positions", show(length)],
    index.samples.chrom ? ["Place", index.samples.chrom[i] + ":" + (start + 1).toLocaleString("en") + "-" + (start + length).toLocaleString("en")] : null,
    one.facts.length ? ["Facts on the whole sample", one.facts.map((n) => [concept(index.concepts.indexOf(n)), " "])] : null,
    index.structures.includes(i) ? ["Structure", link("structure", i, "show")] : null]);
  const body = [head];
  if (dna() || length > 1500) {
    const chosen = [...new Set([...(j >= 0 ? [j] : []), ...rows.slice(0, 5).map((r) => r.feature)])].slice(0, 5);
    const view = genomeView({ length, origin: start, chrom: index.samples.chrom ? index.samples.chrom[i] : name, spans: one.spans, names: index.concepts, colours,
      overview: { ...packed, sequence: one.sequence }, tile: (t) => load("tile-" + i + "-" + t), tileSize: index.chunk.tile, peakOf: (k) => f.peak[k], chosen, focus: at >= 0 ? at : undefined });
    const ask = h("input", { type: "text", size: 24, value: chosen.join(", "), "aria-label": "Features shown as tracks", change: () => {
      view.setFeatures(ask.value.split(/[^\d]+/).filter(Boolean).map(Number).filter((k) => k < index.n_features).slice(0, 12));
    } });
    body.push(h("h2", {}, "Along the sequence"), h("div", { class: "tools" }, h("label", {}, "Features ", ask), h("span", {}, "each on the scale of its largest activation anywhere")), view.node);
    redraws.push(view.draw);
  }
  if (!rows.length) return [name, [...body, soft("No feature has a code above zero in this sample.")]];
  const room = Math.max(420, Math.min(main.clientWidth, 1280) - 500 - GUTTER);
  const px = Math.min(8.5, room / length);
  const letters = px >= 6.5 && one.sequence;
  const depth = lanes(one.spans, index.concepts).length;
  const map = figure(GUTTER + length * px + 30, (letters ? 14 : 2) + depth * LANE + 16, "annotations along " + name);
  for (let k = 0; letters && k < length; k += 1) map.append(s("text", { x: GUTTER + (k + 0.5) * px, y: 10, "font-size": 9, "text-anchor": "middle" }, one.sequence[k]));
  drawLanes(map, { spans: one.spans, names: index.concepts, colours, from: 0, to: length, px, top: letters ? 14 : 2 });
  drawRuler(map, { from: 0, to: length, px, y: (letters ? 14 : 2) + depth * LANE + 11, origin: start });
  body.push(h("h2", {}, "All features of this sample"), soft(show(rows.length) + " features have a code above zero in this sample, each drawn on the scale of its largest activation anywhere."),
    dataTable({ caption: "Features of " + name, n: rows.length, sort: 1, perPage: 40, hint: COMPARE, columns: [
      { name: "Feature", num: true, get: (r) => rows[r].feature, cell: (r) => link("feature", rows[r].feature, rows[r].feature) },
      { name: "Peak", num: true, digits: 2, get: (r) => rows[r].peak },
      { name: "At", num: true, get: (r) => rows[r].at + 1 + start, cell: (r) => (rows[r].at + 1 + start).toLocaleString("en"), why: "Position of its peak" },
      { name: "Nearest concept", wide: true, get: (r) => index.concepts[f.concept[rows[r].feature]] || "", cell: (r) => concept(f.concept[rows[r].feature]) },
      { name: "F1", num: true, digits: 2, get: (r) => f.f1[rows[r].feature] },
      { name: "Along the sequence", strip: true, head: map, cell: (r) => strip(pairsOf(tracks.get(rows[r].feature)), { length, px, peak: f.peak[rows[r].feature], width: packed.width }) },
    ] }).node);
  return [name, body];
}

const MEETS = { found: "Found: the feature exceeds its threshold on it", missed: "Missed: annotated, and the feature stays below its threshold there", elsewhere: "Exceeds it where the concept is not annotated" };
async function conceptPage(c) {
  if (!(c >= 0 && c < index.concepts.length)) return missing("concept", c);
  const [all, one] = await Promise.all([load("concepts"), conceptData(c)]);
  const row = all[c];
  const peak = one.shown === null ? 0 : index.features.peak[one.shown];
  const drawn = await examplesDrawn(one.meets, { peak, feature: one.shown });
  const met = one.meets.map((e, k) => [!k || one.meets[k - 1].set !== e.set ? h("h3", {}, MEETS[e.set] + " (" + show(e.n) + " samples)") : null, drawn[k]]);
  const t = index.samples;
  const compared = row ? [{ name: "feature " + row.feature, value: row.f1, low: row.f1_low, high: row.f1_high, kind: "feature" },
    ...index.baselines.map((b) => ({ name: b.name + (b.kind === "ceiling" ? " (ceiling)" : ""), value: row.baselines[b.name], kind: b.kind === "ceiling" ? "ceiling" : "baseline" }))] : [];
  return [index.concepts[c], [
    row && row.name !== index.concepts[c] ? soft(row.name) : null,
    row && row.same_as ? soft("At the same positions as ", concept(index.concepts.indexOf(row.same_as)), ".") : null,
    row ? [h("p", {}, tag(row.verdict), row.few ? " " + row.few + "." : ""), merit([["feature selected on training families", absent(row.feature) ? "–" : link("feature", row.feature, row.feature)], ["F1 on " + families() + range(row.f1_low, row.f1_high) + (row.choosing ? ", " + row.choosing : ""), show(row.f1, 2)], ["precision", show(row.precision, 2)], ["recall", show(row.recall, 2)],
      ["AUROC", show(row.auroc, 2)], ["average precision, prevalence " + show(row.prevalence, 3), show(row.average_precision, 2)], ["difference to the best baseline" + range(row.delta_low, row.delta_high), show(row.delta_f1, 2)], ["q" + (row.test ? ", " + row.test : ""), show(row.q, 3)]]),
      h("h2", {}, "Beside the baselines"), soft("F1 on ", families(), ". Baselines are rules of the same kind as a feature; ceilings are told the labels and read many inputs at once."), h("div", { class: "view" }, bars(compared, "F1 of the feature and of the baselines for " + index.concepts[c])) ] : soft("This concept was not tested."),
    h("h2", {}, "Features tested on it"), one.pairs.length ? dataTable({ caption: "Features of this concept", n: one.pairs.length, perPage: 12, columns: [
      { name: "Feature", num: true, get: (i) => one.pairs[i].feature, cell: (i) => link("feature", one.pairs[i].feature, one.pairs[i].feature) }, { name: "Selected", get: (i) => (one.pairs[i].selected ? "yes" : ""), cell: (i) => (one.pairs[i].selected ? ["yes", one.pairs[i].choosing ? h("span", { class: "under" }, "F1 " + one.pairs[i].choosing) : null] : "") },
      { name: "F1", num: true, get: (i) => one.pairs[i].f1, cell: (i) => withRange(one.pairs[i].f1, one.pairs[i].f1_low, one.pairs[i].f1_high) }, { name: "Precision", num: true, digits: 2, get: (i) => one.pairs[i].precision }, { name: "Recall", num: true, digits: 2, get: (i) => one.pairs[i].recall },
      { name: "Motif", mono: true, get: (i) => index.features.motif[one.pairs[i].feature], cell: (i) => index.features.motif[one.pairs[i].feature] } ] }).node : soft("None is in the table of hits."),
    one.sets.length ? [h("h2", {}, "Features read together"), soft("Chosen on training families, read on the test families of the split."), one.sets.map((text) => h("p", {}, text))] : null,
    met.length ? [h("h2", {}, "Where feature " + one.shown + " meets it"), soft("Samples of the test families first."), met] : null,
    h("h2", {}, "Samples that carry it"), one.samples.length ? dataTable({ caption: "Samples that carry it", n: one.samples.length, perPage: 15, columns: [
      { name: "Sample", wide: true, get: (i) => t.id[one.samples[i]], cell: (i) => link("sample", one.samples[i], t.id[one.samples[i]]) }, { name: "Family", wide: true, get: (i) => t.family[one.samples[i]] },
      { name: "Part", get: (i) => HELD_OUT[t.part[one.samples[i]]] }, { name: "Length", num: true, get: (i) => t.length[one.samples[i]] } ] }).node : soft("None here.")]];
}

// Evidence of any shape as text: names of features, concepts and samples become links.
function evidence(value, key) {
  if (absent(value)) return "–";
  if (Array.isArray(value)) {
    if (!value.length) return "none";
    if (/features?$/.test(key) && value.every((v) => Number.isInteger(v))) return value.map((v) => [evidence(v, "feature"), " "]);
    if (value.every((v) => v !== null && typeof v === "object" && !Array.isArray(v))) {
      const keys = [...new Set(value.flatMap((v) => Object.keys(v)))];
      return h("table", { class: "small" }, h("thead", {}, h("tr", {}, keys.map((k) => h("th", { scope: "col" }, h("span", {}, readable(k)))))), h("tbody", {}, value.map((v) => h("tr", {}, keys.map((k) => h("td", {}, evidence(v[k], k)))))));
    }
    return h("ul", { class: "plain" }, value.map((v) => h("li", {}, evidence(v, key))));
  }
  if (typeof value === "object") return facts(Object.entries(value).map(([k, v]) => [readable(k), evidence(v, k)]));
  if (key === "feature" && Number.isInteger(value) && value >= 0 && value < index.n_features) return link("feature", value, value);
  if (key === "position" && Number.isInteger(value)) return show(value + 1);
  if (key === "concept" && index.concepts.includes(value)) return concept(index.concepts.indexOf(value));
  if (key === "sample" && sampleNumbers().has(value)) return link("sample", sampleNumbers().get(value), value);
  if (typeof value === "boolean") return value ? "yes" : "no";
  return typeof value === "number" && !Number.isInteger(value) ? String(Number(value.toPrecision(3))) : show(value);
}
const readable = (key) => key.replaceAll("_", " ");

async function candidatePage(number) { // from 1, as it is named
  const k = number - 1;
  if (!(k >= 0 && k < index.candidates)) return missing("candidate", number);
  const [rows, told] = await Promise.all([load("candidates"), evidenceData(k)]);
  const row = rows[k];
  const about = told && typeof told === "object" && !Array.isArray(told) ? told : {};
  const i = sampleNumbers().get(row.sample);
  const drawn = [];
  if (i !== undefined && !absent(row.start)) {
    const asked = [...new Set([row.feature, ...(Array.isArray(about.features) ? about.features : [])])].filter((j) => Number.isInteger(j)).slice(0, 4);
    const [packed, data] = await Promise.all([trackData(i), sampleData(i)]);
    const wide = index.samples.length[i] > index.chunk.tile;
    const block = wide ? await load("tile-" + i + "-" + Math.floor(row.start / index.chunk.tile)) : packed;
    const base = wide ? block.start : 0;
    for (const j of asked) {
      const on = pairsOf(unpack(block).get(j)).map(([p, v]) => [p + base, v]).filter(([, v]) => v > index.active_share * index.features.peak[j]);
      const e = { sample: i, on, ...(wide ? { from: base, sequence: block.sequence } : {}) };
      drawn.push(h("h3", {}, link("feature", j, "Feature " + j)), exampleTrack(e, data, { peak: index.features.peak[j], feature: j, mark: [row.start, absent(row.end) ? row.start + 1 : row.end] }));
    }
  }
  const { claim, against, would_be_falsified_by: falsified, ...rest } = about;
  const c = row.concept ? index.concepts.indexOf(row.concept) : -1;
  return ["Candidate " + number, [
    h("p", { class: "claim" }, claim ? String(claim) : "candidate: " + show(row.kind)),
    h("p", { class: "pages" }, k > 0 ? link("candidate", number - 1, "Previous candidate") : null, k + 1 < index.candidates ? link("candidate", number + 1, "Next candidate") : null),
    merit([["kind", show(row.kind)], ["calibrated probability", show(row.probability, 2)], ["q against decoys", show(row.q, 3)], ["score, ranks within a kind", show(row.score, 2)]]),
    facts([["Concept", c >= 0 ? concept(c) : show(row.concept)], ["Sample", i === undefined ? show(row.sample) : link("sample", i, row.sample)], absent(row.start) ? null : ["Positions", show(row.start + 1) + " to " + show(absent(row.end) ? row.start + 1 : row.end)], absent(row.feature) ? null : ["Leading feature", link("feature", row.feature, row.feature)]]),
    h("h2", {}, "Why it might be wrong"), Array.isArray(against) && against.length ? h("ul", {}, against.map((text) => h("li", {}, String(text)))) : h("p", {}, show(row.reason_against)),
    falsified ? h("p", {}, h("strong", {}, "It would be falsified by: "), String(falsified)) : null,
    drawn.length ? [h("h2", {}, "Where"), soft("The claimed span is outlined; other features that support it stand below the leading one."), drawn] : null,
    h("h2", {}, "Evidence"), Object.keys(rest).length ? evidence(rest, "") : absent(told) ? soft("No record.") : Object.keys(about).length ? null : h("p", {}, evidence(told, "")),
  ]];
}

async function mapPage(chosen) {
  if (!index.map) return ["Map", [soft("The decoder directions of the autoencoder were not given.")]];
  const m = await load("map");
  const f = index.features;
  const side = h("div", { class: "side", role: "status" }, soft("Click a point, or press an arrow key on the map. Enter opens the chosen feature; plus and minus zoom."));
  const hover = h("p", { class: "soft hover" }, " ");
  const canvas = h("canvas", { class: "map", tabindex: "0", role: "application", "aria-label": "Map of " + index.n_features + " features. Arrow keys move between points, Enter opens, plus and minus zoom." });
  const count = new Map();
  f.concept.forEach((c, j) => { if (c >= 0 && f.f1[j] >= index.found) count.set(c, (count.get(c) || 0) + 1); });
  const top = [...count].sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, 10).map((r) => r[0]);
  const rank = new Map(top.map((c, k) => [c, PALETTE[k === 7 ? 10 : k === 6 ? 9 : k]]));
  const log = (v) => Math.log10(Math.max(v, 1e-6));
  const logs = f.density.filter((v) => v > 0).map(log);
  const [least, most] = [logs.reduce((a, b) => Math.min(a, b), 0), logs.reduce((a, b) => Math.max(a, b), -6)];
  const modes = [["concept", "concept, where F1 reaches " + index.found], ["f1", "highest F1 of a concept"], ["density", "density (log)"], ["families", "families"], f.stability ? ["stability", "stability"] : null].filter(Boolean);
  const pick = h("select", { change: () => refresh() }, modes.map(([value, text]) => h("option", { value }, text)));
  const found = (j) => f.concept[j] >= 0 && f.f1[j] >= index.found;
  const families = f.families.reduce((a, b) => Math.max(a, b), 1);
  const share = { f1: (j) => f.f1[j] || 0, density: (j) => (f.density[j] > 0 ? (log(f.density[j]) - least) / (most - least || 1) : 0), families: (j) => f.families[j] / families, stability: (j) => (f.stability[j] || 0) };
  const colourOf = () => {
    const dull = isDark() ? "#4d5763" : "#b9c1c9";
    const other = styled("--ink");
    if (pick.value === "concept") return (j) => (found(j) ? rank.get(f.concept[j]) || other : dull);
    return (j) => ramp(share[pick.value](j));
  };
  const ends = { f1: ["0", "1"], density: [(10 ** least).toPrecision(1), (10 ** most).toPrecision(1)], families: ["0", String(families)], stability: ["0", "1"] };
  const key = h("div", { class: "key" });
  const open = (j) => { location.hash = "#/feature/" + j; };
  const named = (j) => "Feature " + j + (f.concept[j] >= 0 ? ", " + index.concepts[f.concept[j]] + " (F1 " + show(f.f1[j], 2) + ")" : "") + (f.motif[j] ? ", " + f.motif[j] : "");
  const onPick = (j, near) => side.replaceChildren(h("h2", {}, link("feature", j, "Feature " + j)), facts([["Nearest concept", concept(f.concept[j])], ["F1", show(f.f1[j], 2)], ["Density", show(f.density[j], 4)], ["Families", show(f.families[j])], f.stability ? ["Stability", show(f.stability[j], 2)] : null, ["Motif", f.motif[j] || "–"]].filter(Boolean)),
    h("h3", {}, "Near it on the map"), h("ul", { class: "plain" }, near.map((k) => h("li", {}, link("feature", k, "Feature " + k), " ", h("span", { class: "soft" }, f.concept[k] >= 0 ? index.concepts[f.concept[k]] : f.motif[k])))));
  const plot = scatter(canvas, { x: m.x, y: m.y, colourOf, front: (j) => pick.value === "concept" && found(j), onPick, onOpen: open, onHover: (j) => { hover.textContent = j >= 0 ? named(j) : " "; } });
  const dot = (fill) => s("svg", { width: 10, height: 10, "aria-hidden": "true" }, s("circle", { cx: 5, cy: 5, r: 4.5, fill }));
  const refresh = () => {
    plot.draw();
    if (pick.value === "concept") {
      key.replaceChildren(h("ul", { class: "legend" }, top.map((c) => h("li", {}, dot(rank.get(c)), concept(c), " ", h("span", { class: "soft" }, count.get(c)))),
        count.size > top.length ? h("li", {}, dot(styled("--ink")), "other concepts") : null, h("li", {}, dot(isDark() ? "#4d5763" : "#b9c1c9"), "none reaches " + index.found)));
    } else {
      key.replaceChildren(h("div", { class: "heat" }, h("span", {}, ends[pick.value][0]), s("svg", { width: 120, height: 10, "aria-hidden": "true" }, Array.from({ length: 24 }, (_, i) => s("rect", { x: i * 5, y: 0, width: 5, height: 10, fill: ramp(i / 23) }))), h("span", {}, ends[pick.value][1])));
    }
  };
  const search = h("input", { type: "search", autocomplete: "off", placeholder: "concept or motif", input: () => {
    const text = search.value.trim().toLowerCase();
    plot.match(text ? (j) => named(j).toLowerCase().includes(text) : null);
  } });
  refresh();
  redraws.push(refresh);
  if (chosen >= 0 && chosen < index.n_features) plot.pick(chosen);
  return ["Map", [soft("Each point is a feature. Layout: ", m.method, m.explained.length ? " (" + m.explained.map((v) => (100 * v).toFixed(1) + "%").join(" and ") + " of the variance; the extra sciinterp[browser] brings a map of neighbourhoods, UMAP)" : "", ". Distances across the map say little; near points have similar directions."),
    h("div", { class: "tools" }, h("label", {}, "Colour by ", pick), h("label", {}, "Highlight ", search), button("Zoom in", () => plot.zoom(1.6)), button("Zoom out", () => plot.zoom(1 / 1.6))), key,
    h("div", { class: "mapwrap" }, h("div", {}, canvas, hover), side)]];
}

async function structurePage(i, j) {
  if (!index.structures.includes(i)) return missing("structure of sample", i);
  const [data, packed] = await Promise.all([load("structure-" + i), trackData(i)]);
  const tracks = unpack(packed);
  const strongest = [...tracks].map(([k, t]) => [t.value.reduce((a, b) => Math.max(a, b), 0), k]).sort((a, b) => b[0] - a[0] || a[1] - b[1]).map((r) => r[1]);
  const first = tracks.has(j) ? j : strongest[0];
  const about = (k) => "feature " + k + (index.features.concept[k] >= 0 && index.features.f1[k] >= 0.3 ? ", " + index.concepts[index.features.concept[k]] : "");
  const pick = h("select", { change: () => paint() }, [...(j >= 0 && !tracks.has(j) ? [j] : []), ...strongest].map((k) => h("option", { value: k, selected: k === (j >= 0 ? j : first) }, about(k))));
  const key = h("div");
  const note = h("p", { class: "soft", role: "status" });
  const box = h("div", { class: "structure-box", role: "group", "aria-label": "Structure of " + index.samples.id[i] });
  const use = index.done.viewer && hasWebGL();
  let view = null;
  const values = () => new Map(pairsOf(tracks.get(Number(pick.value))).map(([p, v]) => [p * packed.width, v]));
  const paint = async () => {
    const peak = index.features.peak[Number(pick.value)] || 0;
    key.replaceChildren(heatKey(peak));
    const on = values();
    const seen = data.position.filter((p) => (on.get(p) || 0) > 0).length;
    note.textContent = "Feature " + pick.value + " has a code above zero at " + on.size + (on.size === 1 ? " position" : " positions") + " of the sample; chain " + data.chain + " shows " + seen + " of them.";
    if (view) { await view.colour(on, peak); document.documentElement.dataset.painted = pick.value; return; }
    if (use) return;
    const canvas = h("canvas", { class: "structure", tabindex: "0", role: "img", "aria-label": "alpha carbon trace of " + index.samples.id[i] + ", coloured by feature " + pick.value + "; arrow keys turn it" });
    box.replaceChildren(canvas);
    traceView(canvas, data, on, peak);
    document.documentElement.dataset.painted = pick.value;
  };
  const names = Object.keys(data.chains);
  const others = data.all_chains > names.length;
  const whole = h("input", { type: "checkbox", change: () => read().catch(broken) });
  const read = async () => {
    await view.read(whole.checked ? data.cif : onlyChains(data.cif, names));
    await paint();
  };
  const broken = (error) => { note.textContent = "The viewer failed: " + error.message; };
  const start = async () => {
    if (!use) { await paint(); return; }
    view = await molstarView(box, data, isDark() ? 0x1a1e23 : 0xffffff);
    await read();
  };
  delete document.documentElement.dataset.painted;
  leaving.push(() => { if (view) view.dispose(); });
  const lacking = index.done.viewer ? "This browser draws no WebGL, so the alpha carbons are drawn as a trace." : "No viewer was installed when this site was made (pip install 'sciinterp[browser]'), so the alpha carbons are drawn as a trace.";
  setTimeout(() => start().catch(broken), 0);
  return ["Structure of " + index.samples.id[i], [
    soft("Chain ", data.chain, " holds ", show(100 * data.matched, 1), "% of the sequence. ", use ? "Drawn by Mol*. Drag to turn, scroll to zoom." : lacking + " Drag to turn it, or use the arrow keys."),
    h("div", { class: "tools" }, h("label", {}, "Colour by ", pick), key, use && others ? h("label", {}, whole, " All " + data.all_chains + " chains") : null, link("sample", i, "Tracks of this sample")), note, box]];
}

function aboutPage() {
  const d = index.done;
  const notRun = index.controls.not_run.concat(index.controls.not_tested.map((r) => ({ ...r, stage: "not tested" })));
  return ["About", [
    facts([["Model", d.model], ["Site", d.site], ["Samples", show(d.data.n) + " of " + show(d.data.n_in) + " read (" + d.data.kind + ")"], d.data.file ? ["File", d.data.file] : null, ["Dropped", Object.entries(d.data.dropped).map(([k, v]) => v + " " + k).join("; ") || "none"],
      ["Annotations", d.annotations ? d.annotations.sources.map((r) => r.source + " (" + show(r.rows) + (r.release ? ", " + r.release : "") + ")").join(", ") : "none given"],
      ["Families", d.split ? show(d.split.n_families) + " by " + d.split.how + ": " + d.split.parts.map((v) => show(v.families) + " " + (HELD_OUT[v.part] || v.part)).join(", ") : "no split"],
      ["Structures", index.structures.length ? show(index.structures.length) + (d.viewer ? ", drawn by Mol* (MIT licence, viewer/LICENSE.txt)" : ", drawn as traces: no viewer was installed") : "none given"],
      ...Object.entries(d.licences).map(([k, v]) => ["Licence: " + k, String(v)])]),
    h("p", {}, d.judged.pretraining),
    h("h2", {}, "What was not run"), notRun.length ? h("ul", { class: "plain" }, notRun.map((r) => h("li", {}, r.name, r.reason ? ": " + r.reason : "", h("span", { class: "soft" }, " (" + r.stage + ")")))) : soft("Nothing is listed as not run."),
    h("h2", {}, "How to search"), h("p", {}, "Every word typed must occur in the row. A column compared with a number keeps the rows for which it holds: ", h("code", {}, "cdr3 f1>0.5 families>=20"), ". A click on a column's name sorts by it."),
    h("h2", {}, "Words"), facts([["Active", "a feature is active, or fires, where its code lies " + index.active], ["Density", "share of positions where the feature is active"], ["F1", "harmonic mean of precision and recall over positions of " + families() + "; the feature and its threshold were chosen on training families"],
      ["Difference", "F1 less that of the best baseline of the same kind, with an interval over families"], ["Motif", "prevailing letters around the peaks: capital from 1.5 bits, small from 0.5, else a dot"],
      ["Stability", "smaller of decoder and encoder cosine between the feature and its one-to-one match in a dictionary trained with another seed, mean over seeds; 0.7 counts as the same"],
      ["Probability", "of a candidate: calibrated on truths that were hidden or planted; q is its false discovery rate against decoys"]]) ]];
}
