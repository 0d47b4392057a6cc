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
  #waiting = new Map(); // what was typed and hasn't come back, by its ref: text, row and target
  #target = ""; // the room that was asked for
  #settled = false; // whether that has been answered; before, nothing is said
  #notice = 0;

  // transmit(message) sends one if there is a connection.
  constructor(transmit) {
    this.transmit = transmit;
  }

  // Says which room is asked for.
  aim(target) {
    this.#target = target;
    this.#settled = false;
  }

  // --- what the server tells ---

  joined({ room, name, members, history }) {
    const again = room === this.room;
    if (!again) {
      log.replaceChildren();
      this.#shown.clear();
    }
    this.#settled = true;
    this.room = room;
    this.name = name;
    this.#here = new Set(members);
    this.#showMembers();
    for (const message of history) this.said(message);
    if (!history.length && !again) this.#addEvent("Nobody has said anything here yet.");
    if (again) this.#addEvent(`Connected again, as ${name}`);
    for (const [ref, { text, row, target }] of this.#waiting) {
      if (target === this.#target) {
        this.#add(row);
        this.transmit({ type: "say", text, ref });
      } else {
        this.#giveBack(ref); // what was meant for another room isn't said here by itself
      }
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
    if (this.#waiting.has(ref)) this.#giveBack(ref);
    // Of a join: no answer to it will come.
    else if (code !== "slow") this.#settled = true;
  }

  // Puts what can't be said back where it was typed.
  #giveBack(ref) {
    const { text, row } = this.#waiting.get(ref);
    this.#waiting.delete(ref);
    row.remove();
    field.value = [field.value, text].filter(Boolean).join("\n");
  }

  listRooms(list) {
    const links = list.map(({ name, members }) => {
      const link = make("a", "", name, make("span", "", members));
      link.setAttribute("aria-label", `${name}, ${members} there`);
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
    this.#waiting.set(ref, { text, row, target: this.#target });
    this.#add(row, true);
    if (this.#settled) this.transmit({ type: "say", text, ref });
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
