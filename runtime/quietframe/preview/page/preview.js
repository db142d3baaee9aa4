// The preview's page: shows what comes over the WebSocket, sends what the controls say.

import { connect, find, setStatus } from "/connection.js";

// ---- The picture: two JPEGs of one frame, drawn on one canvas, cut at the divider.

const canvas = find("canvas");
const context = canvas.getContext("2d", { alpha: false });
let pair = null;  // { before, after }: ImageBitmap
let split = 0.5;
let arrived = 0;
let drawn = 0;

function draw() {
  if (!pair) return;
  const { width, height } = pair.after;
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
    find("picture").style.setProperty("--ratio", width / height);
  }
  const cut = Math.round(split * width);
  context.drawImage(pair.after, 0, 0);
  context.drawImage(pair.before, 0, 0, cut, height, 0, 0, cut, height);
}

async function show(message, socket) {
  const turn = ++arrived;
  const view = new DataView(message);
  const index = view.getUint32(0);
  const middle = 8 + view.getUint32(4);
  const bitmap = (from, to) => createImageBitmap(new Blob([message.slice(from, to)], { type: "image/jpeg" }));
  const [before, after] = await Promise.all([bitmap(8, middle), bitmap(middle)]);
  // A hidden page draws nothing, so it answers nothing, and the server encodes nothing for it.
  requestAnimationFrame(() => {
    if (turn > drawn) {  // two are decoded at once, and the later one may be ready first
      pair?.before.close();
      pair?.after.close();
      pair = { before, after };
      drawn = turn;
      canvas.dataset.index = index;
      draw();
    }
    if (socket.readyState === WebSocket.OPEN) socket.send("shown");
  });
}

const divider = find("divider");

function moveDivider(to) {
  split = Math.min(1, Math.max(0, to));
  const percent = Math.round(split * 100);
  document.documentElement.style.setProperty("--split", `${split * 100}%`);
  divider.setAttribute("aria-valuenow", percent);
  divider.setAttribute("aria-valuetext", `${percent} % camera, ${100 - percent} % clean`);
  find("tag-before").style.opacity = split < 0.2 ? 0 : 1;
  find("tag-after").style.opacity = split > 0.8 ? 0 : 1;
  draw();
}

const picture = find("picture");
const moveToPointer = (event) => {
  const box = picture.getBoundingClientRect();
  moveDivider((event.clientX - box.left) / box.width);
};
picture.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  picture.setPointerCapture(event.pointerId);
  divider.focus({ preventScroll: true, focusVisible: false });
  moveToPointer(event);
});
picture.addEventListener("pointermove", (event) => {
  if (picture.hasPointerCapture(event.pointerId)) moveToPointer(event);
});

divider.addEventListener("keydown", (event) => {
  const steps = { ArrowLeft: -0.02, ArrowDown: -0.02, ArrowRight: 0.02, ArrowUp: 0.02, PageDown: -0.1, PageUp: 0.1, Home: -1, End: 1 };
  if (!(event.key in steps)) return;
  event.preventDefault();
  moveDivider(split + steps[event.key]);
});

// ---- The state: figures, the last minute, and what the controls stand at.

const number = (value, digits = 0) => value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const ms = (value) => [number(value, value < 100 ? 1 : 0), "ms"];
const FIGURES = [  // label; what the state says, as [number, unit], null where it says nothing; whether that is bad
  ["frames a second", (s) => s.fps != null && [number(s.fps, 1), ""]],
  ["latency, median", (s) => s.age_p50_ms != null && ms(s.age_p50_ms)],
  ["latency, p95", (s) => s.age_p95_ms != null && ms(s.age_p95_ms)],
  ["model, median", (s) => s.denoise_p50_ms != null && ms(s.denoise_p50_ms)],
  ["earlier frames", (s) => s.fused != null && [number(100 * s.fused), "%"]],
  ["noise level", (s) => s.sigma_255 != null && [number(s.sigma_255, 1), "of 255"]],
  ["frames dropped", (s) => s.dropped != null && [number(s.dropped), s.dropped && s.captured ? `${number((100 * s.dropped) / s.captured)} %` : ""]],
  ["processor", (s) => s.cpu_percent != null && [number(s.cpu_percent), "%"]],
  ["memory", (s) => s.rss_mb != null && [number(s.rss_mb), "MB"]],
  ["temperature", (s) => s.temperature_c != null && [number(s.temperature_c), "°C"], (s) => s.temperature_c >= 80],
  ["throttled", (s) => s.throttled != null && [s.throttled ? "yes" : "no", ""], (s) => s.throttled],
  ["damaged", (s) => s.damaged > 0 && [number(s.damaged), ""]],
  ["reconnected", (s) => s.reconnects > 0 && [number(s.reconnects), "×"]],
];

const list = document.querySelector("#figures dl");
for (const [label] of FIGURES) {
  const cell = list.appendChild(document.createElement("div"));
  cell.hidden = true;
  cell.appendChild(document.createElement("dt")).textContent = label;
  cell.appendChild(document.createElement("dd"));
}

