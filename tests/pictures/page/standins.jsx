// Panels that none of Grafana's libraries draws, in their style: state timeline and heatmap. The pictures say so.

import { useEffect, useRef } from 'react';
import { FieldType, getFieldDisplayName, getValueFormat, dateTimeFormat, formattedValueToString } from '@grafana/data';
import { LegendDisplayMode, VizLegend } from '@grafana/ui';
import { interpolateBlues } from 'd3-scale-chromatic';

import { Nothing } from './panels.jsx';

const AXIS = 22;
const LEGEND = 30;
const GAP = 10;
const TICKS = [1, 5, 10, 15, 30, 60].map((minutes) => minutes * 60_000);

export function Timeline({ panel, frames, width, height, range, theme }) {
  const rows = frames.flatMap((frame) => {
    const time = frame.fields.find((field) => field.type === FieldType.time);
    const values = frame.fields.filter((field) => field.type === FieldType.number);
    return values.map((field) => ({ name: getFieldDisplayName(field, frame, frames), segments: segments(time, field) }));
  });
  const draw = (context, size) => {
    const label = 12 + Math.max(...rows.map(({ name }) => context.measureText(name).width));
    const area = { left: label, top: 4, width: size.width - label - GAP, height: size.height - AXIS - 4 };
    const x = axis(context, area, range, theme);
    const tall = area.height / rows.length;
    rows.forEach(({ name, segments }, at) => {
      const middle = area.top + tall * (at + 0.5);
      text(context, name, label - 8, middle, 'right', theme);
      for (const { from, until, color } of segments) {
        const [left, right] = [from, until].map(x);
        context.globalAlpha = panel.fieldConfig.defaults.custom.fillOpacity / 100;
        context.fillStyle = color;
        const bar = tall * panel.options.rowHeight;
        context.fillRect(left, middle - bar / 2, right - left, bar);
        context.globalAlpha = 1;
      }
    });
  };
  if (rows.length === 0) return <Nothing panel={panel} height={height} />;
  const seen = new Map(rows.flatMap(({ segments }) => segments.map((segment) => [segment.text, segment])));
  const items = [...seen.values()].sort((a, b) => a.value - b.value).map(({ text: label, color }) => ({ label, color: theme.visualization.getColorByName(color), yAxis: 1 }));
  return (
    <>
      <Canvas width={width} height={height - LEGEND} draw={draw} />
      <VizLegend items={items} displayMode={LegendDisplayMode.List} placement="bottom" />
    </>
  );
}

/** Equal values that follow one another are one; a value holds until the next one. */
function segments(time, field) {
  const found = [];
  const step = time.config.interval;
  for (const [at, value] of field.values.entries()) {
    const { text, color } = field.display(value);
    const [from, until] = [time.values[at], time.values[at] + step];
    const last = found.at(-1);
    if (last && last.text === text && last.until === from) last.until = until;
    else found.push({ from, until, text, color, value });
  }
  return found;
}

export function Heatmap({ panel, frames, width, height, range, theme }) {
  const [frame] = frames;
  if (!frame) return <Nothing panel={panel} height={height} />;
  const [time, ...buckets] = frame.fields;
  const least = panel.options.filterValues.le;
  const most = Math.max(...buckets.flatMap((bucket) => bucket.values.filter(Number.isFinite)));
  const { exponent, steps } = panel.options.color;
  // In the dark theme little is dark and much is bright.
  const shade = (count) => interpolateBlues(1 - Math.round((count / most) ** exponent * (steps - 1)) / (steps - 1));
  const format = getValueFormat(panel.options.yAxis.unit);
  const name = (bucket) => (bucket.name === '+Inf' ? '+Inf' : formattedValueToString(format(Number(bucket.name))));
  const draw = (context, size) => {
    const label = 12 + Math.max(...buckets.map((bucket) => context.measureText(name(bucket)).width));
    const area = { left: label, top: 4, width: size.width - label - GAP, height: size.height - AXIS - 4 };
    const x = axis(context, area, range, theme);
    const tall = area.height / buckets.length;
    const gap = panel.options.cellGap;
    buckets.forEach((bucket, at) => {
      const top = area.top + area.height - tall * (at + 1);
      text(context, name(bucket), label - 8, top, 'right', theme);
      bucket.values.forEach((count, row) => {
        if (!(count > least)) return;
        const [left, right] = [x(time.values[row] - time.config.interval), x(time.values[row])];
        context.fillStyle = shade(count);
        context.fillRect(left, top + gap / 2, Math.max(1, right - left - gap), tall - gap);
      });
    });
  };
  return (
    <>
      <Canvas width={width} height={height - LEGEND} draw={draw} />
      <div className="scale">
        <span>0</span>
        <i style={{ background: `linear-gradient(90deg, ${[0, 0.25, 0.5, 0.75, 1].map((part) => interpolateBlues(1 - part ** exponent)).join(', ')})` }} />
        <span>{formattedValueToString(getValueFormat('short')(most))}</span>
      </div>
    </>
  );
}

/** Hours and minutes below, with a line at each; returns where a time is. */
function axis(context, area, range, theme) {
  const [from, to] = [range.from.valueOf(), range.to.valueOf()];
  const x = (time) => area.left + ((Math.min(Math.max(time, from), to) - from) / (to - from)) * area.width;
  const every = TICKS.find((tick) => ((to - from) / tick) * 60 < area.width) ?? TICKS.at(-1);
  for (let time = Math.ceil(from / every) * every; time <= to; time += every) {
    context.fillStyle = theme.colors.border.weak;
    context.fillRect(Math.round(x(time)), area.top, 1, area.height);
    text(context, dateTimeFormat(time, { format: 'HH:mm', timeZone: 'utc' }), x(time), area.top + area.height + 12, 'center', theme);
  }
  return x;
}

function text(context, what, x, y, align, theme) {
  context.fillStyle = theme.colors.text.primary;
  context.textAlign = align;
  context.textBaseline = 'middle';
  context.fillText(what, x, y);
}

function Canvas({ width, height, draw }) {
  const canvas = useRef(null);
  useEffect(() => {
    const font = '12px Inter';
    document.fonts.load(font).then(() => {
      const context = canvas.current.getContext('2d');
      context.clearRect(0, 0, width, height);
      context.font = `${font}, sans-serif`;
      draw(context, { width, height });
    });
  });
  return <canvas ref={canvas} width={width} height={height} />;
}
