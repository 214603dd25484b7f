// Structures coloured by activation: by the viewer in viewer/ where the site has one, else as a trace of our own.
"use strict";
const BASE_COLOUR = [178, 198, 218]; // where the feature is silent
const OTHER_COLOUR = [232, 232, 230]; // atoms that are not of the sample
const STOPS = [[250, 214, 165], [230, 140, 40], [150, 55, 0]]; // from weak to strong, by lightness

function heat(share) {
  if (!(share > 0)) return BASE_COLOUR;
  const at = Math.min(1, share) * (STOPS.length - 1);
  const k = Math.min(STOPS.length - 2, Math.floor(at));
  return STOPS[k].map((v, i) => Math.round(v + (STOPS[k + 1][i] - v) * (at - k)));
}
// The lines of the chains that are wanted: the chain is the seventh word of an atom's line.
const onlyChains = (cif, names) => cif.split("\n").filter((line) => !/^(ATOM|HETATM) /.test(line) || names.includes(line.split(" ")[6])).join("\n");
const rgb = (colour) => "rgb(" + colour.join(",") + ")";
const heatKey = (peak) => h("div", { class: "heat" }, h("span", {}, "0"), h("span", { class: "heatbar", "aria-hidden": "true" },
  s("svg", { width: 120, height: 10 }, Array.from({ length: 24 }, (_, i) => s("rect", { x: i * 5, y: 0, width: 5, height: 10, fill: rgb(heat((i + 0.01) / 23)) })))), h("span", {}, show(peak)));

let webgl = null;
function hasWebGL() {
  if (webgl === null) {
    const context = document.createElement("canvas").getContext("webgl2");
    webgl = Boolean(context);
    const lose = context && context.getExtension("WEBGL_lose_context");
    if (lose) lose.loseContext();
  }
  return webgl;
}

