// Drawings: activation tracks, logos, histograms, the map, structures. Shapes get numbers, labels get text nodes.
"use strict";
const PALETTE = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#8A9099",
  "#44368F", "#44AA99", "#882255", "#7A7A2E"]; // Okabe and Ito, then four of Tol
const LETTERS = { D: "#D55E00", E: "#D55E00", K: "#0072B2", R: "#0072B2", H: "#0072B2", F: "#A8558A", W: "#A8558A", Y: "#A8558A",
  S: "#009E73", T: "#009E73", N: "#009E73", Q: "#009E73", C: "#E69F00" };
const BASES = { A: "#009E73", C: "#0072B2", G: "#E69F00", T: "#D55E00", U: "#D55E00" };
const colourOf = (concept) => PALETTE[concept % PALETTE.length];

// Lanes for intervals [start, end, concept]: longest first, the first lane where one overlaps nothing.
function lanes(spans) {
  const taken = [];
  return spans.slice().sort((a, b) => (b[1] - b[0]) - (a[1] - a[0]) || a[0] - b[0]).map(([start, end, concept]) => {
    let lane = taken.findIndex((rows) => rows.every(([x, y]) => end <= x || start >= y));
    if (lane < 0) { lane = taken.length; taken.push([]); }
    taken[lane].push([start, end]);
    return { start, end, concept, lane };
  });
}

// One sequence: bars of activation, letters, annotation bars. Long sequences are drawn without letters and narrower.
function track({ sequence, length, on, peak, spans, names, zoom = 1, label }) {
  const px = Math.max(0.02, zoom * (length > 1500 ? Math.max(1500 / length, 0.4) : 8.5));
  const letters = px >= 6.5 && sequence;
  const high = 44, gap = letters ? 15 : 5;
  const placed = lanes(spans);
  const depth = placed.reduce((m, r) => Math.max(m, r.lane + 1), 0);
  const height = high + gap + depth * 13 + 16;
  const width = Math.ceil(length * px) + 2;
  const svg = s("svg", { width, height, viewBox: "0 0 " + width + " " + height, role: "img", "aria-label": label });
  svg.append(s("line", { class: "base", x1: 0, x2: length * px, y1: high + 0.5, y2: high + 0.5 }));
  const active = new Set();
  for (const [at, value] of on) {
    active.add(at);
    const y = Math.max(0.8, (value / (peak || 1)) * (high - 2));
    svg.append(s("rect", { class: "act", x: at * px, y: high - y, width: Math.max(px - (px > 3 ? 0.8 : 0), 0.8), height: y },
      s("title", {}, (sequence ? sequence[at] : "") + (at + 1) + ": " + value)));
  }
  if (letters) {
    for (let i = 0; i < length; i += 1) {
      svg.append(s("text", { x: (i + 0.5) * px, y: high + 11, "font-size": 10, "text-anchor": "middle", class: active.has(i) ? null : "dim",
        "font-weight": active.has(i) ? 700 : 400 }, sequence[i]));
    }
  }
  for (const { start, end, concept, lane } of placed) {
    const y = high + gap + lane * 13, w = (end - start) * px;
    const name = names[concept];
    svg.append(s("rect", { x: start * px, y, width: Math.max(w, 1.2), height: 10.5, rx: 1.5, fill: colourOf(concept) },
      s("title", {}, name + ", " + (start + 1) + " to " + end)));
    if (w > name.length * 5.4 + 6) {
      const dark = ["#F0E442", "#56B4E9", "#E69F00", "#CC79A7", "#44AA99"].includes(colourOf(concept));
      const text = s("text", { class: "name", x: (start + end) / 2 * px, y: y + 8.4, "font-size": 8.8, "text-anchor": "middle" }, name);
      text.style.fill = dark ? "#1b1f24" : "#ffffff";
      svg.append(text);
    }
  }
  const step = [10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 50000, 100000, 1000000].find((v) => v * px >= 60) || 1e7;
  for (let i = 0; i <= length; i += step) {
    const at = i === 0 ? 1 : i;
    if (at <= length) svg.append(s("text", { class: "axis", x: (at - 0.5) * px, y: height - 3, "font-size": 9, "text-anchor": i === 0 ? "start" : "middle" }, at));
  }
  return svg;
}

const legend = (concepts, names) => h("ul", { class: "legend" }, concepts.map((c) => h("li", {},
  s("svg", { width: 10, height: 10, "aria-hidden": "true" }, s("rect", { width: 10, height: 10, rx: 2, fill: colourOf(c) })), link("concept", c, names[c]))));

