// The wall: the newest frame of every camera, drawn as it comes over the WebSocket, with its state.

import { connect, find, setStatus } from "/connection.js";
const wall = find("wall");
const tiles = [];  // { name, tile, canvas, context, notice, output, figures, arrived, drawn }, by the stream's number

function add(name) {
  const tile = wall.appendChild(document.createElement("a"));
  tile.href = `camera/${name}/`;
  tile.className = "tile";
  const canvas = tile.appendChild(document.createElement("canvas"));
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `The newest clean frame of ${name}`);
  canvas.width = 480;
  canvas.height = 360;
  const notice = tile.appendChild(document.createElement("span"));
  notice.className = "trouble";
  const line = tile.appendChild(document.createElement("span"));
  line.className = "line";
  const status = line.appendChild(document.createElement("b"));
  status.textContent = name;
  const output = line.appendChild(document.createElement("em"));
  const figures = line.appendChild(document.createElement("small"));
  tiles.push({ name, tile, canvas, context: canvas.getContext("2d", { alpha: false }), notice, output, figures, arrived: 0, drawn: 0 });
}

async function show(message, socket) {
  const tile = tiles[new DataView(message).getUint32(0)];
  const turn = ++tile.arrived;
  const frame = await createImageBitmap(new Blob([message.slice(4)], { type: "image/jpeg" }));
  // A hidden page draws nothing, so it answers nothing, and the server encodes nothing for it.
  requestAnimationFrame(() => {
    if (turn > tile.drawn) {
      tile.drawn = turn;
      if (tile.canvas.width !== frame.width || tile.canvas.height !== frame.height) {
        tile.canvas.width = frame.width;
        tile.canvas.height = frame.height;
      }
      tile.context.drawImage(frame, 0, 0);
    }
    frame.close();
    if (socket.readyState === WebSocket.OPEN) socket.send("shown");
  });
}

const stateOf = (camera) => (camera.trouble ? "trouble" : camera.settings.paused ? "paused" : camera.processed ? "live" : "wait");

function showState({ cameras }) {
  if (cameras.map(({ camera }) => camera).join() !== tiles.map(({ name }) => name).join()) {  // or the server is another
    wall.replaceChildren();
    tiles.length = 0;
    for (const { camera } of cameras) add(camera);
  }
  cameras.forEach((camera, place) => {
    const { tile, notice, output, figures } = tiles[place];
    tile.dataset.state = stateOf(camera);
    notice.textContent = camera.trouble ?? { paused: "paused", wait: "waiting for the first frame" }[tile.dataset.state] ?? "";
    const fps = camera.fps == null ? "" : `${camera.fps.toFixed(1)} fps`;
    const late = camera.age_p95_ms == null ? "" : `${Math.round(camera.age_p95_ms)} ms`;
    figures.textContent = [camera.model, fps, late].filter(Boolean).join(" · ");
    const failed = camera.failed_outputs ?? [];
    output.textContent = failed.length ? `${failed.length} ${failed.length > 1 ? "outputs" : "output"} failed` : "";
    output.title = failed.join("\n");
  });
  const live = cameras.filter((camera) => stateOf(camera) === "live").length;
  const { cpu_percent, rss_mb } = cameras[0];
  find("what").textContent = [
    `${live} of ${cameras.length} cameras live`,
    cpu_percent == null ? "" : `processor ${Math.round(cpu_percent)} %`,
    rss_mb == null ? "" : `memory ${rss_mb} MB`,
  ].filter(Boolean).join(" · ");
  const broken = cameras.filter((camera) => camera.trouble).length;
  setStatus(broken ? "trouble" : live ? "live" : "wait", broken ? `${broken} without frames` : live ? "live" : "waiting");
}

connect(showState, show);
