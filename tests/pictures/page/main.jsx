// ?board=UID&from=SECONDS&to=SECONDS&var-NAME=VALUE… shows a dashboard, and says in `window.picture` when it is drawn.

import { createTheme } from '@grafana/data';
import { initPluginTranslations } from '@grafana/i18n';
import { GlobalStyles, ThemeContext } from '@grafana/ui';
import { createRoot } from 'react-dom/client';

import { Board } from './board.jsx';
import { marks, timeRange, variables } from './queries.js';
import '@grafana/react-data-grid/lib/styles.css';
import './page.css';

const WIDTH = 1600 - 2 * 16;

async function main() {
  const parameters = new URLSearchParams(location.search);
  const range = timeRange(Number(parameters.get('from')), Number(parameters.get('to')));
  const chosen = Object.fromEntries([...parameters].filter(([key]) => key.startsWith('var-')).map(([key, value]) => [key.slice(4), value]));
  await initPluginTranslations('pictures');
  const dashboard = await fetch(`/dashboards/${parameters.get('board')}.json`).then((answer) => answer.json());
  const values = await variables(dashboard, chosen, range);
  const annotations = dashboard.annotations.list.filter((annotation) => annotation.enable && annotation.expr);
  const theme = createTheme({ colors: { mode: 'dark' } });
  const asked = await Promise.all(annotations.map((annotation) => marks(annotation, values, range)));
  const coloured = asked.flat().map((mark) => ({ ...mark, color: theme.visualization.getColorByName(mark.color) }));
  let missing = dashboard.panels.filter((panel) => panel.type !== 'row').length;
  const onDrawn = (panel, error) => {
    if (error) window.picture.errors.push(`${panel.title}: ${error.stack ?? error}`);
    missing -= 1;
    if (missing === 0) settle();
  };
  createRoot(document.getElementById('page')).render(
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <Board dashboard={dashboard} values={values} range={range} marks={coloured} width={WIDTH} onDrawn={onDrawn} />
    </ThemeContext.Provider>,
  );
}

async function settle() {
  await document.fonts.ready;
  for (let frame = 0; frame < 3; frame += 1) await new Promise(requestAnimationFrame);
  window.picture.drawn = true;
}

window.picture = { drawn: false, errors: [] };
window.__grafana_public_path__ = '/public/';
window.addEventListener('error', (event) => window.picture.errors.push(event.message));
main().catch((error) => {
  window.picture.errors.push(error.stack ?? String(error));
  window.picture.drawn = true;
});
