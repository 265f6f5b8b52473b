// A room: lines come over a stream that all tabs in it share, and go by POST until the server has acknowledged
// them. Whatever others have written is shown by textContent, as text.

import { EventStream } from "./tornado_sse/tornado_sse.js";

const $ = (id) => document.getElementById(id);
const asked = new URLSearchParams(location.search).get("room") ?? "";
const room = /^[A-Za-z0-9_.-]{1,50}$/.test(asked) ? asked : "lobby";
const url = `rooms/${room}`;
const RETRY = 1000;
const MOST_LINES = 1000;

document.title = `${room} · tornado-sse`;
$("title").textContent = $("room").value = room;

function make(tag, text, ...children) {
  const element = document.createElement(tag);
  element.append(text, ...children);
  return element;
}

function itemOf({ name, text, time }) {
  const head = make("b", name);
  head.style.setProperty("--hue", [...name].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, 7));
  const item = make("li", head, make("p", text));
  if (time) {
    const at = new Date(time * 1000);
    head.after(make("time", at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })));
    item.querySelector("time").dateTime = at.toISOString();
  }
  item.classList.toggle("mine", name === $("name").value);
  return item;
}

function append(item) {
  $("lines").append(item);
  if ($("lines").children.length > MOST_LINES) $("lines").firstChild.remove();
}

// What has been said. A line that was sent again because its acknowledgement was lost is in the log twice, with
// the same id: the first one counts, on every page.

const shown = new Set();

function show({ payload: line }) {
  if (shown.has(line.id)) return;
  shown.add(line.id);
  waiting.get(line.id)?.remove();
  append(itemOf(line));
}

function showGap() {
  const notice = make("li", "Some lines are missing");
  notice.className = "notice";
  append(notice);
}

const STATES = { connecting: "Connecting", open: "Live", reconnecting: "Reconnecting", resting: "Resting" };

function showState() {
  document.body.dataset.state = stream.state;
  $("state").textContent = STATES[stream.state];
}

// What is to be said: one line at a time, so that they stay in order, and each until there is an answer to it.

const outbox = [];
const waiting = new Map();
let sending = false;

async function send() {
  if (sending) return;
  sending = true;
  for (; outbox.length; outbox.shift()) {
    const line = outbox[0];
    while (!shown.has(line.id)) {
      const status = await post(line);
      if (status >= 400 && status < 500) waiting.get(line.id).className = "refused";
      if (status > 0 && status < 500) break;
      await new Promise((resolve) => setTimeout(resolve, RETRY));
    }
  }
  sending = false;
}

async function post(line) {
  try {
    const signal = AbortSignal.timeout(10 * RETRY);
    return (await fetch(url, { method: "POST", body: new URLSearchParams(line), signal })).status;
  } catch {
    return 0;
  }
}

/** An id that nobody else takes. crypto.randomUUID() is for secure origins alone, which a demo on a LAN is not. */
const newId = () => Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("-");

$("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const line = { id: newId(), name: $("name").value.trim(), text: $("text").value.trim() };
  if (!line.name || !line.text) return;
  waiting.set(line.id, itemOf(line));
  $("waiting").append(waiting.get(line.id));
  $("text").value = "";
  document.querySelector("main").scrollTop = 0; // its end: it is laid out from below
  outbox.push(line);
  send();
});

// A name, until somebody chooses a better one.

$("name").value = stored() ?? `guest ${newId().slice(0, 3)}`;
$("name").addEventListener("change", () => stored($("name").value.trim()));

function stored(name) {
  try {
    if (name) localStorage.setItem("name", name);
    return localStorage.getItem("name");
  } catch {
    return null; // storage may be denied; the name then lasts as long as the page
  }
}

// The stream. A room that nobody looks at gives its connection back, and resumes.

const stream = new EventStream(url, { shared: true, persist: true, rest: 1000 });
stream.onmessage = show;
stream.ongap = showGap;
stream.onstatechange = showState;
