"use strict";

const show = (id, text) => { document.getElementById(id).textContent = text; };
const source = new EventSource("/channels/clock?channel=words&start=earliest");
const state = document.getElementById("state");
const words = document.getElementById("words");

function become(text) {
  state.textContent = text;
  state.className = text;
}

source.onopen = () => become("open");
source.onerror = () => become(source.readyState === EventSource.CLOSED ? "closed" : "connecting");

source.addEventListener("tick", event => {
  const { time, readers } = JSON.parse(event.data);
  show("clock", time);
  show("readers", readers === 1 ? "1 page is open" : `${readers} pages are open`);
  show("id", event.lastEventId);
});

// What was published without a type: by the form below, by curl, by tornado-sse publish.
source.onmessage = event => {
  const line = document.createElement("li");
  line.textContent = event.data;
  words.prepend(line);
  while (words.children.length > 100) words.lastChild.remove();
};

document.getElementById("form").addEventListener("submit", async event => {
  event.preventDefault();
  const input = document.getElementById("text");
  const text = input.value;
  if (!text) return;
  input.value = "";
  const answer = await fetch("/channels/words", { method: "POST", body: text }).catch(() => null);
  if (!answer?.ok) input.value = text;
});

const url = `${location.origin}/channels/words`;
show("commands", `curl -d 'hello' ${url}\ntornado-sse tail ${url}\ntornado-sse probe ${location.origin}/channels/clock`);