function showFigures(state) {
  FIGURES.forEach(([, read, isBad], place) => {
    const cell = list.children[place];
    const figure = read(state);
    cell.hidden = !figure;
    if (!figure) return;
    cell.classList.toggle("warn", Boolean(isBad?.(state)));
    const small = document.createElement("small");
    small.textContent = figure[1];
    cell.lastChild.replaceChildren(figure[0], figure[1] ? " " : "", small);
  });
}

const MINUTE_S = 60;
const GAP_S = 3;
const past = [];  // { at_s, fps, age }

function remember(state) {
  const at_s = performance.now() / 1000;
  if (past.length && at_s - past.at(-1).at_s < 0.5) past.pop();  // a change was sent between two seconds
  past.push({ at_s, fps: state.fps ?? null, age: state.age_p95_ms ?? null });
  while (at_s - past[0].at_s > MINUTE_S) past.shift();
  drawLane("lane-fps", "fps", 10, (most) => `up to ${number(most)}`);
  drawLane("lane-age", "age", 10, (most) => `up to ${number(most)} ms`);
}

function drawLane(id, key, least, caption) {
  const now_s = past.at(-1).at_s;
  const points = past.filter((point) => point[key] != null);
  const most = Math.max(least, ...points.map((point) => point[key]));
  const runs = [];  // without a line over the time in which nothing came
  points.forEach((point, place) => {
    if (!place || point.at_s - points[place - 1].at_s > GAP_S) runs.push([]);
    runs.at(-1).push([MINUTE_S - (now_s - point.at_s), 20 - (18.5 * point[key]) / most]);
  });
  const line = runs.map((run) => `M${run.map(([x, y]) => `${x.toFixed(2)} ${y.toFixed(2)}`).join("L")}`);
  const area = runs.map((run, place) => `${line[place]}L${run.at(-1)[0].toFixed(2)} 20L${run[0][0].toFixed(2)} 20Z`);
  const lane = find(id);
  lane.querySelector(".line").setAttribute("d", line.join(""));
  lane.querySelector(".area").setAttribute("d", area.join(""));
  lane.querySelector("b").textContent = points.length ? caption(Math.max(...points.map((point) => point[key]))) : "";
}

function showState(state) {
  if (state.camera) {  // one of several
    document.title = document.querySelector("h1").textContent = state.camera;
    find("back").hidden = false;
  }
  const size = state.size_wh ? `${state.size_wh[0]}×${state.size_wh[1]}` : "";
  find("what").textContent = [state.model ?? state.settings.model, size].filter(Boolean).join(" · ");
  if (state.trouble) setStatus("trouble", "no frame", state.trouble);
  else if (state.settings.paused) setStatus("paused", "paused");
  else setStatus("live", "live");
  showFigures(state);
  remember(state);
  showControls(state);
}

// ---- The controls. What the user moves is not moved back by an older state.

const strength = find("strength");
const model = find("model");
const pause = find("pause");
let wanted = {};  // changes that are not sent yet
let sending = false;

function showControls({ settings, models, max_strength }) {
  if (sending || Object.keys(wanted).length) return;
  if (strength.max !== String(max_strength)) {
    strength.max = max_strength;
    strength.parentElement.style.setProperty("--most", max_strength);
    find("most").textContent = `${max_strength}×`;
  }
  strength.value = settings.strength;
  showStrength(settings.strength);
  if (models.join() !== [...model.options].map((option) => option.value).join()) {
    model.replaceChildren(...models.map((name) => new Option(name, name)));
  }
  model.value = settings.model;
  pause.setAttribute("aria-pressed", settings.paused);
  pause.textContent = settings.paused ? "Resume" : "Pause";
}

function showStrength(value) {
  find("strength-value").textContent = `${number(value, 2)}×`;
  strength.setAttribute("aria-valuetext", `${number(value, 2)} times the measured noise level`);
}

async function change(changes) {
  Object.assign(wanted, changes);
  if (sending) return;
  sending = true;
  while (Object.keys(wanted).length) {
    const body = JSON.stringify(wanted);
    wanted = {};
    let refusal = "";
    try {
      const answer = await fetch("controls", { method: "POST", headers: { "Content-Type": "application/json" }, body });
      if (!answer.ok) refusal = (await answer.json()).error;
    } catch {
      refusal = "the server does not answer";
    }
    find("refusal").textContent = refusal;
    find("refusal").hidden = !refusal;
    await new Promise((resolve) => setTimeout(resolve, 60));  // a slider that is dragged changes at most 16 times a second
  }
  sending = false;
}

strength.addEventListener("input", () => {
  showStrength(strength.valueAsNumber);
  change({ strength: strength.valueAsNumber });
});
model.addEventListener("change", () => change({ model: model.value }));
pause.addEventListener("click", () => change({ paused: pause.getAttribute("aria-pressed") !== "true" }));

moveDivider(split);
connect(showState, show);
