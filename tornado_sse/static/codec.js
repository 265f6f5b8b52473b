/**
 * From an event's text back to the value that Python wrote.
 *
 * An event whose data is not plain text names its codec in a field of its own, `codec: msgpack`.
 */

/**
 * How many arrays and maps may lie inside one another in MessagePack data: as many as Python's msgpack reads.
 * A browser's call stack holds several times that, and without a limit hostile data would find its end.
 */
export const MAX_DEPTH = 1024;

/** Data that its codec can't read: damaged, cut short, hostile, or not written by it. */
export class DecodeError extends Error {
  /**
   * @param {string} codec the codec that was to read the data
   * @param {string} reason what is wrong with it
   * @param {unknown} [cause] the error of the platform or of a registered decoder, where there was one
   */
  constructor(codec, reason, cause) {
    super(`the ${codec} codec can't read this data: ${reason}`, cause === undefined ? undefined : { cause });
    this.name = "DecodeError";
    /** @type {string} */
    this.codec = codec;
  }
}

/** @type {Map<string, (data: string) => unknown>} */
const decoders = new Map();

/**
 * Turn an event's data back into what was written.
 *
 * `json` becomes what `JSON.parse` makes of it, `binary` a `Uint8Array`, `msgpack` what `decodeMsgpack`
 * returns. Without a codec the data is plain text and is returned as it is.
 *
 * @param {string | null | undefined} codec the event's `codec` field
 * @param {string} data the event's data
 * @returns {any}
 * @throws {DecodeError} if the data can't be read, or nobody has registered the codec
 */
export function decode(codec, data) {
  if (codec === undefined || codec === null || codec === "") return data;
  const decoder = decoders.get(codec);
  if (decoder === undefined) throw new DecodeError(codec, "it is not registered on this page");
  try {
    return decoder(data);
  } catch (error) {
    if (error instanceof DecodeError) throw error;
    throw new DecodeError(codec, error instanceof Error ? error.message : String(error), error);
  }
}

/**
 * Teach `decode` another codec.
 *
 * @param {string} codec the name in the event's `codec` field
 * @param {(data: string) => unknown} decoder from the event's data to its value; what it throws becomes the
 *     cause of a `DecodeError`
 * @param {{replace?: boolean}} [options] `replace` takes the name from whoever has it, the built-in codecs
 *     included
 * @throws {Error} if the codec is taken
 * @throws {TypeError} if it can't be a codec's name, or the decoder is no function
 */
export function register(codec, decoder, { replace = false } = {}) {
  if (typeof codec !== "string" || !IS_CODEC.test(codec)) throw new TypeError(`${codec} can't be a codec's name`);
  if (typeof decoder !== "function") throw new TypeError(`the decoder of ${codec} must be a function`);
  if (decoders.has(codec) && !replace) {
    throw new Error(`the codec ${codec} is taken; pass { replace: true } if that is meant`);
  }
  decoders.set(codec, decoder);
}

// What an event's `codec` field may hold; the server refuses anything else.
const IS_CODEC = /^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$/;

register("json", (data) => JSON.parse(data));
register("binary", (data) => decodeBase64("binary", data));
register("msgpack", (data) => decodeMsgpack(decodeBase64("msgpack", data)));

/**
 * Decode one MessagePack value, which must be all there is.
 *
 * - Integers are numbers as far as a number is exact, and `BigInt` beyond `Number.MAX_SAFE_INTEGER`.
 * - A map whose keys are all strings is a plain object; `"__proto__"` is a key like any other. With any
 *   other key in it a map is a `Map`. Of equal keys the last one counts, as in Python and in JSON.
 * - bin is a `Uint8Array` of its own, so a typed array of any width can be laid over its `buffer`.
 * - A timestamp is a `Date`, whose milliseconds are rounded down. Other extensions are
 *   `{type: number, data: Uint8Array}`.
 *
 * @param {Uint8Array} bytes
 * @returns {any}
 * @throws {DecodeError} if the bytes are anything but one whole value nested no deeper than `MAX_DEPTH`
 */
export function decodeMsgpack(bytes) {
  if (!(bytes instanceof Uint8Array)) throw new TypeError("MessagePack is decoded from a Uint8Array");
  const reader = new MsgpackReader(bytes);
  const value = reader.value(0);
  reader.end();
  return value;
}

// A string keeps its leading U+FEFF: it was written as part of the string, not as a mark on a file.
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Reads values off the front of its bytes.
 *
 * Every length on the wire is a claim. `take` checks it against what is there before anything is done with
 * it, and arrays grow element by element, so memory follows the bytes received and not the bytes promised.
 */
