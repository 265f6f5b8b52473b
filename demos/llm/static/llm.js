// A conversation: each answer is followed until it is done, over as many connections as it takes. Whatever the server
// has sent is shown by textContent, as text.

import { EventStream } from "./tornado_sse/tornado_sse.js";

const $ = (id) => document.getElementById(id);
const RETRY = 1000;
const MOST_KEPT = 20;

/** An id that nobody else takes, and nobody guesses: who has it may read the answer, and stop it. */
const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

function make(tag, className, text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

// An answer on the page, and what is known of it. `lastId` is the whole memory of where its stream was.

class Answer {
  constructor({ id, prompt }) {
    Object.assign(this, { id, prompt, lastId: "", known: false, end: null });
    this.text = make("p", "text");
    this.note = make("p", "note");
    this.item = make("li", "answer");
    this.item.append(make("p", "prompt", prompt), this.text, this.note);
    $("answers").append(this.item);
  }

  /** Read until it is done. */
  async follow() {
    while (!this.end) {
      await this.read();
      if (!this.end) await new Promise((resolve) => setTimeout(resolve, RETRY));
    }
    this.item.dataset.end = this.end;
    this.note.textContent = NOTES[this.end] ?? "";
  }

  /** Read by one stream, over as many connections as it takes. */
  read() {
    // Until the server is known to have the question it is asked, with the same id: it answers once.
    const asks = !this.known;
    const stream = asks
      ? new EventStream("answers", { method: "POST", body: new URLSearchParams({ id: this.id, prompt: this.prompt }) })
      : new EventStream(`answers/${this.id}`, { lastEventId: this.lastId });
    return new Promise((resolve) => {
      const leave = () => {
        this.lastId = stream.lastEventId;
        stream.close();
        resolve();
      };
      stream.onopen = () => {
        this.known = true;
        keep();
        showState("writing");
      };
      stream.onerror = ({ status, delay }) => {
        if (delay === null && status < 500) this.end = status === 404 ? "gone" : "refused";
        else showState("reconnecting");
        if (delay === null || (asks && this.known)) leave();
      };
      stream.ongap = () => (this.note.textContent = NOTES.gap);
      stream.addEventListener("token", (event) => this.append(event.data));
      stream.addEventListener("done", (event) => {
        this.end = event.payload.reason; // and the response ends
        leave();
      });
    });
  }

  append(token) {
    const main = document.querySelector("main");
    const atEnd = main.scrollHeight - main.scrollTop - main.clientHeight < 40;
    this.text.append(token); // a text node
    if (atEnd) main.scrollTop = main.scrollHeight;
  }

  stop() {
    return fetch(`answers/${this.id}`, { method: "DELETE" }).catch(() => {});
  }
}

const NOTES = {
  stopped: "Stopped.",
  gone: "The server does not have this answer any more.",
  refused: "The server does not answer this.",
  gap: "Some of it is missing.",
};
const STATES = { idle: "", writing: "Writing", reconnecting: "Reconnecting" };

function showState(state) {
  document.body.dataset.state = state;
  $("state").textContent = STATES[state];
}

// The answers of this tab, in order. They outlive a reload by their ids; the text comes from the server again.

const answers = [];
let current = null;

function keep() {
  const known = answers.filter((answer) => answer.known).slice(-MOST_KEPT);
  try {
    sessionStorage.setItem("answers", JSON.stringify(known.map(({ id, prompt }) => ({ id, prompt }))));
  } catch {
    // Storage may be denied; a reload then begins anew.
  }
}

function kept() {
  try {
    return JSON.parse(sessionStorage.getItem("answers")) ?? [];
  } catch {
    return [];
  }
}

async function follow(answer) {
  current = answer;
  showState("writing");
  await answer.follow();
  current = null;
  showState("idle");
}

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const prompt = $("prompt").value.trim();
  if (!prompt || current) return;
  $("prompt").value = "";
  const answer = new Answer({ id: newId(), prompt });
  answers.push(answer);
  document.querySelector("main").scrollTop = 1e9;
  follow(answer);
});

$("prompt").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("ask").requestSubmit();
});

$("stop").addEventListener("click", () => current?.stop());

$("clear").addEventListener("click", async () => {
  await current?.stop();
  sessionStorage.removeItem("answers");
  location.reload();
});

for (const each of kept()) {
  const answer = Object.assign(new Answer(each), { known: true });
  answers.push(answer);
}
for (const answer of [...answers]) await follow(answer);
