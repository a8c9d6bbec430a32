// Queries as Grafana sends them, and data frames as its Prometheus data source makes them of the answers.

import { FieldType, dateTime, rangeUtil } from '@grafana/data';

/** What the data source is told, and Grafana's default. */
const SCRAPE_INTERVAL = 15;

export function timeRange(from, to) {
  const [first, last] = [dateTime(from * 1000), dateTime(to * 1000)];
  return { from: first, to: last, raw: { from: first, to: last } };
}

async function get(path, parameters) {
  const answer = await fetch(`/prometheus/api/v1/${path}`, { method: 'POST', body: new URLSearchParams(parameters) });
  const { status, data, error } = await answer.json();
  if (status !== 'success') throw new Error(`${error}: ${JSON.stringify(parameters)}`);
  return data;
}

/** The values of the dashboard's variables, each from what those before it leave; `chosen` are of the address line. */
export async function variables(dashboard, chosen, range) {
  const found = [];
  for (const variable of dashboard.templating.list) {
    if (variable.type === 'datasource') {
      found.push({ ...variable, text: 'Prometheus', pattern: 'prometheus' });
      continue;
    }
    const [, selector, label] = /^label_values\((.*), (\w+)\)$/.exec(variable.definition);
    const series = await get('series', { 'match[]': interpolate(selector, found), start: range.from.unix(), end: range.to.unix() });
    const options = [...new Set(series.map((labels) => labels[label]))].sort();
    if (options.length === 0) throw new Error(`nothing to choose for ${variable.name}`);
    if (variable.includeAll) {
      found.push({ ...variable, text: 'All', pattern: variable.allValue });
    } else {
      const value = chosen[variable.name] ?? options[0];
      if (!options.includes(value)) throw new Error(`no ${variable.name} is ${value}`);
      found.push({ ...variable, text: value, pattern: escaped(value) });
    }
  }
  return found;
}

/** For a pattern within a string. */
function escaped(value) {
  return value.replace(/[\\^$*+?.()|[\]{}/]/g, '\\\\$&');
}

function interpolate(text, values) {
  return text.replace(/\$\{?(\w+)\}?/g, (all, name) => values.find((value) => value.name === name)?.pattern ?? all);
}

/** Step and built-in variables for a panel of so many points. */
function timing(range, points, least = SCRAPE_INTERVAL) {
  const step = rangeUtil.calculateInterval(range, points, `${least}s`).intervalMs / 1000;
  const seconds = range.to.unix() - range.from.unix();
  return {
    step,
    values: [
      { name: '__rate_interval', pattern: `${Math.max(step + SCRAPE_INTERVAL, 4 * SCRAPE_INTERVAL)}s` },
      { name: '__interval', pattern: `${step}s` },
      { name: '__range', pattern: `${seconds}s` },
    ],
  };
}

/** All frames of a panel. */
export async function ask(panel, values, range, points) {
  const { step, values: builtIn } = timing(range, points);
  const targets = panel.targets.map(async (target) => {
    const query = interpolate(target.expr, [...values, ...builtIn]);
    const rows = await (target.instant ? instant(query, range) : overTime(query, range, step));
    return { target, rows };
  });
  const answers = await Promise.all(targets);
  const [{ target }] = answers;
  if (target.format === 'table') return answers.map((answer) => table(answer, answers.length > 1));
  const frames = answers.flatMap(({ target, rows }) => rows.map((row) => series(row, target, step)));
  return target.format === 'heatmap' ? buckets(frames) : frames;
}

async function instant(query, range) {
  const { result } = await get('query', { query, time: range.to.unix() });
  return result.map(({ metric, value }) => ({ metric, values: [value] }));
}

async function overTime(query, range, step) {
  const aligned = (time) => Math.floor(time / step) * step;
  const { result } = await get('query_range', { query, start: aligned(range.from.unix()), end: aligned(range.to.unix()), step });
  return result;
}

/** Where an annotation stands: Grafana asks for a hundred moments of the range, no closer than its step. */
export async function marks(annotation, values, range) {
  const { step: every, values: builtIn } = timing(range, 100, rangeUtil.intervalToSeconds(annotation.step));
  const rows = await overTime(interpolate(annotation.expr, [...values, ...builtIn]), range, every);
  // What goes on from one step to the next is one region.
  return rows.flatMap(({ values: samples }) => {
    const regions = [];
    for (const [time, value] of samples) {
      if (Number(value) === 0) continue;
      const last = regions.at(-1);
      if (last && time - last.until <= every) last.until = time;
      else regions.push({ from: time, until: time, color: annotation.iconColor });
    }
    return regions;
  });
}

function series({ metric, values }, target, step) {
  const { __name__: name = '', ...labels } = metric;
  const legend = target.legendFormat?.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => metric[label] ?? '');
  const displayNameFromDS = legend || `${name}{${Object.entries(labels).map(([label, value]) => `${label}="${value}"`).join(', ')}}`;
  return {
    refId: target.refId,
    length: values.length,
    fields: [
      { name: 'Time', type: FieldType.time, config: { interval: step * 1000 }, values: values.map(([time]) => time * 1000) },
      { name: 'Value', type: FieldType.number, config: { displayNameFromDS }, labels: metric, values: values.map(([, value]) => Number(value.replace('Inf', 'Infinity'))) },
    ],
  };
}

/** One row a series, one column a label. */
function table({ target, rows }, several) {
  const labels = [...new Set(rows.flatMap(({ metric }) => Object.keys(metric)))].sort();
  const column = (name, type, values, config = {}) => ({ name, type, config, values });
  const value = several ? `Value #${target.refId}` : 'Value';
  return {
    refId: target.refId,
    length: rows.length,
    fields: [
      column('Time', FieldType.time, rows.map(({ values: [[time]] }) => time * 1000)),
      ...labels.map((label) => column(label, FieldType.string, rows.map(({ metric }) => metric[label] ?? ''), { filterable: true })),
      column(value, FieldType.number, rows.map(({ values: [[, number]] }) => Number(number))),
    ],
  };
}

/** Cumulative series by `le` → one frame with a field for each bucket alone. */
function buckets(frames) {
  if (frames.length === 0) return [];
  const bound = (frame) => Number(frame.fields[1].labels.le.replace('Inf', 'Infinity'));
  const sorted = [...frames].sort((a, b) => bound(a) - bound(b));
  const [time] = sorted[0].fields;
  const fields = sorted.map((frame, at) => {
    const [, value] = frame.fields;
    const values = value.values.map((count, row) => (at === 0 ? count : Math.max(0, count - sorted[at - 1].fields[1].values[row])));
    return { ...value, name: value.labels.le, values };
  });
  return [{ refId: frames[0].refId, length: time.values.length, fields: [time, ...fields] }];
}
