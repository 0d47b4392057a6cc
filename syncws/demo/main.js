// Connects the page with its connection: what is typed goes out, what comes is shown.

import { Chat } from "./chat.js";
import { find, recall, remember, scrollToEnd } from "./dom.js";
import { Link } from "./link.js";
import { Wire } from "./wire.js";

const STATES = {
  connecting: "Connecting…",
  online: "Online",
  waiting: "Reconnecting…",
  offline: "Offline",
  closed: "Disconnected",
};
const FIRST = ["Quiet", "Early", "Amber", "Brisk", "Gentle", "Lucky", "Mossy", "Silver", "Sunny", "Windy"];
const SECOND = ["Otter", "Wren", "Maple", "Finch", "Heron", "Badger", "Clover", "Hare", "Pebble", "Swift"];

const FRAMES_HINT = "Every frame of this window's connection, as it went over the network. Choose one to see its bytes explained.";
const EXCHANGE_HINT = "Every HTTP request of this window, and what came back. Choose one to see its headers, and the frames inside.";
const ONE_PROCESS = "This demo has several processes. HTTP would need one, as a session lives in one.";

const [state, retry, ping, close, latency, name, named, text, compress, transport] =
  ["state", "retry", "ping", "close", "latency", "name", "named", "text", "compress", "transport"].map(find);

let token = ""; // of the connection, or of the last one
let rooms = [];

const chat = new Chat((message) => link.send(message));
const wire = new Wire();
const link = new Link(
  () => (compress.checked && !byHttp() ? "/chat?compress=1" : "/chat"),
  // Where something keeps streams back, they can't be had.
  () => (transport.value === "streaming" ? ["streaming", "polling"] : [transport.value]),
  () => link.send({ type: "ping" }),
  { state: showState, message: receive },
);

function showState(name) {
  document.body.dataset.state = name;
  state.textContent = STATES[name];
  retry.textContent = name === "closed" ? "Connect" : "Try now";
  retry.hidden = name === "online" || name === "connecting";
  ping.disabled = close.disabled = name !== "online";
  if (name === "online") return;
  latency.textContent = "";
  wire.stop();
}

const receivers = {
  welcome(message) {
    const resume = token;
    token = message.token;
    rooms = message.rooms;
    name.maxLength = find("room").maxLength = message.limits.name;
    text.maxLength = message.limits.text;
    allowHttp(message.http);
    if (!byHttp()) wire.watch(token);
    join(resume);
  },
  joined(message) {
    chat.joined(message);
    const wanted = name.value.trim();
    named.hidden = message.name === wanted;
    named.textContent = `You are ${message.name} here.`;
    find("title").textContent = message.room;
    document.title = `${message.room} · syncws demo`;
    find("window").href = `#${encodeURIComponent(message.room)}`;
    chat.listRooms(rooms);
  },
  rooms(message) {
    rooms = message.rooms;
    chat.listRooms(rooms);
  },
  pong(message) {
    latency.textContent = message.latency === null ? "no answer" : `${message.latency.toFixed(1)} ms`;
  },
  arrived: (message) => chat.arrived(message),
  departed: (message) => chat.departed(message),
  said: (message) => chat.said(message),
  error: (message) => chat.error(message),
};

function receive(message) {
  if (link.transport && link.transport !== transport.value) chose(link.transport); // it went over to polling
  receivers[message.type]?.(message);
}

function byHttp() {
  return transport.value !== "websocket";
}

function chose(name) {
  transport.value = name;
  compress.disabled = byHttp(); // nothing is compressed there
  find("frames-hint").textContent = byHttp() ? EXCHANGE_HINT : FRAMES_HINT;
}

function allowHttp(allowed) {
  const hint = find("transport-hint");
  hint.hidden = allowed;
  transport.disabled = !allowed;
  hint.textContent = allowed ? "" : ONE_PROCESS;
}

function wantedRoom() {
  try {
    return decodeURIComponent(location.hash.slice(1)) || "lobby";
  } catch { // a stray percent sign
    return location.hash.slice(1);
  }
}

function join(resume = "") {
  const room = wantedRoom();
  chat.aim(room);
  link.send({ type: "join", room, name: name.value, resume });
}

// --- what people do ---

retry.addEventListener("click", () => link.connect());
ping.addEventListener("click", () => link.send({ type: "ping" }));
close.addEventListener("click", () => link.close());
compress.addEventListener("change", () => link.connect());
transport.addEventListener("change", () => {
  chose(transport.value);
  link.connect();
});
addEventListener("hashchange", () => {
  join();
  show("chat");
});

name.value = recall("name") || `${pick(FIRST)} ${pick(SECOND)}`;
name.addEventListener("change", () => {
  name.value = name.value.trim() || `${pick(FIRST)} ${pick(SECOND)}`;
  remember("name", name.value);
  join();
});
find("who").addEventListener("submit", (event) => {
  event.preventDefault();
  name.blur(); // which is a change, if it has changed
});

find("go").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = find("room");
  if (!field.value.trim()) return;
  location.hash = encodeURIComponent(field.value.trim());
  field.value = "";
});

find("say").addEventListener("submit", (event) => {
  event.preventDefault();
  text.focus();
  if (!text.value.trim()) return;
  chat.say(text.value);
  text.value = "";
});
text.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  find("say").requestSubmit();
});

function pick(words) {
  return words[Math.floor(Math.random() * words.length)];
}

// --- how it looks ---

function show(view) {
  document.body.dataset.view = view;
  for (const button of find("views").children) {
    if (button.dataset.view === view) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
  scrollToEnd(find("pane"));
  if (!find("frames").querySelector(".open")) scrollToEnd(find("frames-pane"));
}
find("views").addEventListener("click", (event) => {
  const view = event.target.closest("button")?.dataset.view;
  if (view) show(view);
});

const theme = find("theme");
theme.value = recall("theme");
function applyTheme() {
  document.documentElement.dataset.theme = theme.value;
}
theme.addEventListener("change", () => {
  remember("theme", theme.value);
  applyTheme();
});
applyTheme();

chose("websocket"); // whatever a reloaded page had there
link.connect();
