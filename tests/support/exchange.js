// Exchanges numbered messages with the server of numbers.py; resolves to what has come of it.
globalThis.exchange = (Syncws, url, { count, window, pause = 0, ...options }) =>
  new Promise((resolve) => {
    const textOf = (n) => `${n}:` + "é!".repeat(n % 997 ? (n * 7) % 31 : 60000);
    const encoder = new TextEncoder(), decoder = new TextDecoder();
    const start = Date.now(), transports = [];
    let sent = 0, received = 0, wrong = null, isPausing = false;
    const socket = new Syncws(`${url}&count=${count}&window=${window}`, [], options);
    socket.binaryType = "arraybuffer";

    const send = () => {
      for (; sent < Math.min(count, received + window); sent++) {
        socket.send(sent % 3 ? textOf(sent) : encoder.encode(textOf(sent)));
      }
    };

    // The page or the server closes, whoever the URL says.
    const finish = () => {
      if (received < count || sent < count || !url.includes("closes=client")) return;
      if (socket.bufferedAmount) setTimeout(finish, 5);
      else socket.close(4002, `all ${count} ✓`);
    };

    socket.onopen = send;
    socket.onmessage = ({ data }) => {
      const isBinary = typeof data != "string";
      const text = isBinary ? decoder.decode(data) : data;
      if (wrong === null && (text != textOf(received) || isBinary == !!(received % 3))) {
        wrong = `${text.slice(0, 20)} in place of ${received}`;
      }
      received++;
      if (transports[transports.length - 1] != socket.transport) transports.push(socket.transport);
      if (pause && received == count >> 1) {
        isPausing = true;
        setTimeout(() => {
          isPausing = false;
          send();
        }, pause);
      }
      if (!isPausing) send();
      finish();
    };
    socket.onclose = ({ code, reason, wasClean }) => {
      const seconds = (Date.now() - start) / 1000;
      resolve({ sent, received, wrong, code, reason, wasClean, transports, seconds });
    };
  });
