// Panels that Grafana's libraries draw.

import { FieldType, VizOrientation, getFieldDisplayValues } from '@grafana/data';
import { BigValue, BigValueTextMode, TimeSeries, VizRepeater } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';

import { marked } from './marks.js';

export function Stat({ panel, frames, width, height, theme }) {
  const { options, fieldConfig } = panel;
  const values = () =>
    getFieldDisplayValues({
      fieldConfig, reduceOptions: options.reduceOptions, replaceVariables: (text) => text, theme, data: frames, sparkline: false, timeZone: 'utc',
    });
  const one = ({ value, width: each, height: tall, count }) => (
    <BigValue
      value={value.display} count={count} colorMode={options.colorMode} graphMode={options.graphMode} justifyMode={options.justifyMode}
      textMode={options.textMode === 'auto' && count === 1 ? BigValueTextMode.Value : options.textMode} width={each} height={tall} theme={theme} wideLayout
    />
  );
  return (
    <VizRepeater
      getValues={values} renderValue={one} width={width} height={height} source={frames} renderCounter={0} itemSpacing={3}
      autoGrid orientation={options.orientation === 'auto' ? VizOrientation.Auto : options.orientation}
    />
  );
}

export function Table({ panel, frames, width, height, range }) {
  const [frame] = frames;
  if (!frame || frame.length === 0) return <Nothing panel={panel} height={height} />;
  return (
    <TableNG
      data={frame} width={width} height={height} sortBy={panel.options.sortBy} noHeader={!panel.options.showHeader}
      cellHeight={panel.options.cellHeight} fieldConfig={panel.fieldConfig} timeRange={range} showTypeIcons={false} noValue={panel.fieldConfig.defaults.noValue}
    />
  );
}

export function Graph({ panel, frames, width, height, range, marks }) {
  const drawn = frames.map(finite).filter((frame) => frame.fields.some((field) => field.type === FieldType.number && field.values.length > 0));
  if (drawn.length === 0) return <Nothing panel={panel} height={height} />;
  return (
    <TimeSeries frames={drawn} width={width} height={height} timeRange={range} timeZone="utc" legend={panel.options.legend} options={panel.options}>
      {(builder) => marked(builder, marks)}
    </TimeSeries>
  );
}

/** What is no number is a gap, as in Grafana's panel: 0 / 0 would leave the axis without ends. */
function finite(frame) {
  const gaps = (values) => values.map((value) => (Number.isFinite(value) ? value : null));
  const fields = frame.fields.map((field) => (field.type === FieldType.number ? { ...field, values: gaps(field.values) } : field));
  return { ...frame, fields };
}

export function Nothing({ panel, height }) {
  return <div className="nothing" style={{ height }}>{panel.fieldConfig.defaults.noValue ?? 'No data'}</div>;
}