function logo(columns, dna) {
  const width = 30 * columns.length + 34, high = 130;
  const most = dna ? 2 : 4.32;
  const svg = s("svg", { width, height: high + 26, viewBox: "0 0 " + width + " " + (high + 26), role: "img", "aria-label": "sequence logo around the peaks, in bits" });
  for (const bit of dna ? [0, 1, 2] : [0, 1, 2, 3, 4]) {
    const y = high - bit / most * (high - 6);
    svg.append(s("line", { class: "base", x1: 22, x2: width, y1: y, y2: y }), s("text", { class: "axis", x: 16, y: y + 3, "font-size": 9, "text-anchor": "end" }, bit));
  }
  columns.forEach((column, i) => {
    let y = high;
    for (const [letter, bits] of column) {
      const tall = bits / most * (high - 6);
      const node = s("text", { "font-size": 30, "font-weight": 700, "text-anchor": "middle", "aria-hidden": "true",
        transform: "translate(" + (38 + i * 30) + " " + y + ") scale(1.45 " + (tall / 22) + ")" }, letter);
      const colour = (dna ? BASES : LETTERS)[letter];
      if (colour) node.style.fill = colour;
      svg.append(node);
      y -= tall;
    }
    const middle = (columns.length - 1) / 2;
    svg.append(s("text", { class: "axis", x: 38 + i * 30, y: high + 15, "font-size": 9.5, "text-anchor": "middle" }, i === middle ? "peak" : (i > middle ? "+" : "") + (i - middle)));
  });
  return svg;
}

function histogram({ counts, max }) {
  const width = 330, high = 110, most = Math.max(1, ...counts);
  const svg = s("svg", { width, height: high + 26, viewBox: "0 0 " + width + " " + (high + 26), role: "img", "aria-label": "largest activation in each sample where the feature is active, 0 to " + max });
  counts.forEach((v, i) => svg.append(s("rect", { class: "act", x: i * width / counts.length, y: high - v / most * high, width: width / counts.length - 1, height: v / most * high }, s("title", {}, v))));
  svg.append(s("line", { class: "base", x1: 0, x2: width, y1: high + 0.5, y2: high + 0.5 }), s("text", { class: "axis", x: 0, y: high + 15, "font-size": 9.5 }, 0), s("text", { class: "axis", x: width, y: high + 15, "font-size": 9.5, "text-anchor": "end" }, show(max)));
  return svg;
}

// Points to click. The keyboard moves from point to point: arrows to the nearest in that direction, Enter opens.
function scatter(canvas, { x, y, colour, onPick, onOpen }) {
  const size = 720;
  canvas.width = canvas.height = size * 2;
  const span = (v) => { let lo = Infinity, hi = -Infinity; for (const a of v) { lo = Math.min(lo, a); hi = Math.max(hi, a); } return [lo, hi - lo || 1]; };
  const [x0, dx] = span(x), [y0, dy] = span(y);
  const px = Float32Array.from(x, (v) => 24 + (v - x0) / dx * (size - 48));
  const py = Float32Array.from(y, (v) => size - 24 - (v - y0) / dy * (size - 48));
  let chosen = -1;
  const draw = () => {
    const c = canvas.getContext("2d");
    c.setTransform(2, 0, 0, 2, 0, 0);
    c.clearRect(0, 0, size, size);
    const radius = x.length > 4000 ? 1.7 : x.length > 1000 ? 2.4 : 3.4;
    c.globalAlpha = 0.78;
    for (let i = 0; i < px.length; i += 1) { c.fillStyle = colour(i); c.beginPath(); c.arc(px[i], py[i], radius, 0, 7); c.fill(); }
    c.globalAlpha = 1;
    if (chosen >= 0) { c.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue("--ink"); c.lineWidth = 2; c.beginPath(); c.arc(px[chosen], py[chosen], 8, 0, 7); c.stroke(); }
  };
  const pick = (i) => { if (i >= 0) { chosen = i; draw(); onPick(i, nearest(px[i], py[i], 9).slice(1)); } };
  const nearest = (ax, ay, n) => {
    const far = Array.from(px, (v, i) => [(v - ax) ** 2 + (py[i] - ay) ** 2, i]);
    far.sort((a, b) => a[0] - b[0]);
    return far.slice(0, n).map((r) => r[1]);
  };
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    pick(nearest((event.clientX - box.left) / box.width * size, (event.clientY - box.top) / box.height * size, 1)[0]);
  });
  canvas.addEventListener("dblclick", () => { if (chosen >= 0) onOpen(chosen); });
  canvas.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === "Enter" && chosen >= 0) onOpen(chosen);
    if (!way) return;
    event.preventDefault();
    if (chosen < 0) { pick(0); return; }
    let best = -1, least = Infinity;
    for (let i = 0; i < px.length; i += 1) {
      const ux = px[i] - px[chosen], uy = py[i] - py[chosen];
      const ahead = ux * way[0] + uy * way[1];
      if (i === chosen || ahead <= 0) continue;
      const far = ahead + 2 * Math.abs(ux * way[1] + uy * way[0]);
      if (far < least) { least = far; best = i; }
    }
    pick(best);
  });
  draw();
  return { draw, pick };
}

