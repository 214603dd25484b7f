// The map: points to click, drag and zoom. The keyboard moves from point to point.
"use strict";
const MAP_SIZE = 720;

function spread(values, flip) {
  let lo = Infinity;
  let hi = -Infinity;
  for (const v of values) { lo = Math.min(lo, v); hi = Math.max(hi, v); }
  const room = MAP_SIZE - 48;
  return Float32Array.from(values, (v) => { const t = (v - lo) / (hi - lo || 1); return 24 + (flip ? 1 - t : t) * room; });
}

function scatter(canvas, { x, y, colourOf, front, onPick, onOpen, onHover }) {
  const ratio = 2;
  canvas.width = canvas.height = MAP_SIZE * ratio;
  const px = spread(x, false);
  const py = spread(y, true);
  const view = { k: 1, x: 0, y: 0 };
  let chosen = -1;
  let matches = null;
  const sx = (i) => px[i] * view.k + view.x;
  const sy = (i) => py[i] * view.k + view.y;
  const draw = () => {
    const c = canvas.getContext("2d");
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, MAP_SIZE, MAP_SIZE);
    const radius = (px.length > 4000 ? 1.7 : px.length > 1000 ? 2.5 : 3.4) * Math.min(2.2, Math.sqrt(view.k));
    const colours = colourOf();
    c.strokeStyle = isDark() ? "rgba(230,232,235,0.75)" : "rgba(27,31,36,0.35)";
    c.lineWidth = 0.8;
    const dots = (wanted) => {
      for (let i = 0; i < px.length; i += 1) {
        if (Boolean(front && front(i)) !== wanted) continue;
        const u = sx(i);
        const v = sy(i);
        if (u < -9 || v < -9 || u > MAP_SIZE + 9 || v > MAP_SIZE + 9) continue;
        c.globalAlpha = matches && !matches(i) ? 0.08 : wanted ? 0.95 : 0.7;
        c.fillStyle = colours(i);
        c.beginPath();
        c.arc(u, v, wanted ? radius * 1.25 : radius, 0, 7);
        c.fill();
        if (wanted) c.stroke();
      }
    };
    dots(false);
    dots(true);
    c.globalAlpha = 1;
    if (chosen >= 0) {
      c.strokeStyle = styled("--ink");
      c.lineWidth = 2;
      c.beginPath();
      c.arc(sx(chosen), sy(chosen), radius + 5, 0, 7);
      c.stroke();
    }
  };
  const nearest = (u, v, n) => {
    const far = Array.from(px, (_, i) => [(sx(i) - u) ** 2 + (sy(i) - v) ** 2, i]);
    far.sort((a, b) => a[0] - b[0]);
    return far.slice(0, n);
  };
  const pick = (i) => {
    if (i < 0) return;
    chosen = i;
    draw();
    onPick(i, nearest(sx(i), sy(i), 9).slice(1).map((r) => r[1]));
  };
  const zoom = (by, u = MAP_SIZE / 2, v = MAP_SIZE / 2) => {
    const k = Math.min(40, Math.max(1, view.k * by));
    view.x = u - (u - view.x) * k / view.k;
    view.y = v - (v - view.y) * k / view.k;
    view.k = k;
    if (k === 1) view.x = view.y = 0;
    draw();
  };
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width * MAP_SIZE, (event.clientY - box.top) / box.height * MAP_SIZE];
  };
  let drag = null;
  canvas.addEventListener("pointerdown", (event) => { drag = { at: place(event), moved: false }; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", (event) => {
    const at = place(event);
    if (!drag) {
      const [far, i] = nearest(...at, 1)[0];
      onHover(far < 200 ? i : -1);
      return;
    }
    if (Math.hypot(at[0] - drag.at[0], at[1] - drag.at[1]) > 3 || drag.moved) {
      view.x += at[0] - drag.at[0];
      view.y += at[1] - drag.at[1];
      drag = { at, moved: true };
      draw();
    }
  });
  let dragged = false;
  canvas.addEventListener("pointerup", () => { dragged = Boolean(drag && drag.moved); drag = null; });
  canvas.addEventListener("click", (event) => { if (!dragged) pick(nearest(...place(event), 1)[0][1]); dragged = false; });
  canvas.addEventListener("dblclick", () => { if (chosen >= 0) onOpen(chosen); });
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoom(event.deltaY < 0 ? 1.25 : 0.8, ...place(event)); }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === "Enter" && chosen >= 0) onOpen(chosen);
    if (event.key === "+" || event.key === "=") zoom(1.5, ...(chosen >= 0 ? [sx(chosen), sy(chosen)] : []));
    if (event.key === "-") zoom(1 / 1.5);
    if (!way) return;
    event.preventDefault();
    if (chosen < 0) { pick(nearest(MAP_SIZE / 2, MAP_SIZE / 2, 1)[0][1]); return; }
    let best = -1;
    let least = Infinity;
    for (let i = 0; i < px.length; i += 1) {
      const ux = px[i] - px[chosen];
      const uy = py[i] - py[chosen];
      const ahead = ux * way[0] + uy * way[1];
      if (i === chosen || ahead <= 0) continue;
      const far = ahead + 2 * Math.abs(ux * way[1] + uy * way[0]);
      if (far < least) { least = far; best = i; }
    }
    pick(best);
  });
  draw();
  return { draw, pick, zoom, match: (test) => { matches = test; draw(); } };
}

// From pale to strong along one hue, by lightness: read the same by every kind of colour vision.
function ramp(share) {
  const dark = isDark();
  const [a, b] = dark ? [[58, 70, 83], [255, 214, 120]] : [[205, 215, 224], [11, 58, 110]];
  const t = Math.min(1, Math.max(0, share));
  return "rgb(" + a.map((v, k) => Math.round(v + (b[k] - v) * t)).join(",") + ")";
}
