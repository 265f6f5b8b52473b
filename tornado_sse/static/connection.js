/**
 * One stream, over as many connections as it takes: connecting, reading, waiting, resuming.
 *
 * It stands on fetch(), because an EventSource can send no header and no body, does not tell the `codec` field,
 * and gives up for good on any answer that is no stream, a proxy's 503 included.
 *
 * - Reading goes on when `onBlocks` is done with what was read, so a slow page slows the server and holds no queue.
 * - The id goes back in the `Last-Event-ID` header; to another origin in the query, where that header would cost a
 *   preflight request that few servers answer.
 * - A browser does not tell why a request failed. What CORS forbids looks like a lost network and is tried again.
 */

import { Parser } from "./parser.js";

/** The reconnection time in milliseconds as long as the server has asked for none. */
const RETRY = 1000;

/** Doubling ends here, in milliseconds, unless the server itself asks for more. */
const MAX_BACKOFF = 30_000;

/** No server may ask for a longer wait; past 2³¹ milliseconds a browser's timer would not wait at all. */
const MAX_WAIT = 3_600_000;

/** What doubling starts from where the server asks for no wait at all. */
const MIN_BACKOFF = 50;

/**
 * Why a connection is over.
 *
 * @typedef {object} Failure
 * @property {"ended" | "network" | "idle" | "status" | "type" | "size" | "headers"} reason
 *     `ended`: the response is complete. `network`: no answer, or it broke off. `idle`: nothing came for too long.
 *     `status`, `type`: the answer was no event stream. `size`: an event was too large. `headers`: the page's own
 *     function failed.
 * @property {number | null} status of the HTTP response, where there was one
 * @property {number | null} delay milliseconds until the next attempt; null if there will be none
 * @property {unknown} [error] what the browser said, or `headers` threw
 */

/**
 * What is asked for; all of it but `headers` as a function can be sent to a worker.
 *
 * @typedef {object} Ask
 * @property {string} url absolute
 * @property {string} method
 * @property {[string, string][] | (() => HeadersInit | Promise<HeadersInit>)} headers
 * @property {any} body
 * @property {RequestCredentials} credentials
 * @property {string} lastEventId where to begin
 * @property {boolean} persist whether any answer but 204 is tried again
 * @property {number} idleTimeout milliseconds; 0 waits for ever
 * @property {number} maxEventSize
 */

/**
 * Who is told.
 *
 * @typedef {object} Listener
 * @property {(origin: string, resumed?: boolean) => void} onOpen the origin is that of the final URL
 * @property {(blocks: import("./parser.js").Block[]) => void | Promise<void>} onBlocks
 * @property {(failure: Failure) => void} onLost there will be another attempt
 * @property {(failure: Failure) => void} onEnd there will be none
 */

export class Connection {
  #ask;
  #listener;
  #retry = RETRY;
  #failures = 0;
  #request = new AbortController();
  #idle = 0;
  #wake = null; // ends the wait for the next attempt
  #notBefore = 0; // what a server has asked for by Retry-After can't be hastened

  /**
   * @param {Ask} ask
   * @param {Listener} listener
   */
  constructor(ask, listener) {
    this.#ask = ask;
    this.#listener = listener;
    /** Where the stream is: the id of the last block that `onBlocks` has taken. */
    this.lastEventId = ask.lastEventId;
    this.closed = false;
    this.#run();
  }

  /** Stop at once, and for good. Nobody is told. */
  close() {
    this.closed = true;
    this.#request.abort();
    this.#wake?.();
  }

  /** Don't wait any longer for the next attempt: the network is back, or somebody looks. */
  hasten() {
    if (Date.now() >= this.#notBefore) this.#wake?.();
  }

  /** Connect anew and resume, whatever the state. */
  restart() {
    this.#failures = 0;
    this.#request.abort();
    this.hasten();
  }

  async #run() {
    while (true) {
      const failure = await this.#connect();
      if (this.closed) return;
      if (failure === null) continue; // restarted
      if (failure.delay === null) {
        this.closed = true;
        this.#listener.onEnd(failure);
        return;
      }
      const wait = this.#wait(failure.delay);
      this.#listener.onLost(failure);
      await wait;
      if (this.closed) return;
    }
  }

