export type Transport = "websocket" | "streaming" | "polling";

export interface SyncwsOptions {
  /** Which transports may be used, in the order in which they are tried. All three by default. */
  transports?: readonly Transport[];
  /** Milliseconds that a transport has to open before the next one is tried; 5000 by default. */
  openTimeout?: number;
  /** Milliseconds for which the transport that worked is tried first; 600000 by default. */
  remember?: number;
  /**
   * Whether to connect again when a connection ends, except with code 1000 or by `close()`. It does
   * not by default.
   */
  reconnect?: boolean | ReconnectOptions;
  /**
   * Returns the position that a message has, if it has one. The last one becomes the URL's parameter
   * `since` when connecting again.
   */
  since?: (event: MessageEvent) => string | number | null | undefined;
}

export interface ReconnectOptions {
  /** Milliseconds before the first attempt, less some at random; 500 by default. */
  minDelay?: number;
  /** Each delay is twice the last one, up to this; 30000 milliseconds by default. */
  maxDelay?: number;
  /** Failures in a row after which it gives up. It does not by default. */
  attempts?: number;
}

/** A connection has ended, and another one will be tried. */
export interface ReconnectingEvent extends Event {
  /** What a `close` event would have said. */
  readonly code: number;
  readonly reason: string;
  /** How many failures there were in a row. */
  readonly attempt: number;
  /** Milliseconds until the next attempt. */
  readonly delay: number;
}

export interface SyncwsEventMap extends WebSocketEventMap {
  reconnecting: ReconnectingEvent;
  online: Event;
  offline: Event;
}

/** The browser's WebSocket, over plain HTTP where WebSocket does not get through. */
declare class SyncwsSocket extends EventTarget implements WebSocket {
  static readonly CONNECTING: 0;
  static readonly OPEN: 1;
  static readonly CLOSING: 2;
  static readonly CLOSED: 3;

  constructor(url: string | URL, protocols?: string | string[], options?: SyncwsOptions);

  readonly CONNECTING: 0;
  readonly OPEN: 1;
  readonly CLOSING: 2;
  readonly CLOSED: 3;
  readonly url: string;
  /** 0 (`CONNECTING`) while it connects again, too. */
  readonly readyState: 0 | 1 | 2 | 3;
  readonly protocol: string;
  readonly extensions: string;
  readonly bufferedAmount: number;
  binaryType: BinaryType;
  /** What carries the messages; empty before it is known. */
  readonly transport: Transport | "";

  send(data: string | ArrayBufferLike | Blob | ArrayBufferView): void;
  close(code?: number, reason?: string): void;

  onopen: ((this: WebSocket, event: Event) => any) | null;
  onmessage: ((this: WebSocket, event: MessageEvent) => any) | null;
  onerror: ((this: WebSocket, event: Event) => any) | null;
  onclose: ((this: WebSocket, event: CloseEvent) => any) | null;
  onreconnecting: ((this: SyncwsSocket, event: ReconnectingEvent) => any) | null;
  ononline: ((this: SyncwsSocket, event: Event) => any) | null;
  onoffline: ((this: SyncwsSocket, event: Event) => any) | null;

  addEventListener<K extends keyof SyncwsEventMap>(
    type: K,
    listener: (this: WebSocket, event: SyncwsEventMap[K]) => any,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener<K extends keyof SyncwsEventMap>(
    type: K,
    listener: (this: WebSocket, event: SyncwsEventMap[K]) => any,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | EventListenerOptions,
  ): void;
}

export { SyncwsSocket as Syncws };

declare global {
  /** Set by the file as a classic script. */
  var Syncws: typeof SyncwsSocket;
}