// Mol* carries a film encoder that is not used here, and that would make functions from text and start WebAssembly
// as it loads. The site's policy allows neither, so for that moment both are answered without running anything.
async function loadMolstar() {
  const native = { Function: globalThis.Function, WebAssembly: globalThis.WebAssembly, fetch: globalThis.fetch };
  const named = function (...texts) {
    if (texts.length === 2 && texts[0] === "body" && /^return function [A-Za-z0-9_$]+\(\) \{/.test(texts[1])) {
      return (inner) => function (...values) { return inner.apply(this, values); };
    }
    return Reflect.construct(native.Function, texts); // which the policy refuses
  };
  named.prototype = native.Function.prototype;
  const never = () => new Promise(() => {});
  const { Memory, Table, RuntimeError } = native.WebAssembly;
  Object.assign(globalThis, { Function: named, WebAssembly: { Memory, Table, RuntimeError, instantiate: never }, fetch: undefined });
  try { await addScript("viewer/molstar.js"); } finally { Object.assign(globalThis, native); }
}

// Mol* in a box of the page. Resolves to {colour(values, peak), dispose}.
async function molstarView(box, data, background) {
  if (!document.getElementById("viewer-style")) {
    document.head.append(h("link", { id: "viewer-style", rel: "stylesheet", href: "viewer/molstar.css" }));
  }
  if (typeof molstar === "undefined") await loadMolstar();
  const viewer = await molstar.Viewer.create(box, {
    layoutIsExpanded: false, layoutShowControls: false, layoutShowSequence: false, layoutShowLog: false, layoutShowLeftPanel: false,
    layoutShowRemoteState: false, viewportShowExpand: false, viewportShowSelectionMode: false, viewportShowAnimation: false,
    viewportShowTrajectoryControls: false, viewportShowSettings: false, viewportShowControls: true, collapseLeftPanel: true,
    pdbProvider: "rcsb", emdbProvider: "rcsb",
  });
  const plugin = viewer.plugin;
  const shown = { values: new Map(), peak: 1, turn: 0 };
  const packed = (c) => c[0] * 65536 + c[1] * 256 + c[2];
  const name = "sciinterp-activation";
  const colour = (location) => {
    const unit = location.unit || (location.aUnit ? location.aUnit : null);
    const element = location.element !== undefined ? location.element : location.aUnit ? location.aUnit.elements[location.aIndex] : undefined;
    if (!unit || element === undefined || !unit.model || !unit.model.atomicHierarchy) return packed(OTHER_COLOUR);
    const atoms = unit.model.atomicHierarchy;
    const chain = atoms.chains.auth_asym_id.value(atoms.chainAtomSegments.index[element]);
    const number = atoms.residues.label_seq_id.value(atoms.residueAtomSegments.index[element]);
    const at = Object.hasOwn(data.chains, chain) ? data.chains[chain][number - 1] : undefined;
    if (at === undefined || at < 0) return packed(OTHER_COLOUR);
    return packed(heat((shown.values.get(at) || 0) / (shown.peak || 1)));
  };
  plugin.representation.structure.themes.colorThemeRegistry.add({
    name, label: "Activation", category: "", isApplicable: () => true, defaultValues: { turn: 0 },
    getParams: () => ({ turn: { type: "value", defaultValue: 0 } }),
    factory: (_, props) => ({ factory: undefined, granularity: "group", color: colour, props, description: "Activation of a feature" }),
  });
  const paint = async () => {
    shown.turn += 1;
    const groups = plugin.managers.structure.hierarchy.current.structures.flatMap((one) => one.components);
    await plugin.managers.structure.component.updateRepresentationsTheme(groups, { color: name, colorParams: { turn: shown.turn } });
  };
  if (plugin.canvas3d) plugin.canvas3d.setProps({ renderer: { backgroundColor: background } });
  return {
    viewer,
    read: async (cif) => { await plugin.clear(); await viewer.loadStructureFromData(cif, "mmcif", false); },
    colour: async (values, peak) => { shown.values = values; shown.peak = peak; await paint(); },
    dispose: () => viewer.dispose(),
  };
}

// Our own: a chain of alpha carbons, nearest drawn last. Drag or arrow keys turn it.
function traceView(canvas, trace, values, peak) {
  const n = trace.xyz.length / 3;
  const size = 560;
  canvas.width = canvas.height = size * 2;
  const middle = [0, 1, 2].map((k) => { let t = 0; for (let i = 0; i < n; i += 1) t += trace.xyz[3 * i + k]; return t / n; });
  let reach = 1;
  const points = Array.from({ length: n }, (_, i) => {
    const p = [0, 1, 2].map((k) => trace.xyz[3 * i + k] - middle[k]);
    reach = Math.max(reach, Math.hypot(...p));
    return p;
  });
  let yaw = 0.5;
  let pitch = 0.3;
  const shade = (i) => rgb(trace.position[i] < 0 ? OTHER_COLOUR : heat((values.get(trace.position[i]) || 0) / (peak || 1)));
  const joined = Array.from({ length: Math.max(0, n - 1) }, (_, i) => i)
    .filter((i) => Math.hypot(...[0, 1, 2].map((k) => points[i + 1][k] - points[i][k])) < 4.6);
  const draw = () => {
    const c = canvas.getContext("2d");
    c.setTransform(2, 0, 0, 2, 0, 0);
    c.clearRect(0, 0, size, size);
    const [sy, cy, sp, cp] = [Math.sin(yaw), Math.cos(yaw), Math.sin(pitch), Math.cos(pitch)];
    const placed = points.map(([a, b, d]) => {
      const u = a * cy + d * sy;
      const w = d * cy - a * sy;
      return [u, b * cp - w * sp, b * sp + w * cp];
    });
    const scale = (size / 2 - 24) / reach;
    const at = ([u, v]) => [size / 2 + u * scale, size / 2 - v * scale];
    c.lineCap = "round";
    for (const i of joined.slice().sort((a, b) => placed[a][2] - placed[b][2])) {
      const near = 0.5 + 0.5 * (placed[i][2] / reach + 1) / 2;
      c.globalAlpha = 0.4 + 0.6 * near;
      c.lineWidth = 3 + 5 * near;
      c.strokeStyle = shade(i);
      c.beginPath();
      c.moveTo(...at(placed[i]));
      c.lineTo(...at(placed[i + 1]));
      c.stroke();
    }
    c.globalAlpha = 1;
    for (let i = 0; i < n; i += 1) {
      if (trace.position[i] < 0 || !(values.get(trace.position[i]) > 0)) continue;
      c.fillStyle = shade(i);
      c.beginPath();
      c.arc(...at(placed[i]), 5.5, 0, 7);
      c.fill();
    }
  };
  let from = null;
  const turn = (a, b) => { yaw += a; pitch += b; draw(); };
  canvas.addEventListener("pointerdown", (e) => { from = [e.clientX, e.clientY]; canvas.setPointerCapture(e.pointerId); });
  canvas.addEventListener("pointermove", (e) => {
    if (!from) return;
    turn((e.clientX - from[0]) / 120, (e.clientY - from[1]) / 120);
    from = [e.clientX, e.clientY];
  });
  canvas.addEventListener("pointerup", () => { from = null; });
  canvas.addEventListener("keydown", (e) => {
    const way = { ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, -0.15], ArrowDown: [0, 0.15] }[e.key];
    if (way) { e.preventDefault(); turn(...way); }
  });
  draw();
}
