// The live view of what goes over this window's connection: the frames of a WebSocket, which come
// over a second one; or the HTTP requests and responses, which the page itself sees.

import { explain, summarize } from "./anatomy.js";
import { find, isAtEnd, make, scrollToEnd } from "./dom.js";
import { watchExchange } from "./exchange.js";
import { addressOf } from "./link.js";

const MAX_ROWS = 400;
const RETRY_DELAY = 1000;
const FINAL_CODES = [1000, 4403]; // the connection has ended; it can't be watched
const ELSEWHERE = "no such connection"; // in this process of the server's; in another one, perhaps
const ELSEWHERE_DELAY = 100;
const MAX_TRIES = 40;

const [list, pane, hint, total] = ["frames", "frames-pane", "frames-hint", "count"].map(find);

export class Wire {
  #token = "";
  #count = 0;

  constructor() {
    find("clear").addEventListener("click", () => {
      list.replaceChildren();
      this.#counted(-this.#count);
    });
    watchExchange((record) => {
      if (record.opens && record.type === "request") this.#separate();
      this.#show(() => this.#add(record));
    });
  }

  // Shows the frames of the connection with this token, from its first one on.
  watch(token) {
    this.#token = token;
    this.#separate();
    this.#open(token, { last: 0, pings: new Map() });
  }

  // seen: the number of the last record that was shown, and when pings were sent.
  #open(token, seen, tries = 0) {
    const socket = new WebSocket(addressOf("/wire"));
    let early = []; // what came before the array of what had been there before
    socket.onopen = () => socket.send(token);
    socket.onmessage = (event) => {
      const message = JSON.parse(event.data);
      if (Array.isArray(message)) {
        const all = [...message, ...early];
        early = null;
        this.#showFrames(all, seen);
      } else if (early !== null) {
        early.push(message);
      } else {
        this.#showFrames([message], seen);
      }
    };
    socket.onclose = (event) => {
      if (event.reason === ELSEWHERE && tries < MAX_TRIES) {
        setTimeout(() => token === this.#token && this.#open(token, seen, tries + 1), ELSEWHERE_DELAY);
        return;
      }
      if (FINAL_CODES.includes(event.code) || token !== this.#token) return;
      setTimeout(() => token === this.#token && this.#open(token, seen), RETRY_DELAY);
    };
  }

  // Says that the connection is gone, so that nobody tries to watch it any more.
  stop() {
    this.#token = "";
  }

  #showFrames(records, seen) {
    this.#show(() => {
      for (const record of records) {
        if (record.n <= seen.last) continue;
        const missing = record.n - seen.last - 1;
        if (missing) list.append(make("li", "note", `${missing} before this one can't be shown any more.`));
        seen.last = record.n;
        if (record.name === "PING") seen.pings.set(record.payload, record.time);
        if (record.name === "PONG" && seen.pings.has(record.payload)) {
          record.latency = (record.time - seen.pings.get(record.payload)) * 1000;
          seen.pings.delete(record.payload);
        }
        this.#add(record);
      }
    });
  }

  #show(add) {
    const scroll = isAtEnd(pane) && !list.querySelector(".open:last-child");
    add();
    while (list.children.length > MAX_ROWS) list.firstElementChild.remove();
    if (scroll) scrollToEnd(pane);
  }

  #add(record) {
    list.append(makeRow(record));
    this.#counted(1);
  }

  #separate() {
    if (list.children.length) list.append(make("li", "note", "A new connection:"));
  }

  #counted(more) {
    this.#count += more;
    total.textContent = this.#count ? String(this.#count) : "";
    hint.hidden = this.#count > 4;
  }
}

function kindOf(record) {
  if (record.type === "request") return record.method;
  if (record.type === "response") return String(record.status);
  return { http: "HTTP", end: "end", unreadable: "?", event: "event", failure: "—" }[record.type] ?? record.name;
}

function makeRow(record) {
  const fromBrowser = record.from === "browser";
  const arrow = make("span", record.from, fromBrowser ? "→" : "←");
  arrow.setAttribute("role", "img");
  arrow.setAttribute("aria-label", fromBrowser ? "from this browser" : "from the server");
  const button = make("button", "frame", arrow,
    make("span", `kind ${record.from}`, kindOf(record)),
    make("span", "says", summarize(record).slice(0, 200)),
    make("span", "at", timeOf(record.time)));
  button.type = "button";
  button.setAttribute("aria-expanded", "false");
  const row = make("li", "", button);
  row.dataset.kind = record.type === "frame" ? record.name : record.type;
  row.dataset.from = record.from;
  button.addEventListener("click", () => toggle(row, button, record));
  return row;
}

function toggle(row, button, record) {
  const open = row.classList.toggle("open");
  button.setAttribute("aria-expanded", String(open));
  if (open) {
    row.append(explain(record, timeOf(record.time)));
    row.scrollIntoView({ block: "nearest" });
  } else {
    row.lastElementChild.remove();
  }
}

function timeOf(seconds) {
  const date = new Date(seconds * 1000);
  const parts = [date.getHours(), date.getMinutes(), date.getSeconds()];
  return `${parts.map((part) => String(part).padStart(2, "0")).join(":")}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}
