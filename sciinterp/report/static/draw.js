// Colours and small figures: logo, histogram, bars. Shapes get numbers, labels get text nodes.
"use strict";
const PALETTE = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#8A9099",
  "#44368F", "#44AA99", "#882255", "#7A7A2E"]; // Okabe and Ito, then four of Tol: told apart by colour-blind readers
const LIGHT = new Set(["#F0E442", "#56B4E9", "#E69F00", "#CC79A7", "#44AA99"]); // carry dark text
const LETTERS = { D: "#D55E00", E: "#D55E00", K: "#0072B2", R: "#0072B2", H: "#0072B2", F: "#A8558A", W: "#A8558A",
  Y: "#A8558A", S: "#009E73", T: "#009E73", N: "#009E73", Q: "#009E73", C: "#E69F00" };
const BASES = { A: "#009E73", C: "#0072B2", G: "#E69F00", T: "#D55E00", U: "#D55E00" };

// A concept's lane is what stands before its colon; its colour is its place within the lane.
const laneOf = (name) => { const at = name.indexOf(":"); return at > 0 ? name.slice(0, at) : name; };
const shortOf = (name) => { const at = name.indexOf(":"); return at > 0 ? name.slice(at + 1) : name; };
function conceptColours(names) {
  const used = new Map();
  return names.map((name) => {
    const lane = laneOf(name);
    used.set(lane, (used.get(lane) || 0) + 1);
    return PALETTE[(used.get(lane) - 1) % PALETTE.length];
  });
}
const styled = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const figure = (width, height, label) => s("svg", { width, height, viewBox: "0 0 " + width + " " + height, role: "img", "aria-label": label });
const axisText = (x, y, anchor, text) => s("text", { class: "axis", x, y, "font-size": 9.5, "text-anchor": anchor }, text);
const baseLine = (x1, x2, y) => s("line", { class: "base", x1, x2, y1: y, y2: y });

function logo(columns, dna) {
  const width = 30 * columns.length + 34;
  const high = 130;
  const most = dna ? 2 : 4.32;
  const middle = (columns.length - 1) / 2;
  const said = columns.map((column, i) => (column.length ? (i - middle) + ": " + column[column.length - 1][0] : "")).filter(Boolean);
  const svg = figure(width, high + 26, "Sequence logo around the peaks, in bits. Tallest letters: " + said.join(", "));
  for (const bit of dna ? [0, 1, 2] : [0, 1, 2, 3, 4]) {
    const y = high - bit / most * (high - 6);
    svg.append(baseLine(22, width, y), axisText(16, y + 3, "end", bit));
  }
  columns.forEach((column, i) => {
    let y = high;
    for (const [letter, bits] of column) {
      const tall = bits / most * (high - 6);
      const place = "translate(" + (38 + i * 30) + " " + y + ") scale(1.45 " + (tall / 22) + ")";
      const node = s("text", { "font-size": 30, "font-weight": 700, "text-anchor": "middle", "aria-hidden": "true", transform: place }, letter);
      const colour = (dna ? BASES : LETTERS)[letter];
      if (colour) node.style.fill = colour;
      svg.append(node);
      y -= tall;
    }
    svg.append(axisText(38 + i * 30, high + 15, "middle", i === middle ? "peak" : (i > middle ? "+" : "") + (i - middle)));
  });
  return svg;
}

function histogram({ counts, max }, what) {
  const width = 330;
  const high = 110;
  const most = Math.max(1, ...counts);
  const svg = figure(width + 40, high + 32, what + ", from 0 to " + show(max) + "; the fullest of " + counts.length + " bars holds " + most);
  const bar = width / counts.length;
  counts.forEach((v, i) => svg.append(s("rect", { class: "act", x: 34 + i * bar, y: high + 4 - v / most * high, width: bar - 1, height: v / most * high },
    s("title", {}, show(v) + " from " + show(i * max / counts.length) + " to " + show((i + 1) * max / counts.length)))));
  svg.append(baseLine(34, width + 34, high + 4.5), axisText(34, high + 19, "start", 0), axisText(width + 34, high + 19, "end", show(max)));
  svg.append(axisText(29, 12, "end", show(most)), axisText(29, high + 5, "end", 0));
  return svg;
}

