/**
 * Bytes to events, in whatever pieces they arrive (WHATWG HTML, sections 9.2.5 and 9.2.6). No I/O.
 *
 * Text is decoded first and split afterwards. What must survive from one `feed` to the next: half a character
 * and half a BOM (which the decoder keeps), the unfinished line, whether the last character was CR (its line
 * ended at once, since an event must not wait for a character that may never come; a following LF belongs to
 * it), and the fields of the unfinished event.
 */

/**
 * How many UTF-16 code units one event may have; what the Python parser allows in bytes. It bounds what a server
 * can make a page hold, and is far above what is sent in earnest.
 */
export const MAX_EVENT_SIZE = 16 * 1024 * 1024;

/** An event is larger than allowed. There is no point in such a stream from which one could safely go on. */
export class EventTooLargeError extends Error {
  /** @param {number} limit in UTF-16 code units */
  constructor(limit) {
    super(`an event is larger than ${limit} characters`);
    this.name = "EventTooLargeError";
  }
}

/**
 * What a blank line ended: an event, or a block without data that has moved the last event id.
 *
 * @typedef {object} Block
 * @property {string} type the event's type, `"message"` by default
 * @property {string | null} data null if the block has none, and is no event
 * @property {string | null} codec the `codec` field
 * @property {string} lastEventId the last event id after this block
 * @property {boolean} identified whether the block has said the id itself
 */

/** An incremental parser for one connection. At its end simply drop it: an unfinished event does not count. */
export class Parser {
  #decoder = new TextDecoder(); // drops one BOM, at the start
  #afterCr = false;
  #line = ""; // a rope in every engine: adding pieces to it costs no copies
  #size = 0;
  #data = null;
  #type = "";
  #id = null;
  #codec = null;

  /**
   * @param {string} lastEventId the id to start from
   * @param {number} limit how many UTF-16 code units one event may have
   */
  constructor(lastEventId = "", limit = MAX_EVENT_SIZE) {
    this.lastEventId = lastEventId;
    this.limit = limit;
    /** The reconnection time that the server asked for, in milliseconds, or null. */
    this.retry = null;
  }

  /**
   * Take the next bytes and return the blocks they complete, oldest first.
   *
   * @param {Uint8Array} bytes
   * @param {Block[]} [blocks] where to put them, so that those before an error are not lost
   * @returns {Block[]}
   * @throws {EventTooLargeError} if an event exceeds the limit; the parser must not be used again
   */
  feed(bytes, blocks = []) {
    let text = this.#decoder.decode(bytes, { stream: true });
    if (this.#afterCr && text !== "") {
      this.#afterCr = false;
      if (text[0] === "\n") text = text.slice(1);
    }
    let start = 0;
    for (const { 0: end, index } of text.matchAll(/\r\n|\r|\n/g)) {
      this.#add(text.slice(start, index));
      start = index + end.length;
      this.#afterCr = end === "\r" && start === text.length;
      const line = this.#line;
      this.#line = "";
      if (line !== "") this.#interpret(line);
      else this.#dispatch(blocks);
    }
    this.#add(text.slice(start));
    return blocks;
  }

  #add(piece) {
    this.#line += piece;
    if (this.#size + this.#line.length > this.limit) throw new EventTooLargeError(this.limit);
  }

  #interpret(line) {
    // "If the line contains a colon": without one the whole line is the name, the value empty. A comment comes
    // out as a field without a name, which is nobody's.
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    // "If value starts with a U+0020 SPACE character, remove it": one, and nothing but U+0020.
    const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    if (name === "data") {
      this.#data = this.#data === null ? value : `${this.#data}\n${value}`;
      this.#size += value.length + 1;
    } else if (name === "event") {
      this.#type = value;
      this.#size += value.length;
    } else if (name === "id") {
      // "If the field value does not contain U+0000 NULL [...]. Otherwise, ignore the field."
      if (!value.includes("\0")) this.#id = value;
      this.#size += value.length;
    } else if (name === "retry") {
      if (/^[0-9]+$/.test(value)) this.retry = Number(value);
    } else if (name === "codec") {
      this.#codec = value;
      this.#size += value.length;
    }
  }

  #dispatch(blocks) {
    // The id counts even where there is no data (section 9.2.6, dispatch, steps 1 and 2).
    const identified = this.#id !== null;
    if (identified) this.lastEventId = this.#id;
    if (identified || this.#data !== null) {
      blocks.push({
        type: this.#type || "message",
        data: this.#data,
        codec: this.#codec || null,
        lastEventId: this.lastEventId,
        identified,
      });
    }
    this.#size = 0;
    this.#data = this.#id = this.#codec = null;
    this.#type = "";
  }
}
