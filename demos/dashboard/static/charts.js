// Line charts by BokehJS, which the page loads as a classic script; it defines `window.Bokeh`.
//
// Bokeh draws on canvas and knows nothing of the page's style sheet, so its colours are read from the CSS
// custom properties and set again when the theme changes. Ticks are ours: Bokeh's own formatters for bytes
// would need a function compiled from text, which the page's policy forbids.

import { roundUp, timeOfDay } from "./format.js";

const FONT = "11px";

// A page that has just been opened shows half a minute, and more as there is more to show: five minutes with
// three seconds of data in them would look broken.
const LEAST_SPAN = 30_000;
const STEPS = [10_000, 20_000, 30_000, 60_000];

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

export class LineChart {
  /**
   * @param {HTMLElement} host where it is drawn
   * @param {{column: string, colour: string}[]} series names of columns and of CSS custom properties
   * @param {{format: (value: number) => string, top?: number, least?: number, span: number}} options how to
   *     write a value, the upper end of the axis (fixed, or at the least), and the time shown in milliseconds
   */
  constructor(host, series, { format, top, least = 1, span }) {
    this.series = series;
    this.format = format;
    this.top = top;
    this.least = least;
    this.span = span;
    const { Plotting, ColumnDataSource, Range1d, FixedTicker } = window.Bokeh;
    const columns = Object.fromEntries(["time", ...series.map(({ column }) => column)].map((name) => [name, []]));
    this.source = new ColumnDataSource({ data: columns });
    this.figure = Plotting.figure({
      x_range: new Range1d({ start: 0, end: 1 }),
      y_range: new Range1d({ start: 0, end: 1 }),
      sizing_mode: "stretch_both",
      min_border: 0,
      min_border_left: 64, // the same for all, so that charts above one another line up
      min_border_right: 6,
      toolbar_location: null,
      tools: [],
      outline_line_color: null,
      background_fill_color: null,
      border_fill_color: null,
    });
    const { xaxis, yaxis, xgrid, ygrid } = this.figure;
    this.axes = [xaxis, yaxis];
    this.tickers = this.axes.map(() => new FixedTicker({ ticks: [] }));
    this.axes.forEach((axis, i) => {
      axis.ticker = this.tickers[i];
      axis.axis_line_color = null;
      axis.major_tick_line_color = null;
      axis.minor_tick_line_color = null;
      axis.major_label_text_font_size = FONT;
      axis.major_label_text_font = getComputedStyle(document.body).fontFamily;
    });
    xgrid.grid_line_color = null;
    ygrid.ticker = this.tickers[1];
    // The last series is drawn first: the first one named is the one that matters.
    this.lines = series.toReversed().map(({ column, colour: name }) => {
      const from = { source: this.source, x: { field: "time" } };
      const area = this.figure.varea({ ...from, y1: 0, y2: { field: column }, fill_alpha: 0.12 });
      const line = this.figure.line({ ...from, y: { field: column }, line_width: 1.75, line_join: "round" });
      return { name, area, line };
    });
    this.recolour();
    this.shown = Plotting.show(this.figure, host);
  }

  /** Take up the colours of the page's theme. */
  recolour() {
    for (const { name, area, line } of this.lines) {
      area.glyph.fill_color = colour(name);
      line.glyph.line_color = colour(name);
    }
    for (const axis of this.axes) axis.major_label_text_color = colour("muted");
    this.figure.ygrid.grid_line_color = colour("line");
  }

  /** Show these columns: arrays of equal length, `time` in milliseconds. */
  show(columns) {
    const { time } = columns;
    const names = this.series.map(({ column }) => column);
    // Copies, since Bokeh tells new data from old by comparing them.
    this.source.data = Object.fromEntries(["time", ...names].map((name) => [name, Float64Array.from(columns[name])]));

    const end = time.at(-1);
    const [xaxis, yaxis] = this.axes;
    const [xticker, yticker] = this.tickers;
    const span = Math.min(this.span, Math.max(LEAST_SPAN, end - time[0]));
    this.figure.x_range.setv({ start: end - span, end });
    // A label needs room on its left and its right, or it would push the frame about.
    const step = STEPS.find((each) => span / each <= 5) ?? STEPS.at(-1);
    const margin = span / 16;
    const moments = [];
    for (let at = Math.ceil((end - span + margin) / step) * step; at < end - margin; at += step) moments.push(at);
    xticker.ticks = moments;
    xaxis.major_label_overrides = new Map(moments.map((at) => [at, timeOfDay(at, step < 60_000)]));

    const top = this.top ?? roundUp(1.1 * this.#largest(names.map((name) => columns[name])));
    if (top === this.lastTop) return;
    this.lastTop = top;
    const ticks = [0, top / 2, top];
    // A little more than the data, or lines and grid would be cut in half at the edges.
    this.figure.y_range.setv({ start: -0.02 * top, end: 1.04 * top });
    yticker.ticks = ticks;
    yaxis.major_label_overrides = new Map(ticks.map((at) => [at, this.format(at).replace(/\.0+\b/, "")]));
  }

  #largest(columns) {
    return Math.max(this.least, ...columns.flat().filter(Number.isFinite));
  }
}
