/**
 * A page's end of a connection that all tabs of the origin share; the other end is worker.js.
 *
 * To its listener it is a `Connection`, but for one more call: `onGone` says that the worker can't be had
 * (`false`), or is there no longer (`true`) and may be asked for anew.
 */

// How often the worker is asked whether it is there, and how long it may take to answer, in milliseconds: at first
// its script has to be fetched. A browser may end it and tell nobody; Chrome on Android does, in the background.
const PERIOD = 15_000;
const PATIENCE = 3000;
const FIRST_PATIENCE = 10_000;

export class SharedConnection {
  #listener;
  #port;
  #timer = 0;
  #met = false;

  /**
   * @param {import("./connection.js").Ask} ask its headers are a list
   * @param {string} group tabs that name different groups share nothing
   * @param {import("./connection.js").Listener & {onGone: (again: boolean) => void}} listener
   * @throws {Error} if this browser, or this page's policy, has no shared workers
   */
  constructor(ask, group, listener) {
    this.#listener = listener;
    // The worker comes from where this file does, so tabs of two versions of it do not meet.
    const worker = new SharedWorker(new URL("./worker.js", import.meta.url), { type: "module", name: "tornado_sse" });
    worker.onerror = () => listener.onGone(false);
    this.#port = worker.port;
    this.#port.onmessage = ({ data }) => this.#receive(...data);
    const { lastEventId, ...rest } = ask;
    this.#ask("join", JSON.stringify([group, rest]), ask);
  }

  close() {
    clearTimeout(this.#timer);
    this.#port.onmessage = null;
    this.#port.postMessage(["leave"]);
    this.#port.close();
  }

  hasten() {
    this.#ask("hasten");
  }

  /** Say something to the worker that it answers. */
  #ask(...words) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#listener.onGone(this.#met), this.#met ? PATIENCE : FIRST_PATIENCE);
    this.#port.postMessage(words);
  }

  #receive(word, value) {
    switch (word) {
      case "here":
        this.#met = true;
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => this.#ask("ping"), PERIOD);
        return;
      case "open": return this.#listener.onOpen(value);
      case "lost": return this.#listener.onLost(value);
      case "end": return this.#listener.onEnd(value);
      case "blocks":
        this.#listener.onBlocks(value);
        return this.#port.postMessage(["taken"]);
    }
  }
}
