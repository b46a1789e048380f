"use strict";
// Everything is computed here from the page's own numbers: probabilities are the softmax over the surface samples of
// query . key, as in the method. Nothing is loaded from anywhere.
const DATA = JSON.parse(document.getElementById("data").textContent);
const POSES = ["truth", "estimate", "refined"];
const TILES = {
  "crop": "what the network sees", "mask": "probability of the object's mask", "query": "queries, 12 dimensions as colours",
  "key": "keys at the pose, same colours", "dist": "where the visible surface could be this pixel",
  "xy": "surface seen along z", "xz": "surface seen along y", "yz": "surface seen along x",
  "pose": "object coordinates at the pose", "mask score": "mask score, white is perfect",
  "coord score": "correspondence score, white is perfect", "query norm": "length of the query times mask",
};
const PLANES = { "xy": [0, 1], "xz": [0, 2], "yz": [1, 2] };
const style = getComputedStyle(document.documentElement);
const COLORS = Object.fromEntries(POSES.map((name) => [name, style.getPropertyValue("--" + name).trim()]));
const $ = (id) => document.getElementById(id);
const state = { index: 0, x: 0, y: 0, pose: "truth", yaw: 0.6, pitch: 0.5, generation: 0 };

function unpack(text, Kind, scale) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const whole = new Kind(bytes.buffer);
  const limit = { Int16Array: 32767, Int8Array: 127, Uint8Array: 255 }[Kind.name];
  return Float32Array.from(whole, (value) => (value / limit) * scale);
}

const objects = {};
function objectOf(item) {
  if (!(item.object in objects)) {
    const o = DATA.objects[item.object];
    objects[item.object] = {
      points: unpack(o.points, Int16Array, 1), normals: unpack(o.normals, Int8Array, 1),
      keys: unpack(o.keys, Int16Array, o.keyScale), keyScale: o.keyScale, shown: o.shown, of: o.of,
    };
  }
  return objects[item.object];
}

function picture(source) {
  const image = new Image();
  image.src = source;
  return image.decode().then(() => image);
}

async function pictures(sources) {
  const names = Object.keys(sources);
  const images = await Promise.all(names.map((name) => picture(sources[name])));
  return Object.fromEntries(names.map((name, i) => [name, images[i]]));
}

const loaded = new Map();
async function load(index) {
  if (loaded.has(index)) return loaded.get(index);
  const item = DATA.instances[index], object = objectOf(item);
  const ready = {
    item, object, side: item.side, dims: item.dims, pictures: await pictures(item.pictures), poses: {},
    maskProb: unpack(item.maskProb, Uint8Array, 1), queries: unpack(item.queries, Int16Array, item.queryScale),
  };
  for (const [name, pose] of Object.entries(item.poses)) {
    const bits = Uint8Array.from(atob(pose.mask), (c) => c.charCodeAt(0)), pixels = [];
    for (let i = 0; i < item.side ** 2; i++) if ((bits[i >> 3] >> (i & 7)) & 1) pixels.push(i);
    const keys = unpack(pose.keys, Int16Array, object.keyScale);
    ready.poses[name] = { pixels, keys, outline: pose.outline, pictures: await pictures(pose.pictures) };
  }
  if (loaded.size > 3) loaded.delete(loaded.keys().next().value);
  loaded.set(index, ready);
  return ready;
}

// Softmax over rows of keys: probabilities, the largest of them and where it is.
function distribution(query, keys) {
  const dims = query.length, count = keys.length / dims, p = new Float32Array(count);
  let top = -Infinity, best = -1, sum = 0, entropy = 0;
  for (let i = 0, k = 0; i < count; i++) {
    let value = 0;
    for (let d = 0; d < dims; d++) value += query[d] * keys[k++];
    p[i] = value;
    if (value > top) { top = value; best = i; }
  }
  for (let i = 0; i < count; i++) sum += p[i] = Math.exp(p[i] - top);
  for (let i = 0; i < count; i++) { p[i] /= sum; if (p[i] > 0) entropy -= p[i] * Math.log2(p[i]); }
  return { p, best, peak: count ? p[best] : 0, entropy };
}

const canvases = {};
function makeTiles() {
  for (const [name, text] of Object.entries(TILES)) {
    const figure = document.createElement("figure"), canvas = document.createElement("canvas");
    figure.id = "tile-" + name.replace(" ", "-");
    figure.innerHTML = `<figcaption><b>${name}</b>: ${text}</figcaption>`;
    figure.prepend(canvas);
    canvas.width = canvas.height = 448;
    $("tiles").append(figure);
    canvases[name] = canvas;
    if (name in PLANES) continue;
    figure.className = "aligned";
    canvas.addEventListener("mousemove", (event) => {
      if ($("frozen").checked || event.ctrlKey || !current) return;
      const box = canvas.getBoundingClientRect(), last = current.side - 1;
      state.x = Math.min(last, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * current.side)));
      state.y = Math.min(last, Math.max(0, Math.floor(((event.clientY - box.top) / box.height) * current.side)));
      draw();
    });
  }
}

