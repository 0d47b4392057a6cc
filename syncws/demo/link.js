// A connection that comes back by itself: a WebSocket, or a session by plain HTTP.

const { Syncws } = globalThis; // what /syncws.js sets

const FIRST_DELAY = 500; // milliseconds, twice as many after each failure
const MAX_DELAY = 15_000;
const OPEN_TIMEOUT = 10_000;
const CHECK_INTERVAL = 25_000; // how often to look whether somebody is still there
const CHECK_TIMEOUT = 8_000;

export function addressOf(path) {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  return `${scheme}//${location.host}${path}`;
}

export class Link {
  #socket = null;
  #timer = 0; // until the next attempt, or until this one has taken too long
  #check = 0; // until a check has failed
  #failures = 0; // in a row
  #closed = false; // whether it was closed on purpose
  #heard = false; // whether this connection has brought a message

  // on.state(name), "connecting", "online", "waiting", "offline" or "closed"; on.message(object);
  // path() returns where to connect to, transports() by what, ask() sends something that is answered.
  constructor(path, transports, ask, on) {
    this.path = path;
    this.transports = transports;
    this.ask = ask;
    this.on = on;
    addEventListener("online", () => this.#wake());
    addEventListener("offline", () => this.#wake());
    document.addEventListener("visibilitychange", () => document.hidden || this.#wake());
    setInterval(() => document.hidden || this.check(), CHECK_INTERVAL);
  }

  get online() {
    return this.#socket?.readyState === Syncws.OPEN;
  }

  // What carries the messages: "websocket", "streaming" or "polling".
  get transport() {
    return this.#socket?.transport;
  }

  send(message) {
    if (this.online) this.#socket.send(JSON.stringify(message));
  }

  connect() {
    this.#drop();
    this.#closed = this.#heard = false;
    this.on.state("connecting");
    // What worked for another window isn't what this one was told to use: nothing is remembered.
    const options = { transports: this.transports(), openTimeout: OPEN_TIMEOUT, remember: 0 };
    const socket = this.#socket = new Syncws(addressOf(this.path()), [], options);
    this.#timer = setTimeout(() => this.#lost(), OPEN_TIMEOUT);
    socket.onopen = () => clearTimeout(this.#timer);
    socket.onmessage = (event) => {
      clearTimeout(this.#check);
      this.#check = 0;
      if (!this.#heard) {
        this.#heard = true;
        this.#failures = 0;
        this.on.state("online");
      }
      this.on.message(JSON.parse(event.data));
    };
    socket.onclose = () => this.#lost();
  }

  // Closes the connection until connect() is called.
  close() {
    this.#drop();
    this.#closed = true;
    this.on.state("closed");
  }

  // A connection can be dead without anybody being told: ask, and see whether an answer comes.
  check() {
    if (!this.online || this.#check) return;
    this.ask();
    this.#check = setTimeout(() => this.#lost(), CHECK_TIMEOUT);
  }

  #wake() {
    if (this.online) this.check();
    else if (this.#socket === null && !this.#closed) this.connect();
  }

  #lost() {
    this.#drop();
    const most = Math.min(MAX_DELAY, FIRST_DELAY * 2 ** this.#failures++);
    // Between half of it and all: windows that were cut off together don't come back together.
    this.#timer = setTimeout(() => this.connect(), most * (0.5 + Math.random() / 2));
    this.on.state(navigator.onLine ? "waiting" : "offline");
  }

  #drop() {
    clearTimeout(this.#timer);
    clearTimeout(this.#check);
    this.#check = 0;
    const socket = this.#socket;
    this.#socket = null;
    if (socket === null) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(1000, "on purpose");
  }
}
