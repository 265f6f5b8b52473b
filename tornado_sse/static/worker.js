/**
 * The connections that all tabs of an origin share: a SharedWorker.
 *
 * Theory of operation
 * -------------------
 * Browsers allow six HTTP/1.1 connections to a server, whatever the number of tabs. Two designs share one among
 * them. In the one, a tab is elected (by a Web Lock) and passes on what it reads (by a BroadcastChannel); in the
 * other, a SharedWorker reads. This is the other, because
 *
 * - the connection belongs to no tab: closing any of them loses nothing, and nothing is handed over. An elected
 *   tab dies, or is frozen in the background with the lock in its hands, as Safari does on phones;
 * - Web Locks are for secure contexts alone, and a tool on the local network is often served without TLS.
 *
 * Chromium has shared workers with modules (since 80, on Android since 148), Firefox (114) and Safari (16) too.
 * Where there are none a tab has a connection of its own, as without this.
 *
 * An `Exchange` is one connection and the blocks it brought last, in a `Ring`. A tab is a `Member`, which is a
 * cursor: a place in the ring, or, where the ring doesn't reach, an event id and a connection of its own until it
 * does. So nobody has a queue: a tab gets the next blocks when it has taken the ones before, one that is frozen
 * holds nothing, and a new tab, a reloaded one and a slow one are the same thing.
 *
 * That stands on the meaning of an id: a server that is asked to resume after it sends all that follows. So the
 * ring may answer in the server's place only where it is *covered*: filled by a connection that has itself
 * resumed, and not been told of a gap. (A connection that began without an id may have brought a state rather
 * than a history.) When a second tab comes and the ring is not covered yet, the connection is made to resume, once.
 */

import { Connection } from "./connection.js";
import { Ring } from "./ring.js";

/** How long a tab may be alone in catching up by a connection of its own, in milliseconds. */
const TURN = 5000;

/** @type {Map<string, Exchange>} */
const exchanges = new Map();

/** One connection, and the tabs that share it. */
class Exchange {
  #key;
  #beginning;
  #waiting = []; // for their turn
  #toCover = false;

  constructor(key, ask) {
    this.#key = key;
    this.#beginning = ask.lastEventId;
    this.ring = new Ring();
    /** @type {Set<Member>} */
    this.members = new Set();
    /** What a member is told that joins now, of how the connection is. */
    this.news = null;
    /** The failure that ended it for good, or null. */
    this.failure = null;
    this.connection = new Connection(ask, this);
  }

  // As the connection's listener.

  onOpen(origin, resumed) {
    this.#tell(["open", origin]);
    if (!resumed || this.ring.covered) return;
    this.ring.cover(this.connection.lastEventId);
    this.#advance();
  }

  onBlocks(blocks) {
    for (const block of blocks) this.ring.append(block);
    this.#advance();
    // Not before the connection knows that they are taken, and asks for what follows them.
    if (this.#toCover) queueMicrotask(() => this.cover());
  }

  onLost(failure) {
    this.#tell(["lost", failure]);
  }

  onEnd(failure) {
    this.failure = failure;
    this.#forget();
    this.#advance();
  }

  #advance() {
    for (const member of [...this.members]) member.advance();
  }

