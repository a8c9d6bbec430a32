// Chance that is the same each time, and histograms with the agent's bounds.

let state = 20261118;

function chance() {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
}

/** Near 1, within `width` of it mostly. */
export function noise(width) {
  return Math.max(0.05, 1 + width * (chance() + chance() + chance() - 1.5));
}

const BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];
/** How far apart the quick and the slow are: a log-normal distribution. */
const SPREAD = 0.55;

export class Histogram {
  constructor() {
    this.buckets = BOUNDS.map(() => 0);
    this.count = 0;
    this.sum = 0;
  }

  observe(median, count) {
    const middle = median * noise(0.25);
    BOUNDS.forEach((bound, at) => (this.buckets[at] += count * below(Math.log(bound / middle) / SPREAD)));
    this.count += count;
    this.sum += count * middle * 1.16;
  }

  observeOne(value, count) {
    BOUNDS.forEach((bound, at) => (this.buckets[at] += value <= bound ? count : 0));
    this.count += count;
    this.sum += count * value;
  }

  write(put, name, labels) {
    BOUNDS.forEach((bound, at) => put(`${name}_bucket`, { ...labels, le: Number.isInteger(bound) ? `${bound}.0` : `${bound}` }, Math.round(this.buckets[at])));
    put(`${name}_bucket`, { ...labels, le: '+Inf' }, Math.round(this.count));
    put(`${name}_sum`, labels, this.sum);
    put(`${name}_count`, labels, Math.round(this.count));
  }
}

/** The share of a normal distribution that lies below, by the logistic curve that is near it. */
function below(deviations) {
  return 1 / (1 + Math.exp(-1.702 * deviations));
}
