/** The browser's half of tornado_sse. What each thing does is told in tornado_sse.js. */

/** How many arrays and maps may lie inside one another in MessagePack data. */
export declare const MAX_DEPTH: number;

/** Data that its codec can't read. */
export declare class DecodeError extends Error {
  constructor(codec: string, reason: string, cause?: unknown);
  readonly codec: string;
}

/** Turn an event's data back into what was written; without a codec it is returned as it is. */
export declare function decode(codec: string | null | undefined, data: string): any;

/** Decode one MessagePack value, which must be all there is. */
export declare function decodeMsgpack(bytes: Uint8Array): any;

/** Teach `decode` another codec. */
export declare function register(
  codec: string,
  decoder: (data: string) => unknown,
  options?: { replace?: boolean },
): void;

/** An event of the stream. */
export declare class StreamEvent<Payload = any> extends MessageEvent<string> {
  constructor(type: string, init: MessageEventInit<string> & { codec?: string | null });
  /** The event's `codec` field, or null: then the data is plain text. */
  readonly codec: string | null;
  /** The data, decoded by the codec when it is first asked for. Throws a `DecodeError`. */
  readonly payload: Payload;
}

/** What a server says of events that a client may have missed. */
export interface Gap {
  channel: string;
  reason: "expired" | "epoch" | "future" | "malformed";
  /** The id after which events may be missing. */
  after: string | null;
  /** The id up to which they may be; all later ones follow. */
  until: string;
}

export type FailureReason = "ended" | "network" | "idle" | "status" | "type" | "size" | "headers" | "overrun";

/** Why the stream is not open. */
export declare class StreamErrorEvent extends Event {
  readonly reason: FailureReason;
  /** The status of the HTTP response, or null if there was none. */
  readonly status: number | null;
  /** Milliseconds until the next attempt, or null if it is over. */
  readonly delay: number | null;
  readonly error: unknown;
}

export type StreamState = "connecting" | "open" | "reconnecting" | "paused" | "resting" | "closed";

export interface EventStreamOptions {
  method?: string;
  /** A function is called for each connection, so that a token may be renewed. */
  headers?: HeadersInit | (() => HeadersInit | Promise<HeadersInit>);
  /** Anything that can be sent again. */
  body?: Exclude<BodyInit, ReadableStream> | null;
  /** Whether cookies go to another origin too. */
  withCredentials?: boolean;
  /** Where to begin. */
  lastEventId?: string;
  /** Whether a reload of the tab goes on where the page was; by the URL, or by a name. */
  remember?: boolean | string;
  /** Whether the tabs of the origin share one connection; with a name, those that give the same. */
  shared?: boolean | string;
  /** Whether an answer that is no stream is tried again, whatever it is but 204. */
  persist?: boolean;
  /** After how many milliseconds out of sight the page gives its connection back; 0 never. */
  rest?: number;
  /** After how many milliseconds of silence the connection is taken for dead; 0 never. */
  idleTimeout?: number;
  /** How many characters one event may have. */
  maxEventSize?: number;
}

export interface EventStreamEventMap {
  open: Event;
  message: StreamEvent;
  error: StreamErrorEvent;
  gap: StreamEvent<Gap>;
  statechange: Event;
}

/** Reads an event stream until `close()`, over as many connections as it takes. */
export declare class EventStream extends EventTarget {
  static readonly CONNECTING: 0;
  static readonly OPEN: 1;
  static readonly CLOSED: 2;

  constructor(url: string | URL, options?: EventStreamOptions);

  readonly url: string;
  readonly withCredentials: boolean;
  readonly readyState: 0 | 1 | 2;
  readonly state: StreamState;
  readonly lastEventId: string;
  readonly shared: boolean;

  onopen: ((this: EventStream, event: Event) => unknown) | null;
  onmessage: ((this: EventStream, event: StreamEvent) => unknown) | null;
  onerror: ((this: EventStream, event: StreamErrorEvent) => unknown) | null;
  ongap: ((this: EventStream, event: StreamEvent<Gap>) => unknown) | null;
  onstatechange: ((this: EventStream, event: Event) => unknown) | null;

  /** End it for good. */
  close(): void;
  /** Give the connection back until `resume()`. */
  pause(): void;
  /** Go on after `pause()`, with what has been missed. */
  resume(): void;

  addEventListener<Type extends keyof EventStreamEventMap>(
    type: Type,
    listener: (this: EventStream, event: EventStreamEventMap[Type]) => unknown,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: ((this: EventStream, event: StreamEvent) => unknown) | EventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener(
    type: string,
    listener: ((this: EventStream, event: any) => unknown) | EventListenerObject | null,
    options?: boolean | EventListenerOptions,
  ): void;
}
