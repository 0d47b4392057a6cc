// The browser's WebSocket, over plain HTTP where WebSocket does not get through.
//
// A classic script that sets globalThis.Syncws, and that may be imported for it; syncws.mjs exports
// it. What goes over HTTP is on the page "The fallback's protocol" of the documentation.
(() => {
  const CONNECTING = 0, OPEN = 1, CLOSING = 2, CLOSED = 3;
  const LOST = [1006, "", false];
  const CONTENT = { "Content-Type": "application/octet-stream" };

  const encoder = new TextEncoder();
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  const now = () => Date.now();
  const isOffline = () => globalThis.navigator?.onLine === false;
  const jitter = (delay) => delay * (0.5 + Math.random() / 2);
  const make = (type, details) => Object.assign(new Event(type), details);
  const raise = (name, message) => {
    throw new DOMException(message, name);
  };

  // Each message is a task of its own, as a WebSocket's: what the page has awaited it goes on with
  // before the next one. Timers would take milliseconds.
  let nextTask = globalThis.setImmediate && (() => new Promise(setImmediate));
  if (!nextTask) {
    const { port1, port2 } = new MessageChannel();
    port1.start();
    nextTask = () => new Promise((resolve) => {
      port1.addEventListener("message", resolve, { once: true });
      port2.postMessage(0);
    });
  }

  const join = (parts) => {
    if (parts.length == 1) return parts[0];
    const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
    let at = 0;
    for (const part of parts) {
      whole.set(part, at);
      at += part.length;
    }
    return whole;
  };

  const fromBase64 = (text) => {
    const binary = atob(text), bytes = new Uint8Array(binary.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
    return bytes;
  };

  // Which transport has worked for an origin, until when. Storage may be forbidden.
  const memory = {};
  const recall = (origin) => {
    let entry = memory[origin];
    try {
      entry = JSON.parse(localStorage.getItem("syncws " + origin));
    } catch {}
    return entry?.[1] > now() && entry[0];
  };
  const remember = (origin, transport, time) => {
    const entry = memory[origin] = [transport, now() + time];
    try {
      localStorage.setItem("syncws " + origin, JSON.stringify(entry));
    } catch {}
  };

  const CODES = ["refused", "bad_request", "origin", "unknown_session", "method", "gap", "nonce_used",
    "too_large", "too_many_sessions", "content_type", "busy"];

  // What a response means that isn't the one hoped for. Only the server's own errors have a code.
  const faultOf = async (response) => {
    let error;
    try {
      error = (await response.json()).error;
    } catch {}
    if (!CODES.includes(error?.code)) error = {};
    const { status, headers } = response;
    return { ...error, status, delay: headers.get("Retry-After") * 1000 || 0 };
  };

  const isRefusal = ({ status }) => status > 399 && status < 500;

  // A connection over WebSocket.
  class WebSocketLink {
    #socket;
    #timer;

    constructor(url, protocols, _, openTimeout, on) {
      const socket = this.#socket = new WebSocket(url, protocols);
      const end = (code, reason, clean) => {
        this.abort();
        on.close(code, reason, clean);
      };
      const fail = () => end(...LOST);
      this.#timer = setTimeout(fail, openTimeout);
      socket.onopen = () => {
        clearTimeout(this.#timer);
        socket.onerror = null;
        on.transport("websocket");
        on.open(socket.protocol, socket.extensions);
      };
      socket.onmessage = (event) => on.message(event.data);
      socket.onerror = fail; // some say no more than that
      socket.onclose = (event) => end(event.code, event.reason, event.wasClean);
    }

    get buffered() {
      return this.#socket.bufferedAmount;
    }

    set binaryType(type) {
      this.#socket.binaryType = type;
    }

    send(data) {
      this.#socket.send(data);
    }

    close(code, reason) {
      if (code) this.#socket.close(code, reason);
      else this.#socket.close();
    }

    abort() {
      clearTimeout(this.#timer);
      const socket = this.#socket;
      socket.onopen = socket.onmessage = socket.onerror = socket.onclose = null;
      socket.close();
    }
  }

  // A connection over HTTP: frames in a pair of byte streams, in which positions are counted.
  class HttpLink {
    buffered = 0; // bytes of messages that the server does not have yet
    #url;
    #on;
    #session = "new";
    #timeout; // milliseconds for which to try again
    #maxWait;
    #wait; // seconds that a GET, or a POST, may take
    #most; // bytes that a POST may carry
    #limit; // the same for now, on a slow link
    #polls; // whether streams aren't used, or not any more
    #canPoll;
    #life; // of a stream: 1 when it has begun, 2 when more has come
    #flows = false; // whether streams let little things through at once
    #done = false;
    #waits = new Set(); // what ends requests and pauses
    #failingSince = 0;

    // To the server.
    #queue = []; // frames, or promises of frames
    #isCut = false; // whether the first one has begun to go out
    #batch = new Uint8Array(); // what a POST carries
    #payload = 0; // bytes of messages in it
    #sent = 0; // position of the first byte in it
    #isPosting = false;

    // From the server.
    #received = 0;
    #told = 0; // how much of that the server knows of
    #isTelling = false;
    #end = Infinity;
    #chunks = []; // an incomplete frame
    #size = 0;
    #need = 2; // bytes that it must have before it is worth a look
    #opcode = 0; // of a message that has begun
    #parts = [];
    #parsed = Promise.resolve();

    // The closing handshake.
    #isClosing = false;
    #outcome; // what the close event will say
    #closeTimer;

    constructor(url, protocols, transports, openTimeout, on) {
      this.#url = url.replace("ws", "http");
      this.#on = on;
      this.#polls = transports[0] == "polling";
      this.#canPoll = transports.includes("polling");
      this.#open(protocols, openTimeout);
    }

    send(data) {
      if (data instanceof Blob) {
        this.buffered += data.size;
        this.#push(data.arrayBuffer().then(
          (buffer) => this.#pack(2, new Uint8Array(buffer)),
          () => this.#fail(1011),
        ));
      } else {
        const isText = typeof data == "string";
        const payload = isText ? encoder.encode(data) : data;
        this.buffered += payload.length;
        this.#push(this.#pack(isText ? 1 : 2, payload));
      }
    }

    close(code, reason) {
      if (this.#isClosing) return;
      this.#isClosing = true;
      const payload = code ? [code >> 8, code & 255, ...encoder.encode(reason)] : [];
      this.buffered += payload.length;
      this.#push(this.#pack(8, payload));
    }

    // Ends at once, and says nothing.
    abort() {
      this.#done = true;
      clearTimeout(this.#closeTimer);
      this.wake();
    }

    // Tries again now: connections of before are dead, whether the browser knows or not.
    wake() {
      this.#wait = this.#maxWait;
      for (const end of this.#waits) end();
    }

    // Tells the server that nobody will come back.
    leave() {
      if (this.#maxWait) this.#fetch("DELETE", {}, { keepalive: true }).catch(() => {});
    }

    #fetch(method, headers, options) {
      return fetch(this.#url, {
        method,
        headers: { "Syncws-Session": this.#session, ...headers },
        cache: "no-store",
        credentials: "include",
        redirect: "error",
        ...options,
      });
    }

    // Sends a request, and has use() make something of the response before the time is over.
    async #exchange(method, headers, body, time, use) {
      const controller = new AbortController(), end = () => controller.abort();
      let timer, isLate;
      const extend = (time) => {
        clearTimeout(timer);
        timer = setTimeout(() => {
          isLate = true;
          end();
        }, time);
      };
      extend(time);
      this.#waits.add(end);
      try {
        const response = await this.#fetch(method, headers, { body, signal: controller.signal });
        const result = await use(response, (name) => response.headers.get("Syncws-" + name), extend);
        this.#failingSince = 0;
        return result;
      } catch (error) {
        throw error.status ? error : { isLate, message: error.message };
      } finally {
        clearTimeout(timer);
        this.#waits.delete(end);
        end(); // what wasn't read isn't needed
      }
    }

    #sleep(time) {
      return new Promise((resolve) => {
        const end = () => {
          clearTimeout(timer);
          this.#waits.delete(end);
          resolve();
        };
        const timer = setTimeout(end, time);
        this.#waits.add(end);
      });
    }

    // Waits before a request is sent again, or gives up.
    async #retry(error, failures) {
      if (this.#done) return;
      this.#failingSince ||= now();
      const isOver = now() - this.#failingSince > this.#timeout;
      if (isOver || (error.code && !/^(busy|too_)/.test(error.code))) {
        this.#finish();
      } else {
        const delay = jitter(Math.min(100 * 2 ** failures, 2000));
        // A proxy may ask for more than a session lasts.
        const asked = Math.min(error.delay || 0, this.#timeout / 4);
        await this.#sleep(isOffline() ? this.#timeout : Math.max(delay, asked));
      }
    }

    #finish(outcome = this.#outcome || LOST) {
      if (this.#done) return;
      this.abort();
      if (this.#outcome) this.leave(); // the server need not keep anything
      this.#on.close(...outcome);
    }

    async #open(protocols, time) {
      const random = crypto.getRandomValues(new Uint8Array(16));
      const headers = {
        ...CONTENT,
        "Syncws-Nonce": Array.from(random, (byte) => byte.toString(16).padStart(2, 0)).join(""),
      };
      if (protocols[0]) headers["Syncws-Protocol"] = protocols.join(", ");
      for (let failures = 0; !this.#done; failures++) {
        try {
          const opening = await this.#exchange("POST", headers, "", time, async (response) => {
            if (response.ok) return response.json();
            throw await faultOf(response);
          });
          const { session, protocol, session_timeout, max_wait, max_body, streaming } = opening;
          if (this.#done) return;
          if (!session || (protocol && !protocols.includes(protocol))) throw { code: "protocol" };
          this.#session = session;
          this.#timeout = session_timeout * 1000;
          this.#wait = this.#maxWait = max_wait;
          this.#most = this.#limit = max_body;
          if (!streaming) this.#polls = true;
          this.#on.transport(this.#polls ? "polling" : "streaming");
          this.#on.open(protocol || "", "");
          this.#receive();
          return;
        } catch (error) {
          // The server, or one without fallback, has said no; or nothing gets through.
          if (error.code || isRefusal(error) || failures > 3) {
            if (!this.#done) this.#on.close(...LOST, error);
            this.abort();
          }
          await this.#sleep(jitter(100 * 2 ** failures));
        }
      }
    }

    // --- to the server ---

    // Makes a frame. Its mask is zero, so the payload is as it was.
    #pack(opcode, payload) {
      const size = payload.length, extra = size > 65535 ? 8 : size > 125 ? 2 : 0;
      const frame = new Uint8Array(6 + extra + size);
      frame[0] = 128 | opcode;
      frame[1] = 128 | (extra > 2 ? 127 : extra ? 126 : size);
      if (extra) {
        const view = new DataView(frame.buffer);
        if (extra > 2) view.setBigUint64(2, BigInt(size));
        else view.setUint16(2, size);
      }
      frame.set(payload, 6 + extra);
      return frame;
    }

    #push(frame) {
      this.#queue.push(frame);
      this.#transmit();
    }

    // One POST after the other; what is sent meanwhile goes with the next one.
    async #transmit() {
      if (this.#isPosting) return;
      this.#isPosting = true;
      await null;
      for (let failures = 0; !this.#done && (this.#batch.length || this.#queue.length);) {
        if (!this.#batch.length) await this.#fill();
        const began = now(), before = this.#sent;
        try {
          await this.#post(this.#batch.subarray(0, this.#limit));
          if (this.#batch.length && this.#sent == before && now() - began < 500) throw {};
          failures = 0;
          this.#limit = Math.min(this.#limit * 2, this.#most);
        } catch (error) {
          if (now() - began > 2000) {
            this.#shrink(began);
            this.#limit = this.#reduce(4);
          }
          await this.#retry(error, failures++);
        }
      }
      this.#isPosting = false;
      if (this.#isClosing) this.#settle();
    }

    // Acknowledges by itself: a POST with messages is answered only once the server's program takes
    // them, which it may not do before it is rid of its own.
    async #tell() {
      if (this.#isTelling) return;
      this.#isTelling = true;
      for (let failures = 0; !this.#done && this.#owes;) {
        await this.#post("").catch((error) => this.#retry(error, failures++));
      }
      this.#isTelling = false;
    }

    async #post(body) {
      const received = this.#received;
      const headers = {
        ...CONTENT,
        "Syncws-Position": this.#sent,
        "Syncws-Ack": received,
        "Syncws-Wait": this.#wait,
      };
      await this.#exchange("POST", headers, body, (this.#wait + 10) * 1000, async (response, get) => {
        const taken = get("Ack") - this.#sent;
        if (!response.ok || !get("Ack") || taken > this.#batch.length) {
          if (response.status == 413) this.#most = this.#limit = this.#reduce(2);
          throw await faultOf(response);
        }
        if (taken > 0) {
          this.#sent += taken;
          this.#batch = this.#batch.subarray(taken);
          if (!this.#batch.length) {
            this.buffered -= this.#payload;
            this.#payload = 0;
          }
        }
      });
      this.#told = Math.max(this.#told, received);
    }

    #reduce(parts) {
      return Math.min(this.#limit, Math.max(this.#limit / parts | 0, 1024));
    }

    // Whether the server must hear that its stream has come. Who polls says so with each GET.
    get #owes() {
      return !this.#polls && this.#received - this.#told > 32767;
    }

    async #fill() {
      const queue = this.#queue, parts = [];
      let count = 0;
      for (let room = this.#limit; count < queue.length && room > 13;) {
        let frame = queue[count];
        if (frame.then) {
          if (count) break;
          frame = await frame;
          if (!frame) {
            queue.shift();
            continue;
          }
        }
        const part = frame.subarray(0, room);
        const header = this.#isCut ? 0 : 6 + ({ 254: 2, 255: 8 }[frame[1]] || 0);
        this.#payload += part.length - header;
        room -= part.length;
        parts.push(part);
        this.#isCut = part.length < frame.length;
        if (this.#isCut) queue[count] = frame.subarray(part.length);
        else count++;
      }
      queue.splice(0, count);
      this.#batch = join(parts);
    }

    // --- from the server ---

    // Something between cuts what takes longer.
    #shrink(began) {
      const seconds = Math.min(this.#wait, (now() - began) / 1000);
      this.#wait = Math.max(1, Math.floor(seconds * 0.8));
    }

    async #receive() {
      for (let failures = 0, barren = 0; !this.#done;) {
        const began = now(), streams = !this.#polls, before = this.#received;
        this.#life = 0;
        try {
          await (streams ? this.#stream() : this.#poll());
          // Something answers that does not wait, and has nothing.
          if (this.#received == before && now() - began < 300) throw {};
          failures = 0;
        } catch (error) {
          const isKept = error.isLate && !(this.#life && this.#flows);
          if (streams && this.#life > 1 && !(isKept && this.#canPoll)) {
            failures = barren = 0;
            continue;
          }
          if (now() - began > 2000 && (this.#life || !streams)) this.#shrink(began);
          if (streams && this.#canPoll && (isKept || ++barren > 2)) {
            this.#usePolling();
          } else {
            await this.#retry(error, this.#life ? 1 : failures++);
          }
        }
      }
    }

    #usePolling() {
      this.#polls = true;
      this.#on.transport("polling");
    }

    #get(more, time, use) {
      const headers = { "Syncws-Ack": this.#received, "Syncws-Wait": this.#wait, ...more };
      return this.#exchange("GET", headers, undefined, time, use);
    }

    #poll() {
      return this.#get({}, (this.#wait + 10) * 1000, this.#readPoll);
    }

    #readPoll = async (response, get) => {
      const position = get("Position"), end = get("End");
      const isEmpty = response.status == 204;
      if (!isEmpty && !position) throw await faultOf(response);
      if (end) this.#end = +end;
      if (!isEmpty) await this.#take(new Uint8Array(await response.arrayBuffer()), position);
      await this.#checkEnd();
    };

    // A stream that does not begin soon is kept back by something between. So is one that has begun
    // and is silent then: what has a buffer lets through what is larger. The first stream asks for
    // a comment soon, which shows that small things get through; and then comes one that need not.
    #stream() {
      const wait = this.#flows ? this.#wait : Math.min(this.#wait, 2);
      const more = { Accept: "text/event-stream", "Syncws-Wait": wait };
      return this.#get(more, 3000, async (response, get, extend) => {
        if (!/^text\/event-stream/.test(response.headers.get("Content-Type"))) {
          await this.#readPoll(response, get);
          return this.#usePolling();
        }
        const reader = response.body.getReader(), text = new TextDecoder();
        let rest = "", event = "", data = "", id = 0;
        for (;;) {
          const { value, done } = await reader.read();
          if (done) throw {};
          const chunk = text.decode(value, { stream: true }), lines = (rest + chunk).split(/\r?\n/);
          rest = lines.pop();
          for (const line of lines) {
            const colon = line.indexOf(":"), field = line.slice(0, colon);
            const content = line.slice(colon + 1).trim();
            if (field == "event") event = content;
            else if (field == "data") data += content;
            else if (field == "id") id = content;
            else if (!line && event == "open") {
              this.#life = 1;
              this.#failingSince = 0;
            } else if (!line && event == "end") this.#end = +data;
            else if (!line && data) {
              const bytes = fromBase64(data);
              await this.#take(bytes, id - bytes.length);
            }
            if (!line) event = data = "";
            else if (this.#life && event != "open") this.#life = 2;
          }
          if (this.#life) extend((wait + (this.#flows ? 5 : 3)) * 1000);
          await this.#checkEnd();
          if (this.#life && !this.#flows && /^:\s+$/.test(chunk)) {
            this.#flows = true;
            if (wait < this.#wait) return;
          }
        }
      });
    }

    // Takes bytes of the server's stream that begin at a position. What came twice is dropped.
    #take(bytes, position) {
      const known = this.#received - position;
      if (known < 0) throw {};
      bytes = bytes.subarray(known);
      this.#received += bytes.length;
      if (this.#owes) this.#tell();
      // The next request goes out while the page looks at these; not the one after it.
      const before = this.#parsed;
      this.#parsed = before.then(() => this.#parse(bytes));
      return before;
    }

    async #checkEnd() {
      if (this.#received < this.#end) return;
      await this.#parsed;
      this.#finish();
    }

    async #parse(chunk) {
      this.#chunks.push(chunk);
      this.#size += chunk.length;
      if (this.#size < this.#need) return;
      const data = join(this.#chunks), view = new DataView(data.buffer, data.byteOffset);
      for (let at = 0; !this.#done && !this.#outcome;) {
        const left = data.length - at, short = data[at + 1];
        const header = short == 127 ? 10 : short == 126 ? 4 : 2;
        let need = header;
        if (left >= header) {
          if (short > 127) return this.#fail(1002);
          if (header > 4) need += Number(view.getBigUint64(at + 2));
          else need += header > 2 ? view.getUint16(at + 2) : short;
        }
        if (left < need) {
          this.#chunks = left ? [data.subarray(at)] : [];
          this.#size = left;
          this.#need = need;
          break;
        }
        const delivered = this.#handle(data[at], data.subarray(at + header, at + need));
        if (delivered) await delivered;
        at += need;
      }
    }

    // Handles a frame (RFC 6455 §5.2).
    #handle(first, payload) {
      const opcode = first & 15, isFinal = first & 128, isControl = opcode > 7;
      if (
        first & 112 ||
        (isControl && (opcode > 10 || !isFinal || payload.length > 125)) ||
        (!isControl && (opcode > 2 || !opcode != !!this.#opcode))
      ) return this.#fail(1002);
      if (opcode == 8) return this.#handleClose(payload);
      if (opcode == 9 && !this.#isClosing) {
        this.buffered += payload.length;
        this.#push(this.#pack(10, payload));
      }
      if (isControl) return;
      this.#opcode ||= opcode;
      this.#parts.push(payload);
      if (!isFinal) return;
      let message = join(this.#parts);
      const isText = this.#opcode == 1;
      this.#parts = [];
      this.#opcode = 0;
      try {
        if (isText) message = decoder.decode(message);
      } catch {
        return this.#fail(1007);
      }
      this.#on.message(message);
      return nextTask();
    }

    #handleClose(payload) {
      let code = 1005, reason = "";
      if (payload.length) {
        code = payload[0] << 8 | payload[1];
        // 1004 to 1006 are never sent.
        if (code < 1000 || code > 4999 || [4, 5, 6].includes(code - 1000) || (code > 1014 && code < 3000))
          return this.#fail(1002);
        try {
          reason = decoder.decode(payload.subarray(2));
        } catch {
          return this.#fail(1007);
        }
      }
      this.#outcome = [code, reason, true];
      this.#on.closing();
      this.close(payload.length && code, reason);
      this.#settle();
    }

    // The server broke the protocol.
    #fail(code) {
      this.#outcome = LOST;
      this.#on.closing();
      this.close(code, "");
      this.#settle();
    }

    // Ends when both close frames have come, or have had their time.
    #settle() {
      if (this.#outcome && !this.#batch.length && !this.#queue.length) this.#finish();
      else this.#closeTimer ||= setTimeout(() => {
        this.#outcome ||= LOST;
        this.#finish();
      }, 10000);
    }
  }

  class Syncws extends EventTarget {
    static #live = new Set();

    #url;
    #protocols;
    #options;
    #binaryType = "blob";
    #state = CONNECTING;
    #transport = "";
    #protocol = "";
    #extensions = "";
    #link = null;
    #handlers = {};
    #unsent = 0; // bytes of messages after the end
    #isStopped = false; // by the page
    #isWaiting = false; // to connect again
    #timer;
    #failures = 0; // in a row
    #openedAt;
    #since;

    constructor(url, protocols = [], options = {}) {
      super();
      let parsed;
      try {
        parsed = new URL(url, globalThis.document?.baseURI);
        parsed.protocol = parsed.protocol.replace("http", "ws");
      } catch {}
      if (!/^wss?:[^#]*$/.test(parsed)) raise("SyntaxError", "wrong URL");
      protocols = [].concat(protocols);
      const names = protocols.map((name) => `${name}`.toLowerCase());
      if (new Set(names).size < names.length || !names.every((name) => /^[!#-'*+.^-z|~-]+$/.test(name)))
        raise("SyntaxError", "wrong subprotocol");
      this.#url = parsed;
      this.#protocols = protocols;
      this.#options = {
        transports: ["websocket", "streaming", "polling"],
        openTimeout: 5000,
        remember: 600000,
        ...options,
      };
      const { since } = options;
      if (since) {
        this.addEventListener("message", (event) => {
          this.#since = since(event) ?? this.#since;
        });
      }
      Syncws.#live.add(this);
      this.#connect();
    }

    get url() {
      return this.#url.href;
    }

    get readyState() {
      return this.#state;
    }

    get transport() {
      return this.#transport;
    }

    get protocol() {
      return this.#protocol;
    }

    get extensions() {
      return this.#extensions;
    }

    get bufferedAmount() {
      return this.#unsent + (this.#link?.buffered || 0);
    }

    get binaryType() {
      return this.#binaryType;
    }

    set binaryType(type) {
      if (type != "blob" && type != "arraybuffer") return;
      this.#binaryType = type;
      if (this.#link) this.#link.binaryType = type;
    }

    send(data) {
      if (this.#state == CONNECTING) raise("InvalidStateError", "not open");
      if (data instanceof ArrayBuffer) data = new Uint8Array(data);
      else if (ArrayBuffer.isView(data)) {
        data = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      } else if (!(data instanceof Blob)) data = `${data}`;
      if (this.#state == OPEN) this.#link.send(data);
      else this.#unsent += data.size ?? data.byteLength ?? encoder.encode(data).length;
    }

    close(code, reason = "") {
      if (code !== undefined && code !== 1000 && !(code > 2999 && code < 5000))
        raise("InvalidAccessError", "wrong code");
      if (encoder.encode(reason).length > 123) raise("SyntaxError", "reason too long");
      if (this.#state > OPEN) return;
      const wasOpen = this.#state;
      this.#state = CLOSING;
      this.#isStopped = true;
      if (wasOpen) return this.#link.close(code ?? (reason && 1000), reason);
      clearTimeout(this.#timer);
      this.#isWaiting = false;
      this.#link?.abort();
      setTimeout(() => this.#ended(...LOST));
    }

    #connect() {
      this.#isWaiting = false;
      this.#openedAt = 0;
      const worked = recall(this.#url.origin);
      this.#try([...this.#options.transports].sort((a, b) => (b == worked) - (a == worked)));
    }

    // Tries transports, one after the other; streaming and polling are one.
    #try(transports) {
      const isNative = (name) => name == "websocket";
      const rest = transports.filter((name) => isNative(name) != isNative(transports[0]));
      const url = new URL(this.#url);
      if (this.#since !== undefined) url.searchParams.set("since", this.#since);
      const lost = (code, reason, clean, error = {}) => {
        if (rest.length && !this.#openedAt && !error.code) this.#try(rest);
        else this.#ended(code, reason, clean, error);
      };
      try {
        this.#link = new (isNative(transports[0]) ? WebSocketLink : HttpLink)(
          url.href,
          this.#protocols,
          transports.filter((name) => !isNative(name)),
          this.#options.openTimeout,
          {
            transport: (name) => {
              this.#transport = name;
              remember(url.origin, name, this.#options.remember);
            },
            open: (protocol, extensions) => {
              this.#protocol = protocol;
              this.#extensions = extensions;
              this.#state = OPEN;
              this.#openedAt = now();
              this.dispatchEvent(new Event("open"));
            },
            message: (data) => this.#message(data),
            closing: () => {
              this.#state = CLOSING;
            },
            close: lost,
          },
        );
        this.#link.binaryType = this.#binaryType;
      } catch (error) {
        // There is no WebSocket, or the page's policy forbids it.
        queueMicrotask(() => this.#isStopped || lost(...LOST));
      }
    }

    #message(data) {
      if (this.#state != OPEN) return;
      this.#failures = 0;
      if (data instanceof Uint8Array) {
        data = this.#binaryType == "blob" ? new Blob([data]) : data.slice().buffer;
      }
      this.dispatchEvent(new MessageEvent("message", { data, origin: this.#url.origin }));
    }

    #ended(code, reason, wasClean, error = {}) {
      this.#unsent += this.#link?.buffered || 0;
      this.#link = null;
      const { reconnect } = this.#options;
      const { minDelay = 500, maxDelay = 30000, attempts = Infinity } = reconnect || {};
      if (this.#openedAt && now() - this.#openedAt > 5000) this.#failures = 0;
      const isFinal = code == 1000 || (isRefusal(error) && error.status != 429);
      if (reconnect && !this.#isStopped && !isFinal && this.#failures < attempts) {
        const delay = jitter(Math.min(minDelay * 2 ** this.#failures++, maxDelay));
        this.#state = CONNECTING;
        this.#isWaiting = true;
        const details = { code, reason, attempt: this.#failures, delay: Math.max(delay, error.delay || 0) };
        this.#schedule(details.delay);
        this.dispatchEvent(make("reconnecting", details));
        return;
      }
      this.#state = CLOSED;
      Syncws.#live.delete(this);
      if (!wasClean) this.dispatchEvent(make("error", { message: error.message || "" }));
      const event = { code, reason, wasClean };
      this.dispatchEvent(globalThis.CloseEvent ? new CloseEvent("close", event) : make("close", event));
    }

    // Connects after a delay, or once there is a network.
    #schedule(delay) {
      clearTimeout(this.#timer);
      if (!isOffline()) this.#timer = setTimeout(() => this.#connect(), delay);
    }

    #notice(type) {
      if (type == "pagehide") return this.#link?.leave?.();
      this.dispatchEvent(new Event(type));
      if (this.#isWaiting) this.#schedule(0);
      else if (type == "online") this.#link?.wake?.();
    }

    static {
      for (const type of ["online", "offline", "pagehide"]) {
        globalThis.addEventListener?.(type, () => {
          for (const socket of Syncws.#live) socket.#notice(type);
        });
      }
      for (const target of [Syncws, Syncws.prototype]) {
        Object.assign(target, { CONNECTING, OPEN, CLOSING, CLOSED });
      }
      for (const type of ["open", "message", "error", "close", "reconnecting", "online", "offline"]) {
        Object.defineProperty(Syncws.prototype, "on" + type, {
          get() {
            return this.#handlers[type] ?? null;
          },
          set(handler) {
            if (!(type in this.#handlers)) {
              this.addEventListener(type, (event) => this.#handlers[type]?.call(this, event));
            }
            this.#handlers[type] = typeof handler == "function" ? handler : null;
          },
        });
      }
    }
  }

  globalThis.Syncws = Syncws;
  if (typeof exports == "object") exports.Syncws = Syncws;
})();
