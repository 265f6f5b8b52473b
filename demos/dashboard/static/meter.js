// What has arrived: per event type the totals, and the rates over the last few seconds.

const WINDOW = 5_000;
const utf8 = new TextEncoder();

/** The bytes of an event as tornado_sse writes it. Nobody tells a page; the form is simple enough. */
export function frameSize({ type, lastEventId, codec, data }) {
  const lines = data.split("\n");
  let size = `event: ${type}\nid: ${lastEventId}\n\n`.length + (codec ? `codec: ${codec}\n`.length : 0);
  for (const line of lines) size += "data: \n".length + utf8.encode(line).length;
  return size;
}

export class Meter {
  #recent = [];
  #since = performance.now();
  events = 0;
  bytes = 0;

  count(size, now = performance.now()) {
    this.events += 1;
    this.bytes += size;
    this.#recent.push({ now, size });
  }

  /** Events and bytes per second. */
  rates(now = performance.now()) {
    while (this.#recent.length > 0 && this.#recent[0].now < now - WINDOW) this.#recent.shift();
    const bytes = this.#recent.reduce((sum, { size }) => sum + size, 0);
    const seconds = Math.max(1000, Math.min(WINDOW, now - this.#since)) / 1000;
    return { events: this.#recent.length / seconds, bytes: bytes / seconds };
  }
}
