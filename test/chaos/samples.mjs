// How long things took, by when they began: for reports over windows of time.
export const quantile = (sorted, q) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))];

export const summary = (times) => {
  const sorted = [...times].sort((a, b) => a - b);
  return sorted.length === 0 ? { n: 0 } : { n: sorted.length, p50: quantile(sorted, 0.5), p99: quantile(sorted, 0.99), max: sorted.at(-1) };
};

export class Samples {
  constructor() {
    this.all = [];
  }

  // Something of this kind that began at `at` (Date.now()) and took `ms`.
  add(at, ms, kind = 'ok') {
    this.all.push({ at, ms, kind });
  }

  // [{ name, from, to }] to { NAME: { KIND: { n, p50, p99, max } } }, of what began in [from, to).
  report(windows = []) {
    return Object.fromEntries(windows.map(({ name, from, to }) => {
      const times = {};
      for (const { at, ms, kind } of this.all) if (at >= from && at < to) (times[kind] ??= []).push(ms);
      return [name, Object.fromEntries(Object.entries(times).map(([kind, list]) => [kind, summary(list)]))];
    }));
  }
}