  #wait(delay) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, delay);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** Connect and read to the end; return what ended it, or null if that was `restart` or `close`. */
  async #connect() {
    const request = (this.#request = new AbortController());
    const { url, method, body, credentials, persist } = this.#ask;
    const resumed = this.lastEventId !== "";
    let headers;
    try {
      headers = await this.#headers();
    } catch (error) {
      return this.#failed("headers", null, persist, error);
    }
    let status = null;
    try {
      this.#watch(request);
      const response = await fetch(this.#address(url, headers), {
        method, headers, body, credentials, signal: request.signal,
        cache: "no-store", // which also sends Cache-Control: no-cache, and costs no preflight
      });
      status = response.status;
      if (status !== 200 || !isEventStream(response)) {
        request.abort(); // nobody will read it
        return this.#refused(response);
      }
      request.signal.throwIfAborted();
      this.#listener.onOpen(new URL(response.url || url).origin, resumed);
      return await this.#read(response, request);
    } catch (error) {
      if (request.signal.reason === IDLE) return this.#failed("idle", status, true);
      return request.signal.aborted ? null : this.#failed("network", status, true, error);
    } finally {
      clearTimeout(this.#idle);
    }
  }

  async #headers() {
    const { headers } = this.#ask;
    const all = new Headers(typeof headers === "function" ? await headers() : headers);
    if (!all.has("Accept")) all.set("Accept", "text/event-stream");
    return all;
  }

  /** Give the server so much time for its next bytes: a peer may vanish without a word. */
  #watch(request) {
    const { idleTimeout } = this.#ask;
    if (idleTimeout > 0) this.#idle = setTimeout(() => request.abort(IDLE), idleTimeout);
  }

  /** Say where to resume, in the headers or in the address that is returned. */
  #address(url, headers) {
    if (this.lastEventId === "") return url;
    const address = new URL(url);
    if (address.origin === globalThis.origin) {
      // A header's characters are bytes, and an id is sent as UTF-8.
      const bytes = new TextEncoder().encode(this.lastEventId);
      headers.set("Last-Event-ID", Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
    } else {
      const parameter = `last_event_id=${encodeURIComponent(this.lastEventId)}`;
      address.search += address.search === "" ? `?${parameter}` : `&${parameter}`;
    }
    return address.href;
  }

  async #read(response, request) {
    const parser = new Parser(this.lastEventId, this.#ask.maxEventSize);
    const reader = response.body.getReader();
    while (true) {
      const { done, value } = await reader.read();
      request.signal.throwIfAborted(); // what comes after that is asked for again, or not at all
      clearTimeout(this.#idle);
      if (done) return this.#failed("ended", response.status, true);
      const blocks = [];
      let error = null;
      try {
        parser.feed(value, blocks);
      } catch (tooLarge) {
        error = tooLarge;
      }
      if (parser.retry !== null) this.#retry = Math.min(parser.retry, MAX_WAIT);
      await this.#deliver(blocks, request);
      if (error !== null) {
        request.abort();
        return this.#failed("size", response.status, false, error);
      }
      this.#watch(request);
    }
  }

  async #deliver(blocks, request) {
    if (blocks.length === 0) return;
    this.#failures = 0; // a server that sends events is well; one that only answers may not be
    const taken = this.#listener.onBlocks(blocks);
    if (taken instanceof Promise) await taken;
    request.signal.throwIfAborted(); // closed or restarted meanwhile, and these may not have been taken
    this.lastEventId = blocks.at(-1).lastEventId;
  }

  #refused(response) {
    const { status } = response;
    const reason = status === 200 ? "type" : "status";
    const asked = response.headers.get("Retry-After");
    const later = (status === 503 || status === 429) && asked !== null;
    if (status === 204 || !(later || this.#ask.persist)) return this.#failed(reason, status, false);
    const failure = this.#failed(reason, status, true);
    if (later) {
      const seconds = /^[0-9]+$/.test(asked) ? Number(asked) : (Date.parse(asked) - Date.now()) / 1000;
      const wait = Math.min(Math.max(seconds * 1000 || 0, 0), MAX_WAIT);
      this.#notBefore = Date.now() + wait;
      failure.delay = Math.max(failure.delay, wait * jitter());
    }
    return failure;
  }

  /** @returns {Failure} */
  #failed(reason, status, again, error) {
    if (!again) return { reason, status, delay: null, error };
    const doubled = Math.max(this.#retry, this.#failures && MIN_BACKOFF) * 2 ** Math.min(this.#failures, 16);
    this.#failures += 1;
    return { reason, status, delay: Math.min(doubled, Math.max(MAX_BACKOFF, this.#retry)) * jitter(), error };
  }
}

const IDLE = new Error("nothing came for too long");

const isEventStream = ({ headers }) => /^\s*text\/event-stream\s*(;|$)/i.test(headers.get("Content-Type") ?? "");

// Upwards only: nobody comes back sooner than the server has asked for.
const jitter = () => 1 + Math.random() / 4;
