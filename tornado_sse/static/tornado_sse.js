/**
 * The browser's half of tornado_sse: one ES module, no dependencies, no build step.
 *
 *     import { EventStream } from "/tornado_sse/tornado_sse.js";
 *
 *     const stream = new EventStream("/prices/AAPL", { shared: true });
 *     stream.addEventListener("quote", (event) => show(event.payload));
 *     stream.ongap = (event) => refetch(event.payload.channel);
 *
 * An `EventStream` is used as an `EventSource` is. Beyond that it sends headers and bodies, decodes by the `codec`
 * field, comes back where an EventSource gives up, remembers its place across reloads, and shares one connection
 * among all tabs. Where nothing of that is needed a plain EventSource does as well, and `decode` is for it:
 *
 *     source.addEventListener("cpu", (event) => plot(decode("msgpack", event.data)));
 *
 * Nothing that comes from the server is taken for markup or code here.
 *
 * @module tornado_sse
 */

import { decode } from "./codec.js";
import { Connection } from "./connection.js";
import { MAX_EVENT_SIZE } from "./parser.js";
import { SharedConnection } from "./shared.js";

export { DecodeError, MAX_DEPTH, decode, decodeMsgpack, register } from "./codec.js";

/** An event of the stream: a `MessageEvent` that knows its codec. */
export class StreamEvent extends MessageEvent {
  #payload;
  #decoded = false;

  /**
   * @param {string} type
   * @param {MessageEventInit & {codec?: string | null}} init
   */
  constructor(type, { codec = null, ...init }) {
    super(type, init);
    /** The event's `codec` field, or null: then the data is plain text. */
    this.codec = codec;
  }

  /**
   * What was written: the data, decoded by the codec when it is first asked for.
   *
   * @throws {import("./codec.js").DecodeError} if the codec can't read the data, or nobody has registered it
   */
  get payload() {
    if (!this.#decoded) {
      this.#payload = decode(this.codec, this.data);
      this.#decoded = true;
    }
    return this.#payload;
  }
}

/** Why the stream is not open: the event of type `error` that a stream dispatches itself. */
export class StreamErrorEvent extends Event {
  /** @param {import("./connection.js").Failure} failure */
  constructor({ reason, status, delay, error }) {
    super("error");
    /** See `Failure`. */
    this.reason = reason;
    /** The status of the HTTP response, or null if there was none. */
    this.status = status;
    /** Milliseconds until the next attempt, or null if it is over. */
    this.delay = delay;
    /** What the browser said, if anything. */
    this.error = error;
  }
}

/**
 * Reads an event stream until `close()`, over as many connections as it takes.
 *
 * `state` says more than an EventSource's `readyState`, and each change of it is an event, `statechange`:
 * `connecting` (for the first time), `open`, `reconnecting`, `paused` (by `pause()`), `resting` (out of sight),
 * `closed`.
 */
export class EventStream extends EventTarget {
  static CONNECTING = 0;
  static OPEN = 1;
  static CLOSED = 2;

  #ask;
  #shared;
  #memory = null; // under which name the place is remembered
  #rest;
  #source = null;
  #state = "connecting";
  #lastEventId;
  #resting = 0;
  #life = new AbortController(); // of the listeners on the page

