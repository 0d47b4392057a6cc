// What a session's HTTP requests and responses are, as the page itself sees them: it looks at what
// syncws.js gives to fetch(), and gets from it. What the browser adds, such as Host, Origin and
// cookies, no script can see.

import { Frames } from "./frames.js";

const SESSION = "Syncws-Session";
const SECRET = ["syncws-session", "syncws-nonce"]; // who has them has the session
const MAX_SESSIONS = 4; // whose streams are followed: requests of the last one may still be under way

const fetchIt = globalThis.fetch;
const sessions = new Map(); // by id: the frames of both streams

// Calls show(record) for each request, response, event of a stream, and failure.
export function watchExchange(show) {
  globalThis.fetch = async (url, options = {}) => {
    const headers = new Headers(options.headers);
    if (!headers.has(SESSION)) return fetchIt(url, options);
    const tell = (from, record) => show({ from, noted: "page", time: Date.now() / 1000, ...record });
    const request = describeRequest(url, options, headers);
    tell("browser", request);
    try {
      return watchResponse(await fetchIt(url, options), request, (record) => tell("server", record));
    } catch (error) {
      tell("server", describeFailure(error));
      throw error;
    }
  };
}

function streamsOf(session) {
  if (!sessions.has(session)) {
    sessions.set(session, { browser: new Frames(), server: new Frames() });
    if (sessions.size > MAX_SESSIONS) sessions.delete(sessions.keys().next().value);
  }
  return sessions.get(session);
}

function describeRequest(url, { method, body }, headers) {
  const { pathname, search } = new URL(url);
  const session = headers.get(SESSION), bytes = body ? new Uint8Array(body) : new Uint8Array();
  const position = numberOf(headers, "Syncws-Position");
  return {
    type: "request",
    method,
    session,
    opens: session === "new",
    streams: /event-stream/.test(headers.get("Accept")),
    position,
    ack: numberOf(headers, "Syncws-Ack"),
    wait: numberOf(headers, "Syncws-Wait"),
    size: bytes.length,
    frames: position === null ? [] : streamsOf(session).browser.take(position, bytes),
    lines: [`${method} ${pathname}${search}`, ...linesOf(headers)],
  };
}

function watchResponse(response, request, tell) {
  const { status, statusText, headers } = response;
  const record = {
    type: "response",
    method: request.method,
    opens: request.opens,
    status,
    position: numberOf(headers, "Syncws-Position"),
    ack: numberOf(headers, "Syncws-Ack"),
    end: numberOf(headers, "Syncws-End"),
    superseded: headers.has("Syncws-Superseded"),
    size: 0,
    frames: [],
    lines: [`${status} ${statusText}`.trim(), ...linesOf(headers)],
  };
  if (response.body === null || status === 204) { // which has none, but Chromium says it has
    tell(record);
    return response;
  }
  const streams = /^text\/event-stream/.test(headers.get("Content-Type"));
  const watcher = (streams ? watchEvents : watchBody)(record, request.session, tell);
  return new Response(lookedAt(response.body, watcher, tell), { status, statusText, headers });
}

// Returns a stream of the same bytes, after somebody has seen them.
function lookedAt(body, watcher, tell) {
  const reader = body.getReader();
  return new ReadableStream({
    async pull(controller) {
      try {
        const { value, done } = await reader.read();
        if (done) {
          watcher.end();
          controller.close();
        } else {
          watcher.take(value);
          controller.enqueue(value);
        }
      } catch (error) {
        if (!watcher.isOver) tell(describeFailure(error));
        controller.error(error);
      }
    },
    cancel: (reason) => reader.cancel(reason),
  });
}

// Tells of a response once all of it is there.
function watchBody(record, session, tell) {
  let bytes = new Uint8Array();
  return {
    take(piece) {
      bytes = new Uint8Array([...bytes, ...piece]);
    },
    end() {
      record.size = bytes.length;
      if (record.position === null) record.lines.push("", hideSession(new TextDecoder().decode(bytes)));
      else record.frames = streamsOf(session).server.take(record.position, bytes);
      tell(record);
    },
  };
}

// Tells of a response, which is a stream of events, and then of each event.
function watchEvents(record, session, tell) {
  const decoder = new TextDecoder();
  let rest = "";
  record.streams = true;
  tell(record);
  return {
    isOver: false,
    take(piece) {
      const events = (rest + decoder.decode(piece, { stream: true })).split("\n\n");
      rest = events.pop();
      for (const event of events) {
        const described = describeEvent(event.split("\n"), session);
        if (described.name === "end") this.isOver = true;
        tell(described);
      }
    },
    end() {},
  };
}

function describeEvent(lines, session) {
  const fields = Object.fromEntries(lines.map((line) => line.split(/: ?/, 2)));
  const record = { type: "event", name: fields.event ?? (fields.data ? "" : "comment"), size: 0, frames: [], lines };
  if (record.name === "" && fields.id) {
    const bytes = Uint8Array.from(atob(fields.data), (char) => char.charCodeAt(0));
    record.size = bytes.length;
    record.position = fields.id - bytes.length;
    record.frames = streamsOf(session).server.take(record.position, bytes);
  } else {
    record.position = Number(fields.data);
  }
  return record;
}

function describeFailure(error) {
  const given = error.name === "AbortError";
  return { type: "failure", text: given ? "given up by this page" : `no response: ${error.message}` };
}

const numberOf = (headers, name) => (headers.has(name) ? Number(headers.get(name)) : null);

const linesOf = (headers) => [...headers].map(([name, value]) => {
  const shown = name.replace(/(^|-)[a-z]/g, (letter) => letter.toUpperCase());
  return `${shown}: ${SECRET.includes(name) && value !== "new" ? hide(value) : value}`;
});

// Enough to tell one from another.
const hide = (secret) => `${secret.slice(0, 4)}… (not shown)`;

function hideSession(text) {
  try {
    const { session, ...rest } = JSON.parse(text);
    return JSON.stringify(session ? { session: hide(session), ...rest } : rest, null, 1);
  } catch { // a proxy's page
    return text.slice(0, 1000);
  }
}
