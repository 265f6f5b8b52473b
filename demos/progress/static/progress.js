// The jobs: each event says all about one, so whatever comes is shown, and nothing is remembered but when it came.

const $ = (id) => document.getElementById(id);
const RETRY = 1000;

const jobs = new Map();
const number = new Intl.NumberFormat("en");

function itemOf(job) {
  if (!jobs.has(job.id)) {
    const item = $("job").content.firstElementChild.cloneNode(true);
    item.id = `job-${job.id}`;
    item.querySelector("h2").textContent = `Primes below ${number.format(job.total)}`;
    item.querySelector("progress").ariaLabel = item.querySelector("h2").textContent;
    item.querySelector("button").addEventListener("click", () => send("DELETE", `jobs?id=${encodeURIComponent(job.id)}`));
    // The newest is the first.
    const before = [...$("jobs").children].find((other) => Number(other.dataset.began) < job.began);
    item.dataset.began = job.began;
    $("jobs").insertBefore(item, before ?? null);
    jobs.set(job.id, { item, seen: [] });
  }
  return jobs.get(job.id);
}

function show(job) {
  const { item, seen } = itemOf(job);
  const part = job.done / job.total;
  item.dataset.state = job.state;
  item.querySelector("progress").value = part;
  item.querySelector("output").textContent = job.state === "stopped" ? "Stopped" : `${Math.floor(part * 100)} %`;
  item.querySelector(".found").textContent = `${number.format(job.found)} found`;
  item.querySelector(".left").textContent = job.state === "running" ? left(job, seen) : "";
  item.querySelector("button").hidden = job.state !== "running";
  $("none").hidden = true;
}

/** How long it will take, as it went in the last seconds. */
function left({ done, total }, seen) {
  const now = performance.now();
  seen.push([now, done]);
  while (seen.length > 2 && now - seen[0][0] > 5000) seen.shift();
  const [since, before] = seen[0];
  if (now - since < 500) return "";
  const seconds = Math.ceil(((total - done) * (now - since)) / (done - before) / 1000);
  return seconds < 60 ? `${seconds} s left` : `${Math.ceil(seconds / 60)} min left`;
}

// The stream. The browser reconnects by itself; where it gives up (an answer that is no stream) we do, and as the
// stream begins with the state of each job, it does not matter where it was.

function connect() {
  const source = new EventSource("jobs");
  source.onopen = () => showState("live");
  source.addEventListener("job", (event) => show(JSON.parse(event.data)));
  source.addEventListener("gap", () => {
    // The log is another one; its jobs follow.
    jobs.clear();
    $("jobs").replaceChildren();
    $("none").hidden = false;
  });
  source.onerror = () => {
    showState("reconnecting");
    for (const { seen } of jobs.values()) seen.length = 0; // nothing is known of how fast it goes now
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, RETRY);
  };
}

const STATES = { connecting: "Connecting", live: "Live", reconnecting: "Reconnecting" };

function showState(state) {
  document.body.dataset.state = state;
  $("state").textContent = STATES[state];
}

const REFUSALS = { 429: "Enough jobs are running.", 400: "That is no number of numbers." };

async function send(method, url, body) {
  $("refused").textContent = "";
  try {
    const { ok, status } = await fetch(url, { method, body });
    if (!ok && status !== 404) $("refused").textContent = REFUSALS[status] ?? "The server can’t do that now.";
  } catch {
    $("refused").textContent = "The server is away.";
  }
}

$("begin").addEventListener("submit", (event) => {
  event.preventDefault();
  send("POST", "jobs", new URLSearchParams({ total: $("total").value }));
});

connect();