  /**
   * @param {string | URL} url
   * @param {object} [options]
   * @param {string} [options.method] `"GET"`
   * @param {HeadersInit | (() => HeadersInit | Promise<HeadersInit>)} [options.headers] a function is called for each
   *     connection, so that a token may be renewed
   * @param {BodyInit | null} [options.body] anything that can be sent again
   * @param {boolean} [options.withCredentials] whether cookies go to another origin too
   * @param {string} [options.lastEventId] where to begin
   * @param {boolean | string} [options.remember] whether a reload of the tab goes on where the page was; by the URL,
   *     or by a name
   * @param {boolean | string} [options.shared] whether the tabs of the origin share one connection; with a name, those
   *     that give the same. Needs headers and a body that are no functions or streams
   * @param {boolean} [options.persist] whether an answer that is no stream is tried again, whatever it is but 204.
   *     Otherwise only a 503 or 429 with Retry-After is
   * @param {number} [options.rest] after how many milliseconds out of sight the page gives its connection back, to
   *     resume when it is seen again; 0 never
   * @param {number} [options.idleTimeout] after how many milliseconds of silence the connection is taken for dead;
   *     more than the server's `sse_keepalive`. 0 never
   * @param {number} [options.maxEventSize] how many characters one event may have
   * @throws {TypeError | DOMException} if it can't be requested
   */
  constructor(url, options = {}) {
    super();
    const {
      method = "GET", headers = [], body = null, withCredentials = false, lastEventId, remember = false,
      shared = false, persist = false, rest = 0, idleTimeout = 60_000, maxEventSize = MAX_EVENT_SIZE,
    } = options;
    this.url = new URL(url, globalThis.document?.baseURI ?? globalThis.location?.href).href;
    this.withCredentials = Boolean(withCredentials);
    const given = typeof headers === "function" ? headers : [...new Headers(headers)];
    if (body instanceof ReadableStream) throw new TypeError("a body that is a stream can't be sent again");
    if (shared && !(given instanceof Array && (body === null || typeof body === "string"))) {
      throw new TypeError("what is shared needs headers that are no function, and a body that is a string");
    }
    new Request(this.url, { method, body, headers: given instanceof Array ? given : [] }); // throws what fetch would
    if (remember) this.#memory = `tornado_sse ${remember === true ? this.url : remember}`;
    this.#lastEventId = String(lastEventId ?? this.#remembered());
    if (/[\0\r\n]/.test(this.#lastEventId)) throw new TypeError("an event id has no NUL, CR or LF");
    const credentials = this.withCredentials ? "include" : "same-origin";
    this.#ask = { url: this.url, method, headers: given, body, credentials, persist, idleTimeout, maxEventSize };
    this.#shared = shared === true ? "" : shared;
    this.#rest = rest;
    this.#watchThePage();
    this.#start();
    if (globalThis.document) this.#seenOrNot(); // a tab may be opened in the background
  }

  /** The id of the last event, which is where the stream resumes. */
  get lastEventId() {
    return this.#lastEventId;
  }

  get state() {
    return this.#state;
  }

  get readyState() {
    return this.#state === "open" ? EventStream.OPEN : this.#state === "closed" ? EventStream.CLOSED : EventStream.CONNECTING;
  }

  /** Whether tabs share the connection: false where it was not asked for, or this browser can't. */
  get shared() {
    return this.#shared !== false;
  }

  /** End it for good. Nothing is dispatched afterwards. */
  close() {
    this.#life.abort();
    this.#stop("closed");
  }

  /** Give the connection back until `resume()`, which brings what has been missed. */
  pause() {
    if (this.#state !== "closed") this.#stop("paused");
  }

  /** Go on after `pause()`. */
  resume() {
    if (this.#state === "paused") this.#start();
  }

  #start() {
    clearTimeout(this.#resting);
    this.#enter("connecting");
    const ask = { ...this.#ask, lastEventId: this.#lastEventId };
    // A source that has been closed may still have something on the way.
    const current = (tell) => (...news) => source === this.#source && tell(...news);
    let origin = "";
    const listener = {
      onOpen: current((answering) => {
        origin = answering;
        if (this.#state === "open") return; // a shared connection may change hands unseen
        this.#enter("open");
        this.dispatchEvent(new Event("open"));
      }),
      onBlocks: current((blocks) => {
        for (const { type, data, codec, lastEventId } of blocks) {
          this.#lastEventId = lastEventId;
          if (data !== null) this.dispatchEvent(new StreamEvent(type, { data, origin, lastEventId, codec }));
          if (source !== this.#source) break; // a listener has closed or paused it
        }
        this.#remember();
      }),
      onLost: current((failure) => {
        this.#enter("reconnecting");
        this.dispatchEvent(new StreamErrorEvent(failure));
      }),
      onEnd: current((failure) => {
        this.close();
        this.dispatchEvent(new StreamErrorEvent(failure));
      }),
      onGone: current((again) => {
        source.close();
        if (!again) this.#shared = false;
        this.#start();
      }),
    };
    const source = (this.#source = this.#connect(ask, listener));
  }

  #connect(ask, listener) {
    if (this.#shared !== false) {
      try {
        return new SharedConnection(ask, this.#shared, listener);
      } catch {
        this.#shared = false; // there are none here, and each tab is on its own
      }
    }
    return new Connection(ask, listener);
  }

  #stop(state) {
    clearTimeout(this.#resting);
    this.#source?.close();
    this.#source = null;
    this.#enter(state);
  }

  #enter(state) {
    if (state === this.#state) return;
    this.#state = state;
    this.dispatchEvent(new Event("statechange"));
  }

  // What happens to the page.

  #watchThePage() {
    const on = (target, type, listener) => target?.addEventListener?.(type, listener, { signal: this.#life.signal });
    on(globalThis.document, "visibilitychange", () => this.#seenOrNot());
    on(globalThis, "online", () => this.#source?.hasten());
    // A page that is left may be kept, to be shown again at once; with a connection it could not.
    on(globalThis, "pagehide", () => this.#source && this.#stop("resting"));
    on(globalThis, "pageshow", () => this.#state === "resting" && this.#start());
  }

  #seenOrNot() {
    clearTimeout(this.#resting);
    if (document.visibilityState === "visible") {
      if (this.#state === "resting") this.#start();
      else this.#source?.hasten();
    } else if (this.#rest > 0) {
      this.#resting = setTimeout(() => this.#source && this.#stop("resting"), this.#rest);
    }
  }

  // Its place, for when the page is loaded again. Storage may be denied; it is then forgotten.

  #remembered() {
    try {
      return (this.#memory && sessionStorage.getItem(this.#memory)) ?? "";
    } catch {
      return "";
    }
  }

  #remember() {
    if (this.#memory === null) return;
    try {
      sessionStorage.setItem(this.#memory, this.#lastEventId);
    } catch {
      this.#memory = null;
    }
  }
}

// `onopen` and its like, as an EventSource has them.
for (const type of ["open", "message", "error", "gap", "statechange"]) {
  const given = new WeakMap();
  Object.defineProperty(EventStream.prototype, `on${type}`, {
    configurable: true,
    enumerable: true,
    get() {
      return given.get(this)?.handler ?? null;
    },
    set(handler) {
      if (given.has(this)) given.get(this).handler = handler;
      else {
        const slot = { handler };
        given.set(this, slot);
        this.addEventListener(type, (event) => typeof slot.handler === "function" && slot.handler.call(this, event));
      }
    },
  });
}
