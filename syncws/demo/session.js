// What the HTTP requests and responses of a session are for: a line, and an explanation.

import { make } from "./dom.js";

const MAX_LINE = 300;

const bytesAt = ({ size, position }) => `${size} B at ${position}`;

// Returns what a request, a response or an event says, besides the frames inside.
export function describeExchange(record) {
  const { type, method, size, ack, position } = record;
  if (type === "event") return record.name === "" ? bytesAt(record) : describeEvent(record);
  if (type === "request") {
    if (record.opens) return "opens a session";
    if (method === "DELETE") return "ends the session";
    if (method === "POST") return size ? bytesAt(record) : `has ${ack} B`;
    return `has ${ack} B, ${record.streams ? "wants a stream" : `waits ${record.wait} s for more`}`;
  }
  if (record.status >= 400) return record.lines[0].slice(4);
  if (record.opens) return "the session is open";
  if (record.streams) return "a stream begins";
  if (method === "POST") return `has ${ack} B`;
  if (method === "DELETE") return "the session has ended";
  if (record.superseded) return "a newer request takes its place";
  return position === null ? "nothing new" : bytesAt(record);
}

function describeEvent({ name, position }) {
  if (name === "open") return `begins at ${position}`;
  if (name === "end") return `ends at ${position}`;
  return "shows that it is alive";
}

export function explainExchange(record) {
  const parts = [make("p", "", meaningOf(record)),
    make("div", "lines", ...record.lines.map((line) => make("div", "", cut(line))))];
  if (record.type === "request") {
    parts.push(make("p", "faint", "The browser adds more, such as Host and Origin, which no script can see."));
  }
  if (record.size && record.position !== null) {
    const { size, position } = record;
    parts.push(make("p", "", record.frames.length
      ? `The body has ${count(size, "byte")}, from position ${position} of the ${sender(record)}'s stream on, and in them ${count(record.frames.length, "frame")}:`
      : `The body has ${count(size, "byte")}, from position ${position} of the ${sender(record)}'s stream on. They have come before, or are the beginning of a frame.`));
  }
  return parts;
}

const sender = (record) => (record.from === "browser" ? "page" : "server");
const count = (number, what) => `${number} ${what}${number === 1 ? "" : "s"}`;
const cut = (line) => (line.length > MAX_LINE ? `${line.slice(0, MAX_LINE)}…` : line);

function meaningOf(record) {
  const { type, method } = record;
  if (type === "event") {
    if (record.name === "open") return "The stream begins, at this position. If that does not come soon, something between keeps responses back, and the page goes over to polling.";
    if (record.name === "end") return "The server's stream ends here, and with it the session.";
    if (record.name === "comment") return "Nothing happened for a while: this keeps what is between from cutting the stream.";
    return "Bytes of the server's stream, in base64; the id is the position after them.";
  }
  if (type === "request") {
    if (record.opens) return "The page opens a session: this request stands for the opening handshake. Should the response be lost, it asks again with the same nonce, and gets the same session.";
    if (method === "POST") return record.size
      ? "The page sends bytes. It keeps them until the server has them for good, and sends them again if no response comes. Syncws-Ack says how many bytes of the server's it has."
      : "The page says how many bytes of the server's it has.";
    if (method === "GET") return record.streams
      ? "The page asks for a stream of what the server sends, after the bytes that it has."
      : "The page asks for what the server sends, after the bytes that it has. If there is nothing, the server waits before it answers: long polling.";
    return "The page goes, and ends the session at once.";
  }
  if (record.status >= 400) return "The server refuses. Its error has a code, and says what is wrong.";
  if (record.opens) return "The session is open. Its id is as good as a password: it is in headers only, never in a URL.";
  if (record.streams) return "The response goes on until the session ends, and has an event for whatever the server sends.";
  if (method === "POST") return "The server has this many bytes of the page's stream for good.";
  if (record.end !== null) return "The server's stream ends at this position, and with it the session.";
  if (method === "DELETE") return "The session has ended.";
  if (record.superseded) return "Of two requests that wait the newer one counts.";
  return record.position === null ? "Nothing was sent in that time. The page asks again." : "The server has sent something. The page asks for what follows, and so says that it has these.";
}
