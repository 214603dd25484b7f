// Activations along sequences: packed tracks are unpacked, annotations get lanes, windows are drawn.
"use strict";
const numbers16 = (text) => {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Uint16Array(bytes.buffer);
};

// feature -> {at, value} of a packed block; positions are bins of packed.width. Unpacked once.
function unpack(packed) {
  if (!packed.tracks) {
    const at = numbers16(packed.at);
    const level = numbers16(packed.value);
    packed.tracks = new Map();
    let from = 0;
    packed.feature.forEach((feature, k) => {
      const to = from + packed.count[k];
      packed.tracks.set(feature, { at: at.subarray(from, to), value: Float32Array.from(level.subarray(from, to), (v) => v / 65535 * packed.scale) });
      from = to;
    });
  }
  return packed.tracks;
}
const pairsOf = (track) => (track ? Array.from(track.at, (p, i) => [p, track.value[i]]) : []);

// Lanes of annotation: one or more a kind of concept, the kinds that cover most first.
function lanes(spans, names) {
  const kinds = new Map();
  for (const span of spans) {
    const kind = laneOf(names[span[2]]);
    if (!kinds.has(kind)) kinds.set(kind, { kind, rows: [], cover: 0 });
    const lane = kinds.get(kind);
    lane.cover += span[1] - span[0];
    let row = lane.rows.find((r) => span[0] >= r.end);
    if (!row) { row = { end: 0, spans: [] }; lane.rows.push(row); }
    row.spans.push(span);
    row.end = Math.max(row.end, span[1]);
  }
  const sorted = [...kinds.values()].sort((a, b) => b.cover - a.cover || (a.kind < b.kind ? -1 : 1));
  return sorted.flatMap((lane) => lane.rows.map((row, i) => ({ kind: i ? "" : lane.kind, spans: row.spans })));
}

const GUTTER = 86; // room for the names of lanes
const LANE = 13;
const clip = (text, most) => (text.length > most ? text.slice(0, most - 1) + "…" : text);

// Bars of one lane between positions from and to; names are written where they fit.
function drawLanes(svg, { spans, names, colours, from, to, px, top }) {
  const rows = lanes(spans.filter((r) => r[1] > from && r[0] < to), names);
  rows.forEach((row, k) => {
    const y = top + k * LANE;
    if (row.kind) svg.append(s("text", { class: "axis", x: GUTTER - 6, y: y + 9, "font-size": 9.5, "text-anchor": "end" }, clip(row.kind, 15), s("title", {}, row.kind)));
    row.spans.forEach(([start, end, concept], i) => {
      const a = Math.max(start, from);
      const b = Math.min(end, to);
      const x = GUTTER + (a - from) * px;
      const w = Math.max((b - a) * px, 1.5);
      const name = shortOf(names[concept]);
      const long = name.length * 5.5 + 5;
      const following = row.spans[i + 1] ? GUTTER + (row.spans[i + 1][0] - from) * px : Infinity;
      svg.append(s("rect", { x, y, width: w, height: LANE - 2.5, rx: 1.5, fill: colours[concept] }, s("title", {}, names[concept] + ", " + (start + 1) + " to " + end)));
      if (w > long) {
        const text = s("text", { class: "name", x: x + w / 2, y: y + 8.6, "font-size": 8.8, "text-anchor": "middle" }, name);
        text.style.fill = LIGHT.has(colours[concept]) ? "#1b1f24" : "#ffffff";
        svg.append(text);
      } else if (x + w + 2 + long < Math.min(following, GUTTER + (to - from) * px) && row.spans.length < 14) {
        svg.append(s("text", { class: "axis", x: x + w + 2, y: y + 8.8, "font-size": 8.8 }, name));
      }
    });
  });
  return rows.length;
}

const STEPS = [5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000, 500000, 1000000];
function drawRuler(svg, { from, to, px, y, origin = 0 }) {
  const step = STEPS.find((v) => v * px >= 64) || 5000000;
  for (let i = Math.ceil((from + origin + 1) / step) * step; i <= to + origin; i += step) {
    svg.append(axisText(GUTTER + (i - origin - 0.5 - from) * px, y, "middle", i.toLocaleString("en")));
  }
}

// One window of a sequence: bars of activation, letters, lanes of annotation, positions.
function track({ sequence, from = 0, to, on, peak, spans, names, colours, mark, label, px = 8.5, high = 44 }) {
  const letters = px >= 6.5 && sequence;
  const gap = letters ? 15 : 5;
  const width = GUTTER + (to - from) * px + 12;
  const depth = lanes(spans.filter((r) => r[1] > from && r[0] < to), names).length;
  const svg = figure(width, high + gap + depth * LANE + 16, label);
  if (mark) svg.append(s("rect", { class: "claim", x: GUTTER + (mark[0] - from) * px, y: 1, width: (mark[1] - mark[0]) * px, height: high + gap - 3, rx: 2 }));
  svg.append(baseLine(GUTTER, GUTTER + (to - from) * px, high + 0.5), axisText(GUTTER - 6, 9, "end", show(peak)), axisText(GUTTER - 6, high + 2, "end", 0));
  const active = new Set();
  for (const [at, value] of on) {
    if (at < from || at >= to) continue;
    active.add(at);
    const y = Math.max(0.8, value / (peak || 1) * (high - 2));
    svg.append(s("rect", { class: "act", x: GUTTER + (at - from) * px, y: high - y, width: Math.max(px - (px > 3 ? 0.8 : 0), 0.8), height: y },
      s("title", {}, (sequence ? sequence[at - from] + " " : "") + (at + 1) + ": " + show(value))));
  }
  for (let i = from; letters && i < to; i += 1) {
    const strong = active.has(i);
    svg.append(s("text", { x: GUTTER + (i - from + 0.5) * px, y: high + 11, "font-size": 10, "text-anchor": "middle", class: strong ? null : "dim", "font-weight": strong ? 700 : 400 }, sequence[i - from]));
  }
  drawLanes(svg, { spans, names, colours, from, to, px, top: high + gap });
  drawRuler(svg, { from, to, px, y: high + gap + depth * LANE + 11 });
  return svg;
}

// What a track shows, in words, for a reader who does not see it.
function said(on, sequence, from) {
  if (!on.length) return "not active";
  const best = on.reduce((m, r) => (r[1] > m[1] ? r : m), on[0]);
  const letter = sequence ? " (" + sequence[best[0] - from] + ")" : "";
  return "active at " + on.length + " positions, most at position " + (best[0] + 1) + letter + " with " + show(best[1]);
}

// One bar path along a strip, for tables with many tracks.
function strip(on, { length, px, peak, high = 20, width = 1 }) {
  let path = "";
  const w = Math.max(width * px - (px > 3 ? 0.8 : 0), 0.8);
  for (const [at, value] of on) {
    const y = Math.max(1, value / (peak || 1) * high);
    path += "M" + (GUTTER + at * width * px).toFixed(1) + " " + high + "v" + (-y).toFixed(1) + "h" + w.toFixed(1) + "v" + y.toFixed(1) + "z";
  }
  const svg = figure(GUTTER + length * px + 4, high + 1, said(on.map(([p, v]) => [p * width, v]), "", 0));
  svg.append(baseLine(GUTTER, GUTTER + length * px, high + 0.5), s("path", { class: "act", d: path }));
  return svg;
}