function drawBitmap(canvas, source) {
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (source) context.drawImage(source, 0, 0, canvas.width, canvas.height);
  return context;
}

function raster(side, fill) {
  const canvas = new OffscreenCanvas(side, side), context = canvas.getContext("2d");
  const image = context.createImageData(side, side);
  fill(image.data);
  for (let i = 3; i < image.data.length; i += 4) image.data[i] = 255;
  context.putImageData(image, 0, 0);
  return canvas;
}

function cross(context, scale) {
  const x = (state.x + 0.5) * scale, y = (state.y + 0.5) * scale;
  for (const [color, width] of [["#000", 7], ["#7dff7d", 3.5]]) {
    context.strokeStyle = color;
    context.lineWidth = width;
    context.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + 5 * dx, y + 5 * dy);
      context.lineTo(x + 18 * dx, y + 18 * dy);
    }
    context.stroke();
  }
}

function outlines(context, scale) {
  for (const box of document.querySelectorAll("#outlines input")) {
    const pose = current.poses[box.value];
    if (!pose || !box.checked) continue;
    context.strokeStyle = COLORS[box.value];
    context.lineWidth = 2.5;
    for (const line of pose.outline) {
      context.beginPath();
      for (const [x, y] of line) context.lineTo(x * scale, y * scale);
      context.closePath();
      context.stroke();
    }
  }
}

function planes(name, surface, certainty) {
  const [across, up] = PLANES[name], { points } = current.object;
  const side = Math.min(224, Math.max(32, Math.floor(0.7 * Math.sqrt(surface.p.length))));  // closed, if coarse
  const total = new Float32Array(side * side), seen = new Uint8Array(side * side);
  let most = 1e-12;
  for (let i = 0; i < surface.p.length; i++) {
    const column = Math.round(((points[3 * i + across] + 1) / 2) * (side - 1));
    const row = Math.round(((1 - points[3 * i + up]) / 2) * (side - 1)), cell = row * side + column;
    seen[cell] = 1;
    total[cell] += surface.p[i];
    if (total[cell] > most) most = total[cell];
  }
  return raster(side, (data) => {
    for (let i = 0; i < total.length; i++) {
      const ground = seen[i] ? 26 : 0;
      data[4 * i] = Math.max(ground, (255 * certainty * total[i]) / most);
      data[4 * i + 1] = data[4 * i + 2] = ground;
    }
  });
}

function visible(pose, query, certainty) {
  const side = current.side, context = new OffscreenCanvas(side, side).getContext("2d");
  context.drawImage(current.pictures.crop, 0, 0);
  const crop = context.getImageData(0, 0, side, side).data, found = distribution(query, pose ? pose.keys : []);
  return raster(side, (data) => {
    for (let i = 0; i < side * side; i++) {
      data[4 * i] = data[4 * i + 1] = data[4 * i + 2] = (crop[4 * i] + crop[4 * i + 1] + crop[4 * i + 2]) / 6;
    }
    if (pose) pose.pixels.forEach((cell, i) => { data[4 * cell] += (128 * certainty * found.p[i]) / found.peak; });
  });
}

let current = null, surface = null, certainty = 0;
function draw() {
  const { side, dims, object, item } = current, cell = state.y * side + state.x;
  const query = current.queries.subarray(cell * dims, (cell + 1) * dims);
  const pose = current.poses[state.pose];
  certainty = current.maskProb[cell];
  surface = distribution(query, object.keys);
  for (const name of Object.keys(TILES)) {
    const canvas = canvases[name], scale = canvas.width / side;
    if (name in PLANES) drawBitmap(canvas, planes(name, surface, certainty));
    else if (name === "dist") cross(drawBitmap(canvas, visible(pose, query, certainty)), scale);
    else {
      const context = drawBitmap(canvas, current.pictures[name] || (pose && pose.pictures[name]));
      if (name === "crop" || name === "pose") outlines(context, scale);
      if (name === "crop" || name === "mask" || name === "query") cross(context, scale);
    }
  }
  const spread = Math.round(2 ** surface.entropy);
  const part = object.shown < object.of ? ` (a random part of ${object.of})` : "";
  $("readout").innerHTML = `<b>${item.title}</b> · score ${item.score === null ? "no pose found" : item.score.toFixed(3)} · ` +
    `pixel x <b>${state.x}</b>, y <b>${state.y}</b> · mask <b>${(100 * certainty).toFixed(1)} %</b> · most likely point ` +
    `<b>${(100 * surface.peak).toPrecision(2)} %</b> · spread over about <b>${spread}</b> of ${object.shown} surface points${part}`;
  drawSolid();
}

