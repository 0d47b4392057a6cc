// Finds the frames (RFC 6455 §5.2) in one of the byte streams of a session. Each is described as
// the server describes the frames of a WebSocket.

const KEPT = 256; // bytes of a payload

const NAMES = { 0: "CONT", 1: "TEXT", 2: "BINARY", 8: "CLOSE", 9: "PING", 10: "PONG" };
const MEANINGS = {
  1000: "normal closure",
  1001: "going away",
  1002: "protocol error",
  1007: "invalid data",
  1008: "policy violation",
  1009: "message too big",
  1011: "internal error",
  1012: "service restart",
};

const digitsOf = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const textOf = (bytes) => new TextDecoder().decode(bytes);

export class Frames {
  #end = 0; // the position after the last byte that has come
  #rest = new Uint8Array(); // of a frame that isn't complete

  // Takes bytes that begin at a position; returns the frames that end in them. What has come
  // before is left out.
  take(position, bytes) {
    const known = this.#end - position;
    if (known < 0 || known >= bytes.length) return [];
    this.#end = position + bytes.length;
    let data = new Uint8Array([...this.#rest, ...bytes.subarray(known)]);
    const found = [];
    for (let size = sizeOf(data); size <= data.length; size = sizeOf(data)) {
      found.push(describe(data.subarray(0, size)));
      data = data.subarray(size);
    }
    this.#rest = data;
    return found;
  }
}

function headerSizeOf(data) {
  const short = data[1] & 127;
  return 2 + (short === 127 ? 8 : short === 126 ? 2 : 0) + (data[1] & 128 ? 4 : 0);
}

// Returns how many bytes a frame has, or infinitely many as long as nobody knows.
function sizeOf(data) {
  if (data.length < 2 || data.length < headerSizeOf(data)) return Infinity;
  const view = new DataView(data.buffer, data.byteOffset), short = data[1] & 127;
  const length = short === 127 ? Number(view.getBigUint64(2)) : short === 126 ? view.getUint16(2) : short;
  return headerSizeOf(data) + length;
}

function describe(data) {
  const header = data.subarray(0, headerSizeOf(data));
  const key = data[1] & 128 ? header.subarray(-4) : null;
  const payload = data.slice(header.length);
  if (key) payload.forEach((byte, i) => { payload[i] = byte ^ key[i % 4]; });
  const opcode = data[0] & 15;
  const code = opcode === 8 && payload.length > 1 ? payload[0] << 8 | payload[1] : null;
  return {
    type: "frame",
    name: NAMES[opcode] ?? `OPCODE ${opcode}`,
    fin: Boolean(data[0] & 128),
    rsv1: Boolean(data[0] & 64),
    rsv2: Boolean(data[0] & 32),
    rsv3: Boolean(data[0] & 16),
    opcode,
    masking_key: key && digitsOf(key),
    header: digitsOf(header),
    length: payload.length,
    payload: digitsOf(payload.subarray(0, KEPT)),
    truncated: payload.length > KEPT,
    text: opcode === 1 ? textOf(payload.subarray(0, KEPT)) : null,
    close_code: code,
    close_reason: textOf(payload.subarray(2)),
    meaning: code && `${code} (${MEANINGS[code] ?? "for programs"})`,
  };
}
