// The life of an EventSource: what the browser reconnects by itself, what it gives up, and what a page
// should give back. Browsers allow six HTTP/1.1 connections to a server, whatever the number of tabs: a tab
// that nobody looks at must not keep one of them.

const HIDDEN_GRACE = 15_000;
const FIRST_RETRY = 1_000;
const LAST_RETRY = 30_000;

/**
 * Keeps a stream open while the page is visible and not paused.
 *
 * States: `connecting`, `live`, `reconnecting`, `paused` (by the user) and `resting` (out of sight).
 */
export class Connection {
  #source = null;
  #timer = 0;
  #grace = 0;
  #retry = FIRST_RETRY;
  #paused = false;

  /**
   * @param {string} url
   * @param {Iterable<string>} types the event types to listen to
   * @param {(event: MessageEvent) => void} onEvent
   * @param {(state: string) => void} onState
   */
  constructor(url, types, onEvent, onState) {
    this.url = url;
    this.types = [...types];
    this.onEvent = onEvent;
    this.onState = onState;
    this.state = "";
    document.addEventListener("visibilitychange", () => this.#visibilityChanged());
    this.#open("connecting");
    this.#visibilityChanged(); // a tab may be opened in the background
  }

  pause() {
    this.#paused = true;
    this.#close("paused");
  }

  resume() {
    this.#paused = false;
    this.#open("connecting");
  }

  #open(state) {
    this.#close(state);
    const source = new EventSource(this.url);
    source.onopen = () => {
      this.#retry = FIRST_RETRY;
      this.#enter("live");
    };
    source.onerror = () => {
      this.#enter("reconnecting");
      // A lost connection is the browser's business. An answer that is no stream (an error page, a proxy
      // without its server) makes it give up for good; a dashboard should not.
      if (source.readyState === EventSource.CLOSED) {
        this.#timer = setTimeout(() => this.#open("reconnecting"), this.#retry);
        this.#retry = Math.min(2 * this.#retry, LAST_RETRY);
      }
    };
    for (const type of this.types) source.addEventListener(type, this.onEvent);
    this.#source = source;
  }

  #close(state) {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
    this.#enter(state);
  }

  #visibilityChanged() {
    clearTimeout(this.#grace);
    if (this.#paused) return;
    if (document.visibilityState === "hidden") {
      this.#grace = setTimeout(() => this.#paused || this.#close("resting"), HIDDEN_GRACE);
    } else if (this.state === "resting") {
      this.#open("connecting");
    }
  }

  #enter(state) {
    if (state === this.state) return;
    this.state = state;
    this.onState(state);
  }
}
