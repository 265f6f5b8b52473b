// Numbers as people read them. A sign of missing data is a dash, never "NaN".

const DASH = "–";

/** A count of bytes: three digits at most, and the unit apart, so that it can be set smaller. */
export function bytesParts(value) {
  if (!Number.isFinite(value)) return [DASH, ""];
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return [value.toFixed(unit === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2), units[unit]];
}

export const bytes = (value) => bytesParts(value).join("\u202f").trim();

export function percentParts(value) {
  if (!Number.isFinite(value)) return [DASH, ""];
  return [value.toFixed(value > 0 && value < 9.95 ? 1 : 0), "%"];
}

export const percent = (value) => percentParts(value).join("\u202f").trim();

export const decimal = (value, digits = 2) => (Number.isFinite(value) ? value.toFixed(digits) : DASH);

/** A span of time by its two largest units, down to minutes. */
export function duration(seconds) {
  const units = [["d", 86400], ["h", 3600], ["min", 60]];
  const first = units.findIndex(([, size]) => seconds >= size);
  if (first < 0) return "less than a minute";
  const parts = [];
  for (const [name, size] of units.slice(first, first + 2)) {
    const count = Math.floor(seconds / size);
    seconds -= count * size;
    if (count > 0) parts.push(`${count} ${name}`);
  }
  return parts.join(" ");
}

const toTheMinute = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
const clock = new Intl.DateTimeFormat(undefined, toTheMinute);
const secondsClock = new Intl.DateTimeFormat(undefined, { ...toTheMinute, second: "2-digit" });

export const timeOfDay = (milliseconds, seconds) => (seconds ? secondsClock : clock).format(milliseconds);

/** The next larger "round" number, so that an axis doesn't move with every value: 1, 2 or 5 and zeros. */
export function roundUp(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].find((step) => step * power >= value) * power;
}