  #tell(news) {
    this.news = news;
    for (const member of this.members) member.hear(news);
  }

  // What members ask.

  /** Return the number of the block from which a newcomer goes on that is at an id, or null. */
  place(id) {
    if (this.ring.end === 0 && id === this.#beginning) return 0;
    // No ids, no resuming: it begins with what comes, as a client that connects anew does.
    if (id === "" && this.connection.lastEventId === "") return this.ring.end;
    return id === "" ? null : this.ring.find(id);
  }

  /** See to it that the ring will be covered. */
  cover() {
    this.#toCover = !this.ring.covered && this.failure === null && this.connection.lastEventId === "";
    if (!this.ring.covered && !this.#toCover && this.news?.[0] === "open") this.connection.restart();
  }

  /** Call `begin` of a member when it is its turn: so a browser full of tabs opens two connections, and not ten. */
  queue(member) {
    this.#waiting.push(member);
    if (this.#waiting.length === 1) this.#next();
  }

  /** End a member's turn. */
  release(member) {
    const place = this.#waiting.indexOf(member);
    if (place >= 0) this.#waiting.splice(place, 1);
    if (place === 0) this.#next();
  }

  #next() {
    const [member] = this.#waiting;
    if (member === undefined) return;
    setTimeout(() => this.release(member), TURN);
    member.begin();
  }

  leave(member) {
    this.members.delete(member);
    this.release(member);
    if (this.members.size > 0) return;
    this.connection.close();
    this.#forget();
  }

  #forget() {
    if (exchanges.get(this.#key) === this) exchanges.delete(this.#key);
  }
}

/** A tab's stream. */
class Member {
  #port;
  #exchange;
  #ask;
  #next; // the number of the block it gets next; null while it is not on the ring
  #ahead = null; // the id it came to the ring with, as long as the ring may be behind that
  #own = null; // its own connection
  #sent = null; // the id it will be at when it has taken what was sent; null if it has
  #taken = null; // ends its own connection's wait for that

  constructor(port, exchange, ask) {
    this.#port = port;
    this.#exchange = exchange;
    this.#ask = ask;
    this.lastEventId = ask.lastEventId;
    this.#next = exchange.place(ask.lastEventId);
    exchange.members.add(this);
    if (this.#next === null) {
      this.#catchUp();
    } else {
      this.#ahead = this.lastEventId || null;
      if (exchange.news) this.hear(exchange.news);
      this.advance();
    }
  }

  /** Take what the exchange says of its connection; one that has its own hears of that. */
  hear(news) {
    if (this.#next !== null) this.#port.postMessage(news);
  }

  /** Send the next blocks, if those before have been taken. */
  advance() {
    if (this.#sent !== null) return;
    const { ring, failure, news } = this.#exchange;
    if (this.#next === null) {
      if (this.lastEventId === "") return;
      this.#next = ring.find(this.lastEventId);
      if (this.#next === null) return;
      this.#ahead = this.lastEventId;
      this.#own?.close();
      this.#own = null;
      this.#exchange.release(this);
      if (news) this.hear(news);
    } else if (this.#next < ring.base) {
      if (this.lastEventId !== "") return this.#catchUp();
      // Without ids there is nothing to catch up by; the tab must know.
      this.#next = ring.base;
      this.#port.postMessage(["lost", { reason: "overrun", status: null, delay: 0 }]);
      if (news) this.hear(news);
    }
    if (this.#ahead !== null) this.#next = ring.skip(this.#next, this.#ahead);
    const blocks = ring.from(this.#next);
    if (blocks.some(({ identified }) => identified)) this.#ahead = null;
    this.#next += blocks.length;
    if (blocks.length > 0) this.#send(blocks);
    else if (failure) this.#end(failure);
  }

  /** The tab has taken what was sent. */
  taken() {
    this.lastEventId = this.#sent;
    this.#sent = null;
    this.advance();
    this.#taken?.();
  }

  /** Connect by itself, from where it is. */
  begin() {
    const ask = { ...this.#ask, lastEventId: this.lastEventId };
    this.#own = new Connection(ask, {
      onOpen: (origin) => this.#port.postMessage(["open", origin]),
      onBlocks: (blocks) => {
        this.#send(blocks);
        return new Promise((resolve) => (this.#taken = resolve));
      },
      onLost: (failure) => this.#port.postMessage(["lost", failure]),
      onEnd: (failure) => this.#end(failure),
    });
  }

  hasten() {
    this.#exchange.connection.hasten();
    this.#own?.hasten();
  }

  leave() {
    this.#own?.close();
    this.#exchange.leave(this);
  }

  #catchUp() {
    this.#next = null;
    this.#exchange.cover();
    this.#exchange.queue(this);
  }

  #send(blocks) {
    this.#sent = blocks.at(-1).lastEventId;
    this.#port.postMessage(["blocks", blocks]);
  }

  #end(failure) {
    this.#port.postMessage(["end", failure]);
    this.leave();
  }
}

self.onconnect = ({ ports: [port] }) => {
  /** @type {Member | null} */
  let member = null;
  port.onmessage = ({ data: [word, key, ask] }) => {
    if (word !== "taken" && word !== "leave") port.postMessage(["here"]);
    switch (word) {
      case "join":
        if (!exchanges.has(key)) exchanges.set(key, new Exchange(key, ask));
        member = new Member(port, exchanges.get(key), ask);
        return;
      case "taken": return member.taken();
      case "hasten": return member.hasten();
      case "leave": return member.leave();
    }
  };
  // A tab that crashes says nothing; browsers that fire this do.
  port.onclose = () => member?.leave();
};
