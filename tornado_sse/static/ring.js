/**
 * The blocks that a connection brought last, and for which clients they are all that is lacking.
 */

/** How many blocks, and how many UTF-16 code units of them, an exchange keeps. One block is always kept. */
const MAX_BLOCKS = 5000;
const MAX_SIZE = 4 * 1024 * 1024;

/** How many UTF-16 code units are sent to a tab at once, in whole blocks. */
const MESSAGE_SIZE = 256 * 1024;

/** Blocks have numbers, which count from the connection's beginning. */
export class Ring {
  #blocks = [];
  #size = 0;
  #base = 0; // the number of the oldest block
  #covered = Infinity; // from this number on, nothing is missing
  #before = null; // the id before that; null where that is no clean cut

  get base() {
    return this.#base;
  }

  /** The number that the next block will have. */
  get end() {
    return this.#base + this.#blocks.length;
  }

  get covered() {
    return this.#covered !== Infinity;
  }

  /** Everything that follows an id comes from now on. */
  cover(id) {
    this.#covered = this.end;
    this.#before = id;
  }

  append(block) {
    if (block.type === "gap") this.#covered = Infinity;
    this.#blocks.push(block);
    this.#size += sizeOf(block);
    while (this.#blocks.length > MAX_BLOCKS || (this.#size > MAX_SIZE && this.#blocks.length > 1)) this.#drop();
  }

  #drop() {
    const block = this.#blocks.shift();
    this.#base += 1;
    this.#size -= sizeOf(block);
    if (this.#covered < this.#base) {
      this.#covered = this.#base;
      // One without an id of its own belongs to the next that has one: in between nobody can resume.
      this.#before = block.identified ? block.lastEventId : null;
    }
  }

  /**
   * Return the number from which a client goes on that is at an id, or null if it is not to be found here. What is
   * there, or is still to come, may begin with some that the client has: see `skip`.
   */
  find(id) {
    for (let number = this.end - 1; number >= this.#covered; number--) {
      const { identified, lastEventId } = this.#blocks[number - this.#base];
      if (identified && isReached(lastEventId, id)) return number + 1;
    }
    return this.covered && this.#before !== null && isReached(this.#before, id) ? this.#covered : null;
  }

  /** Return a number, or a later one, that comes after all blocks that a client at an id has: it may be ahead. */
  skip(number, id) {
    for (let each = number; each < this.end; each++) {
      const { identified, lastEventId } = this.#blocks[each - this.#base];
      if (!identified) continue; // it belongs to the next that is
      if (!isReached(lastEventId, id)) break;
      number = each + 1;
    }
    return number;
  }

  /** Return as many blocks from a number on as one message carries. */
  from(number) {
    const first = number - this.#base;
    let last = first;
    for (let size = 0; last < this.#blocks.length && size < MESSAGE_SIZE; last++) size += sizeOf(this.#blocks[last]);
    return this.#blocks.slice(first, last);
  }
}

const sizeOf = ({ type, data, lastEventId }) => 100 + type.length + (data?.length ?? 0) + lastEventId.length;

/**
 * Whether a client at `id` has what came up to `other`. The ids of a broker are ordered, and a client may be at
 * one that belongs to no event of this stream; of any other ids only equal ones compare.
 */
function isReached(other, id) {
  if (other === id) return true;
  const [, epoch, position] = BROKER_ID.exec(other) ?? [];
  const [, ownEpoch, ownPosition] = BROKER_ID.exec(id) ?? [];
  return epoch !== undefined && epoch === ownEpoch && Number(position) <= Number(ownPosition);
}

// An epoch has ten hexadecimal digits; positions beyond fifteen digits would not be exact numbers.
const BROKER_ID = /^([0-9a-f]{10})-(0|[1-9][0-9]{0,14})$/;
