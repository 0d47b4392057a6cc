// A record of the wire explained: what each byte of a frame's header says (RFC 6455 §5.2), how
// the payload was masked, and what it means.

import { make } from "./dom.js";
import { describeExchange, explainExchange } from "./session.js";

const SHOWN = 16; // bytes of a payload

// Who noted the time of what.
const WHEN = {
  server: { browser: "Received from this browser", server: "Sent by the server" },
  page: { browser: "Sent by this page", server: "Received by this page" },
};

const OPCODES = {
  0: "continuation of a message",
  1: "text",
  2: "binary",
  8: "close",
  9: "ping",
  10: "pong",
};

// Returns an array of the bytes that hexadecimal digits say.
const bytesOf = (digits) => (digits.match(/../g) ?? []).map((pair) => parseInt(pair, 16));
const hex = (byte) => byte.toString(16).padStart(2, "0");
const binary = (value, width) => value.toString(2).padStart(width, "0");
const count = (size) => `${size} byte${size === 1 ? "" : "s"}`;

// Returns an element; time is when the server had all of it.
export function explain(record, time) {
  const detail = make("div", `detail from-${record.from}`);
  if (record.type === "http") detail.append(...explainHead(record));
  else if (record.type === "frame") detail.append(...explainFrame(record));
  else if (record.lines) detail.append(...explainExchange(record), ...record.frames.map(explainInside));
  else detail.append(make("p", "", summarize(record)));
  detail.append(make("p", "faint", `${WHEN[record.noted ?? "server"][record.from]} at ${time}.`));
  return detail;
}

// A frame inside of an HTTP body, to be opened.
function explainInside(record, _, frames) {
  const detail = make("details", "inside", make("summary", "", `${record.name}  ${summarize(record).slice(0, 200)}`),
    ...explainFrame({ ...record, inside: true }));
  detail.open = frames.length === 1;
  return detail;
}

// Returns what a record says, in a line.
export function summarize(record) {
  if (record.type === "http") return record.lines[0];
  if (record.lines) {
    const inside = record.frames.map((frame) => `${frame.name} ${summarize(frame)}`).join("; ");
    return [describeExchange(record), inside].filter(Boolean).join(": ");
  }
  if (record.type === "end") return "closed its side of the TCP connection";
  if (record.type !== "frame") return record.text;
  if (record.name === "CLOSE") return record.meaning ? `${record.meaning} ${record.close_reason}` : "no close code";
  const latency = record.latency === undefined ? "" : `after ${record.latency.toFixed(2)} ms, `;
  const content = record.text ?? record.inflated ?? record.payload;
  return `${latency}${record.length} B  ${content}`;
}

function explainHead({ lines, status, size }) {
  const what = status === null
    ? "The opening handshake (RFC 6455 §4.1) begins as an HTTP request that asks to go on with "
      + "another protocol. The key is random; the server has to make something of it."
    : status === 101
      ? "The server agrees (§4.2.2). Sec-WebSocket-Accept is the key and a fixed text, hashed: only "
        + "a server that knows WebSocket answers so. After the empty line, all bytes are frames."
      : "The server doesn't agree: no frames follow.";
  return [make("p", "", what), make("div", "lines", ...lines.map((line) => make("div", "", line))),
    make("p", "faint", `${count(size)}, the empty line at the end included.`)];
}

function explainFrame(record) {
  const header = bytesOf(record.header);
  const parts = [make("h3", "", `Header: ${count(header.length)}`), firstByte(record, header[0]),
    secondByte(record, header[1])];
  const keySize = record.masking_key === null ? 0 : 4;
  const extended = header.slice(2, header.length - keySize);
  if (extended.length) {
    parts.push(field(extended, `payload length, in ${extended.length} bytes: ${record.length}`));
  }
  if (keySize) {
    parts.push(field(bytesOf(record.masking_key), record.inside
      ? "masking key: zeros, which leave the payload as it is, as HTTP needs no mask"
      : "masking key, a new one for each frame"));
  }
  parts.push(make("h3", "", `Payload: ${count(record.length)}`));
  if (record.length) parts.push(payloadTable(record));
  parts.push(...meaning(record).map((text) => make("p", "", text)));
  if (record.text) parts.push(make("p", "lines", record.text));
  return parts;
}

