// Numbers and tables.

export function stats(values) {
  const sorted = values.filter((v) => Number.isFinite(v)).sort((a, b) => a - b);
  if (sorted.length === 0) return null;
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  return { count: sorted.length, min: sorted[0], median, max: sorted[sorted.length - 1] };
}

export function triple(values, format) {
  const s = stats(values);
  if (s !== null && s.count === 1) return format(s.median);
  return s === null ? '-' : `${format(s.min)}/${format(s.median)}/${format(s.max)}`;
}

export function median(values, format) {
  const s = stats(values);
  return s === null ? '-' : format(s.median);
}

export const thousands = (v) => (v / 1000 >= 100 ? (v / 1000).toFixed(0) : (v / 1000).toFixed(1));
export const fixed = (digits) => (v) => v.toFixed(digits);
export const percent = (v) => `${(100 * v).toFixed(0)}%`;

// First column left, others right.
export function table(header, rows) {
  const widths = header.map((_, i) => Math.max(...[header, ...rows].map((row) => String(row[i]).length)));
  const line = (row) => row.map((cell, i) => (i === 0 ? String(cell).padEnd(widths[i]) : String(cell).padStart(widths[i]))).join('  ');
  return [line(header), widths.map((w) => '-'.repeat(w)).join('  '), ...rows.map(line)].join('\n');
}

// Per-round ratios of a field: rounds in which one of both is missing do not count.
export function ratios(rounds, name, base, field) {
  return rounds
    .filter((round) => round[name] !== undefined && round[base] !== undefined)
    .map((round) => round[name][field] / round[base][field]);
}