// Bars of F1 on one scale: rows of {name, value, low, high, kind}, kind "feature", "baseline" or "ceiling".
function bars(rows, label) {
  const left = 190;
  const wide = 420;
  const step = 21;
  const svg = figure(left + wide + 60, rows.length * step + 24, label);
  const x = (v) => left + v * wide;
  for (const tick of [0, 0.25, 0.5, 0.75, 1]) {
    svg.append(s("line", { class: "base", x1: x(tick), x2: x(tick), y1: 0, y2: rows.length * step }), axisText(x(tick), rows.length * step + 14, "middle", tick));
  }
  rows.forEach(({ name, value, low, high, kind }, i) => {
    const y = i * step + 3;
    const text = s("text", { class: "name", x: left - 8, y: y + 11, "font-size": 11.5, "text-anchor": "end" }, name.length > 28 ? name.slice(0, 27) + "…" : name, s("title", {}, name));
    svg.append(text);
    if (absent(value)) { svg.append(axisText(left + 5, y + 11, "start", "not run")); return; }
    svg.append(s("rect", { class: "bar-" + kind, x: left, y, width: Math.max(0.5, value * wide), height: step - 7, rx: 1 }));
    if (!absent(low) && !absent(high)) svg.append(s("line", { class: "whisker", x1: x(low), x2: x(high), y1: y + (step - 7) / 2, y2: y + (step - 7) / 2 }));
    svg.append(s("text", { class: "name", x: x(Math.max(value, high || 0)) + 6, y: y + 11, "font-size": 11 }, show(value, 2)));
  });
  return svg;
}

// Gain against divergence elsewhere, one line a direction: rows of {kind, direction, divergence, gain}.
const TURNED = { feature: ["feature", "#0072B2"], set: ["its set", "#009E73"], means: ["difference of means", "#E69F00"], neuron: ["best neuron", "#56B4E9"], component: ["best component", "#D55E00"], noise: ["noise", "#5B4B8A"], randomised: ["random weights", "#CC79A7"], random: ["random features", "#8A9099"] };
function doseCurves(rows, label) {
  const wide = 420;
  const high = 170;
  const left = 40;
  const drawn = rows.filter((r) => TURNED[r.kind] && !absent(r.gain) && !absent(r.divergence));
  const svg = figure(left + wide + 170, high + 40, label);
  if (!drawn.length) return svg;
  const most = Math.max(...drawn.map((r) => r.divergence), 1e-9);
  const [low, top] = [Math.min(0, ...drawn.map((r) => r.gain)), Math.max(1e-9, ...drawn.map((r) => r.gain))];
  const x = (v) => left + v / most * wide;
  const y = (v) => 8 + (top - v) / (top - low) * high;
  svg.append(baseLine(left, left + wide, y(0)), axisText(left - 6, y(0) + 3, "end", 0), axisText(left - 6, y(top) + 3, "end", show(top, 1)), axisText(left + wide, high + 24, "end", show(most, 2) + " nats a token elsewhere"), axisText(left, high + 24, "start", 0));
  Object.entries(TURNED).reverse().forEach(([kind, [words, colour]]) => {
    const mine = drawn.filter((r) => r.kind === kind);
    for (const name of new Set(mine.map((r) => r.direction))) {
      const points = mine.filter((r) => r.direction === name).sort((a, b) => a.divergence - b.divergence).map((r) => x(r.divergence) + "," + y(r.gain)).join(" ");
      svg.append(s("polyline", { points, fill: "none", stroke: colour, "stroke-width": kind === "random" ? 1 : 2 }));
    }
  });
  Object.entries(TURNED).filter(([kind]) => drawn.some((r) => r.kind === kind)).forEach(([, [words, colour]], i) => {
    svg.append(s("rect", { x: left + wide + 14, y: 10 + 17 * i, width: 14, height: 3, fill: colour }), s("text", { class: "name", x: left + wide + 34, y: 15 + 17 * i, "font-size": 11 }, words));
  });
  return svg;
}
