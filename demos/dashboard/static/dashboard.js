// The page. Everything that comes from the server is shown by textContent or as an image: a process, a host
// or a log line may carry any text, and none of it is markup here.

import { EventStream } from "./tornado_sse/tornado_sse.js";
import { LineChart } from "./charts.js";
import { Meter, frameSize } from "./meter.js";
import { bytes, bytesParts, decimal, duration, percent, percentParts } from "./format.js";

const $ = (id) => document.getElementById(id);

/** Make an element: its children are elements, or text that stays text. */
function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

// What is on the stream.

const KINDS = {
  samples: { serializer: "msgpack", carries: "rows of numbers", show: showSample },
  heatmap: { serializer: "binary", carries: "a PNG image", show: showHeatmap },
  system: { serializer: "json", carries: "records", show: showSystem },
  log: { serializer: "text", carries: "log lines", show: showLog },
  facts: { show: showFacts },
};

let facts = { columns: [], cores: 1, keep: 300, interval: 1, booted: NaN };

function receive(event) {
  meters[event.type].count(frameSize(event));
  KINDS[event.type].show(event.payload);
}

// Facts: what does not change. They come first, and only to a page that is sent all that is kept: one that has
// just been opened, or whose id the server no longer knows. So what the page still has goes.

function showFacts(value) {
  facts = value;
  $("host").textContent = facts.host;
  $("software").textContent = facts.software;
  document.title = `${facts.host} · tornado-sse`;
  past.clear();
  logLines.replaceChildren();
  showUptime();
}

function showUptime() {
  if (!Number.isFinite(facts.booted)) return;
  const cores = `${facts.cores} ${facts.cores === 1 ? "core" : "cores"}`;
  $("facts").textContent = `${facts.system} · ${cores} · up ${duration(Date.now() / 1000 - facts.booted)}`;
}

// Samples: a row of numbers for each second, its time and then facts.columns; kept as one array per column.

const past = {
  columns: { time: [] },
  clear() {
    this.columns = Object.fromEntries(["time", ...facts.columns].map((name) => [name, []]));
  },
  append([time, ...values]) {
    this.columns.time.push(time * 1000);
    facts.columns.forEach((name, i) => this.columns[name].push(values[i]));
    for (const column of Object.values(this.columns)) column.splice(0, column.length - facts.keep);
  },
  last(name) {
    return this.columns[name]?.at(-1) ?? NaN;
  },
};

let drawing = 0;

function showSample(row) {
  past.append(row);
  // Hundreds come at once when the page opens; they are drawn once.
  drawing ||= requestAnimationFrame(() => {
    drawing = 0;
    for (const tile of tiles) tile.show();
    for (const panel of charts) panel.show();
  });
}

// Tiles: the figures of this moment.

const SPARK = { width: 120, height: 28, points: 60, least: 15 };
const SVG = "http://www.w3.org/2000/svg";

class Tile {
  /**
   * @param {string} title
   * @param {{name?: string, column: string, colour: string, parts: (value: number) => [string, string]}[]} figures
   * @param {{top?: number}} [options] the value at the upper edge of the sparkline, if it is fixed
   */
  constructor(title, figures, { top } = {}) {
    this.top = top;
    this.note = make("p", "note");
    this.figures = figures.map((figure) => {
      const number = make("span", "number", "–");
      const unit = make("span", "unit");
      const line = document.createElementNS(SVG, "polyline");
      line.style.stroke = `var(--${figure.colour})`;
      return { ...figure, number, unit, line };
    });
    const spark = document.createElementNS(SVG, "svg");
    spark.setAttribute("viewBox", `0 0 ${SPARK.width} ${SPARK.height}`);
    spark.setAttribute("preserveAspectRatio", "none");
    spark.setAttribute("aria-hidden", "true");
    spark.append(...this.figures.map(({ line }) => line));
    const values = this.figures.map(({ name, number, unit, colour }) => {
      const label = name ? [make("span", "name", name)] : [];
      if (name) label[0].style.color = `var(--${colour})`;
      return make("p", "value", ...label, number, unit);
    });
    this.element = make("article", "card tile", make("h2", "", title), make("div", "values", ...values), this.note, spark);
    if (figures.length > 1) this.element.classList.add("double");
  }

  show() {
    const recent = this.figures.map(({ column }) => past.columns[column].slice(-SPARK.points));
    const top = this.top ?? Math.max(1e-9, ...recent.flat().filter(Number.isFinite)) * 1.1;
    this.figures.forEach(({ parts, number, unit, line }, i) => {
      [number.textContent, unit.textContent] = parts(recent[i].at(-1));
      line.setAttribute("points", sparkline(recent[i], top));
    });
  }
}

function sparkline(values, top) {
  const points = [];
  const across = Math.max(SPARK.least, values.length) - 1; // a short past is drawn wider
  values.forEach((value, i) => {
    if (!Number.isFinite(value)) return;
    const x = SPARK.width * (1 - (values.length - 1 - i) / across);
    const y = SPARK.height - 1.5 - (Math.min(value, top) / top) * (SPARK.height - 3);
    points.push(`${x.toFixed(1)},${y.toFixed(1)}`);
  });
  return points.join(" ");
}

