// Long sequences: tracks along coordinates, to drag and zoom; tiles of detail are loaded as they come into view.
"use strict";
const GENOME_TRACK = 46;

function genomeView({ length, origin, chrom, spans, names, colours, overview, tile, tileSize, peakOf, chosen, focus }) {
  const canvas = h("canvas", { class: "genome", tabindex: "0", role: "application",
    "aria-label": "Tracks along " + chrom + ", " + length.toLocaleString("en") + " positions. Left and right arrows move, plus and minus zoom, Home shows everything." });
  const where = h("input", { type: "text", size: 26, autocomplete: "off", "aria-label": "Place shown, as from-to" });
  const status = h("p", { class: "soft", role: "status" }, "Point at the tracks to read values.");
  const view = { from: 0, to: length };
  const tiles = new Map();
  let features = chosen;
  let width = 1000;
  const clampView = (from, to) => {
    const span = Math.min(length, Math.max(20, to - from));
    const first = Math.min(Math.max(0, from), length - span);
    view.from = first;
    view.to = first + span;
    draw();
  };
  const scale = () => (width - GUTTER - 8) / (view.to - view.from);
  const zoom = (by, at = (view.from + view.to) / 2) => clampView(at - (at - view.from) / by, at + (view.to - at) / by);
  const move = (share) => { const d = (view.to - view.from) * share; clampView(view.from + d, view.to + d); };

  // The blocks that the view needs: tiles when it is narrow, the overview otherwise or while they load.
  function blocks() {
    if (overview.width === 1) return [{ ...overview, start: 0, tracks: unpack(overview) }];
    if (view.to - view.from > 2 * tileSize) return [{ width: overview.width, start: 0, tracks: unpack(overview) }];
    const out = [];
    for (let t = Math.floor(view.from / tileSize); t * tileSize < view.to; t += 1) {
      if (!tiles.has(t)) {
        tiles.set(t, null);
        tile(t).then((block) => { tiles.set(t, block); draw(); });
      }
      if (!tiles.get(t)) return [{ width: overview.width, start: 0, tracks: unpack(overview) }];
      out.push({ width: 1, start: tiles.get(t).start, sequence: tiles.get(t).sequence, tracks: unpack(tiles.get(t)) });
    }
    return out;
  }

  function drawTrack(c, j, y, parts, px, ink) {
    const peak = peakOf(j) || 1;
    c.fillStyle = styled("--rule");
    c.fillRect(GUTTER, y + GENOME_TRACK - 6, width - GUTTER - 8, 1);
    c.fillStyle = styled("--mark");
    for (const part of parts) {
      const track = part.tracks.get(j);
      if (!track) continue;
      for (let i = 0; i < track.at.length; i += 1) {
        const at = part.start + track.at[i] * part.width;
        if (at + part.width < view.from || at > view.to) continue;
        const high = Math.max(1, track.value[i] / peak * (GENOME_TRACK - 14));
        const w = Math.min(part.width * px, width - 8 - GUTTER - (at - view.from) * px);
        c.fillRect(GUTTER + (at - view.from) * px, y + GENOME_TRACK - 6 - high, Math.max(0.8, w > 3 ? w - 0.6 : w), high);
      }
    }
    c.fillStyle = styled("--paper");
    c.fillRect(0, y, GUTTER - 2, GENOME_TRACK);
    c.fillStyle = ink;
    c.textAlign = "right";
    c.fillText("feature " + j, GUTTER - 8, y + 28);
    c.fillStyle = styled("--soft");
    c.fillText("to " + show(peak), GUTTER - 8, y + 40);
  }

  function draw() {
    width = Math.max(320, canvas.parentElement ? canvas.parentElement.clientWidth : 1000);
    const px = scale();
    const rows = lanes(spans.filter((r) => r[1] > view.from && r[0] < view.to), names);
    const letters = px >= 7;
    const top = 24;
    const lanesTop = top + features.length * GENOME_TRACK + (letters ? 18 : 6);
    const height = lanesTop + Math.max(1, rows.length) * 15 + 6;
    const ratio = Math.min(2, devicePixelRatio || 1);
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    canvas.style.height = height + "px";
    const c = canvas.getContext("2d");
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, width, height);
    c.font = "10.5px " + styled("--sans");
    const ink = styled("--ink");
    c.textAlign = "center";
    c.fillStyle = styled("--soft");
    const step = STEPS.find((v) => v * px >= 100) || 5000000;
    for (let i = Math.ceil((view.from + origin + 1) / step) * step; i <= view.to + origin; i += step) {
      const x = GUTTER + (i - origin - 0.5 - view.from) * px;
      c.textAlign = x > width - 40 ? "right" : "center";
      c.fillText(i.toLocaleString("en"), Math.min(x, width - 2), 12);
      c.fillRect(x, 16, 1, 4);
    }
    const parts = blocks();
    features.forEach((j, k) => drawTrack(c, j, top + k * GENOME_TRACK, parts, px, ink));
    if (letters) {
      c.textAlign = "center";
      for (const part of parts) {
        const text = part.sequence || "";
        for (let i = Math.max(0, Math.floor(view.from) - part.start); i < text.length && part.start + i < view.to; i += 1) {
          c.fillStyle = (isDark() ? null : BASES[text[i].toUpperCase()]) || ink;
          c.fillText(text[i], GUTTER + (part.start + i + 0.5 - view.from) * px, lanesTop - 6);
        }
      }
    }
    rows.forEach((row, k) => {
      const y = lanesTop + k * 15;
      for (const [start, end, concept] of row.spans) {
        const a = GUTTER + Math.max(0, start - view.from) * px;
        const b = GUTTER + (Math.min(end, view.to) - view.from) * px;
        c.fillStyle = colours[concept];
        c.fillRect(a, y, Math.max(1.5, b - a), 12);
        const name = shortOf(names[concept]);
        if (b - a > name.length * 6 + 6) {
          c.fillStyle = LIGHT.has(colours[concept]) ? "#1b1f24" : "#ffffff";
          c.textAlign = "center";
          c.fillText(name, (a + b) / 2, y + 9.5);
        }
      }
      c.textAlign = "right";
      c.fillStyle = styled("--paper");
      c.fillRect(0, y, GUTTER - 2, 14);
      c.fillStyle = ink;
      c.fillText(clip(row.kind, 15), GUTTER - 8, y + 10);
    });
    where.value = chrom + ":" + (Math.floor(view.from) + origin + 1).toLocaleString("en") + "-" + (Math.ceil(view.to) + origin).toLocaleString("en");
  }

  const place = (event) => view.from + (event.clientX - canvas.getBoundingClientRect().left - GUTTER) / scale();
  let drag = null;
  canvas.addEventListener("pointerdown", (event) => { drag = event.clientX; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointerup", () => { drag = null; });
  canvas.addEventListener("pointermove", (event) => {
    if (drag !== null) {
      const d = (drag - event.clientX) / scale();
      drag = event.clientX;
      clampView(view.from + d, view.to + d);
      return;
    }
    const at = Math.floor(place(event));
    if (at < 0 || at >= length) return;
    const on = features.map((j) => {
      let value = 0;
      for (const part of blocks()) {
        const track = part.tracks.get(j);
        const bin = Math.floor((at - part.start) / part.width);
        const i = track ? track.at.indexOf(bin) : -1;
        if (i >= 0) value = Math.max(value, track.value[i]);
      }
      return value ? "feature " + j + " " + show(value) : "";
    }).filter(Boolean);
    const under = spans.filter((r) => r[0] <= at && r[1] > at).map((r) => names[r[2]]);
    status.textContent = "Position " + (at + origin + 1).toLocaleString("en") + (on.length ? ": " + on.join(", ") : "") + (under.length ? "; " + under.join(", ") : "");
  });
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoom(event.deltaY < 0 ? 1.4 : 1 / 1.4, place(event)); }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const act = { ArrowLeft: () => move(-0.2), ArrowRight: () => move(0.2), "+": () => zoom(2), "=": () => zoom(2), "-": () => zoom(0.5), Home: () => clampView(0, length) }[event.key];
    if (act) { event.preventDefault(); act(); }
  });
  const go = () => {
    const text = where.value.split(":").pop().replace(/,/g, "");
    const match = /^\s*(\d+)\s*(?:[-\s]+(\d+))?\s*$/.exec(text);
    if (!match) { status.textContent = "A place is written as from-to, in positions from " + (origin + 1) + "."; return; }
    const from = Number(match[1]) - origin - 1;
    const to = match[2] ? Number(match[2]) - origin : from + 1;
    clampView(match[2] ? from : from - 100, match[2] ? to : to + 100);
  };
  where.addEventListener("change", go);
  const node = h("div", {}, h("div", { class: "tools" }, button("Zoom in", () => zoom(2)), button("Zoom out", () => zoom(0.5)),
    button("Left", () => move(-0.4)), button("Right", () => move(0.4)), button("All", () => clampView(0, length)), h("label", {}, "Place ", where)), canvas, status);
  if (focus !== undefined) { view.from = Math.max(0, focus - 150); view.to = Math.min(length, focus + 150); }
  return { node, draw, setFeatures: (list) => { features = list; draw(); }, view };
}
