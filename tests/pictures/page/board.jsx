// Grafana's page: head, grid of 24 columns, rows, panels.

import { useEffect, useState } from 'react';
import { dateTimeFormat } from '@grafana/data';
import { Icon, PanelChrome, useTheme2 } from '@grafana/ui';

import { prepared } from './fields.js';
import { Graph, Stat, Table } from './panels.jsx';
import { ask } from './queries.js';
import { Heatmap, Timeline } from './standins.jsx';

const COLUMNS = 24;
const CELL = 30;
const MARGIN = 8;

const DRAWN_BY = {
  stat: { Drawn: Stat },
  table: { Drawn: Table },
  timeseries: { Drawn: Graph },
  'state-timeline': { Drawn: Timeline, standIn: true },
  heatmap: { Drawn: Heatmap, standIn: true },
};

export function Board({ dashboard, values, range, marks, width, onDrawn }) {
  const lines = Math.max(...dashboard.panels.map(({ gridPos }) => gridPos.y + gridPos.h));
  const column = (width + MARGIN) / COLUMNS;
  const place = ({ x, y, w, h }) => ({
    left: x * column, top: y * (CELL + MARGIN), width: w * column - MARGIN, height: h * (CELL + MARGIN) - MARGIN,
  });
  return (
    <>
      <Head dashboard={dashboard} values={values} range={range} />
      <div className="grid" style={{ width, height: lines * (CELL + MARGIN) }}>
        {dashboard.panels.map((panel) => (
          <div key={panel.id} className="place" style={place(panel.gridPos)}>
            {panel.type === 'row' ? (
              <h2><Icon name="angle-down" />{panel.title}</h2>
            ) : (
              <Panel panel={panel} values={values} range={range} marks={marks} onDrawn={onDrawn} {...place(panel.gridPos)} />
            )}
          </div>
        ))}
      </div>
    </>
  );
}

function Head({ dashboard, values, range }) {
  const theme = useTheme2();
  const time = (moment) => dateTimeFormat(moment, { format: 'YYYY-MM-DD HH:mm:ss', timeZone: 'utc' });
  const shown = dashboard.annotations.list.filter((annotation) => !annotation.hide);
  return (
    <header>
      <div>
        <h1>{dashboard.title}</h1>
        <span className="time"><Icon name="clock-nine" />{time(range.from)} to {time(range.to)} UTC</span>
      </div>
      <div>
        {values.map((value) => (
          <span key={value.name} className="variable"><b>{value.label}</b><span>{value.text}<Icon name="angle-down" /></span></span>
        ))}
        {shown.map((annotation) => (
          <span key={annotation.name} className="switch">
            <i style={annotation.enable ? { background: theme.visualization.getColorByName(annotation.iconColor) } : {}} />{annotation.name}
          </span>
        ))}
      </div>
      <div>
        {dashboard.links.map((link) => <span key={link.title} className="link"><Icon name="apps" />{link.title}</span>)}
      </div>
    </header>
  );
}

function Panel({ panel, values, range, marks, width, height, onDrawn }) {
  const theme = useTheme2();
  const [frames, setFrames] = useState();
  useEffect(() => {
    ask(panel, values, range, Math.round(width))
      .then((asked) => prepared(panel, asked, theme))
      .then(setFrames)
      .catch((error) => onDrawn(panel, error));
  }, []);
  useEffect(() => {
    if (frames) onDrawn(panel);
  }, [frames]);
  const { Drawn, standIn } = DRAWN_BY[panel.type];
  return (
    <PanelChrome
      title={panel.title} description={panel.description} width={width} height={height} padding={panel.type === 'table' ? 'none' : 'md'}
      titleItems={standIn && <span className="standin">stand-in</span>}
    >
      {(innerWidth, innerHeight) =>
        frames ? <Drawn panel={panel} frames={frames} width={innerWidth} height={innerHeight} range={range} theme={theme} marks={marks} /> : null
      }
    </PanelChrome>
  );
}