const rateParts = (value) => {
  const [number, unit] = bytesParts(value);
  return [number, unit && `${unit}/s`];
};

const tiles = [
  new Tile("Processor", [{ column: "cpu", colour: "teal", parts: percentParts }], { top: 100 }),
  new Tile("Memory", [{ column: "memory", colour: "blue", parts: percentParts }], { top: 100 }),
  new Tile("Swap", [{ column: "swap", colour: "violet", parts: percentParts }], { top: 100 }),
  new Tile("Load", [{ column: "load", colour: "amber", parts: (value) => [decimal(value), ""] }]),
  new Tile("Network", [
    { name: "in", column: "received", colour: "teal", parts: rateParts },
    { name: "out", column: "sent", colour: "blue", parts: rateParts },
  ]),
  new Tile("Disk", [
    { name: "read", column: "read", colour: "violet", parts: rateParts },
    { name: "write", column: "written", colour: "amber", parts: rateParts },
  ]),
];
const [cpuTile, memoryTile, swapTile, loadTile, networkTile, diskTile] = tiles;
$("tiles").append(...tiles.map(({ element }) => element));

// Charts: the last five minutes.

class Panel {
  constructor(title, series, options) {
    this.series = series;
    this.options = options;
    this.chart = null;
    this.legend = series.map(({ label, colour }) => {
      const dot = make("i", "dot");
      dot.style.background = `var(--${colour})`;
      const value = make("b", "", "–");
      return { value, element: make("li", "", dot, `${label} `, value) };
    });
    this.host = make("div", "plot");
    this.host.setAttribute("role", "img");
    this.host.setAttribute("aria-label", `${title} over the last five minutes`);
    const head = make("div", "card-head", make("h2", "", title), make("ul", "legend", ...this.legend.map(({ element }) => element)));
    this.element = make("article", "card chart", head, this.host);
  }

  show() {
    this.series.forEach(({ column }, i) => {
      this.legend[i].value.textContent = this.options.format(past.last(column));
    });
    // Without BokehJS the page still has its figures.
    if (!window.Bokeh) return;
    this.chart ??= new LineChart(this.host, this.series, { ...this.options, span: facts.keep * facts.interval * 1000 });
    this.chart.show(past.columns);
  }
}

const rate = (value) => rateParts(value).join("\u202f").trim();

const charts = [
  new Panel("Processor", [{ column: "cpu", label: "all cores", colour: "teal" }], { format: percent, top: 100 }),
  new Panel(
    "Memory",
    [{ column: "memory", label: "memory", colour: "blue" }, { column: "swap", label: "swap", colour: "violet" }],
    { format: percent, top: 100 },
  ),
  new Panel(
    "Network",
    [{ column: "received", label: "in", colour: "teal" }, { column: "sent", label: "out", colour: "blue" }],
    { format: rate, least: 1000 },
  ),
  new Panel(
    "Disk",
    [{ column: "read", label: "read", colour: "violet" }, { column: "written", label: "write", colour: "amber" }],
    { format: rate, least: 1000 },
  ),
];
$("charts").append(...charts.map(({ element }) => element));

// System: a record a second.

function showSystem(record) {
  const { memory, swap, disk, load } = record;
  cpuTile.note.textContent = `${record.process_count} processes`;
  memoryTile.note.textContent = `${bytes(memory.used)} of ${bytes(memory.total)}`;
  swapTile.note.textContent = swap.total > 0 ? `${bytes(swap.used)} of ${bytes(swap.total)}` : "none configured";
  loadTile.note.textContent = load.map((value) => decimal(value)).join(" · ");
  networkTile.note.textContent = "without loopback";
  diskTile.note.textContent = `${bytes(disk.used)} of ${bytes(disk.total)} used`;
  $("process-count").textContent = `${record.process_count} in all · read in ${decimal(record.reading_ms, 1)} ms`;
  $("viewers").textContent = `${record.viewers} ${record.viewers === 1 ? "viewer" : "viewers"}, one collection`;
  showProcesses(record.processes);
  showCores(record.cores);
  showUptime();
}

function showProcesses(processes) {
  $("processes").replaceChildren(
    ...processes.map((process) => {
      const name = make("th", "", process.name || "(no name)");
      name.scope = "row";
      if (process.self) name.append(make("span", "tag", "this server"));
      const busy = make("i", "bar");
      busy.style.setProperty("--part", Math.min(1, process.cpu / 100));
      return make(
        "tr", "", name,
        make("td", "num wide", String(process.pid)),
        make("td", "wide user", process.user || "–"),
        make("td", "num", busy, make("span", "part", percent(process.cpu))),
        make("td", "num", bytes(process.memory)),
      );
    }),
  );
}

function showCores(cores) {
  const list = $("cores");
  while (list.children.length > cores.length) list.lastChild.remove();
  while (list.children.length < cores.length) {
    list.append(make("li", "", make("span", "", String(list.children.length)), make("i", "bar"), make("b")));
  }
  cores.forEach((value, i) => {
    const [, bar, text] = list.children[i].children;
    bar.style.setProperty("--part", value / 100);
    text.textContent = percent(value);
  });
}

