// What both pages share: the status line, and the WebSocket that frames and state come over.

export const find = (id) => document.getElementById(id);

export function setStatus(state, text, notice = "") {
  find("status").dataset.state = state;
  find("status").textContent = text;
  find("picture")?.classList.toggle("dim", state === "trouble" || state === "wait");
  if (find("notice").textContent !== notice) find("notice").textContent = notice;
  find("notice").hidden = !notice;
}

const MOST_DELAY_MS = 4000;
let delay_ms = 250;

// Call showState(state) and show(frame, socket) with what comes. The connection is made anew whenever it is gone.
export function connect(showState, show) {
  const socket = new WebSocket(Object.assign(new URL("live", location), { protocol: location.protocol.replace("http", "ws") }));
  let opened = false;
  socket.binaryType = "arraybuffer";
  socket.addEventListener("open", () => { opened = true; });
  socket.addEventListener("message", ({ data }) => {
    delay_ms = 250;
    if (typeof data === "string") showState(JSON.parse(data));
    else show(data, socket).catch(() => socket.close());
  });
  socket.addEventListener("close", async () => {
    setStatus("wait", "reconnecting", opened ? "" : await reason());
    setTimeout(connect, delay_ms, showState, show);
    delay_ms = Math.min(MOST_DELAY_MS, delay_ms * 1.6);
  });
}

// A WebSocket does not say why it was refused.
async function reason() {
  try {
    const answer = await fetch("stats.json");
    return answer.ok ? "Waiting for a place: too many pages watch" : (await answer.json()).error;
  } catch {
    return "The preview has stopped. This page waits for it.";
  }
}

if (location.search) history.replaceState(null, "", location.pathname);  // the token lives in a cookie now