class MsgpackReader {
  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.offset = 0;
  }

  /** Read one value that lies inside `depth` arrays and maps. The cases are in the specification's order. */
  value(depth) {
    const head = this.uint8();
    if (head < 0x80) return head;
    if (head < 0x90) return this.map(head & 0x0f, depth);
    if (head < 0xa0) return this.array(head & 0x0f, depth);
    if (head < 0xc0) return this.string(head & 0x1f);
    switch (head) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: return this.slice(this.uint8());
      case 0xc5: return this.slice(this.uint16());
      case 0xc6: return this.slice(this.uint32());
      case 0xc7: return this.extension(this.uint8());
      case 0xc8: return this.extension(this.uint16());
      case 0xc9: return this.extension(this.uint32());
      case 0xca: return this.view.getFloat32(this.take(4));
      case 0xcb: return this.view.getFloat64(this.take(8));
      case 0xcc: return this.uint8();
      case 0xcd: return this.uint16();
      case 0xce: return this.uint32();
      case 0xcf: return exactInteger(this.view.getBigUint64(this.take(8)));
      case 0xd0: return this.view.getInt8(this.take(1));
      case 0xd1: return this.view.getInt16(this.take(2));
      case 0xd2: return this.view.getInt32(this.take(4));
      case 0xd3: return exactInteger(this.view.getBigInt64(this.take(8)));
      case 0xd4: return this.extension(1);
      case 0xd5: return this.extension(2);
      case 0xd6: return this.extension(4);
      case 0xd7: return this.extension(8);
      case 0xd8: return this.extension(16);
      case 0xd9: return this.string(this.uint8());
      case 0xda: return this.string(this.uint16());
      case 0xdb: return this.string(this.uint32());
      case 0xdc: return this.array(this.uint16(), depth);
      case 0xdd: return this.array(this.uint32(), depth);
      case 0xde: return this.map(this.uint16(), depth);
      case 0xdf: return this.map(this.uint32(), depth);
      case 0xc1: throw new DecodeError("msgpack", `byte ${this.offset - 1} is 0xc1, which is never used`);
      default: return head - 0x100; // 0xe0 to 0xff: negative fixint
    }
  }

  uint8() {
    return this.view.getUint8(this.take(1));
  }

  uint16() {
    return this.view.getUint16(this.take(2));
  }

  uint32() {
    return this.view.getUint32(this.take(4));
  }

  slice(length) {
    const start = this.take(length);
    return this.bytes.slice(start, start + length);
  }

  string(length) {
    const start = this.take(length);
    try {
      return utf8.decode(this.bytes.subarray(start, start + length));
    } catch (error) {
      throw new DecodeError("msgpack", `the string at byte ${start} is not UTF-8`, error);
    }
  }

  array(length, depth) {
    this.enter(length, depth);
    const items = [];
    for (let i = 0; i < length; i++) items.push(this.value(depth + 1));
    return items;
  }

  map(length, depth) {
    this.enter(2 * length, depth);
    const entries = [];
    let named = true;
    for (let i = 0; i < length; i++) {
      const key = this.value(depth + 1);
      named &&= typeof key === "string";
      entries.push([key, this.value(depth + 1)]);
    }
    // fromEntries defines properties where an assignment to "__proto__" would call its setter.
    return named ? Object.fromEntries(entries) : new Map(entries);
  }

  extension(length) {
    const type = this.view.getInt8(this.take(1));
    return type === -1 ? this.timestamp(length) : { type, data: this.slice(length) };
  }

  timestamp(length) {
    const start = this.take(length);
    let seconds;
    let nanoseconds = 0;
    if (length === 4) {
      seconds = this.view.getUint32(start);
    } else if (length === 8) {
      const high = this.view.getUint32(start); // 30 bits of nanoseconds, and the upper 2 of 34 bits of seconds
      seconds = (high % 4) * 2 ** 32 + this.view.getUint32(start + 4);
      nanoseconds = Math.floor(high / 4);
    } else if (length === 12) {
      nanoseconds = this.view.getUint32(start);
      seconds = Number(this.view.getBigInt64(start + 4));
    } else {
      throw new DecodeError("msgpack", `a timestamp has 4, 8 or 12 bytes, not ${length}`);
    }
    const date = new Date(seconds * 1000 + Math.floor(nanoseconds / 1e6));
    if (nanoseconds > 999_999_999 || Number.isNaN(date.getTime())) {
      throw new DecodeError("msgpack", `the timestamp at byte ${start} is out of range`);
    }
    return date;
  }

  /** Check what an array or a map claims before it is read: each of its values takes a byte at least. */
  enter(values, depth) {
    if (depth >= MAX_DEPTH) throw new DecodeError("msgpack", `it is nested more than ${MAX_DEPTH} deep`);
    this.require(values);
  }

  /** Step over `length` bytes and return where they begin. */
  take(length) {
    this.require(length);
    const start = this.offset;
    this.offset += length;
    return start;
  }

  require(length) {
    const left = this.bytes.length - this.offset;
    if (length > left) {
      throw new DecodeError("msgpack", `it ends too soon: ${length} bytes wanted at byte ${this.offset}, ${left} left`);
    }
  }

  end() {
    const left = this.bytes.length - this.offset;
    if (left > 0) throw new DecodeError("msgpack", `${left} bytes follow the value`);
  }
}

/** @param {bigint} integer */
function exactInteger(integer) {
  const number = Number(integer);
  return Number.isSafeInteger(number) ? number : integer;
}

/**
 * Decode base64 as the serializers write it: one line, padded, and nothing that could also be written
 * another way.
 *
 * @param {string} codec whose data it is, for the error
 * @param {string} text
 * @returns {Uint8Array}
 */
function decodeBase64(codec, text) {
  let binary;
  try {
    binary = atob(text);
  } catch (error) {
    throw new DecodeError(codec, "it is not base64", error);
  }
  // atob forgives white space, missing padding and stray bits in the last character; encoding again does not.
  if (btoa(binary) !== text) throw new DecodeError(codec, "it is not base64 in its one canonical form");
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}