// Heat map: drawn by the server at two pixels for one of CSS, and shown at exactly that, newest at the right.

let shownUrl = "";

async function showHeatmap(png) {
  const url = URL.createObjectURL(new Blob([png], { type: "image/png" }));
  const image = new Image();
  image.src = url;
  try {
    await image.decode(); // so that the old one stays until the new one can be painted
  } catch {
    URL.revokeObjectURL(url);
    return;
  }
  const shown = $("heatmap");
  shown.src = url;
  shown.width = image.naturalWidth / 2;
  shown.height = image.naturalHeight / 2;
  shown.hidden = false;
  $("cores").style.setProperty("--row", `${shown.height / Math.max(1, facts.cores)}px`);
  $("cores").classList.toggle("dense", shown.height / facts.cores < 12);
  URL.revokeObjectURL(shownUrl);
  shownUrl = url;
}

// Log: a line an event, and the last few hundred of them.

const LOG_LINES = 300;
const LOG_FORM = /^(\d\d:\d\d:\d\d) ([DIWEC]) (\S+) ([^]*)$/;
const logLines = $("log");

function showLog(text) {
  const atEnd = logLines.scrollHeight - logLines.scrollTop - logLines.clientHeight < 24;
  const [, time, level, logger, message] = LOG_FORM.exec(text) ?? [null, "", "I", "", text];
  const line = make("li", "", make("time", "", time), make("span", "logger", logger), make("span", "message", message));
  line.dataset.level = level;
  logLines.append(line);
  while (logLines.children.length > LOG_LINES) logLines.firstChild.remove();
  if (atEnd) logLines.scrollTop = logLines.scrollHeight;
}

// On the wire: what each serializer carries, and what it costs.

const meters = Object.fromEntries(Object.keys(KINDS).map((kind) => [kind, new Meter()]));
meters.facts = meters.system;

const wireRows = Object.entries(KINDS)
  .filter(([, { serializer }]) => serializer)
  .map(([kind, { serializer, carries }]) => {
    const call = make("code", "", serializer === "json" ? "publish(…)" : `publish(…, serializer="${serializer}")`);
    const name = make("th", "", make("i", `dot ${serializer}`), make("span", "what", make("b", "", kind), ` ${carries}`), call);
    name.scope = "row";
    const [events, speed, total] = [make("td", "num", "–"), make("td", "num", "–"), make("td", "num", "–")];
    const row = make("tr", "", name, events, speed, total);
    row.dataset.kind = kind;
    const share = make("i", serializer);
    $("share").append(share);
    return { kind, row, share, events, speed, total };
  });
$("wire").append(...wireRows.map(({ row }) => row));

function showWire() {
  let perSecond = 0;
  let events = 0;
  for (const cells of wireRows) {
    const meter = meters[cells.kind];
    const rates = meter.rates();
    cells.events.textContent = decimal(rates.events, 1);
    cells.speed.textContent = bytes(rates.bytes);
    cells.total.textContent = bytes(meter.bytes);
    cells.share.style.flexGrow = rates.bytes;
    perSecond += rates.bytes;
    events += rates.events;
  }
  $("wire-total").textContent = `${decimal(events, 1)} events/s · ${bytes(perSecond)}/s`;
}

// State of the connection.

const STATES = {
  connecting: "Connecting",
  open: "Live",
  reconnecting: "Reconnecting",
  paused: "Paused",
  resting: "Resting",
};
const NOTICES = {
  reconnecting: "The connection is lost. These are the last figures; the page reconnects by itself.",
  paused: "Paused. The figures below have stopped; the server collects only while somebody watches.",
};

function showState() {
  const { state } = stream;
  document.body.dataset.state = state;
  $("state").textContent = STATES[state];
  $("pause").textContent = state === "paused" ? "Resume" : "Pause";
  $("notice").textContent = NOTICES[state] ?? "";
  $("notice").hidden = !NOTICES[state];
}

// A dashboard outlives its server, and error pages of a proxy before it; a tab that nobody looks at gives its
// connection back.
const stream = new EventStream("live", { persist: true, rest: 15_000 });
for (const kind of Object.keys(KINDS)) stream.addEventListener(kind, receive);
stream.onstatechange = showState;
$("pause").addEventListener("click", () => (stream.state === "paused" ? stream.resume() : stream.pause()));
setInterval(showWire, 1000);

// Theme: the system's, until somebody chooses.

const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme ?? (systemIsDark.matches ? "dark" : "light")) === "dark";

function showTheme() {
  $("theme").textContent = isDark() ? "Light" : "Dark";
  $("theme").setAttribute("aria-label", `Switch to the ${isDark() ? "light" : "dark"} theme`);
  for (const panel of charts) panel.chart?.recolour();
}

$("theme").addEventListener("click", () => {
  const theme = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem("theme", theme);
  } catch {
    // storage may be denied; the choice then lasts as long as the page
  }
  showTheme();
});
systemIsDark.addEventListener("change", showTheme);
showTheme();
