"use strict";
// Flat triangles, farthest first, on a plain canvas: enough to turn a few objects, and it opens anywhere.
const SCENES = JSON.parse(document.getElementById("data").textContent);

// Middle and radius of objects and cameras.
function bounds(scene) {
  const all = [...scene.bodies.flatMap((body) => body.vertices), ...scene.cameras.flatMap((camera) => camera.points)];
  const low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
  for (const p of all) p.forEach((v, i) => { low[i] = Math.min(low[i], v); high[i] = Math.max(high[i], v); });
  const center = low.map((v, i) => (v + high[i]) / 2);
  const radius = all.reduce((most, p) => Math.max(most, Math.hypot(...p.map((v, i) => v - center[i]))), 1);
  return { center, radius };
}

function show(canvas) {
  const scene = SCENES[+canvas.dataset.scene], { center, radius } = bounds(scene), context = canvas.getContext("2d");
  const start = { yaw: 0.5, pitch: 0.35, zoom: 0.95, x: canvas.width / 2, y: canvas.height / 2 };
  const state = { ...start };
  const place = ([x, y, z]) => {
    // The world of unknown cameras is a camera's frame: y is down, z into the scene.
    const [a, b, c] = [x - center[0], y - center[1], z - center[2]];
    const [cy, sy, cp, sp] = [Math.cos(state.yaw), Math.sin(state.yaw), Math.cos(state.pitch), Math.sin(state.pitch)];
    const u = cy * a + sy * c, w = -sy * a + cy * c, v = cp * b + sp * w, depth = -sp * b + cp * w;
    const size = (0.5 * canvas.height * state.zoom * 2.2) / radius / (2.2 + depth / radius);
    return [state.x + u * size, state.y + v * size, depth];
  };
  function draw() {
    context.clearRect(0, 0, canvas.width, canvas.height);
    const triangles = [];
    for (const body of scene.bodies) {
      const p = body.vertices.map(place);
      for (const [i, j, k] of body.faces) triangles.push([p[i], p[j], p[k], body.color]);
    }
    triangles.sort((a, b) => b[0][2] + b[1][2] + b[2][2] - a[0][2] - a[1][2] - a[2][2]);
    for (const [a, b, c, color] of triangles) {
      const e = [b[0] - a[0], b[1] - a[1], b[2] - a[2]], f = [c[0] - a[0], c[1] - a[1], c[2] - a[2]];
      const n = [e[1] * f[2] - e[2] * f[1], e[2] * f[0] - e[0] * f[2], e[0] * f[1] - e[1] * f[0]];
      const light = 0.35 + 0.65 * Math.abs(n[2] * 0.8 + n[1] * 0.5) / (Math.hypot(...n) || 1);
      context.fillStyle = context.strokeStyle = `rgb(${color.map((v) => Math.round(Math.min(255, v * light))).join()})`;
      context.beginPath();
      context.moveTo(a[0], a[1]); context.lineTo(b[0], b[1]); context.lineTo(c[0], c[1]); context.closePath();
      context.fill(); context.stroke();
    }
    context.strokeStyle = "#555"; context.fillStyle = "#222"; context.font = "20px system-ui, sans-serif";
    for (const camera of scene.cameras) {
      const [apex, ...corners] = camera.points.map(place);
      context.beginPath();
      corners.forEach((q, i) => {
        const next = corners[(i + 1) % 4];
        context.moveTo(apex[0], apex[1]); context.lineTo(q[0], q[1]); context.lineTo(next[0], next[1]);
      });
      context.stroke();
      context.fillText(camera.id, apex[0] + 6, apex[1] - 6);
    }
    canvas.dataset.drawn = triangles.length;
  }
  let last = null;
  canvas.addEventListener("pointerdown", (e) => { last = [e.clientX, e.clientY]; canvas.setPointerCapture(e.pointerId); });
  canvas.addEventListener("pointerup", () => { last = null; });
  canvas.addEventListener("pointermove", (e) => {
    if (!last) return;
    state.yaw -= (e.clientX - last[0]) / 150;
    state.pitch = Math.max(-1.6, Math.min(1.6, state.pitch - (e.clientY - last[1]) / 150));
    last = [e.clientX, e.clientY];
    draw();
  });
  canvas.addEventListener("wheel", (e) => {
    e.preventDefault();
    // What is under the mouse stays there.
    const shown = canvas.getBoundingClientRect(), factor = Math.exp(-e.deltaY / 800);
    const mouse = [(e.clientX - shown.left) / shown.width * canvas.width, (e.clientY - shown.top) / shown.height * canvas.height];
    state.x = mouse[0] + (state.x - mouse[0]) * factor;
    state.y = mouse[1] + (state.y - mouse[1]) * factor;
    state.zoom *= factor;
    draw();
  }, { passive: false });
  canvas.addEventListener("dblclick", () => { Object.assign(state, start); draw(); });
  draw();
}

document.querySelectorAll("canvas.scene").forEach(show);
document.querySelectorAll(".views figure").forEach((figure) => figure.addEventListener("click", () => figure.classList.toggle("large")));