// The surface as points with a depth buffer: shaded grey, red where it is likely.
function drawSolid() {
  if (!surface) return;
  const canvas = document.querySelector("#solid canvas"), size = canvas.width, context = canvas.getContext("2d");
  const { points, normals } = current.object, depth = new Float32Array(size * size).fill(-Infinity);
  const image = context.createImageData(size, size), data = image.data;
  const cy = Math.cos(state.yaw), sy = Math.sin(state.yaw), cp = Math.cos(state.pitch), sp = Math.sin(state.pitch);
  const count = surface.p.length, reach = Math.max(1, Math.round(size / Math.sqrt(count) / 1.3));
  for (let i = 0; i < data.length; i += 4) { data[i] = 20; data[i + 1] = 23; data[i + 2] = 26; data[i + 3] = 255; }
  for (let i = 0; i < count; i++) {
    const x = points[3 * i], y = points[3 * i + 1], z = points[3 * i + 2];
    const u = cy * x - sy * y, w = sy * x + cy * y;  // turn about z, then tilt towards the viewer
    const v = cp * z - sp * w, near = -(sp * z + cp * w);
    const facing = sp * normals[3 * i + 2] + cp * (sy * normals[3 * i] + cy * normals[3 * i + 1]);
    const light = 60 + 140 * Math.abs(facing), heat = certainty * Math.sqrt(surface.p[i] / surface.peak);
    const r = light + (255 - light) * heat, gb = light * (1 - heat);
    const column = Math.round((0.5 + 0.46 * u) * size), row = Math.round((0.5 - 0.46 * v) * size);
    for (let dy = -reach; dy <= reach; dy++) for (let dx = -reach; dx <= reach; dx++) {
      const px = column + dx, py = row + dy;
      if (px < 0 || py < 0 || px >= size || py >= size || dx * dx + dy * dy > reach * reach) continue;
      const cell = py * size + px;
      if (near <= depth[cell]) continue;
      depth[cell] = near;
      data[4 * cell] = r; data[4 * cell + 1] = gb; data[4 * cell + 2] = gb;
    }
  }
  context.putImageData(image, 0, 0);
}

function turning() {
  const canvas = document.querySelector("#solid canvas");
  let last = null, before = 0;
  canvas.addEventListener("pointerdown", (event) => { last = event; canvas.setPointerCapture(event.pointerId); $("spin").checked = false; });
  canvas.addEventListener("pointerup", () => { last = null; });
  canvas.addEventListener("pointermove", (event) => {
    if (!last) return;
    state.yaw += (event.clientX - last.clientX) * 0.01;
    state.pitch = Math.min(1.57, Math.max(-1.57, state.pitch + (event.clientY - last.clientY) * 0.01));
    last = event;
    drawSolid();
  });
  const frame = (now) => {
    if ($("spin").checked && surface && now - before > 40) {
      state.yaw += Math.min(now - before, 100) * 0.0006;
      before = now;
      drawSolid();
    }
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}

async function show(index) {
  const count = DATA.instances.length, generation = ++state.generation;
  state.index = ((index % count) + count) % count;
  const ready = await load(state.index);
  if (generation !== state.generation) return;  // another one was asked for meanwhile
  current = ready;
  [state.x, state.y] = ready.item.start;
  $("instance").value = String(state.index);
  if (!(state.pose in ready.poses)) state.pose = POSES.find((name) => name in ready.poses) || state.pose;
  for (const input of document.querySelectorAll("#poses input, #outlines input")) {
    input.disabled = !(input.value in ready.poses);
    input.parentElement.classList.toggle("absent", input.disabled);
    if (input.type === "radio") input.checked = input.value === state.pose;
  }
  draw();
}

function choose(pose) {
  if (!current || !(pose in current.poses)) return;
  state.pose = pose;
  document.querySelector(`#poses input[value="${pose}"]`).checked = true;
  draw();
}

function random() {
  const count = DATA.instances.length;
  show(state.index + 1 + Math.floor(Math.random() * Math.max(count - 1, 1)));
}

makeTiles();
turning();
DATA.instances.forEach((item, index) => $("instance").add(new Option(`${index + 1}: ${item.title}`, String(index))));
$("instance").addEventListener("change", () => show(Number($("instance").value)));
$("previous").addEventListener("click", () => show(state.index - 1));
$("next").addEventListener("click", () => show(state.index + 1));
$("random").addEventListener("click", random);
for (const input of document.querySelectorAll("#poses input")) input.addEventListener("change", () => choose(input.value));
for (const input of document.querySelectorAll("#outlines input")) input.addEventListener("change", draw);
document.addEventListener("keydown", (event) => {
  if (event.target.tagName === "SELECT") return;
  const actions = {
    ArrowLeft: () => show(state.index - 1), ArrowRight: () => show(state.index + 1), r: random,
    g: () => choose("truth"), e: () => choose("estimate"), f: () => choose("refined"),
  };
  if (!event.ctrlKey && actions[event.key]) { event.preventDefault(); actions[event.key](); }
});
show(0);
