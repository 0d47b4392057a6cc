// The conversation and who takes part in it, on the page.

import { find, isAtEnd, make, scrollToEnd } from "./dom.js";

const MAX_ROWS = 500;
const TIME = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

const [log, pane, members, rooms, notice, field, crowd] =
  ["log", "pane", "members", "rooms", "notice", "text", "crowd"].map(find);

export class Chat {
  room = "";
  name = "";
  #here = new Set(); // the names of those in the room
  #shown = new Set(); // messages that are in the log: of a room's history, some are already
  #waiting = new Map(); // what was typed and hasn't come back, by its ref: text and row
  #notice = 0;

  // transmit(message) sends one if there is a connection.
  constructor(transmit) {
    this.transmit = transmit;
  }

  // --- what the server tells ---

  joined({ room, name, members, history }) {
    const again = room === this.room;
    if (!again) {
      log.replaceChildren();
      this.#shown.clear();
      // What was meant for another room isn't said here, unless the person says so.
      const meant = [...this.#waiting.values()].map(({ text }) => text);
      field.value = [field.value, ...meant].filter(Boolean).join("\n");
      this.#waiting.clear();
    }
    this.room = room;
    this.name = name;
    this.#here = new Set(members);
    this.#showMembers();
    for (const message of history) this.said(message);
    if (!history.length && !again) this.#addEvent("Nobody has said anything here yet.");
    if (again) this.#addEvent(`Connected again, as ${name}`);
    for (const [ref, { text, row }] of this.#waiting) {
      this.#add(row);
      this.transmit({ type: "say", text, ref });
    }
    scrollToEnd(pane);
  }

  arrived({ name }) {
    this.#here.add(name);
    this.#showMembers();
    this.#addEvent(`${name} joined`);
  }

  departed({ name }) {
    this.#here.delete(name);
    this.#showMembers();
    this.#addEvent(`${name} left`);
  }

  said({ number, name, text, time, ref }) {
    const key = `${number} ${time}`;
    if (this.#shown.has(key)) return;
    this.#shown.add(key);
    this.#waiting.get(ref)?.row.remove();
    const mine = this.#waiting.delete(ref) || name === this.name;
    this.#add(this.#makeRow(name, text, time, mine));
  }

  error({ code, text, ref }) {
    this.tell(text);
    const refused = this.#waiting.get(ref);
    if (!refused || code === "slow") return;
    refused.row.remove();
    this.#waiting.delete(ref);
    field.value ||= refused.text; // nothing that was typed gets lost
  }

  listRooms(list) {
    const links = list.map(({ name, members }) => {
      const count = make("span", "", members);
      count.setAttribute("aria-label", `${members} there`);
      const link = make("a", "", name, count);
      link.href = `#${encodeURIComponent(name)}`;
      if (name === this.room) link.setAttribute("aria-current", "true");
      return make("li", "", link);
    });
    rooms.replaceChildren(...links);
  }

  // --- what is typed ---

  say(text) {
    const ref = crypto.getRandomValues(new Uint32Array(3)).join("-").slice(0, 32);
    const row = this.#makeRow(this.name || "You", text, Date.now() / 1000, true);
    row.classList.add("waiting");
    this.#waiting.set(ref, { text, row });
    this.#add(row, true);
    if (this.room) this.transmit({ type: "say", text, ref });
  }

  // Tells the person something, for a while.
  tell(text) {
    notice.textContent = text;
    notice.hidden = false;
    clearTimeout(this.#notice);
    this.#notice = setTimeout(() => { notice.hidden = true; }, 8000);
  }

  // --- rows ---

  #makeRow(name, text, time, mine) {
    const when = make("time", "", TIME.format(time * 1000));
    when.dateTime = new Date(time * 1000).toISOString();
    const row = make("li", "said", make("div", "by", name, when), make("div", "words", text));
    row.classList.toggle("mine", mine);
    row.dataset.name = name;
    return row;
  }

  #addEvent(text) {
    this.#add(make("li", "event", text));
  }

  #add(row, scroll = isAtEnd(pane)) {
    // What hasn't come back stays last: it will be said after all of this.
    const next = row.classList.contains("waiting") ? null : log.querySelector(".waiting");
    log.insertBefore(row, next);
    group(row);
    if (next !== null) group(next);
    while (log.children.length > MAX_ROWS) log.firstElementChild.remove();
    if (scroll) scrollToEnd(pane);
  }

  #showMembers() {
    const names = [...this.#here].sort((a, b) => a.localeCompare(b));
    const others = names.filter((name) => name !== this.name);
    crowd.textContent = others.length ? `with ${others.join(", ")}` : "nobody else is here";
    members.replaceChildren(
      ...names.map((name) => make("li", "", name === this.name ? `${name} (you)` : name)),
    );
  }
}

// Leaves out who says something and when, if the message before is theirs too.
function group(row) {
  const { name } = row.dataset;
  row.classList.toggle("same", name !== undefined && name === row.previousElementSibling?.dataset.name);
}