function firstByte(record, byte) {
  const what = OPCODES[record.opcode] ?? "reserved";
  return byteRow(byte, [
    bit(record.fin, "FIN", record.fin ? "final frame" : "more follow"),
    bit(record.rsv1, "RSV1", record.rsv1 ? "compressed" : ""),
    bit(record.rsv2, "RSV2"),
    bit(record.rsv3, "RSV3"),
    bits(binary(record.opcode, 4), `opcode ${record.opcode}: ${what}`, true),
  ]);
}

function secondByte(record, byte) {
  const length = byte & 0x7f;
  const says = { 126: "126: the length is in the next 2 bytes", 127: "127: the length is in the next 8 bytes" };
  return byteRow(byte, [
    bit(byte >> 7, "MASK", byte >> 7 ? "as browsers must" : "servers don't"),
    bits(binary(length, 7), says[length] ?? `payload length: ${length}`, true),
  ]);
}

const bit = (value, name, note = "") => bits(value ? "1" : "0", note ? `${name}: ${note}` : name, value);

function bits(digits, label, isSet) {
  return make("span", isSet ? "set" : "", digits, make("small", "", label));
}

function byteRow(byte, parts) {
  return make("div", "byte", make("span", "hex", hex(byte)), make("div", "bits", ...parts));
}

// Bytes that together say one thing.
function field(bytes, label) {
  const row = byteRow(bytes[0], [bits(bytes.map(hex).join(" "), label, true)]);
  row.firstChild.textContent = bytes.length > 1 ? "" : hex(bytes[0]);
  return row;
}

function payloadTable(record) {
  const payload = bytesOf(record.payload).slice(0, SHOWN);
  const key = record.masking_key === null ? null : bytesOf(record.masking_key);
  const rows = [];
  const add = (label, cells, className = "") => {
    const head = make("th", "", label);
    head.scope = "row";
    rows.push(make("tr", className, head, ...cells.map((cell) => make("td", "", cell))));
  };
  if (key) {
    add("on the wire", payload.map((byte, i) => hex(byte ^ key[i % 4])));
    add("XOR the key", payload.map((_, i) => hex(key[i % 4])));
    add("payload", payload.map(hex), "result");
  } else {
    add("on the wire", payload.map(hex), "result");
  }
  if (!record.compressed) add("as ASCII", payload.map((byte) => (byte > 32 && byte < 127 ? String.fromCharCode(byte) : "·")));
  const table = make("table", "bytes", make("tbody", "", ...rows));
  const paneElement = make("div", "bytes-pane", table);
  paneElement.tabIndex = 0; // it may have to be scrolled by keys
  paneElement.setAttribute("role", "region");
  paneElement.setAttribute("aria-label", "Bytes of the payload");
  if (record.length <= SHOWN) return paneElement;
  return make("div", "", paneElement, make("p", "faint", `and ${count(record.length - SHOWN)} more`));
}

function meaning(record) {
  if (record.name === "CLOSE") {
    const then = record.inside ? "the server's stream ends, and with it the session" : "the server closes the TCP connection (§7.1)";
    return [record.close_code === null ? "There is no close code." : `Close code ${record.meaning}. The other side answers with a close frame; then ${then}.`];
  }
  if (record.name === "PING") return ["The other side must answer with a pong that has the same payload (§5.5.2)."];
  if (record.name === "PONG") {
    return [record.latency === undefined ? "An answer to a ping." : `It answers a ping that was sent ${record.latency.toFixed(2)} ms before.`];
  }
  if (record.problem) return [`Compressed, and can't be inflated: ${record.problem}.`];
  if (record.compressed) return [`Compressed (RFC 7692): ${count(record.length)} that inflate to ${count(record.inflated_length)}:`];
  if (record.truncated) return ["It is long; the demo keeps only its beginning."];
  return [];
}
