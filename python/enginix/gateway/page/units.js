// Numbers as people say them.

const number = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const fine = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

export const count = (value) => number.format(value);
export const plural = (value, noun) => `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
export const times = (value) => ["never", "once", "twice"][value] ?? `${count(value)} times`;

/** Tokens per second. */
export const rate = (value) => (value < 10 ? fine : number).format(value);

/** A length of time: "340 ms", "12 s", "5 min", "2 h 10 min", "3 d 4 h". */
export function duration(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${fine.format(seconds)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h` + (minutes % 60 ? ` ${minutes % 60} min` : "");
  return `${Math.floor(hours / 24)} d` + (hours % 24 ? ` ${hours % 24} h` : "");
}

export function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  for (; value >= 999.5 && unit < units.length - 1; unit += 1) value /= 1000;
  return `${(value < 10 && unit ? fine : number).format(value)} ${units[unit]}`;
}