// A chain of alpha carbons, coloured by activation, nearest drawn last. Drag or arrow keys turn it.
function structure(canvas, trace, values, peak) {
  const n = trace.xyz.length / 3, size = 560;
  canvas.width = canvas.height = size * 2;
  const middle = [0, 1, 2].map((k) => { let t = 0; for (let i = 0; i < n; i += 1) t += trace.xyz[3 * i + k]; return t / n; });
  let reach = 1;
  const points = Array.from({ length: n }, (_, i) => { const p = [0, 1, 2].map((k) => trace.xyz[3 * i + k] - middle[k]); reach = Math.max(reach, Math.hypot(...p)); return p; });
  let yaw = 0.5, pitch = 0.3;
  const shade = (i) => {
    const at = trace.position[i];
    const v = at < 0 ? 0 : Math.min(1, (values.get(at) || 0) / (peak || 1));
    const mix = (a, b) => Math.round(a + (b - a) * v);
    return v > 0 ? "rgb(" + mix(150, 213) + "," + mix(170, 94) + "," + mix(190, 0) + ")" : "rgb(150,160,172)";
  };
  const draw = () => {
    const c = canvas.getContext("2d");
    c.setTransform(2, 0, 0, 2, 0, 0);
    c.clearRect(0, 0, size, size);
    const [sy, cy, sp, cp] = [Math.sin(yaw), Math.cos(yaw), Math.sin(pitch), Math.cos(pitch)];
    const placed = points.map(([a, b, d]) => { const u = a * cy + d * sy, w = d * cy - a * sy; return [u, b * cp - w * sp, b * sp + w * cp]; });
    const scale = (size / 2 - 24) / reach;
    const at = ([u, v]) => [size / 2 + u * scale, size / 2 - v * scale];
    const bits = [];
    for (let i = 0; i + 1 < n; i += 1) {
      if (Math.hypot(...[0, 1, 2].map((k) => points[i + 1][k] - points[i][k])) < 4.6) bits.push(i);
    }
    bits.sort((a, b) => placed[a][2] - placed[b][2]);
    c.lineCap = "round";
    for (const i of bits) {
      const near = 0.5 + 0.5 * (placed[i][2] / reach + 1) / 2;
      c.globalAlpha = 0.35 + 0.65 * near;
      c.lineWidth = 3 + 4 * near;
      c.strokeStyle = shade(i);
      c.beginPath(); c.moveTo(...at(placed[i])); c.lineTo(...at(placed[i + 1])); c.stroke();
    }
    for (let i = 0; i < n; i += 1) {
      if (trace.position[i] >= 0 && values.get(trace.position[i]) > 0) { c.globalAlpha = 1; c.fillStyle = shade(i); c.beginPath(); c.arc(...at(placed[i]), 5.5, 0, 7); c.fill(); }
    }
    c.globalAlpha = 1;
  };
  let from = null;
  canvas.addEventListener("pointerdown", (e) => { from = [e.clientX, e.clientY]; canvas.setPointerCapture(e.pointerId); });
  canvas.addEventListener("pointermove", (e) => { if (!from) return; yaw += (e.clientX - from[0]) / 120; pitch += (e.clientY - from[1]) / 120; from = [e.clientX, e.clientY]; draw(); });
  canvas.addEventListener("pointerup", () => { from = null; });
  canvas.addEventListener("keydown", (e) => {
    const way = { ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, -0.15], ArrowDown: [0, 0.15] }[e.key];
    if (way) { e.preventDefault(); yaw += way[0]; pitch += way[1]; draw(); }
  });
  draw();
}
